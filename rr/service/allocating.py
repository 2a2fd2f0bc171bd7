"""What the IPAM says, brought into force and told.

Readings come in at any pace, and are considered at a bounded one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from rr.api.counters import Counters
from rr.config.model import Config
from rr.ipam.allocations import Changes
from rr.ipam.claims import Claim, Nodes
from rr.ipam.keeper import Decision, Keeper
from rr.ipam.moves import Move, Moves, Opening
from rr.ipam.reading import Reading
from rr.ipam.rows import Row, differences, sources

AT_MOST_EVERY = 0.01
"""Seconds between two looks at what sources say, while they say something all the time."""
BREATHER = 2.0
"""After a look that took one second the next is two seconds later: other work goes on."""
LOOK_AROUND = 60.0
"""Seconds after which it is looked whether something has had its grace, though no source says anything."""
_TOLD_ONE_BY_ONE = 50
"""Nodes, or VIP prefixes, that a change may concern for each to get an event of its own."""

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

    def configure(self, config: Config) -> Decision:
        """Take another configuration."""
        ipam = config.ipam
        self._types = {source.called: source.type for source in ipam.sources}
        self._latest = {name: said for name, said in self._latest.items() if name in self._types}
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
            self._say("ipam", source, now_held.reason)
        self.decided(decision)

    def decided(self, decision: Decision) -> None:
        """Have a decision enforced, and tell what it changes."""
        if decision.changed:
            self._enforce(decision)
            self._say("ipam", "allocations", decision.reason)
        self._count(decision.moves)
        self._tell(decision)
        self._background(self.keeper.save(at_once=_takes_away(decision)))

    def accept(self, source: str | None) -> list[str]:
        """Bring what is held back into force; answer what that changes, in sentences."""
        for name in [name for name in self.keeper.held if source in (None, name)]:
            self._say("ipam", name, f"the held allocations of {name} were accepted by hand")
        decision = self.keeper.accept(source)
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
        return sources(self.keeper, self._types)

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
        """One event for each node and VIP prefix, where those are few enough to be read; conflicts always."""
        moved = decision.moves
        for conflict in moved.begun:
            if conflict.until is None:
                self._say("conflict", conflict.source, f"refused: {conflict.text}")
        for conflict in moved.ended:
            if conflict.until is None:
                self._say("conflict", conflict.source, f"no longer in conflict: {_claimed(conflict.claim)}")
        if len(decision.changes.nodes) <= _TOLD_ONE_BY_ONE:
            self._tell_nodes(decision)
        if len(moved.opened) + len(moved.closed) <= _TOLD_ONE_BY_ONE:
            for opening in moved.opened:
                text = f"the VIP prefix {opening.prefix} is opened to {_whom(opening.nodes)}{_by(opening)}"
                self._say("grant", str(opening.prefix), text)
            for opening in moved.closed:
                text = f"the VIP prefix {opening.prefix} is closed to {_whom(opening.nodes)}{_by(opening)}"
                self._say("revoke", str(opening.prefix), text)

    def _tell_nodes(self, decision: Decision) -> None:
        moved = decision.moves
        for kind, verb, pairs in (("grant", "is given", moved.granted), ("revoke", "loses", moved.revoked)):
            for (node, source), prefixes in _by_node(pairs).items():
                self._say(kind, node, f"{node} {verb} {', '.join(prefixes)} (by {source})")
        for name in decision.changes.addresses_changed:
            now = ", ".join(map(str, decision.allocations.nodes[name].addresses))
            self._say("ipam", name, f"the addresses of {name} are now {now}")


def _takes_away(decision: Decision) -> bool:
    """Whether it would be a grant to forget this decision: rrd may be killed before it is on disk."""
    changes = decision.changes
    less = changes.revoked or changes.nodes_removed or changes.addresses_changed
    return bool(less or decision.moves.closed)


def _by(opening: Opening) -> str:
    return f" (by {opening.source})"


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
