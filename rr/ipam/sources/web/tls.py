"""What the server of a source must show, and what we show it."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from rr.config.sources.web import WebSettings
from rr.errors import SourceError

_PEM = "write it in PEM, from -----BEGIN CERTIFICATE----- on"


def stamp(settings: WebSettings) -> tuple[object, ...]:
    """Another value as soon as one of the files was exchanged."""
    return tuple(_stamp(path) for path in (settings.ca, settings.certificate, settings.key))


def _stamp(path: Path | None) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode) if found else None


def context(settings: WebSettings) -> ssl.SSLContext | bool:
    """The context for connections, True where the URL needs none; raises SourceError with what is wrong with a file."""
    if settings.url.startswith("http:"):
        return True
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca is None:
        made.load_default_certs()
    else:
        _readable(settings.ca)
        try:
            made.load_verify_locations(settings.ca)
        except (ssl.SSLError, OSError):
            raise SourceError(f"{settings.ca} holds no certificate", _PEM) from None
    if settings.certificate and settings.key:
        _show(made, settings.certificate, settings.key)
    return made


def _show(made: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        _readable(path)
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise SourceError(f"{key} is open to others than its owner", f"chmod 600 {key}")
    try:
        made.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError):
        raise SourceError(f"{certificate} and {key} are no certificate with its key", _PEM) from None


def _no_password() -> str:
    raise ValueError("the key has a password")


def _readable(path: Path) -> None:
    try:
        path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}", "create it, or name the right one") from None
    except OSError as error:
        wrong = f"{path} cannot be read ({error.strerror})"
        raise SourceError(wrong, "make the user of the service its owner") from None
