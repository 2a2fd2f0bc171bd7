"""A CA and a certificate for each half, made in one go; nothing that is there is ever overwritten unasked."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rr.config.scalars import NAME
from rr.errors import RRError

CA_DAYS = 3650
_BACKDATED = timedelta(minutes=5)
"""The halves' clocks may differ by this much."""


class CannotMake(RRError):
    """Certificates cannot be made; the message is one sentence with the way out."""


def is_name(text: str) -> bool:
    """Whether an appliance may be called so."""
    return NAME.fullmatch(text) is not None


def make(directory: Path, names: Sequence[str], days: int) -> list[Path]:
    """Write ca.crt and ca.key, and a certificate and key for each name; raises CannotMake, and then wrote nothing."""
    files = [directory / name for name in ("ca.crt", "ca.key", *_files(names))]
    if there := [path for path in files if path.exists()]:
        right = "use --renew to make new certificates of the same CA, or name another directory"
        raise CannotMake(f"{there[0]} is there already, and nothing is overwritten", right)
    key = _key()
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"CA of the pair {' and '.join(names)}"[:64])]
    )
    ca = _builder(subject, subject, key, CA_DAYS)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = _usage(signs_certificates=True)
    signed = ca.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    return _write(
        [(files[0], _pem(signed)), (files[1], _private(key)), *_halves(directory, names, days, signed, key)]
    )


def renew(directory: Path, names: Sequence[str], days: int) -> list[Path]:
    """Replace the certificate and key of each name by new ones of the same CA; raises CannotMake."""
    try:
        ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    except FileNotFoundError as error:
        raise CannotMake(f"there is no {error.filename}", "renew where ca.crt and ca.key are") from None
    except (OSError, ValueError, TypeError) as error:
        raise CannotMake(
            f"the CA in {directory} cannot be used ({error})", "make another without --renew"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise CannotMake(f"ca.key in {directory} is not the key of ca.crt", "make another CA without --renew")
    if ca.not_valid_after_utc <= datetime.now(UTC):
        raise CannotMake(
            f"the CA in {directory} has expired", "make another without --renew, in an empty directory"
        )
    return _write(_halves(directory, names, days, ca, key))


def _files(names: Sequence[str]) -> list[str]:
    return [f"{name}.{ending}" for name in names for ending in ("crt", "key")]


def _halves(
    directory: Path, names: Sequence[str], days: int, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> list[tuple[Path, bytes]]:
    found = []
    for name in names:
        key = _key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(subject, ca.subject, key, days)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        found += [(directory / f"{name}.crt", _pem(certificate)), (directory / f"{name}.key", _private(key))]
    return found


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(files: Sequence[tuple[Path, bytes]]) -> list[Path]:
    """Keys are never readable by others, not even while they are written; each file appears whole."""
    try:
        for path, content in files:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.new")
            fresh.unlink(missing_ok=True)
            mode = 0o600 if path.suffix == ".key" else 0o644
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
            fresh.rename(path)
    except OSError as error:
        wrong = f"{error.filename} cannot be written ({error.strerror})"
        raise CannotMake(wrong, "name a directory of your own") from None
    return [path for path, _ in files]
