"""The last known good allocations on disk: one JSON file, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rr.errors import RRError, StateError
from rr.ipam import document
from rr.ipam.allocations import Allocations

FILE = "allocations.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Part:
    """What one source last said that was good, and when (seconds since the epoch)."""

    allocations: Allocations
    time: float


def save(path: Path, parts: Mapping[str, Part]) -> None:
    """Replace the file atomically, mode 0600; raises StateError, and then the old one is still whole."""
    body = {
        name: {"time": part.time, "document": document.render(part.allocations)}
        for name, part in sorted(parts.items())
    }
    data = json.dumps({"version": _VERSION, "digest": _digest(body), "sources": body}).encode()
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        _write(temporary, data)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        wrong = f"the last good allocations cannot be written to {path} ({error.strerror})"
        right = "make room and see that state_dir is writable; until then a restart begins without them"
        raise StateError(wrong, right) from error


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


def load(path: Path) -> dict[str, Part]:
    """What was saved, nothing when nothing was; raises StateError when the file is unreadable or corrupt."""
    try:
        saved = json.loads(path.read_bytes())
        body = saved["sources"]
        if saved["version"] != _VERSION or saved["digest"] != _digest(body):
            raise ValueError("it is not what was written")
        return {name: _part(name, entry) for name, entry in body.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RRError) as error:
        raise _unusable(path, "it is corrupt") from error


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    return Part(document.parse(entry["document"], name), float(entry["time"]))


def _unusable(path: Path, why: str) -> StateError:
    wrong = f"the last good allocations in {path} cannot be used ({why})"
    return StateError(wrong, "nothing to do: the next good reading of the source replaces them")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
