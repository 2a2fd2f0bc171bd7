"""Peers that the engine keeps for nothing: it has no limit on connections, and forgets none by itself.

A connection from a range, be it closed at once, leaves an entry of about half a megabyte per address family until
somebody deletes it. A silent one holds its session half open for four minutes.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from rr.net import Address

IDLE_FOR = 20.0
"""Seconds after which an entry without a session and without kept routes is nobody's any more."""
HALF_OPEN = 128
"""Half-open sessions of one range at most: more are a flood, unless they are all young."""
HANDSHAKE = 5.0
"""Seconds that a session may take to come up, even in a flood."""
SILENT_FOR = 60.0
"""Seconds that a session may take to come up at most."""
_OPENING = frozenset({"opensent", "openconfirm"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One peer that dialed in, as the engine lists it."""

    address: Address
    state: str
    kept: bool
    """Whether routes are kept for it while it restarts."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Which entries to delete."""

    ghosts: tuple[Address, ...] = ()
    flooded: Mapping[Hashable, tuple[Address, ...]] = field(default_factory=dict)
    """The oldest half-open sessions of ranges that have too many."""


class Ghosts:
    """Remembers since when each entry has been without a session."""

    def __init__(self) -> None:
        self._since: dict[Address, float] = {}

    def look(self, entries: Iterable[Entry], range_of: Callable[[Address], Hashable], now: float) -> Sweep:
        """Judge a listing of the engine's dynamic peers."""
        down = [e for e in entries if e.state != "established" and not e.kept]
        self._since = {e.address: self._since.get(e.address, now) for e in down}
        age = {e.address: now - self._since[e.address] for e in down}
        ghosts = {
            e.address for e in down if age[e.address] >= (SILENT_FOR if e.state in _OPENING else IDLE_FOR)
        }
        ranges: dict[Hashable, list[Address]] = defaultdict(list)
        for entry in down:
            if entry.address not in ghosts:
                ranges[range_of(entry.address)].append(entry.address)
        flooded = {}
        for own, addresses in ranges.items():
            oldest = sorted(addresses, key=lambda address: -age[address])[
                : max(0, len(addresses) - HALF_OPEN)
            ]
            if ripe := tuple(a for a in oldest if age[a] >= HANDSHAKE):
                flooded[own] = ripe
        return Sweep(tuple(sorted(ghosts, key=int)), flooded)
