"""Who the halves are to each other: certificates, both ways, for the other half's name, of the CA that both know."""

import ssl
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rr.config.model import Pair
from rr.errors import RRError

EXPIRES_SOON = 30 * 86400.0
"""Seconds before its end at which a certificate is to be renewed."""
_RENEW = "make new ones: rrctl pair certificates"


class BadCertificate(RRError):
    """A half cannot show who it is; the message is one sentence with the way out."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a half shows, and by what it judges the other."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    expires: float
    """Unix time at which our certificate ends."""


def signature(pair: Pair) -> tuple[object, ...]:
    """Another value as soon as one of the files was exchanged."""
    return tuple(map(_stamp, (pair.certificate, pair.key, pair.ca)))


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


def load(pair: Pair, name: str) -> Credentials:
    """Read our certificate, key and CA; raises BadCertificate with what is wrong and what to do."""
    for path in (pair.certificate, pair.key, pair.ca):
        _readable(path)
    if stat.S_IMODE(pair.key.stat().st_mode) & 0o077:
        raise BadCertificate(f"{pair.key} is open to others than its owner", f"chmod 600 {pair.key}")
    contexts = []
    for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(pair.ca)
        except (ssl.SSLError, OSError):
            raise BadCertificate(f"{pair.ca} holds no certificate in PEM", _RENEW) from None
        _load_own(context, pair)
        contexts.append(context)
    return Credentials(contexts[0], contexts[1], _own(pair.certificate, name))


def _readable(path: Path) -> None:
    try:
        path.read_bytes()
    except FileNotFoundError:
        raise BadCertificate(f"there is no file {path}", _RENEW) from None
    except OSError as error:
        raise BadCertificate(
            f"{path} cannot be read ({error.strerror})", "make the user of rrd its owner"
        ) from None


def _load_own(context: ssl.SSLContext, pair: Pair) -> None:
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        wrong = f"{pair.certificate} and {pair.key} are no certificate with its key in PEM ({_reason(error)})"
        raise BadCertificate(wrong, _RENEW) from None


def _no_password() -> str:
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).replace("_", " ").lower()


def _own(certificate: Path, name: str) -> float:
    """When our certificate ends; raises BadCertificate where it has, or is for somebody else."""
    from cryptography import x509

    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        owners = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        owners = []
    if name not in owners:
        whose = ", ".join(owners) or "nobody"
        raise BadCertificate(f"{certificate} is for {whose}, and this half is {name}", _RENEW)
    ends = found.not_valid_after_utc
    if ends.timestamp() <= time.time():
        raise BadCertificate(f"{certificate} expired at {ends:%Y-%m-%d %H:%M} UTC", _RENEW)
    if found.not_valid_before_utc.timestamp() > time.time():
        raise BadCertificate(f"{certificate} is not valid yet", "see that the clock of this host is right")
    return ends.timestamp()


def names_of(peercert: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names that a verified certificate of the other side is for."""
    return tuple(value for kind, value in (peercert or {}).get("subjectAltName", ()) if kind == "DNS")
