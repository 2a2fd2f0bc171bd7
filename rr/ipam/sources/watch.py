"""Wait until a file may have changed: inotify on every directory that its name goes through, and a timeout.

inotify sees atomic renames, in-place writes, deletion, and exchanged symlinks (Kubernetes swaps `..data`).
The timeout is for what it cannot see: network file systems, a directory that was not there, a used-up limit.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType

import structlog
from asyncinotify import Event, Inotify, Mask, Watch

log = structlog.get_logger()

_MASK = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_TO
    | Mask.MOVED_FROM
    | Mask.CREATE
    | Mask.DELETE
    | Mask.ATTRIB
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_MOST_LINKS = 40


def chain(path: Path) -> dict[Path, set[str]]:
    """The names that decide what `path` leads to, by directory: itself and every symlink on the way."""
    found: dict[Path, set[str]] = {}
    steps = list(Path(os.path.abspath(path)).parts[1:])
    at, links = Path("/"), 0
    while steps:
        step = steps.pop(0)
        here = at / step
        if step == "..":
            at = at.parent
        elif here.is_symlink() and links < _MOST_LINKS:
            links += 1
            found.setdefault(at, set()).add(step)
            target = here.readlink()
            steps = [*(target.parts[1:] if target.is_absolute() else target.parts), *steps]
            at = Path("/") if target.is_absolute() else at
        elif steps:
            at = here
        else:
            found.setdefault(at, set()).add(step)
    return found


class FileWatch:
    """Use as a context manager inside a running loop: `arm`, then read the file, then await `event`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wake = asyncio.Event()
        self._inotify: Inotify | None = None
        self._watches: dict[Path, Watch] = {}
        self._names: dict[Path, set[str]] = {}

    def __enter__(self) -> FileWatch:
        try:
            self._inotify = Inotify(sync_timeout=0)
            asyncio.get_running_loop().add_reader(self._inotify.fd, self._wake.set)
        except OSError as error:
            log.warning(
                "inotify is not available, so the file is looked at once a second; "
                "raise fs.inotify.max_user_instances",
                file=str(self.path),
                reason=error.strerror,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inotify:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()

    def arm(self) -> None:
        """Watch what the path goes through now. Before reading, so that no change falls in between."""
        try:
            self._names = self.places()
        except OSError:
            return  # something on the way vanished; the next look will tell
        if not self._inotify:
            return
        for directory in self._watches.keys() - self._names.keys():
            self._forget(directory)
        for directory in self._names:
            try:
                self._watches[directory] = self._inotify.add_watch(directory, _MASK)
            except OSError:
                self._watches.pop(directory, None)  # not there yet, or no watches left: the look remains

    def places(self) -> dict[Path, set[str]]:
        """The names that decide what is read, by directory; raises OSError."""
        return chain(self.path)

    def concerned(self, directory: Path, name: str) -> bool:
        """Whether something that happened to this name may be a change."""
        return name in self._names.get(directory, ())

    def _forget(self, directory: Path) -> None:
        watch = self._watches.pop(directory)
        try:
            if self._inotify:
                self._inotify.rm_watch(watch)
        except OSError:
            pass  # the kernel dropped it with its directory

    async def event(self, within: float) -> bool:
        """True as soon as something happened to the file, False when `within` seconds passed without."""
        try:
            async with asyncio.timeout(within):
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    if self._drain():
                        return True
        except TimeoutError:
            return False

    def _drain(self) -> bool:
        concerned = False
        while self._inotify and (event := self._inotify.sync_get()):
            concerned = self._concerns(event) or concerned
        return concerned

    def _concerns(self, event: Event) -> bool:
        if event.mask & (Mask.Q_OVERFLOW | Mask.DELETE_SELF | Mask.MOVE_SELF):
            return True
        if event.mask & Mask.IGNORED or event.watch is None or event.name is None:
            return False
        directory, name = event.watch.path, str(event.name)
        if not self.concerned(directory, name):
            return False
        # A regular file that was just created is still being written: its CLOSE_WRITE follows.
        found = directory / name
        return not event.mask & Mask.CREATE or found.is_symlink() or found.is_dir()
