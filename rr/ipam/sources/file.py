"""Allocations from one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rr.errors import AllocationsError
from rr.ipam.sources.watch import FileWatch
from rr.ipam.sources.watched import LOOK_EVERY, MAX_SIZE, Signature, WatchedSource, signature_of
from rr.yamlfile import read_text


class FileSource(WatchedSource):
    """Readings of one file."""

    def __init__(self, path: Path, name: str | None = None, look_every: float = LOOK_EVERY) -> None:
        super().__init__(path, name or f"file:{path}", look_every)

    def watch(self) -> FileWatch:
        """Watch the file, and what its name goes through."""
        return FileWatch(self.path)

    def read(self) -> Mapping[str, str]:
        """The one text."""
        return {str(self.path): read_text(self.path, MAX_SIZE, AllocationsError)}

    def signature(self) -> Signature | None:
        """Of the one file."""
        return signature_of(self.path)
