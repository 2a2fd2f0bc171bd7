"""One engine's start after another's death: who is awaited, what must wait for them, and when the waiting is over.

Plain state without effects; all times are monotonic seconds. The engine itself defers its routes to peers until
everybody's End-of-RIB is there (RFC 4724, section 4.1). It cannot do so for peers without graceful restart, which send
none: there the ToRs are held back instead, until those peers' routes are in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rr.continuity.roster import Known
from rr.net import Address

SETTLED = 1.0
"""Seconds after its session came up in which a peer without End-of-RIB has sent what it has."""
SLACK = 5.0
"""Seconds that the deferral time is exceeded: it begins for each peer when its session comes up."""


@dataclass(slots=True)
class Comeback:
    """The awaited peers of one engine's life."""

    known: Mapping[Address, Known]
    began: float
    patience: float
    """Seconds that peers are awaited: the deferral time."""
    _up: dict[Address, float] = field(default_factory=dict)
    """Since when awaited peers are up."""

    def see(self, up: set[Address], now: float) -> None:
        """Take note of who is up."""
        self._up = {a: self._up.get(a, now) for a in self.known.keys() & up}

    @property
    def missing(self) -> set[Address]:
        """Who was up before and is not yet."""
        return self.known.keys() - self._up.keys()

    def over(self, now: float) -> bool:
        """Say whether nobody is awaited any more."""
        return not self.missing or now - self.began > self.patience + SLACK

    def holds_tors(self, tors: set[Address], now: float) -> bool:
        """Say whether ToRs must not be let in yet: a node that sends no End-of-RIB has not sent its routes."""
        if now - self.began > self.patience:
            return False
        silent = [a for a, known in self.known.items() if known.graceful == () and a not in tors]
        return any(now - self._up.get(a, now) < SETTLED for a in silent)
