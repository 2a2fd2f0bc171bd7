"""Decide which allocations are in force: settle sources, hold back what removes too much, keep the last good.

`consider`, `sweep`, `accept` and `reject` only compute. `save` writes what they decided, in a thread; several calls
become one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from rr.errors import StateError
from rr.ipam import store
from rr.ipam.allocations import EMPTY, Allocations, Changes, diff
from rr.ipam.claims import Kind
from rr.ipam.guard import excess
from rr.ipam.moves import Moves, moves
from rr.ipam.reading import Reading
from rr.ipam.restore import restore
from rr.ipam.settle import NOTHING, Settled, settle
from rr.ipam.store import Part, Rejected, State
from rr.text import few

log = structlog.get_logger()
SAVE_PAUSE = 1.0
"""Seconds at least between two writes: where the IPAM changes all the time, writing must not take all the time."""
KEPT_FRESH = 600.0
"""Seconds after which the time is written anew until which sources were good, though nothing changed."""


class Guard(Protocol):
    """How much a new snapshot may remove: `rr.config.model.Guard`, or anything like it."""

    @property
    def max_removed(self) -> float:
        """A share from 0 to 1."""
        ...


NO_CHANGES, NO_MOVES = Changes(), Moves()


@dataclass(frozen=True, slots=True)
class Decision:
    """What is in force now, whether that changed and how, and one sentence for the log."""

    allocations: Allocations
    changed: bool
    held: bool
    reason: str
    changes: Changes = NO_CHANGES
    moves: Moves = NO_MOVES


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot that waits for `rrctl ipam accept` or `reject`, and why."""

    reading: Reading
    snapshot: Allocations
    """All that would be in force."""
    reason: str
    since: float
    gone: tuple[Allocations, ...] = ()
    """What sources said that are no longer configured, and that goes with it."""

    @property
    def allocations(self) -> Allocations:
        """What the source says."""
        return self.reading.allocations or EMPTY

    @property
    def digest(self) -> str:
        """By what it is named, so that nobody accepts something else than he looked at."""
        said = [self.reading.source, *(part.digest() for part in (self.allocations, *self.gone))]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]

    @property
    def text(self) -> str:
        """The reason with the way out."""
        return f"{self.reason}; `rrctl ipam accept --digest {self.digest}` brings it into force"


class Keeper:
    """The allocations in force.

    `sources` names those that are configured, in order of precedence. What others said before stays in force until
    every one of those has said something; then the guard judges all of the change at once. Without `sources`, every
    source that ever spoke counts. `grace` is the time in seconds by which a revocation is delayed.
    """

    def __init__(
        self,
        state_dir: Path,
        guard: Guard | None = None,
        sources: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        grace: float = 0.0,
    ) -> None:
        self.path = state_dir / store.FILE
        self.guard, self.grace = guard, grace
        self.sources = tuple(sources)
        self.state_error: str | None = None
        self.clock = clock
        self.started = clock()
        self.errors: dict[str, Reading] = {}
        """The last reading of each source that fails."""
        self.since: dict[str, float] = {}
        """Since when each of them fails; where it never was good in this run, since what is known of it."""
        self.good: set[str] = set()
        """Sources that were good once in this run."""
        self.held: dict[str, Held] = {}
        self.rejected: dict[str, Rejected] = {}
        self.refusing: dict[str, Reading] = {}
        """What sources say on that was rejected."""
        self.parts: dict[str, Part] = {}
        self._saving, self._urgent = asyncio.Lock(), asyncio.Event()
        self._next: asyncio.Task[bool] | None = None
        """The write that is to come."""
        self._changed, self._saved, self._wrote = 0, 0, float("-inf")
        self.settled = self._load()
        self._base: Settled | None = None
        """What was in force when this rrd started, while it is not in force anywhere yet."""

    def _load(self) -> Settled:
        try:
            state = self._configured(store.load(self.path))
            settled = restore(state, self.clock())
        except StateError as error:
            self.state_error = str(error)
            log.warning(str(error))
            return NOTHING
        self.parts, self.rejected = dict(state.parts), dict(state.rejected)
        for name in self.rejected.keys() & set(self.leaving):
            self.refusing[name] = Reading(name, EMPTY, time=self.rejected[name].since)
        return settled

    def _configured(self, state: State) -> State:
        """What is known of the sources: first those that are configured, in their order."""
        names = dict.fromkeys((*self.sources, *sorted(state.parts)))
        parts = {name: state.parts[name] for name in names if name in state.parts}
        rejected = {
            name: one
            for name, one in state.rejected.items()
            if name in self.sources or (name in parts and (not self.sources or one.digest == EMPTY.digest()))
        }
        return replace(state, parts=parts, rejected=rejected)

    def configure(self, guard: Guard | None, sources: Iterable[str], grace: float) -> Decision:
        """Take another configuration; what sources said that are no longer named is `leaving`."""
        self.parts = dict(self.state().parts)  # until now they were good, and no longer from now on
        self.guard, self.sources, self.grace = guard, tuple(sources), grace
        for kept in (self.errors, self.since, self.held, self.rejected, self.refusing):
            for name in [name for name in kept if name not in self.sources]:
                del kept[name]
        self.good &= set(self.sources)
        self.settled = settle(self.settled, self._said({}), now=self.clock(), sweep=False)
        self._changed += 1
        return self.dismiss()

    @property
    def leaving(self) -> tuple[str, ...]:
        """Sources that are no longer configured, and what they said is in force all the same."""
        return tuple(name for name in self.parts if self.sources and name not in self.sources)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Configured sources that have given nothing yet; until they do, what is `leaving` stays."""
        return tuple(name for name in self.sources if name not in self.parts)

    def dismiss(self) -> Decision:
        """Take back what only sources said that are `leaving`, unless the guard objects or a source is awaited."""
        gone = [name for name in self.leaving if name not in self.held and name not in self.rejected]
        if self.awaited or not gone:
            return self._unchanged("what sources said that are no longer configured stays as it is")
        said = self._said({}, gone)
        settled = settle(self.settled, said, now=self.clock(), sweep=False)
        if why := self._excess(settled.allocations):
            reason, since = f"held back: the configuration without {few(gone)} {why}", self.clock()
            for name in gone:
                part = self.parts[name].allocations
                self.held[name] = Held(
                    Reading(name, EMPTY, time=since), settled.allocations, reason, since, (part,)
                )
            return self._unchanged(reason)
        if self.grace:
            settled = settle(self.settled, said, now=self.clock(), grace=self.grace, sweep=False)
        self._forget(gone)
        return self._enforce(settled, f"without {few(gone)}")

    def _forget(self, gone: Iterable[str]) -> None:
        for name in gone:
            for kept in (self.parts, self.held, self.rejected, self.refusing):
                kept.pop(name, None)

    def start(self) -> None:
        """Until `begin`, what sources say is settled as if they all spoke at once: who is first has no advantage."""
        self._base = self.settled

    def begin(self) -> None:
        """From now on who has something keeps it, since it is in force."""
        self._base = None

    @property
    def allocations(self) -> Allocations:
        """What is in force; EMPTY, and so no route accepted, before the first good reading ever."""
        return self.settled.allocations

    @property
    def known(self) -> bool:
        """Whether any source ever gave a good reading, in this run or one before."""
        return bool(self.parts)

    # Decisions

    def consider(self, reading: Reading) -> Decision:
        """Take in what a source said: it comes into force, is held back, or changes nothing."""
        source, snapshot = reading.source, reading.allocations
        if snapshot is None:
            return self._failed(reading)
        recovered = self.errors.pop(source, None) is not None
        self.since.pop(source, None)
        self.good.add(source)
        gone, said = self._replaced(source), self.saying(source, snapshot)
        settled = settle(self._base or self.settled, said, now=self.clock(), sweep=False)
        if (gone or source in self.parts) and (why := self._excess(settled.allocations)):
            return self._doubt(reading, settled.allocations, why)
        told = (self.held.pop(source, None), self.rejected.pop(source, None), self.refusing.pop(source, None))
        if self.grace and settled is not self.settled:
            base = self._base or self.settled
            settled = settle(base, said, now=self.clock(), grace=self.grace, sweep=False)
        if settled is self.settled and source in self.parts:
            self._changed += any(told) or recovered
            return self._unchanged(f"{source} says nothing new")
        first = not self.parts
        self.parts[source] = Part(snapshot, reading.time)
        self._forget(gone)
        return self._enforce(settled, source, first=first)

    def sweep(self) -> Decision:
        """End what has had its grace."""
        settled = settle(self.settled, self.settled.parts, now=self.clock(), grace=self.grace)
        return self._enforce(settled, "after its grace")

    def held_of(self, source: str | None = None, digest: str | None = None) -> dict[str, Held]:
        """What is held back, of one source or of all, and with a digest only what that names."""
        return {
            name: one
            for name, one in self.held.items()
            if source in (None, name) and digest in (None, one.digest)
        }

    def accept(self, source: str | None = None, digest: str | None = None) -> Decision:
        """Bring into force what is held back (see `held_of`), at once and without a grace."""
        held = self.held_of(source, digest)
        if not held:
            return self._unchanged("nothing is held back")
        gone = {other for name in held for other in self._replaced(name)}
        for name, one in held.items():
            del self.held[name]
            self.parts[name] = Part(one.allocations, one.reading.time)
        self._forget(gone)
        settled = settle(self.settled, self._said({}), now=self.clock(), sweep=False)
        return self._enforce(settled, ", ".join(held))

    def reject(self, source: str | None = None) -> list[str]:
        """Forget what is held back, of one source or of all: what is in force stays. Answer whose it was.

        So long as the source says just the same, that is a warning; something else is considered anew.
        """
        names = [name for name in self.held if source in (None, name)]
        for name in names:
            held = self.held.pop(name)
            self.rejected[name] = Rejected(held.allocations.digest(), held.reason, self.clock())
            self.refusing[name] = held.reading
        self._changed += bool(names)
        return names

    def saying(self, source: str, snapshot: Allocations) -> dict[str, Allocations]:
        """What all sources say once what this one says is in force."""
        return self._said({source: snapshot}, self._replaced(source))

    def _replaced(self, source: str) -> tuple[str, ...]:
        """Who is gone for good when what a source says comes into force."""
        leaving = self.leaving
        if source in leaving:
            return (source,)
        return leaving if self.awaited == (source,) else ()

    def _said(self, more: Mapping[str, Allocations], without: Collection[str] = ()) -> dict[str, Allocations]:
        """What all sources say, in the order of their precedence."""
        said = {name: part.allocations for name, part in self.parts.items()} | dict(more)
        first = {name: said[name] for name in self.sources if name in said}
        return {name: part for name, part in (first | said).items() if name not in without}

    def _excess(self, snapshot: Allocations) -> str | None:
        if snapshot is self.allocations:
            return None
        return excess(self.allocations, snapshot, self.guard.max_removed if self.guard else None)

    def _failed(self, reading: Reading) -> Decision:
        source, part = reading.source, self.parts.get(reading.source)
        self.errors[source] = reading
        self.since.setdefault(source, part.time if part and source not in self.good else reading.time)
        if not self.parts:
            return self._unchanged(f"no allocations yet, so no route is accepted: {reading.trouble}")
        return self._unchanged(f"the last good allocations stay in force: {reading.trouble}")

    def _doubt(self, reading: Reading, snapshot: Allocations, why: str) -> Decision:
        """Hold back what removes too much, unless somebody rejected just that before."""
        source = reading.source
        known = self.rejected.get(source)
        if known and reading.allocations and reading.allocations.digest() == known.digest:
            self.refusing[source] = reading
            return self._unchanged(f"{source} still says what was rejected")
        self.rejected.pop(source, None)
        self.refusing.pop(source, None)
        before, gone = self.held.get(source), self._replaced(source)
        instead = f" instead of {few(gone)}" if gone else ""
        parts = tuple(self.parts[name].allocations for name in gone)
        since = before.since if before else self.clock()
        held = Held(reading, snapshot, f"held back: {source}{instead} {why}", since, parts)
        self.held[source] = held
        return self._unchanged(held.reason)

    def _unchanged(self, reason: str) -> Decision:
        return Decision(self.allocations, False, bool(self.held), reason)

    def _enforce(self, settled: Settled, who: str, *, first: bool = False) -> Decision:
        before, self.settled = self.settled, settled
        if settled is before and not first:
            return self._unchanged(f"{who}: nothing new")
        self._changed += 1
        changes = diff(before.allocations, settled.allocations)
        moved = moves(before, settled, changes)
        held = bool(self.held)
        if not changes and not first:
            return Decision(settled.allocations, False, held, f"{who} says nothing new", changes, moved)
        sentence = _sentence(settled.allocations, changes, who)
        return Decision(settled.allocations, True, held, sentence, changes, moved)

    # State

    def state(self) -> State:
        """What is kept on disk; a source that is good now is known to be good until now."""
        now = self.clock()
        fresh = {name for name in self.good if name not in {*self.errors, *self.held, *self.rejected}}
        vips = self.settled.ledger.vips
        return State(
            {name: replace(part, time=now) if name in fresh else part for name, part in self.parts.items()},
            [
                (c.source, c.claim)
                for c in self.settled.conflicts
                if not (c.claim.kind is Kind.VIP and vips.get(c.claim.network) == c.source)
            ],
            dict(self.settled.lingering),
            dict(self.rejected),
        )

    async def save(self, *, at_once: bool = False) -> bool:
        """Write what was decided if it is not on disk yet; False when that failed, which is said and no more.

        Calls that come while one writes or waits are done by one more write. Between two writes is a pause, unless it
        has to be `at_once`.
        """
        if at_once:
            self._urgent.set()
        if self._next is None:
            self._next = asyncio.create_task(self._save())
        return await asyncio.shield(self._next)

    async def _save(self) -> bool:
        """Write when the write before is done and its pause over; what is decided until then is in it."""
        async with self._saving:
            if self._changed > self._saved and (left := self._wrote + SAVE_PAUSE - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._urgent.wait()
            self._next = None
            self._urgent.clear()
            if self._changed == self._saved:
                return self.state_error is None
            state, changed = self.state(), self._changed
            try:
                await asyncio.to_thread(store.save, self.path, state)
            except StateError as error:
                self.state_error = str(error)
                log.error(str(error))
                return False
            finally:
                self._wrote = time.monotonic()
            self._saved, self.state_error = changed, None
            return True

    def refresh(self) -> None:
        """Have the time written anew until which sources were good, if that was long ago."""
        self._changed += time.monotonic() - self._wrote > KEPT_FRESH and self.known

    def age(self) -> float:
        """Seconds since what is in force was last what every source says; 0 while it still is.

        When a source is broken from the start, it is the age of what was saved.
        """
        since = [held.since for held in self.held.values()]
        since += self.since.values()
        return max(0.0, self.clock() - min(since)) if since else 0.0


def _sentence(snapshot: Allocations, changes: Changes, who: str) -> str:
    said = [
        f"{len(snapshot.nodes)} nodes own {snapshot.size} prefixes ({who})",
        f"{len(changes.granted)} granted, {len(changes.revoked)} revoked",
    ]
    if changes.nodes_added or changes.nodes_removed:
        said.append(f"{len(changes.nodes_added)} nodes added, {len(changes.nodes_removed)} removed")
    if changes.addresses_changed:
        said.append(f"{len(changes.addresses_changed)} nodes with other addresses")
    if changes.vips_changed:
        said.append("VIP pools changed")
    return "; ".join(said)
