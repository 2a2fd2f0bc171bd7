"""Password files: a secret never stands in rr.yaml, only the path of a file that nobody else may read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from rr.config.document import Document, Route
from rr.config.scalars import absolute_path
from rr.errors import Problem, SecretError

LONGEST = 80
"""Bytes in a TCP-MD5 key (RFC 2385 leaves it open; Linux: TCP_MD5SIG_MAXKEYLEN)."""


def read_secret(path: Path) -> str:
    """The password in a file, without the line's end; raises SecretError with the way out."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(4096)
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
        raise SecretError(wrong, f"chmod 600 {path}, and change the password if others could read it")
    return _password(path, data)


def _password(path: Path, data: bytes) -> str:
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if not secret.strip():
        raise SecretError(f"{path} is empty", "write the password into it")
    if b"\n" in secret:
        raise SecretError(f"{path} has more than one line", "keep only the password")
    if len(secret) > LONGEST:
        length = "more than 4000" if len(data) == 4096 else str(len(secret))
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


def check_secrets(document: Document) -> Iterator[Problem]:
    """A problem at each `password_file:` and `kubeconfig:` whose file cannot be used."""
    yield from _check_kubeconfigs(document)
    for route, path in _password_files(document):
        try:
            read_secret(path)
        except SecretError as error:
            yield document.problem(route, error.wrong, error.right)


def _check_kubeconfigs(document: Document) -> Iterator[Problem]:
    """What a kubeconfig says may change while rrd runs; that nobody else may read it must hold from the start."""
    for route, path in _files(document, "kubeconfig"):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as trouble:
            wrong = f"{path} cannot be read ({trouble.strerror})"
            yield document.problem(
                route, wrong, "write the kubeconfig there, for the user of the service alone"
            )
            continue
        if mode & 0o077:
            wrong = f"{path} is open to others than its owner (mode {mode:04o})"
            yield document.problem(
                route, wrong, f"chmod 600 {path}, and renew its token if others could read it"
            )


def _password_files(document: Document) -> Iterator[tuple[Route, Path]]:
    yield from _files(document, "password_file")


def _files(document: Document, key: str) -> Iterator[tuple[Route, Path]]:
    for route in document.values:
        if route[-1:] == (key,) and isinstance(document.at(*route), str):
            try:
                yield route, absolute_path(document.at(*route))
            except ValueError:
                continue  # the schema has said so
