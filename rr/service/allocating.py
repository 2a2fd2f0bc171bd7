"""What the IPAM says, brought into force and told.

Readings come in at any pace, and are considered at a bounded one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from rr.api.counters import Counters
from rr.config.model import Config
from rr.ipam.allocations import Changes
from rr.ipam.claims import Claim, Nodes
from rr.ipam.keeper import Decision, Keeper
from rr.ipam.moves import Move, Moves
from rr.ipam.reading import Reading
from rr.ipam.rows import Row, differences, sources, staying

AT_MOST_EVERY = 0.01
"""Seconds between two looks at what sources say, while they say something all the time."""
BREATHER = 2.0
"""After a look that took one second the next is two seconds later: other work goes on."""
BREATH = 0.01
"""Seconds between events about a change that has many."""
LOOK_AROUND = 60.0
"""Seconds after which it is looked whether something has had its grace, though no source says anything."""
_IN_ONE_GO = 50
"""Events that are told one after the other; before more of them other work, such as enforcing, gets its turn."""
_NAMED = 20
"""Things newly left out of a source that are named one by one."""

Say = Callable[[str, str, str], None]


class Allocating:
    """The keeper, and who feeds it. `enforce` brings a decision to the engines; `background` runs what waits."""

    def __init__(
        self,
        config: Config,
        counters: Counters,
        say: Say,
        enforce: Callable[[Decision], None],
        background: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        ipam = config.ipam
        names = [source.called for source in ipam.sources]
        self.keeper = Keeper(config.state_dir, ipam.guard, names, grace=float(ipam.grace))
        self.heard = asyncio.Event()
        """Set when every source has said something."""
        self._types = {source.called: source.type for source in ipam.sources}
        self._counters, self._say, self._enforce, self._background = counters, say, enforce, background
        self._latest: dict[str, Reading] = {}
        self._news = asyncio.Event()
        self._spoken: set[str] = set()
        self._left_out: dict[str, tuple[str, ...]] = {}
        self.mistakes: dict[str, tuple[str, ...]] = {}
        """What each source says wrong, so that it counts for nothing."""
        self._untold: deque[tuple[str, str, str]] = deque()
        self._leaving: dict[str, str] = {}
        """What was said last about each source that is no longer configured."""

    def configure(self, config: Config) -> Decision:
        """Take another configuration."""
        ipam = config.ipam
        self._types = {source.called: source.type for source in ipam.sources}
        self._latest = {name: said for name, said in self._latest.items() if name in self._types}
        self._left_out = {name: said for name, said in self._left_out.items() if name in self._types}
        self.mistakes = {name: said for name, said in self.mistakes.items() if name in self._types}
        return self.keeper.configure(ipam.guard, self._types, float(ipam.grace))

    def hear(self, reading: Reading) -> None:
        """Take note of what a source says; of several readings before the next look only the last counts."""
        result = "error" if reading.error else "good"
        self._counters.ipam_readings.labels(source=reading.source, result=result).inc()
        if reading.error:
            self._counters.ipam_errors.labels(source=reading.source).inc()
        self._latest[reading.source] = reading
        self._news.set()

    async def run(self) -> None:
        """Consider what sources say, for ever: the first word at once, a stream of words now and then."""
        self.keeper.start()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._news.wait()
            began = time.monotonic()
            self.look()
            self._spoken &= self._types.keys()
            if self._spoken == self._types.keys():
                self.begin()
            await asyncio.sleep(max(AT_MOST_EVERY, BREATHER * (time.monotonic() - began)))

    def begin(self) -> None:
        """Go by what is known now: every source has said something, or there is no more time to wait for it."""
        self.keeper.begin()
        if self.keeper.leaving:
            self.decided(self.keeper.dismiss())
        self.heard.set()

    def _patience(self) -> float:
        due = self.keeper.settled.due
        return LOOK_AROUND if due is None else min(max(0.0, due - self.keeper.clock()), LOOK_AROUND)

    def look(self) -> None:
        """Consider all that was heard, and end what has had its grace."""
        self._news.clear()
        due = self.keeper.settled.due
        if due is not None and due <= self.keeper.clock():
            self.decided(self.keeper.sweep())
        latest, self._latest = self._latest, {}
        for source in self._types:
            if source in latest:
                self.read(latest[source])
        self.keeper.refresh()
        self._background(self.keeper.save())

    def read(self, reading: Reading) -> None:
        """Consider what one source says."""
        source, keeper = reading.source, self.keeper
        failed, held = keeper.errors.get(source), keeper.held.get(source)
        decision = keeper.consider(reading)
        self._spoken.add(source)
        now_held = keeper.held.get(source)
        if reading.error and (failed is None or failed.trouble != reading.trouble):
            self._say("ipam", source, decision.reason)
        elif failed and not reading.error:
            self._say("ipam", source, f"{source} can be read again")
        if now_held and (held is None or held.reason != now_held.reason):
            self._say("ipam", source, now_held.text)
        if reading.error is None:
            self.mistakes[source] = reading.mistakes
            self._tell_left_out(source, reading.left_out)
        self.decided(decision)

    def decided(self, decision: Decision) -> None:
        """Have a decision enforced, and tell what it changes."""
        if decision.changed:
            self._enforce(decision)
            self._say("ipam", "allocations", decision.reason)
        self._count(decision.moves)
        self._tell(decision)
        self._tell_leaving()
        self._background(self.keeper.save(at_once=_takes_away(decision)))

    def accept(self, source: str | None, digest: str | None = None) -> list[str]:
        """Bring what is held back into force; answer what that changes, in sentences."""
        for name in self.keeper.held_of(source, digest):
            self._say("ipam", name, f"the held allocations of {name} were accepted by hand")
        decision = self.keeper.accept(source, digest)
        self.decided(decision)
        return _sentences(decision.changes)

    def reject(self, source: str | None) -> list[str]:
        """Forget what is held back; answer whose it was."""
        names = self.keeper.reject(source)
        for name in names:
            self._say(
                "ipam", name, f"the held allocations of {name} were rejected by hand; what was in force stays"
            )
        self._background(self.keeper.save())
        return names

    def sources(self) -> list[Row]:
        """How each source is."""
        return sources(self.keeper, self._types, self._left_out)

    def differences(self) -> list[Row]:
        """What is not as the sources say."""
        return differences(self.keeper)

    # Telling

    def _count(self, moved: Moves) -> None:
        for move in moved.granted:
            self._counters.ipam_grants.labels(source=move.source).inc()
        for move in moved.revoked:
            self._counters.ipam_revocations.labels(source=move.source).inc()

    def _tell(self, decision: Decision) -> None:
        """An event for each conflict, for what each node gets and loses, and for each VIP prefix."""
        moved, idle = decision.moves, not self._untold
        for conflict in moved.begun:
            if conflict.until is None:
                self._say("conflict", conflict.source, f"refused: {conflict.text}")
        for conflict in moved.ended:
            if conflict.until is None:
                self._say("conflict", conflict.source, f"no longer in conflict: {_claimed(conflict.claim)}")
        self._untold.extend(_grants_and_revocations(decision))
        if not idle:
            return  # they are being told, in their order
        self._tell_some()
        if self._untold:
            self._background(self._tell_rest())

    def _tell_some(self, most: int = _IN_ONE_GO) -> None:
        for _ in range(min(most, len(self._untold))):
            self._say(*self._untold.popleft())

    async def _tell_rest(self) -> None:
        try:
            while self._untold:
                await asyncio.sleep(BREATH)
                self._tell_some()
        finally:
            self._tell_some(len(self._untold))  # rrd ends

    def _tell_leaving(self) -> None:
        """Say of each source that is no longer configured why what it said stays in force, and when it does not."""
        before, now = self._leaving, {name: staying(self.keeper, name) for name in self.keeper.leaving}
        self._leaving = now
        for name, sentence in now.items():
            if before.get(name) != sentence:
                self._say("ipam", name, sentence)
        for name in before.keys() - now.keys() - self._types.keys():
            self._say("ipam", name, f"what {name} said counts no longer: it is no longer configured")

    def _tell_left_out(self, source: str, left_out: tuple[str, ...]) -> None:
        """Say once of what a source says what counts for nothing, and once that it no longer is so."""
        before, self._left_out[source] = self._left_out.get(source, ()), left_out
        if left_out == before:
            return
        news = sorted(set(left_out).difference(before))
        for sentence in news[:_NAMED]:
            self._say("ipam", source, f"left out: {sentence}")
        if len(news) > _NAMED:
            self._say("ipam", source, f"left out: {len(news) - _NAMED} more, see `rrctl ipam sources`")
        if gone := len(set(before).difference(left_out)):
            self._say("ipam", source, f"{gone} of what was left out counts now, or is gone")


def _grants_and_revocations(decision: Decision) -> Iterator[tuple[str, str, str]]:
    """Kind, subject and text of an event for each node that gets or loses something, and for each VIP prefix."""
    moved = decision.moves
    for kind, verb, pairs in (("grant", "is given", moved.granted), ("revoke", "loses", moved.revoked)):
        for (node, source), prefixes in _by_node(pairs).items():
            yield kind, node, f"{node} {verb} {', '.join(prefixes)} (by {source})"
    for name in decision.changes.addresses_changed:
        now = ", ".join(map(str, decision.allocations.nodes[name].addresses))
        yield "ipam", name, f"the addresses of {name} are now {now}"
    for kind, verb, openings in (("grant", "opened", moved.opened), ("revoke", "closed", moved.closed)):
        for opening in openings:
            text = (
                f"the VIP prefix {opening.prefix} is {verb} to {_whom(opening.nodes)} (by {opening.source})"
            )
            yield kind, str(opening.prefix), text


def _takes_away(decision: Decision) -> bool:
    """Whether it would be a grant to forget this decision: rrd may be killed before it is on disk."""
    changes = decision.changes
    less = changes.revoked or changes.nodes_removed or changes.addresses_changed
    return bool(less or decision.moves.closed)


def _whom(nodes: Nodes) -> str:
    return "every node" if nodes is None else ", ".join(sorted(nodes)) or "nobody"


def _claimed(claim: Claim) -> str:
    return f"{claim.value} of {claim.node}" if claim.node else f"the VIP prefix {claim.value}"


def _by_node(moved: Iterable[Move]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for move in moved:
        found.setdefault((move.node, move.source), []).append(str(move.prefix))
    return found


def _sentences(moved: Changes) -> list[str]:
    said = [f"{node} is given {prefix}" for node, prefix in moved.granted]
    said += [f"{node} loses {prefix}" for node, prefix in moved.revoked]
    said += [f"{node} is no longer known" for node in moved.nodes_removed]
    return said + (["the VIP pools changed"] if moved.vips_changed else [])
