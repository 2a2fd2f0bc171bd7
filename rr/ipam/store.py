"""The last known good allocations on disk: one JSON file, replaced as a whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rr import files
from rr.errors import RRError, StateError
from rr.ipam import document
from rr.ipam.allocations import Allocations

FILE = "allocations.json"
_VERSION = 2


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
    try:
        files.save(path, _VERSION, body)
    except OSError as error:
        wrong = f"the last good allocations cannot be written to {path} ({error.strerror})"
        right = "make room and see that state_dir is writable; until then a restart begins without them"
        raise StateError(wrong, right) from error


def load(path: Path) -> dict[str, Part]:
    """What was saved, nothing when nothing was; raises StateError when the file is unreadable or corrupt."""
    try:
        saved = files.load(path, _VERSION) or {}
        return {name: _part(name, entry) for name, entry in saved.items()}
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RRError) as error:
        raise _unusable(path, "it is corrupt") from error


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    return Part(document.parse(entry["document"], name), float(entry["time"]))


def _unusable(path: Path, why: str) -> StateError:
    wrong = f"the last good allocations in {path} cannot be used ({why})"
    return StateError(wrong, "nothing to do: the next good reading of the source replaces them")
