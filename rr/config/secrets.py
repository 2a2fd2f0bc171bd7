"""Secrets: none stands in rr.yaml, only the path of a file that nobody else may read."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from rr.config.document import Document, Route
from rr.config.scalars import absolute_path
from rr.errors import Problem, SecretError

LONGEST = 80
"""Bytes in a TCP-MD5 key (RFC 2385 leaves it open; Linux: TCP_MD5SIG_MAXKEYLEN)."""
_MOST = 16384
"""Bytes of a file that are looked at."""


def read_secret(path: Path) -> str:
    """The password in a file, without the line's end; raises SecretError with the way out."""
    secret = _line(path, "password")
    if len(secret) > LONGEST:
        length = "more than 4000" if len(secret) > 4000 else str(len(secret))
        wrong = f"the password in {path} has {length} bytes, and TCP-MD5 takes {LONGEST}"
        raise SecretError(wrong, "choose a shorter one")
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        raise SecretError(
            f"the password in {path} is not UTF-8", "choose one of letters and digits"
        ) from None
    if not text.isprintable():
        raise SecretError(f"the password in {path} has unprintable characters", "choose one without")
    return text


def read_token(path: Path) -> str:
    """The token in a file, as it is sent in an HTTP header; raises SecretError with the way out."""
    token = _line(path, "token").strip()
    if len(token) >= _MOST or not all(33 <= byte <= 126 for byte in token):
        right = "write the token alone into it, without a word such as Bearer before it"
        raise SecretError(f"what is in {path} is no token: one has no spaces and only ASCII", right)
    return token.decode()


def _line(path: Path, what: str) -> bytes:
    """The one line in a file that nobody else may read."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(_MOST)
    except FileNotFoundError:
        raise SecretError(f"there is no file {path}", f"create it: install -m 600 /dev/null {path}") from None
    except IsADirectoryError:
        raise SecretError(f"{path} is a directory", "name a file") from None
    except PermissionError:
        raise SecretError(
            f"{path} may not be read by this user", "make the user of the service its owner"
        ) from None
    except OSError as trouble:
        raise SecretError(
            f"{path} cannot be read ({trouble.strerror})", "see that the file is there"
        ) from None
    if mode & 0o077:
        wrong = f"{path} is open to others than its owner (mode {mode:04o})"
        raise SecretError(wrong, f"chmod 600 {path}, and change the {what} if others could read it")
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if not secret.strip():
        raise SecretError(f"{path} is empty", f"write the {what} into it")
    if b"\n" in secret:
        raise SecretError(f"{path} has more than one line", f"keep only the {what}")
    return secret


def look_at_kubeconfig(path: Path) -> None:
    """Raise SecretError where a kubeconfig cannot be read, or can be by others; what it says may change meanwhile."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as trouble:
        wrong = f"{path} cannot be read ({trouble.strerror})"
        raise SecretError(wrong, "write the kubeconfig there, for the user of the service alone") from None
    if mode & 0o077:
        wrong = f"{path} is open to others than its owner (mode {mode:04o})"
        raise SecretError(wrong, f"chmod 600 {path}, and renew its token if others could read it")


_LOOK: dict[str | int, Callable[[Path], object]] = {
    "password_file": read_secret,
    "token_file": read_token,
    "kubeconfig": look_at_kubeconfig,
}
"""What looks at the file that a key names, and raises SecretError where it cannot be used."""


def check_secrets(document: Document) -> Iterator[Problem]:
    """A problem at each key of `_LOOK` whose file cannot be used."""
    for route, path in _secret_files(document):
        try:
            _LOOK[route[-1]](path)
        except SecretError as error:
            yield document.problem(route, error.wrong, error.right)


def _secret_files(document: Document) -> Iterator[tuple[Route, Path]]:
    for route in document.values:
        if route[-1:] and route[-1] in _LOOK and isinstance(document.at(*route), str):
            try:
                yield route, absolute_path(document.at(*route))
            except ValueError:
                continue  # the schema has said so
