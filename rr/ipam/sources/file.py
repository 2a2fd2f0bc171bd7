"""Allocations from a YAML file, read anew at every change."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rr.errors import AllocationsError
from rr.ipam.document import parse
from rr.ipam.reading import Reading
from rr.ipam.sources.watch import FileWatch
from rr.yamlfile import read_text

MAX_SIZE = 64 << 20
LOOK_EVERY = 1.0
"""Seconds between looks at the file when nothing is heard of it."""
BELIEVE_ERRORS_AFTER = 0.1
"""Seconds that a file must stay missing or broken: editors move it away, or truncate it, and then write."""
_SETTLED = 2.0
"""Seconds after which the time of a file tells two versions apart on every file system."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found, what it means, and by what a change can be noticed."""

    text: str | None
    reading: Reading
    signature: tuple[int, ...] | None

    def same(self, other: _Look) -> bool:
        """Whether both say the same, the time of reading aside."""
        return self.text == other.text and self.reading.trouble == other.reading.trouble


class FileSource:
    """Iterate over it for readings: the first at once, then one per change of what the file says.

    A missing or broken file is a reading with an error; it recovers by itself when the file does.
    """

    def __init__(self, path: Path, name: str | None = None, look_every: float = LOOK_EVERY) -> None:
        self.path = path
        self.name = name or f"file:{path}"
        self._look_every = look_every

    async def __aiter__(self) -> AsyncIterator[Reading]:
        with FileWatch(self.path) as watch:
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
        if not happened and seen.signature is not None and _signature(self.path) == seen.signature:
            return seen
        found = await asyncio.to_thread(self._look, seen)
        deadline = time.monotonic() + BELIEVE_ERRORS_AFTER
        while found.reading.error and not found.same(seen) and (left := deadline - time.monotonic()) > 0:
            await watch.event(left)
            watch.arm()
            found = await asyncio.to_thread(self._look, found)
        return found

    def _look(self, seen: _Look | None = None) -> _Look:
        """Read the file; what was read before is not parsed again."""
        signature = _signature(self.path)
        try:
            text = read_text(self.path, MAX_SIZE, AllocationsError)
        except AllocationsError as error:
            return _Look(None, Reading(self.name, None, error), signature)
        same = seen is not None and seen.text == text
        return _Look(text, seen.reading if same and seen else self._parse(text), signature)

    def _parse(self, text: str) -> Reading:
        try:
            return Reading(self.name, parse(text, str(self.path)), None)
        except AllocationsError as error:
            return Reading(self.name, None, error)


def _signature(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None when it is too fresh to tell: the next look reads it again."""
    try:
        found = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    if abs(time.time() - max(found.st_mtime, found.st_ctime)) < _SETTLED:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
