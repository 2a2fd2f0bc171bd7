"""Allocations from YAML on the file system, read anew at every change: what a file and a folder have in common."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rr.errors import AllocationsError
from rr.ipam.document import parse_all
from rr.ipam.reading import Reading
from rr.ipam.sources.watch import FileWatch

MAX_SIZE = 64 << 20
"""Bytes of one file."""
LOOK_EVERY = 1.0
"""Seconds between looks at the files when nothing is heard of them."""
BELIEVE_ERRORS_AFTER = 0.1
"""Seconds that files must stay missing or broken: editors move them away, or truncate them, and then write."""
_SETTLED = 2.0
"""Seconds after which the time of a file tells two versions apart on every file system."""
Signature: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found, what it means, and by what a change can be noticed."""

    texts: Mapping[str, str] | None
    reading: Reading
    signature: Signature | None

    def same(self, other: _Look) -> bool:
        """Whether both say the same, the time of reading aside."""
        return self.texts == other.texts and self.reading.trouble == other.reading.trouble


class WatchedSource(ABC):
    """Iterate over it for readings: the first at once, then one per change of what the files say.

    A missing or broken file is a reading with an error; it recovers by itself when the file does.
    """

    def __init__(self, path: Path, name: str, look_every: float) -> None:
        self.path = path
        self.name = name
        self._look_every = look_every

    @abstractmethod
    def watch(self) -> FileWatch:
        """What notices changes."""

    @abstractmethod
    def read(self) -> Mapping[str, str]:
        """The texts by name of their file; raises AllocationsError."""

    @abstractmethod
    def signature(self) -> Signature | None:
        """What changes when the files do; None when they are too fresh to tell: the next look reads them again."""

    async def __aiter__(self) -> AsyncIterator[Reading]:
        with self.watch() as watch:
            watch.arm()
            seen = await asyncio.to_thread(self._look)
            yield seen.reading
            while True:
                found = await self._next(watch, seen)
                if not found.same(seen):
                    yield found.reading
                seen = found

    async def _next(self, watch: FileWatch, seen: _Look) -> _Look:
        """Wait for what may be a change and look; an error has to last before it is believed."""
        happened = await watch.event(self._look_every)
        watch.arm()
        if not happened and seen.signature is not None and self.signature() == seen.signature:
            return seen
        found = await asyncio.to_thread(self._look, seen)
        deadline = time.monotonic() + BELIEVE_ERRORS_AFTER
        while found.reading.error and not found.same(seen) and (left := deadline - time.monotonic()) > 0:
            await watch.event(left)
            watch.arm()
            found = await asyncio.to_thread(self._look, found)
        return found

    def _look(self, seen: _Look | None = None) -> _Look:
        """Read the files; what was read before is not parsed again."""
        signature = self.signature()
        try:
            texts = self.read()
        except AllocationsError as error:
            return _Look(None, Reading(self.name, None, error), signature)
        same = seen is not None and seen.texts == texts
        return _Look(texts, seen.reading if same and seen else self._parse(texts), signature)

    def _parse(self, texts: Mapping[str, str]) -> Reading:
        try:
            return Reading(self.name, parse_all(texts), None)
        except AllocationsError as error:
            return Reading(self.name, None, error)


def signature_of(path: Path) -> Signature | None:
    """What changes when one file does; None when it is too fresh to tell."""
    try:
        found = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    if abs(time.time() - max(found.st_mtime, found.st_ctime)) < _SETTLED:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
