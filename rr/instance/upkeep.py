"""Keep one engine as wanted while it lives: apply every change, compare what it holds, and repair what differs."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from rr.continuity.drain import LOOK_EVERY
from rr.engine import events, leftovers
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.reconcile import Outcome, Reconciler
from rr.engine.speaker import FAMILIES, read_received
from rr.errors import EngineRefused
from rr.instance.health import EngineState, Health
from rr.instance.wants import Wants
from rr.net import Address, Network

_log = structlog.get_logger(__name__)
AUDIT_EVERY = 5.0
"""Seconds at least between two looks at all that the engine holds."""
AUDIT_CHEAP = 0.1
"""Seconds that an audit may take without being made less often; a small instance's does, also on a busy host."""
AUDIT_SHARE = 200
"""Seconds until the next audit, for each second more than that: it costs the engine work too."""
AUDIT_PATIENCE = 60.0
"""Seconds for which a due audit waits at most for routes to stop moving."""
QUIET = 2.0
"""Seconds without a route that came or went."""
SETTLE = 1.0
"""Seconds after a change in which the engine's events about it arrive; then the picture is compared with the rules."""
COMPARE_AT_LEAST = 5.0
"""Seconds after which engine and rules are compared although changes have not settled."""
REFUSED = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next try after the engine refused what it should hold."""

Say = Callable[[str, str, str], None]


class Upkeep:
    """The work on one engine, from its start to its end."""

    def __init__(self, wants: Wants, reconciler: Reconciler, health: Health, say: Say) -> None:
        self.wants = wants
        self.view = wants.view
        self.reconciler = reconciler
        self.health = health
        self._say = say
        self._audit_took = 0.0
        self._audited = self._compared = time.monotonic()
        self._leaking: set[Address] = set()
        self._withheld: set[Address] = set()
        self._leftovers: set[tuple[Address, Network]] = set()
        """Whose routes others may have been left with, since they came with our own cluster id."""

    async def see_back(self) -> None:
        """Follow a restart; at each of its turns the engine is looked at whole."""
        over = False
        while not over:
            over = await self.wants.continuity.see_back(self._look_for_sync)
            self.wants.audit = True
            self.wants.poke()

    async def _look_for_sync(self) -> bool:
        return await self.reconciler.look_for_sync(self.wants.setting.plan.peers)

    async def keep(self) -> None:
        """Reconcile at every change and now and then."""
        failures = 0
        while True:
            self.wants.wake.clear()
            try:
                await self._reconcile()
                failures = 0
            except EngineRefused as error:
                failures += 1
                self.health.in_force, self.health.problem = False, str(error)
                self.wants.audit = True
                _log.error("the engine refused what it should hold", instance=self.wants.name, why=str(error))
                await asyncio.sleep(REFUSED[min(failures, len(REFUSED)) - 1])
                continue
            await self._rest()

    async def _rest(self) -> None:
        """Wait for the next change. Compare the picture with the rules when things have settled, and audit when due.

        Neither waits for quiet for ever: where changes never end, they are done between two of them.
        """
        # What changed in the moment in which the wait was over is in the picture's rules, and not yet in the engine.
        changed = await _set_within(self.wants.wake, SETTLE) or self.wants.wake.is_set()
        if not changed or time.monotonic() - self._compared > COMPARE_AT_LEAST:
            await self._compare(settled=not changed)
            self._compared = time.monotonic()
            # The engine may hold other rules than we believe; and did judging again help?
            self.wants.audit = self.wants.audit or bool(self._leaking)
        if not (changed or self.wants.audit):
            await _set_within(self.wants.wake, max(SETTLE, self._next_audit() - time.monotonic()))
        self.wants.audit = self.wants.audit or time.monotonic() >= self._next_audit()

    def _next_audit(self) -> float:
        """When to audit: not while many routes move, since an audit holds the engine up; but not much later either.

        And soon where it is not known yet what everybody announces: until then every change judges everybody again.
        """
        share = AUDIT_SHARE if self.view.complete or self.view.counting else 0
        due = self._audited + max(AUDIT_EVERY, share * (self._audit_took - AUDIT_CHEAP))
        return max(due, min(due + AUDIT_PATIENCE, self.view.crossings.moved + QUIET))

    async def _reconcile(self) -> None:
        audit, self.wants.audit = self.wants.audit, False
        reflecting = self.view.suspended()
        began = time.monotonic()
        plan, drain = self.wants.plan, self.wants.drain
        await self._before_they_go()
        outcome = await self.reconciler.run(
            self.wants.policy(reflecting), plan, audit=audit, returning=self.wants.continuity.returning(plan)
        )
        if drain is not None and not self.wants.ordered and not outcome.resent:
            await self.reconciler.resend()
        if audit:
            self._audited = time.monotonic()
            self._audit_took = self._audited - began
            self.view.census((events.read_peer(peer, initial=False) for peer in outcome.peers or ()), began)
            if outcome.said:
                self.view.doubtful.update(self.view.peers)  # some may have been closed after they were listed
            for peer in outcome.peers or ():
                self.wants.continuity.learn(peer)
            self.wants.guard.listed(outcome.peers)
            await self._learn_looped(outcome.peers or ())
            self.view.complete = not self.view.counting
        self.wants.suspended = reflecting
        self._settled(outcome)
        if drain is not None and drain is self.wants.drain:
            self.wants.ordered = True
            self.wants.emptied = self.wants.emptied or (drain.closed and outcome.peers == [])
        if not self.wants.wake.is_set():
            self.wants.applied.set()

    async def _before_they_go(self) -> None:
        """While looped paths are there, ToRs can be told that the earlier ones are gone (`rr.engine.leftovers`)."""
        looped, self.view.looped = self.view.looped, set()
        if looped:
            await self.reconciler.refresh(self.view.rules.tors(), outward=True)
            self._leftovers |= looped

    async def take_back(self) -> None:
        """Take back what looped paths left others with, once these have gone themselves."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._leftovers or not self.wants.applied.is_set():
                continue
            looped, self._leftovers = self._leftovers, set()
            prefixes, origins = {prefix for _, prefix in looped}, {peer for peer, _ in looped}
            refresh = partial(self.reconciler.refresh, outward=True)
            try:
                await leftovers.take_back(
                    self.reconciler.engine, prefixes, self.view.receivers(origins), refresh
                )
            except EngineRefused as error:
                # No reason to take the engine for lost: what is left goes when its receiver's session ends.
                named = [str(prefix) for prefix in prefixes]
                _log.warning(
                    "peers may be left with routes that are gone; reset their sessions",
                    instance=self.wants.name,
                    prefixes=named,
                    why=str(error),
                )
                continue
            for peer, prefix in sorted(looped, key=str):
                who = self.view.called(peer)
                text = f"{who} sent {prefix} with our own cluster id; what others had of it is taken back"
                self._say("repair", str(peer), text)

    async def send_rest(self) -> None:
        """Send nodes everything again where marks came or went, beside whatever else changes meanwhile."""
        while True:
            if self.reconciler.unsent:
                await self.reconciler.send_rest()
                continue
            if self.wants.ordered and self.wants.resent is None:
                self.wants.resent = time.monotonic()
            await asyncio.sleep(LOOK_EVERY)

    def _settled(self, outcome: Outcome) -> None:
        health = self.health
        health.policy = self.reconciler.held
        health.in_force, health.problem, health.verified = True, None, time.time()
        health.become(EngineState.RUNNING)
        health.changes += len(outcome.said)
        self.wants.continuity.taken_back(outcome.taken_back)
        if outcome.repaired:
            health.repairs += 1
            self._leaking = set()  # that was why, and everybody is judged again
            self._say(
                "repair",
                self.wants.name,
                f"the engine of {self.wants.name} held something nobody asked for; it was repaired",
            )
        for sentence in outcome.said:
            self._say("policy", self.wants.name, f"{self.wants.name}: {sentence}")

    async def _compare(self, *, settled: bool) -> None:
        """Where engine and rules disagree about a peer's routes, judge them again; if that does not help, reset."""
        if not self.wants.allocated:
            return
        self.view.reassess()
        leaking, withheld = self.view.leaks(), self.view.withheld()
        if not settled:
            # A change is on its way into the engine: what differs may be just that, and is no reason to reset anybody.
            await self.reconciler.refresh(leaking | withheld)
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
            await self.reconciler.reset(address)
        await self.reconciler.refresh((leaking - stubborn) | withheld)
        self._leaking = leaking - stubborn

    async def _learn_looped(self, listed: Iterable[pb.Peer]) -> None:
        """Routes with our own AS or router id in them are dropped by the engine without an event; ask for those."""
        for address, received in map(read_received, listed):
            peer = self.view.peers.get(address)
            if peer is None or not peer.up or received <= len(peer.heard):
                continue
            for family in self.wants.setting.instance.families:
                for path in await self.reconciler.engine.adj_in(address, FAMILIES[family]):
                    if path.nlri.HasField("prefix"):
                        self.view.learn(events.read_path(path))


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        # Not `wait_for`: in Python 3.11 that loses a cancellation that comes together with the event.
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
