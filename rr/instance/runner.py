"""One instance, kept alive: its engine runs, holds what it should, and is watched. Ends only when it is told to.

The loop is the same for a first start, an adoption after the controller was restarted, and a restart after the engine
died: reach an engine, watch it, bring it to what is wanted, and stay until the connection breaks.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from rr.config.model import Instance
from rr.continuity.drain import FAREWELL, LOOK_EVERY, Drain
from rr.continuity.roster import Roster
from rr.engine import events
from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.process import EngineProcess, Program, version_of
from rr.engine.reconcile import NeedsRestart, Outcome, Reconciler
from rr.engine.speaker import FAMILIES, Plan, closed, read_received
from rr.errors import EngineError, EngineRefused, EngineUnavailable
from rr.instance import sessions, storm
from rr.instance.continuity import Continuity
from rr.instance.guarding import Guard
from rr.instance.health import Cause, EngineState, Health
from rr.instance.mend import mend
from rr.ipam.allocations import Allocations, diff
from rr.net import Address, Network
from rr.policy.drain import draining
from rr.policy.model import PolicySet
from rr.policy.rules import Rules, Suspension, lent
from rr.view.live import LiveView

_log = structlog.get_logger(__name__)
START_PATIENCE = 20.0
"""Seconds that an engine has to answer after it was started."""
AUDIT_EVERY = 5.0
"""Seconds at least between two looks at all that the engine holds."""
AUDIT_SHARE = 200
"""An audit that takes one second is made every 200 seconds at most: it costs the engine work too."""
AUDIT_PATIENCE = 60.0
"""Seconds for which a due audit waits at most for routes to stop moving."""
QUIET = 2.0
"""Seconds without a route that came or went."""
SETTLE = 1.0
"""Seconds after a change in which the engine's events about it arrive; then the picture is compared with the rules."""
SUBSCRIBED = 0.1
"""Seconds after which the engine has surely taken notice that we watch; it does not say so itself."""
COMPARE_AT_LEAST = 5.0
"""Seconds after which engine and rules are compared although changes have not settled."""
PING_EVERY, PING_DEADLINE, PINGS_LOST = 2.0, 3.0, 3
PINGS_LOST_RESTARTING = 12
"""So many where the engine takes peers back: it sends them all everything in one go, and answers nobody meanwhile."""
ANSWER_PATIENCE = 8.0
"""Seconds that an engine has to answer which was there already: past that it hangs."""
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


@dataclass(frozen=True, slots=True)
class Setting:
    """What an instance should be."""

    instance: Instance
    plan: Plan


class InstanceRunner:
    """Keeps one instance as configured."""

    def __init__(
        self, name: str, setting: Setting, run_dir: Path, program: Program | None, say: Say, roster: Roster
    ) -> None:
        """`program` is the gobgpd to start; None where somebody else starts it."""
        self.name = name
        self.setting = setting
        self.program = program
        self.process = EngineProcess(run_dir / name)
        self.health = Health(version=program.version if program else None)
        self.view = LiveView(name, Rules(setting.instance, setting.plan.pair), say)
        self.guard = Guard(self.view, self.process.directory / "gobgpd.log", say)
        self.engine: Engine | None = None
        """A way to the engine, while there is one."""
        self.kept_out: frozenset[Address] = frozenset()
        """Addresses from which nobody may dial for now."""
        self.applied = asyncio.Event()
        """Set whenever the engine holds what is wanted."""
        self.continuity = Continuity(roster, self.view, say)
        self._ending: tuple[Cause, str] | None = None
        """Why we end the engine, between doing it and noticing that it is gone."""
        self._gone = asyncio.Event()
        self._outgrown = float("-inf")
        """When the engine was last ended for its memory, in monotonic seconds."""
        self._say = say
        self._wake = asyncio.Event()
        self._audit = True
        self._audit_took = 0.0
        self._audited = self._compared = time.monotonic()
        self.allocated = False
        """Whether allocations were ever known; an adopted engine keeps its policy until they are."""
        self.drain: Drain | None = None
        self._ordered = False
        """Whether the engine's policy is as was decided about serving, and ToRs have been sent everything again."""
        self.resent: float | None = None
        self.emptied = False
        self._suspended: frozenset[Suspension] = frozenset()
        self._leaking: set[Address] = set()
        self._withheld: set[Address] = set()

    # What is wanted

    def configure(self, setting: Setting) -> None:
        """Take another configuration; what differs is applied at once."""
        self.setting = setting
        self.view.rules = Rules(setting.instance, setting.plan.pair)
        if setting.plan.pair is None:
            self.view.lacking = None
        self._audit = True
        self.poke()

    def allocate(self, allocations: Allocations) -> None:
        """Take other allocations; what differs is applied at once."""
        self.allocated = True
        self.view.revoked(iter(diff(self.view.allocations, allocations).revoked))
        self.view.allocations = allocations
        self.poke()

    def maintain(self, drain: Drain | None) -> None:
        """Take what was decided about serving; what differs is applied at once. See `rr.continuity.drain`."""
        self.drain, self._ordered, self.resent, self.emptied = drain, False, None, False
        if self.closed:
            self.continuity.await_nobody()
            self.guard.excuse_everybody()
        self._audit = True
        self.poke()

    @property
    def closed(self) -> bool:
        """Whether nobody may have a session."""
        return self.drain is not None and self.drain.closed

    @property
    def plan(self) -> Plan:
        """What the engine should be, besides its policy."""
        plan = replace(self.setting.plan, kept_out=self.kept_out)
        return closed(plan, FAREWELL) if self.closed else plan

    def keep_out(self, addresses: frozenset[Address]) -> None:
        """Let nobody dial from exactly these addresses."""
        if addresses != self.kept_out:
            self.kept_out = addresses
            self.poke()

    def lend(self, lacking: frozenset[Network]) -> None:
        """Give the other half these prefixes, which it does not get from their nodes."""
        if lacking != self.view.lacking:
            self.view.lacking = lacking
            self.poke()

    def poke(self) -> None:
        """Have the engine compared with what is wanted, now."""
        self.applied.clear()
        self._wake.set()

    # Life

    async def run(self) -> None:
        """Keep the engine running and right, until cancelled. Cancelling leaves the engine alone."""
        failures = 0
        self.continuity.load()
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except* (EngineError, OSError) as group:
                self._lost(_first(group))
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
        self._ordered, self.resent = False, None
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
            await self._ready(engine, ANSWER_PATIENCE if adopted else START_PATIENCE)
            self.health.pid = self.process.pid()
            self.health.version = await self._version()
            reconciler = Reconciler(engine)
            try:
                fresh = await reconciler.start(self.setting.plan)
            except NeedsRestart as error:
                await self._replace_engine(error)
                return
            verb = "adopted" if adopted else "started"
            self._say(
                "engine", self.name, f"engine {verb} (gobgpd {self.health.version}, pid {self.health.pid})"
            )
            self._audit = True
            self.continuity.begin(self.setting.instance.graceful_restart)
            if self.closed:
                self.continuity.await_nobody()
            self.engine = engine
            async with asyncio.TaskGroup() as tasks:
                cold = fresh and not self.continuity.comeback.known
                tasks.create_task(self._watch(engine, stormy=cold and storm.expected(self.view)))
                tasks.create_task(self._ping(engine))
                if not fresh:
                    await self._learn_what_was_before(engine)
                tasks.create_task(self._keep(reconciler))
                tasks.create_task(sessions.settle_doubts(self.view, engine))
                tasks.create_task(sessions.look_at_tors(self.view, engine))
                tasks.create_task(mend(self.view, reconciler))
                tasks.create_task(self._send_rest(reconciler))
                tasks.create_task(self._see_back(reconciler))
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
            raise EngineUnavailable(f"nobody listens on {self.process.socket}", "start the engine's unit")
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
        """Say it, and end the engine where we start it: whoever reaches for it next starts another."""
        if self.program is None:
            raise EngineUnavailable(f"it hangs: {why}", "restart the engine's unit")
        self._say("engine", self.name, f"the engine of {self.name} hangs: {why}")
        await self._end(Cause.HUNG, f"it hung, {why}")

    async def _end(self, cause: Cause, why: str) -> None:
        """End the engine so that its peers keep its routes; whoever reaches for it next starts another."""
        self._ending = (cause, why)
        await self.process.kill()

    async def _replace_engine(self, error: NeedsRestart) -> None:
        if self.program is None:
            raise EngineRefused(str(error), "restart the engine's unit")
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
        await asyncio.wait_for(self._gone.wait(), ANSWER_PATIENCE)

    # While it lives

    async def _see_back(self, reconciler: Reconciler) -> None:
        """Follow a restart; at each of its turns the engine is looked at whole."""
        over = False
        while not over:
            over = await self.continuity.see_back(lambda: reconciler.look_for_sync(self.setting.plan.peers))
            self._audit = True
            self.poke()

    async def _watch(self, engine: Engine, *, stormy: bool) -> None:
        if stormy:
            families = [FAMILIES[family] for family in self.setting.instance.families]
            await storm.passed(self.view, engine, families)
            await sessions.take_census(self.view, engine)
        async for message in engine.watch(events.everything()):
            for event in events.read(message):
                self.view.apply(event)
            if self.view.suspended() != self._suspended:
                self.poke()

    async def _learn_what_was_before(self, engine: Engine) -> None:
        """Learn an adopted engine's sessions, and what their peers announce and it rejects; the stream lacks both."""
        await asyncio.sleep(SUBSCRIBED)
        await sessions.take_census(self.view, engine, initial=True)
        with contextlib.suppress(TimeoutError):
            stream = aiter(engine.watch(events.announced()))
            try:
                while True:
                    message = await asyncio.wait_for(anext(stream), 0.3)
                    for event in events.read(message):
                        self.view.learn(event)
            finally:
                await stream.aclose()  # type: ignore[attr-defined]

    async def _learn_looped(self, engine: Engine, listed: Iterable[pb.Peer]) -> None:
        """Routes with our own AS or router id in them are dropped by the engine without an event; ask for those."""
        for address, received in map(read_received, listed):
            peer = self.view.peers.get(address)
            if peer is None or not peer.up or received <= len(peer.heard):
                continue
            for family in self.setting.instance.families:
                for path in await engine.adj_in(address, FAMILIES[family]):
                    if path.nlri.HasField("prefix"):
                        self.view.learn(events.read_path(path))

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

    async def _keep(self, reconciler: Reconciler) -> None:
        """Reconcile at every change and now and then."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                await self._reconcile(reconciler)
                failures = 0
            except EngineRefused as error:
                failures += 1
                self.health.in_force, self.health.problem = False, str(error)
                self._audit = True
                _log.error("the engine refused what it should hold", instance=self.name, why=str(error))
                await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF)) - 1])
                continue
            await self._rest(reconciler)

    async def _rest(self, reconciler: Reconciler) -> None:
        """Wait for the next change. Compare the picture with the rules when things have settled, and audit when due.

        Neither waits for quiet for ever: where changes never end, they are done between two of them.
        """
        changed = await _set_within(self._wake, SETTLE)
        if not changed or time.monotonic() - self._compared > COMPARE_AT_LEAST:
            await self._compare(reconciler, settled=not changed)
            self._compared = time.monotonic()
            # The engine may hold other rules than we believe; and did judging again help?
            self._audit = self._audit or bool(self._leaking)
        if not (changed or self._audit):
            await _set_within(self._wake, max(SETTLE, self._next_audit() - time.monotonic()))
        self._audit = self._audit or time.monotonic() >= self._next_audit()

    def _next_audit(self) -> float:
        """When to audit: not while many routes move, since an audit holds the engine up; but not much later either."""
        due = self._audited + max(AUDIT_EVERY, AUDIT_SHARE * self._audit_took)
        return max(due, min(due + AUDIT_PATIENCE, self.view.crossings.moved + QUIET))

    async def _reconcile(self, reconciler: Reconciler) -> None:
        audit, self._audit = self._audit, False
        reflecting = self.view.suspended()
        began = time.monotonic()
        plan, drain = self.plan, self.drain
        outcome = await reconciler.run(
            self._wanted(reflecting), plan, audit=audit, returning=self.continuity.returning(plan)
        )
        if drain is not None and not self._ordered and not outcome.resent:
            await reconciler.resend()
        if audit:
            self._audited = time.monotonic()
            self._audit_took = self._audited - began
            self.view.census((events.read_peer(peer, initial=False) for peer in outcome.peers or ()), began)
            if outcome.said:
                self.view.doubtful.update(self.view.peers)  # some may have been closed after they were listed
            for peer in outcome.peers or ():
                self.continuity.learn(peer)
            self.guard.listed(outcome.peers)
            await self._learn_looped(reconciler.engine, outcome.peers or ())
        self._suspended = reflecting
        self._settled(outcome, reconciler)
        if drain is not None and drain is self.drain:
            self._ordered = True
            self.emptied = self.emptied or (drain.closed and outcome.peers == [])
        if not self._wake.is_set():
            self.applied.set()

    async def _send_rest(self, reconciler: Reconciler) -> None:
        """Send nodes everything again where marks came or went, beside whatever else changes meanwhile."""
        while True:
            if reconciler.unsent:
                await reconciler.send_rest()
                continue
            if self._ordered and self.resent is None:
                self.resent = time.monotonic()
            await asyncio.sleep(LOOK_EVERY)

    def _wanted(self, reflecting: frozenset[Suspension]) -> Callable[[PolicySet | None], PolicySet]:
        """What the policy should be, given what is held: where no allocations were ever known, what is held stays."""

        def wanted(held: PolicySet | None) -> PolicySet:
            leaving = self.drain is not None and self.drain.on
            if held is not None and not self.allocated:
                return draining(held, leaving)
            lacking = lent(held) if self.view.lacking is None else self.view.lacking
            return self.view.rules.build(self.view.allocations, reflecting, lacking, leaving=leaving)

        return wanted

    def _settled(self, outcome: Outcome, reconciler: Reconciler) -> None:
        health = self.health
        health.policy = reconciler.held
        health.in_force, health.problem, health.verified = True, None, time.time()
        health.become(EngineState.RUNNING)
        health.changes += len(outcome.said)
        self.continuity.taken_back(outcome.taken_back)
        if outcome.repaired:
            health.repairs += 1
            self._say(
                "repair",
                self.name,
                f"the engine of {self.name} held something nobody asked for; it was repaired",
            )
        for sentence in outcome.said:
            self._say("policy", self.name, f"{self.name}: {sentence}")

    async def _compare(self, reconciler: Reconciler, *, settled: bool) -> None:
        """Where engine and rules disagree about a peer's routes, judge them again; if that does not help, reset."""
        if not self.allocated:
            return
        leaking, withheld = self.view.leaks(), self.view.withheld()
        if not settled:
            # A change is on its way into the engine: what differs may be just that, and is no reason to reset anybody.
            await reconciler.refresh(leaking | withheld)
            self._leaking = set()
            return
        self.health.disagreeing = len((leaking & self._leaking) | (withheld & self._withheld))
        self._withheld = withheld
        stubborn = leaking & self._leaking
        for address in stubborn:
            self._say(
                "repair",
                str(address),
                f"session with {self.view.called(address)} is reset: a route of it stayed",
            )
            await reconciler.reset(address)
        await reconciler.refresh((leaking - stubborn) | withheld)
        self._leaking = leaking - stubborn


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    return next(_leaves(group))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
