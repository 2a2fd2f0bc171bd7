"""Why a server gave no answer that is one, as sentences with the way out. None of them repeats a token."""

from __future__ import annotations

import ssl
from http import HTTPStatus

import aiohttp
from yarl import URL

from rr.config.sources.web import WebSettings
from rr.errors import SourceError


def unanswered(url: URL, error: Exception, settings: WebSettings) -> SourceError:
    """What to say of an exception of the transport."""
    match error:
        case TimeoutError():
            wrong = f"{url} does not answer whole within {settings.timeout} s"
            return SourceError(wrong, "see why it is slow, or raise `timeout`")
        case aiohttp.ClientConnectorCertificateError():
            return _distrusted(url, error.certificate_error, settings)
        case aiohttp.ClientConnectorDNSError():
            return SourceError(
                f"{url.host} has no address ({error.strerror})", "see that DNS works, and the name is right"
            )
        case aiohttp.ClientSSLError():
            return SourceError(f"{url} does not speak TLS with us ({_reason(error.os_error)})", _TLS)
        case aiohttp.ClientConnectorError():
            wrong = f"{url} cannot be reached ({error.os_error.strerror or 'no connection'})"
            return SourceError(wrong, "see that the server runs and that nothing on the way blocks it")
        case aiohttp.ClientPayloadError():
            return SourceError(f"{url} breaks off in the middle of its answer", _LOOK)
        case aiohttp.ServerDisconnectedError() | OSError():
            return _hung_up(url, settings)
        case _:
            return SourceError(
                f"{url} answers something that is not HTTP", "see that it is the right host and port"
            )


_LOOK = "see the log of that server"
_TLS = "see that the port is right, and that the server offers TLS 1.2 or newer"


def _distrusted(url: URL, error: Exception, settings: WebSettings) -> SourceError:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return SourceError(
            f"the certificate of {url.host} is for another name", "write the name that it is for"
        )
    why = error.verify_message.lower().rstrip(".")
    if "mismatch" in why:
        return SourceError(
            f"the certificate of {url.host} is for another name", "write the name that it is for"
        )
    if "expired" in why or "not yet valid" in why:
        return SourceError(
            f"the certificate of {url.host} cannot be trusted ({why})", "renew it there, or set the clock"
        )
    right = f"see that {settings.ca} is its CA" if settings.ca else "name the file with its CA: `ca:`"
    return SourceError(f"the certificate of {url.host} cannot be trusted ({why})", right)


def _hung_up(url: URL, settings: WebSettings) -> SourceError:
    """With TLS 1.3 a server that wants another certificate only closes the connection, as far as aiohttp tells."""
    wrong = f"{url} closes the connection without an answer"
    if url.scheme != "https":
        return SourceError(wrong, _LOOK)
    if settings.certificate is None:
        return SourceError(
            wrong, f"{_LOOK}; if it asks for a certificate, name ours with `certificate:` and `key:`"
        )
    return SourceError(wrong, f"{_LOOK}; it may not know the CA of {settings.certificate}")


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()


def refused(url: URL, status: int, settings: WebSettings) -> SourceError:
    """What to say of a status that is no answer."""
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    token = settings.token_file
    if status == 401 and token is None:
        return SourceError(f"{url} wants a token ({words})", "name the file that holds it: `token_file:`")
    if status == 401:
        return SourceError(
            f"{url} does not accept the token in {token} ({words})", "write a valid one into the file"
        )
    if status == 403:
        whose = f"whoever the token in {token} is of" if token else "us, or name a token with `token_file:`"
        return SourceError(f"{url} may not be read by us ({words})", f"allow it there to {whose}")
    if status in (404, 410):
        return SourceError(f"{url} is not there ({words})", "correct the URL")
    if status == 429:
        return SourceError(f"{url} wants to be asked less often ({words})", "raise `interval`")
    if status >= 500:
        return SourceError(f"{url} has a fault of its own ({words})", _LOOK)
    return SourceError(f"{url} answers {words}, and not 200", "see that it is the right URL")
