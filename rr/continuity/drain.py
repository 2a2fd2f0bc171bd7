"""Instances that are taken out of use, and put back: who is, on disk, and carried out step by step.

    serving ──drain──► draining: everything that is sent is marked (RFC 8326), so that whoever has another path takes it
                          │ the wait is over
                       closing: nobody may have a session any more, and everybody is told so (RFC 9003)
                          │ the last session is down
                       drained: stays so through restarts of anything, until
                       undrain, which is possible at any step and makes it serve again

What is decided is on disk before it is done. The engine follows level-triggered: `InstanceRunner` is told what should
be and brings it there, again and again.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from rr import files
from rr.engine import speaker
from rr.engine.client import EXPORT, Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.errors import EngineError, StateError
from rr.policy.drain import MARK

FILE = "drain.json"
_VERSION = 1
WAIT = 10.0
"""Seconds between the marks and the end of sessions, unless somebody asks for others. FRR and BIRD have moved after a
small fraction of a second (docs/engine.md); the rest is for slower ToRs with large tables."""
FAREWELL = "drained for maintenance"
"""What peers are told when their sessions end."""


class Phase(StrEnum):
    """How far an instance is on its way out of use."""

    SERVING = "serving"
    DRAINING = "draining"
    CLOSING = "closing"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Drain:
    """What is decided about an instance that is not to serve. It is what is kept on disk."""

    since: float
    """Unix time of the order."""
    wait: float
    """Seconds between the marks and the end of sessions."""
    closed: bool = False
    """Whether the wait is over: nobody may have a session."""
    ended: bool = False
    """Whether it is to serve again. This is remembered until everybody has been sent its routes without the marks."""

    @property
    def on(self) -> bool:
        """Whether it is not to serve."""
        return not self.ended


class Drainable(Protocol):
    """An instance as seen from here: `InstanceRunner`."""

    drain: Drain | None
    resent: float | None
    """Since when (monotonic) the engine has sent everybody everything again as was decided; None: it has not."""
    emptied: bool
    """Whether the engine holds no session, and lets nobody in."""

    def maintain(self, drain: Drain | None) -> None:
        """Take another decision; the engine follows."""


def phase(instance: Drainable) -> Phase:
    """How far an instance is."""
    if instance.drain is None or instance.drain.ended:
        return Phase.SERVING
    if not instance.drain.closed:
        return Phase.DRAINING
    return Phase.DRAINED if instance.emptied else Phase.CLOSING


def seconds_left(instance: Drainable, now: float) -> float | None:
    """Seconds until sessions end; None while that is not known, or over. `now` is monotonic."""
    if phase(instance) is not Phase.DRAINING or instance.drain is None or instance.resent is None:
        return None
    return max(0.0, instance.resent + instance.drain.wait - now)


Say = Callable[[str, str, str], None]
LOOK_EVERY = 0.1
"""Seconds between looks at how far an engine is."""


class Drains:
    """The decisions about all instances, on disk, and carried out."""

    def __init__(self, file: Path, say: Say) -> None:
        self.file = file
        self.problem: str | None = None
        """Why decisions are not kept on disk."""
        self._say = say
        self._decided: dict[str, Drain] = {}
        self._instances: dict[str, Drainable] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._deciding = asyncio.Lock()

    # What was decided before

    async def recall(self, sockets: Mapping[str, Path]) -> None:
        """Read what was decided. Where the file is of no use, instances are taken to be as their engines are.

        `sockets`: where the engine of each instance listens. One that does not run is not drained: of the two mistakes
        that could be made then, an instance that serves is the smaller one.
        """
        try:
            self._decided = _read(self.file)
        except StateError as error:
            self._say("drain", str(self.file), str(error))
            self._decided = {
                name: drain for name, socket in sockets.items() if (drain := await read_engine(socket))
            }
            for name in self._decided:
                self._say("drain", name, f"{name} is taken to be drained: its engine is")
            await self._save()

    def take_over(self, name: str, instance: Drainable) -> None:
        """Begin to look after an instance, with what was decided about it before."""
        self._instances[name] = instance
        if drain := self._decided.get(name):
            instance.maintain(drain)
            self._carry_out(name)

    async def forget(self, name: str) -> None:
        """Nothing is decided any more about an instance that is no more."""
        async with self._deciding:
            self._stop(name)
            self._instances.pop(name, None)
            if name in self._decided:
                await self._decide(name, None)

    # What is decided now

    async def begin(self, name: str, wait: float) -> str:
        """Drain an instance; say what becomes of it. One that is on its way already is left alone."""
        async with self._deciding:
            how_far = phase(self._instances[name])
            if how_far is not Phase.SERVING:
                return f"{name} {_ALREADY[how_far]}"
            await self._decide(name, Drain(time.time(), wait))
            self._carry_out(name)
        return f"{name} marks its routes now, and ends its sessions {wait:g} s later"

    async def end(self, name: str) -> str:
        """Let an instance serve again; say so."""
        async with self._deciding:
            instance = self._instances[name]
            how_far = phase(instance)
            if instance.drain is None or how_far is Phase.SERVING:
                return f"{name} is not drained"
            await self._decide(name, replace(instance.drain, closed=False, ended=True))
            self._carry_out(name)
        text = f"{name} serves again" + ("; no session was closed" if how_far is Phase.DRAINING else "")
        self._say("drain", name, text)
        return text

    async def _decide(self, name: str, drain: Drain | None) -> None:
        if drain is None:
            self._decided.pop(name, None)
        else:
            self._decided[name] = drain
        await self._save()
        if instance := self._instances.get(name):
            instance.maintain(drain)

    async def _save(self) -> None:
        content = {name: asdict(drain) for name, drain in sorted(self._decided.items())}
        try:
            await asyncio.to_thread(files.save, self.file, _VERSION, content)
        except OSError as error:
            self.problem = (
                f"drains cannot be written to {self.file} ({error.strerror}); make room and see that state_dir is "
                "writable: a restart of rrd would go by the old ones"
            )
            self._say("drain", str(self.file), self.problem)
        else:
            self.problem = None

    # What follows

    def _carry_out(self, name: str) -> None:
        self._stop(name)
        self._tasks[name] = asyncio.create_task(self._follow(name), name=f"drain {name}")

    def _stop(self, name: str) -> None:
        if task := self._tasks.pop(name, None):
            task.cancel()

    async def _follow(self, name: str) -> None:
        """Do each step when it is time, and say how far it is."""
        instance = self._instances[name]
        drain = instance.drain
        assert drain is not None
        if drain.ended:
            await _until(lambda: instance.resent is not None)
            async with self._deciding:
                await self._decide(name, None)
            return
        if not drain.closed:
            self._say("drain", name, f"{name} is being drained: whatever it sends is marked as a last resort")
            await _until(lambda: seconds_left(instance, time.monotonic()) == 0.0)
            self._say(
                "drain", name, f"{name} ends its sessions, {drain.wait:g} s after its routes were marked"
            )
            async with self._deciding:
                await self._decide(name, replace(drain, closed=True))
        await _until(lambda: instance.emptied)
        self._say("drain", name, f"{name} is drained: it has no session and lets nobody in")


async def _until(check: Callable[[], bool]) -> None:
    while True:
        if check():
            return
        await asyncio.sleep(LOOK_EVERY)


_ALREADY = {
    Phase.DRAINING: "is being drained already",
    Phase.CLOSING: "is drained already, its last sessions are being closed",
    Phase.DRAINED: "is drained already",
}


async def read_engine(socket: Path) -> Drain | None:
    """What a running engine looks like: drained, or None where it serves, or does not answer."""
    engine = Engine(socket)
    try:
        exports = await engine.assignment(pb.POLICY_DIRECTION_EXPORT)
        marks = any(s.name == MARK.name for p in exports.policies if p.name == EXPORT for s in p.statements)
        if not marks:
            return None
        return Drain(time.time(), WAIT, closed=not speaker.read_ranges(await engine.ranges()))
    except EngineError:
        return None
    finally:
        await engine.close()


def _read(file: Path) -> dict[str, Drain]:
    try:
        return {name: _drain(entry) for name, entry in (files.load(file, _VERSION) or {}).items()}
    except OSError as error:
        raise _unusable(file, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(file, "it is corrupt") from error


def _drain(entry: Mapping[str, Any]) -> Drain:
    return Drain(float(entry["since"]), float(entry["wait"]), bool(entry["closed"]), bool(entry["ended"]))


def _unusable(file: Path, why: str) -> StateError:
    wrong = f"what was drained cannot be read from {file} ({why})"
    return StateError(
        wrong, "instances are taken to be as their engines are; see `rrctl status`, and drain them again"
    )
