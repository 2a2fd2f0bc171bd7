"""One engine's start after another's death: who is awaited, what must wait for them, and when the waiting is over.

Plain state without effects; all times are monotonic seconds. A restarted speaker defers its routes until everybody's
End-of-RIB is there (RFC 4724, section 4.1), or else its peers drop what has not come yet. The engine knows how to, but
it does not wait for peers without graceful restart, nor for those that say that they have restarted themselves (FRR
says so for two minutes after its start). So ToRs are let in only when the nodes' routes are in.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from rr.continuity.roster import Known
from rr.net import Address

SETTLED = 1.0
"""Seconds after its session came up in which a node without End-of-RIB has sent what it has."""
SLACK = 10.0
"""Seconds that ToRs have to come back, once they are let in."""


@dataclass(frozen=True, slots=True)
class Present:
    """A peer whose session is up."""

    address: Address
    ended: frozenset[str] = frozenset()
    """The address families of which it has sent everything (RFC 4724, End-of-RIB)."""


@dataclass(slots=True)
class Comeback:
    """The awaited peers of one engine's life."""

    known: Mapping[Address, Known] = field(default_factory=dict)
    tors: frozenset[Address] = frozenset()
    began: float = 0.0
    patience: float = 0.0
    """Seconds that nodes are awaited: the deferral time."""
    _since: dict[Address, float] = field(default_factory=dict)
    _complete: set[Address] = field(default_factory=set)
    _late: set[Address] = field(default_factory=set)
    """Who came when nobody was awaited any more."""

    def see(self, present: Iterable[Present], now: float) -> None:
        """Take note of who is up, and who has sent everything."""
        here = {peer.address: peer for peer in present if peer.address in self.known}
        self._since = {address: self._since.get(address, now) for address in here}
        self._complete = {a for a, peer in here.items() if self._has_sent_all(peer, now)}

    def _has_sent_all(self, peer: Present, now: float) -> bool:
        graceful = self.known[peer.address].graceful
        ended = bool(graceful) and peer.ended.issuperset(graceful or ())
        return ended or now - self._since[peer.address] >= SETTLED

    @property
    def missing(self) -> set[Address]:
        """Who was up before and is not."""
        return self.known.keys() - self._since.keys()

    @property
    def lost(self) -> set[Address]:
        """Who has not come back at all, not even when nobody was awaited any more."""
        return self.missing - self._late

    def see_late(self, up: Set[Address]) -> None:
        """Take note of who is up once nobody is awaited; who goes again later is no matter of this start."""
        self._late |= self.missing & up

    def give_up(self, addresses: Iterable[Address]) -> None:
        """These will not come back: neither are they awaited, nor do they count."""
        gone = set(addresses)
        self.known = {address: known for address, known in self.known.items() if address not in gone}

    def awaited(self, now: float) -> set[Address]:
        """Who may still come back as if nothing had been; nobody waits for the others any more."""
        if now - self.began <= self.patience:
            return self.missing
        return self.missing & self.tors if not self.over(now) else set()

    def over(self, now: float) -> bool:
        """Say whether nobody is awaited any more."""
        everybody = not self.missing and not self.holds_tors(now)
        return everybody or now - self.began > self.patience + SLACK

    def holds_tors(self, now: float) -> bool:
        """Say whether ToRs must not be let in yet: a node's routes are not there."""
        waits = bool(self.known.keys() - self.tors - self._complete)
        return waits and now - self.began <= self.patience
