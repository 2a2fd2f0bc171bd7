"""How long routes of a node are kept whose session dropped (RFC 4724, section 4.2).

The engine keeps them for as long as the node asked for; the operator may allow less. And it keeps them for ever where
a node comes back and never says that it has sent everything.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rr.net import Address

ALONE, PAIRED = 120, 60
"""Seconds, where rr.yaml does not say: with one appliance, and with a pair (docs/decisions.md says why)."""
CATCH_UP = 60.0
"""Seconds at least that a node has to announce its routes again once its session is back."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A peer some of whose routes are stale."""

    address: Address
    up: bool
    routes: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A peer whose stale routes were kept long enough."""

    address: Address
    up: bool
    routes: int
    seconds: float


class StaleTimes:
    """Remembers since when each peer has stale routes, and since when it is back."""

    def __init__(self) -> None:
        self._since: dict[Address, float] = {}
        self._back: dict[Address, float] = {}

    def knows(self, address: Address) -> bool:
        """Whether a peer had stale routes at the last look."""
        return address in self._since

    def look(self, kept: Iterable[Kept], allowed: Callable[[Address], float], now: float) -> list[Expired]:
        """Say whose stale routes must go; `allowed` is the time that a peer's are kept, in seconds."""
        listed = list(kept)
        self._since = {k.address: self._since.get(k.address, now) for k in listed}
        self._back = {k.address: self._back.get(k.address, now) for k in listed if k.up}
        found = []
        for one in listed:
            age = now - self._since[one.address]
            caught_up = not one.up or now - self._back[one.address] >= CATCH_UP
            if age >= allowed(one.address) and caught_up:
                found.append(Expired(one.address, one.up, one.routes, age))
        return found
