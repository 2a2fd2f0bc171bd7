"""Peers that may lack a route because it crossed their session's coming up.

GoBGP sends a new peer the table first and counts the peer as established a moment later. A route that comes into the
table in between is in neither: the table was read before it, and whoever spreads it skips a peer that is not yet
established (docs/engine.md). The peer would lack it for as long as both stay. So whoever came up while routes were
moving is remembered here, to be sent its routes once more.
"""

from dataclasses import dataclass, field

from rr.net import Address

BEFORE, AFTER = 0.5, 0.2
"""Seconds around a session's coming up in which a route may have crossed it, as seen from the event stream."""


@dataclass(slots=True)
class Crossings:
    """Who came up while routes were moving. All times are monotonic seconds."""

    suspects: set[Address] = field(default_factory=set)
    moved: float = float("-inf")
    """When the last route came or went."""
    _risen: list[tuple[float, Address]] = field(default_factory=list)

    def came_up(self, peer: Address, now: float, *, noticed_late: bool) -> None:
        """A session was established, just now or, where it is `noticed_late`, some time ago."""
        if noticed_late or now - self.moved < BEFORE:
            self.suspects.add(peer)
        else:
            self._risen.append((now, peer))

    def went_down(self, peer: Address) -> None:
        """A session ended: whatever it lacked, it lacks no more."""
        self.suspects.discard(peer)

    def route_moved(self, sender: Address, now: float) -> None:
        """A route was accepted or withdrawn. A peer's own routes cannot cross its own session."""
        self.moved = now
        recent = [(risen, peer) for risen, peer in self._risen if now - risen < AFTER]
        self.suspects.update(peer for _, peer in recent if peer != sender)
        self._risen = [(risen, peer) for risen, peer in recent if peer == sender]

    def clear(self) -> None:
        """The engine is gone, and its sessions with it."""
        self.suspects.clear()
        self._risen.clear()
