"""One instance, kept alive: its engine runs, holds what it should, and is watched. Ends only when it is told to.

The loop is the same for a first start, an adoption after the controller was restarted, and a restart after the engine
died: reach an engine, watch it, bring it to what is wanted, and stay until the connection breaks.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from rr.continuity.roster import Roster
from rr.engine import events, leftovers
from rr.engine.client import Engine
from rr.engine.process import EngineProcess, Program, version_of
from rr.engine.reconcile import NeedsRestart, Reconciler
from rr.engine.speaker import FAMILIES
from rr.errors import EngineError, EngineRefused, EngineUnavailable
from rr.instance import sessions, storm
from rr.instance.continuity import Continuity
from rr.instance.guarding import Guard
from rr.instance.health import Cause, EngineState, Health
from rr.instance.mend import mend
from rr.instance.upkeep import Upkeep
from rr.instance.wants import Setting, Wants
from rr.policy.rules import Rules
from rr.view.live import LiveView

_log = structlog.get_logger(__name__)
START_PATIENCE = 20.0
"""Seconds that an engine has to answer after it was started."""
SUBSCRIBED = 0.1
"""Seconds after which the engine has surely taken notice that we watch; it does not say so itself."""
PAUSE = 0.3
"""Seconds of silence after which an engine has said all that its peers had announced before."""
PING_EVERY, PING_DEADLINE, PINGS_LOST = 2.0, 3.0, 3
PINGS_LOST_RESTARTING = 12
"""So many where the engine takes peers back: it sends them all everything in one go, and answers nobody meanwhile."""
ANSWER_PATIENCE = 8.0
"""Seconds that an engine has to answer which was there already: past that it hangs.

One that somebody else starts may have begun just now, and has START_PATIENCE."""
OUTGROWN_EVERY = 600.0
"""Seconds between two restarts of an engine for its memory."""
_HALF_OF_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next start of an engine that keeps dying."""
LOOK_AGAIN = 2.0
"""Seconds at most before the next look for an engine that somebody else starts."""
STABLE = 5.0
"""Seconds after which an engine is trusted again and the backoff begins anew."""

Say = Callable[[str, str, str], None]


class InstanceRunner(Wants):
    """Keeps one instance as configured."""

    def __init__(
        self, name: str, setting: Setting, run_dir: Path, program: Program | None, say: Say, roster: Roster
    ) -> None:
        """`program` is the gobgpd to start; None where somebody else starts it."""
        view = LiveView(name, Rules(setting.instance, setting.plan.pair), say)
        self.process = EngineProcess(run_dir / name)
        guard = Guard(view, self.process.log, say)
        super().__init__(name, setting, view, Continuity(roster, view, say), guard)
        self.program = program
        self.health = Health(version=program.version if program else None)
        self.engine: Engine | None = None
        """A way to the engine, while there is one."""
        self._ending: tuple[Cause, str] | None = None
        """Why we end the engine, between doing it and noticing that it is gone."""
        self._gone = asyncio.Event()
        self._outgrown = float("-inf")
        """When the engine was last ended for its memory, in monotonic seconds."""
        self._say = say

    # Life

    async def run(self) -> None:
        """Keep the engine running and right, until cancelled. Cancelling leaves the engine alone."""
        failures, task = 0, asyncio.current_task()
        self.continuity.load()
        while True:
            began = time.monotonic()
            try:
                # In a task of its own: before Python 3.12 the end of a TaskGroup can leave its task half cancelled, and
                # then the next timeout in that task cancels it for good (docs/decisions.md).
                await asyncio.create_task(self._live(), name=f"life of the engine of {self.name}")
            except* (EngineError, OSError) as group:
                self._lost(_first(group))
            if task is not None and task.cancelling():
                # A life that ends in the moment in which it is cancelled ends with its own error.
                raise asyncio.CancelledError
            failures = 0 if time.monotonic() - began > STABLE else failures + 1
            pause = BACKOFF[min(failures, len(BACKOFF)) - 1] if failures else BACKOFF[0]
            await asyncio.sleep(pause if self.program else min(pause, LOOK_AGAIN))

    def _lost(self, error: BaseException) -> None:
        was_running = self.health.state is EngineState.RUNNING
        news = str(error) != self.health.problem
        self.health.become(EngineState.DOWN)
        if was_running:
            self.continuity.ended()
        self.health.in_force, self.health.pid, self.health.problem = False, None, str(error)
        self.applied.clear()
        self.ordered, self.resent = False, None
        self.view.restarted()
        otherwise = Cause.SETTINGS if isinstance(error, NeedsRestart) else Cause.DIED
        cause, why = self._ending or (otherwise, str(error))
        self._ending = None
        self._gone.set()
        if was_running:
            self.health.restarts += 1
            self.health.ends[cause] += 1
            self._say("engine", self.name, f"the engine of {self.name} is gone: {why}")
        elif news:
            self._say("engine", self.name, f"{self.name} has no engine yet: {error}")

    async def _live(self) -> None:
        """One life of an engine, from reaching it to losing it."""
        adopted = await self._reach()
        engine = Engine(self.process.socket)
        try:
            await self._ready(engine, ANSWER_PATIENCE if adopted and self.program else START_PATIENCE)
            self.health.pid = self.process.pid()
            self.health.version = await self._version()
            reconciler = Reconciler(engine, self.view.announcers)
            try:
                fresh = await reconciler.start(self.setting.plan)
            except NeedsRestart as error:
                await self._replace_engine(error)
                return
            verb = "adopted" if adopted else "started"
            self._say(
                "engine", self.name, f"engine {verb} (gobgpd {self.health.version}, pid {self.health.pid})"
            )
            self.audit = True
            self.continuity.begin(self.setting.instance.graceful_restart, adopted=adopted)
            if self.closed:
                self.continuity.await_nobody()
            self.engine = engine
            upkeep = Upkeep(self, reconciler, self.health, self._say)
            async with asyncio.TaskGroup() as tasks:
                cold = fresh and not self.continuity.comeback.known
                tasks.create_task(self._watch(engine, stormy=cold and storm.expected(self.view)))
                tasks.create_task(self._ping(engine))
                if not fresh:
                    # Where it refuses, that is no reason to do without it: nobody is sent them.
                    with contextlib.suppress(EngineRefused):
                        await leftovers.clear(engine)
                    await self._learn_what_was_before(engine)
                    self.continuity.go_on(restarting=await reconciler.restarting())
                tasks.create_task(upkeep.keep())
                tasks.create_task(sessions.settle_doubts(self.view, engine))
                tasks.create_task(sessions.look_at_tors(self.view, engine))
                tasks.create_task(mend(self.view, reconciler))
                tasks.create_task(upkeep.send_rest())
                tasks.create_task(upkeep.take_back())
                tasks.create_task(upkeep.see_back())
                tasks.create_task(self.continuity.keep())
                tasks.create_task(self.guard.watch(engine))
        finally:
            self.engine = None
            await engine.close()

    async def _reach(self) -> bool:
        """Find the engine or start one; say whether it was already there."""
        if self.process.pid() is not None:
            return True
        if self.program is None:
            raise EngineUnavailable(
                f"nobody listens on {self.process.socket}",
                f"start the engine's unit (systemctl start rr-engine@{self.name})",
            )
        self.process.start(self.program)
        return False

    async def _ready(self, engine: Engine, patience: float) -> None:
        """Wait until the engine answers; give up as soon as it has ended, and end it if it listens and is silent."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(EngineUnavailable),
            stop=stop_after_delay(patience),
            wait=wait_fixed(0.03),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    if (status := self.process.failed()) is not None:
                        raise EngineRefused(f"gobgpd ended with status {status}", f"read {self.process.log}")
                    await engine.ping()
        except EngineUnavailable:
            if self.process.pid() is not None:
                await self._hangs(f"it listens, and answers nothing for {patience:g} s")
            raise

    async def _version(self) -> str | None:
        """The version of the engine that runs, which an adopted one need not share with the program we start."""
        running = Path(f"/proc/{self.health.pid}/exe")
        return await asyncio.to_thread(version_of, running) or (
            self.program.version if self.program else None
        )

    async def _hangs(self, why: str) -> None:
        """Say it, and end the engine: whoever starts engines starts another."""
        self._say("engine", self.name, f"the engine of {self.name} hangs: {why}")
        await self._end(Cause.HUNG, f"it hung, {why}")

    async def _end(self, cause: Cause, why: str) -> None:
        """End the engine so that its peers keep its routes; whoever starts engines starts another."""
        self._ending = (cause, why)
        await self.process.kill()

    async def _replace_engine(self, error: NeedsRestart) -> None:
        """End the engine for another to be started: so that peers keep its routes, unless they get another speaker."""
        self._say("engine", self.name, f"the engine of {self.name} is restarted: {error}")
        if error.same_speaker:
            await self.process.kill()
        else:
            await self.process.stop()
            self.continuity.forget()
        self.view.restarted()

    async def stop_engine(self) -> None:
        """End the engine in order: its peers drop its routes, and nobody is awaited at the next start."""
        await self.process.stop()
        self.continuity.forget()
        self._say("engine", self.name, f"the engine of {self.name} was stopped")

    async def restart_engine(self, why: str, program: Program | None = None) -> None:
        """End the engine so that its peers keep its routes, and have it started again, of another program if given.

        Returns when it is known to be gone.
        """
        if program is not None:
            self.program = program
        self._gone.clear()
        await self._end(Cause.ASKED, why)
        async with asyncio.timeout(ANSWER_PATIENCE):
            await self._gone.wait()

    # While it lives

    async def _watch(self, engine: Engine, *, stormy: bool) -> None:
        self.view.counting = stormy
        if stormy:
            families = [FAMILIES[family] for family in self.setting.instance.families]
            await storm.passed(self.view, engine, families)
            await sessions.take_census(self.view, engine)
            self.view.counting = False
        async for message in engine.watch(events.everything()):
            for event in events.read(message):
                self.view.apply(event)
            if self.view.suspended() != self.suspended:
                self.poke()

    async def _learn_what_was_before(self, engine: Engine) -> None:
        """Learn an adopted engine's sessions, and what their peers announce and it rejects; the stream lacks both.

        What was there comes in one go. That is over when nothing follows, or when a path does that the engine got after
        it began: peers may go on sending without a pause.
        """
        await asyncio.sleep(SUBSCRIBED)
        await sessions.take_census(self.view, engine, initial=True)
        began = float("inf")
        with contextlib.suppress(TimeoutError):
            async with contextlib.aclosing(engine.watch(events.announced())) as stream:
                while True:
                    async with asyncio.timeout(PAUSE):
                        message = await anext(stream)
                    began = min(began, time.time())
                    for event in events.read(message):
                        if isinstance(event, events.RouteSeen) and event.received > began:
                            return
                        self.view.learn(event)

    async def _ping(self, engine: Engine) -> None:
        """An engine that does not answer a cheap question, again and again, hangs; it is ended and replaced."""
        lost = 0
        while True:
            await asyncio.sleep(PING_EVERY)
            try:
                await engine.ping(deadline=PING_DEADLINE)
                lost = 0
                await self._mind_memory()
            except EngineUnavailable:
                lost += 1
            if lost >= (PINGS_LOST_RESTARTING if self.continuity.restarting else PINGS_LOST):
                await self._hangs(f"no answer to {lost} pings")
                raise EngineUnavailable(f"no answer to {lost} pings")

    async def _mind_memory(self) -> None:
        """An engine that outgrows its bound is restarted, but not again and again: then only an operator can help."""
        self.health.memory = self.process.memory()
        if self.health.memory <= self.memory_bound or time.monotonic() - self._outgrown < OUTGROWN_EVERY:
            return
        self._outgrown = time.monotonic()
        bound = f"{self.memory_bound >> 20} MiB"
        await self._end(Cause.MEMORY, f"it occupied {self.health.memory >> 20} MiB, more than its {bound}")

    @property
    def memory_bound(self) -> int:
        """Bytes that the engine may occupy."""
        return self.setting.instance.max_memory or _HALF_OF_MEMORY


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    return next(_leaves(group))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
