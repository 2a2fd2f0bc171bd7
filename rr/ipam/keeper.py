"""Decide which allocations are in force: merge sources, hold back what removes too much, keep the last good.

`consider` and `accept` only compute. `save` writes what they decided, in a thread; several calls become one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from rr.errors import AllocationsError, StateError
from rr.ipam import store
from rr.ipam.allocations import EMPTY, Allocations, Changes, diff
from rr.ipam.guard import excess
from rr.ipam.merge import merge
from rr.ipam.reading import Reading
from rr.ipam.store import Part

log = structlog.get_logger()


class Guard(Protocol):
    """How much a new snapshot may remove: `rr.config.model.Guard`, or anything like it."""

    @property
    def max_removed(self) -> float:
        """A share from 0 to 1."""
        ...


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class Decision:
    """What is in force now, whether that changed and how, and one sentence for the log."""

    allocations: Allocations
    changed: bool
    held: bool
    reason: str
    changes: Changes = NO_CHANGES


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot that waits for `rrctl ipam accept`, and why."""

    reading: Reading
    snapshot: Allocations
    reason: str
    since: float


class Keeper:
    """The allocations in force.

    `sources` names those that are configured: what others said before is forgotten.
    Without it, every source that ever spoke counts.
    """

    def __init__(
        self,
        state_dir: Path,
        guard: Guard | None = None,
        sources: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = state_dir / store.FILE
        self.guard = guard
        self.state_error: str | None = None
        self._clock = clock
        self._errors: dict[str, Reading] = {}
        self._since: dict[str, float] = {}
        self._good: set[str] = set()
        self._held: dict[str, Held] = {}
        self._saving = asyncio.Lock()
        self._parts = self._load(frozenset(sources))
        self._saved = self._parts
        self._in_force = self._with({}) if self._parts else EMPTY

    def _load(self, wanted: frozenset[str]) -> dict[str, Part]:
        try:
            parts = store.load(self.path)
            kept = {name: part for name, part in parts.items() if not wanted or name in wanted}
            merge({name: part.allocations for name, part in kept.items()})
        except (StateError, AllocationsError) as error:
            self.state_error = str(error)
            log.warning(str(error))
            return {}
        return kept

    @property
    def allocations(self) -> Allocations:
        """What is in force; EMPTY, and so no route accepted, before the first good reading ever."""
        return self._in_force

    @property
    def known(self) -> bool:
        """Whether any source ever gave a good reading, in this run or one before."""
        return bool(self._parts)

    def consider(self, reading: Reading) -> Decision:
        """Take in what a source said: it comes into force, is held back, or changes nothing."""
        if reading.allocations is None:
            return self._failed(reading)
        try:
            snapshot = self._with({reading.source: reading})
        except AllocationsError as error:
            return self._failed(Reading(reading.source, None, error, reading.time))
        self._errors.pop(reading.source, None)
        self._since.pop(reading.source, None)
        self._good.add(reading.source)
        if reading.source in self._parts and (why := self._excess(snapshot)):
            return self._hold(reading, snapshot, why)
        self._held.pop(reading.source, None)
        return self._enforce({reading.source: reading}, snapshot)

    def accept(self) -> Decision:
        """Bring everything that is held back into force; raises AllocationsError if it contradicts itself."""
        if not self._held:
            return self._unchanged("nothing is held back")
        readings = {name: held.reading for name, held in self._held.items()}
        snapshot = self._with(readings)
        self._held.clear()
        return self._enforce(readings, snapshot)

    def _with(self, readings: dict[str, Reading]) -> Allocations:
        parts = {name: part.allocations for name, part in self._parts.items()}
        parts.update({name: reading.allocations or EMPTY for name, reading in readings.items()})
        return merge(parts)

    def _excess(self, snapshot: Allocations) -> str | None:
        return excess(self._in_force, snapshot, self.guard.max_removed if self.guard else None)

    def _failed(self, reading: Reading) -> Decision:
        source, part = reading.source, self._parts.get(reading.source)
        self._errors[source] = reading
        self._since.setdefault(source, part.time if part and source not in self._good else reading.time)
        if not self._parts:
            return self._unchanged(f"no allocations yet, so no route is accepted: {reading.trouble}")
        return self._unchanged(f"the last good allocations stay in force: {reading.trouble}")

    def _hold(self, reading: Reading, snapshot: Allocations, why: str) -> Decision:
        before = self._held.get(reading.source)
        reason = f"held back: {reading.source} {why}; `rrctl ipam accept` brings it into force"
        self._held[reading.source] = Held(
            reading, snapshot, reason, before.since if before else self._clock()
        )
        return self._unchanged(reason)

    def _unchanged(self, reason: str) -> Decision:
        return Decision(self._in_force, False, bool(self._held), reason)

    def _enforce(self, readings: dict[str, Reading], snapshot: Allocations) -> Decision:
        changes = diff(self._in_force, snapshot)
        first = not self._parts
        parts = {name: Part(reading.allocations or EMPTY, reading.time) for name, reading in readings.items()}
        old = {name: self._parts[name].allocations for name in parts if name in self._parts}
        if changes or old != {name: part.allocations for name, part in parts.items()}:
            self._parts = {**self._parts, **parts}
        if not changes and not first:
            return self._unchanged(f"{', '.join(readings)} says nothing new")
        self._in_force = snapshot
        return Decision(snapshot, True, bool(self._held), _sentence(snapshot, changes, readings), changes)

    async def save(self) -> bool:
        """Write what is in force if it is not on disk yet; False when that failed, which is said and no more.

        Calls that come while one writes wait for it, and then all of them are done by one more write.
        """
        async with self._saving:
            parts = self._parts
            if parts is self._saved:
                return self.state_error is None
            try:
                await asyncio.to_thread(store.save, self.path, parts)
            except StateError as error:
                self.state_error = str(error)
                log.error(str(error))
                return False
            self._saved, self.state_error = parts, None
            return True

    def status(self) -> dict[str, Any]:
        """For `rrctl status` and metrics; `age_seconds` is 0 while every source is good and nothing is held."""
        return {
            "source": ", ".join(sorted({*self._parts, *self._errors})),
            "known": self.known,
            "age_seconds": round(self.age(), 3),
            "error": "; ".join(str(self._errors[name].trouble) for name in sorted(self._errors)) or None,
            "held": [_held_status(name, held) for name, held in sorted(self._held.items())] or None,
            "nodes": len(self._in_force.nodes),
            "prefixes": self._in_force.size,
            "vip_prefixes": len(self._in_force.index.pools),
            "digest": self._in_force.digest(),
            "state_error": self.state_error,
        }

    def age(self) -> float:
        """Seconds since what is in force was last what every source says; 0 while it still is.

        When a source is broken from the start, it is the age of what was saved.
        """
        since = [held.since for held in self._held.values()]
        since += self._since.values()
        return max(0.0, self._clock() - min(since)) if since else 0.0


def _held_status(name: str, held: Held) -> dict[str, Any]:
    since = datetime.fromtimestamp(held.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "source": name,
        "reason": held.reason,
        "since": since,
        "nodes": len(held.snapshot.nodes),
        "prefixes": held.snapshot.size,
    }


def _sentence(snapshot: Allocations, changes: Changes, sources: Iterable[str]) -> str:
    said = [
        f"{len(snapshot.nodes)} nodes own {snapshot.size} prefixes ({', '.join(sources)})",
        f"{len(changes.granted)} granted, {len(changes.revoked)} revoked",
    ]
    if changes.nodes_added or changes.nodes_removed:
        said.append(f"{len(changes.nodes_added)} nodes added, {len(changes.nodes_removed)} removed")
    if changes.addresses_changed:
        said.append(f"{len(changes.addresses_changed)} nodes with other addresses")
    if changes.vips_changed:
        said.append("VIP pools changed")
    return "; ".join(said)
