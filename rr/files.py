"""Small JSON documents in state_dir: replaced as a whole or not at all, also when the power fails half-way."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Corrupt(ValueError):
    """A file that is not what was written."""


def save(path: Path, version: int, content: Mapping[str, Any]) -> None:
    """Replace a document atomically, mode 0600, with its directory (mode 0700) if need be; it is on disk on return.

    `version` is that of the content's form. Raises OSError, and then the old file is still whole.
    """
    document = {"version": version, "digest": _digest(content), "content": content}
    replace(path, json.dumps(document).encode())


def load(path: Path, version: int) -> Mapping[str, Any] | None:
    """Answer the content that was saved, None when nothing was; raises OSError, or Corrupt."""
    try:
        document = json.loads(path.read_bytes())
        content: Mapping[str, Any] = document["content"]
        if document["version"] != version or document["digest"] != _digest(content):
            raise Corrupt("it is not what was written")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Corrupt("it is corrupt") from error
    return content


def replace(path: Path, data: bytes) -> None:
    """Replace a file atomically, mode 0600; raises OSError, and then the old file is still whole."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        _write(temporary, data)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
