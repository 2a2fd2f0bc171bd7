"""Which routes the other half is given: those of nodes that have no session with it. Pure.

A pair whose nodes all have both sessions hands nothing over: every route that both halves exchanged would be one more
path at each ToR, and one more fan-out at each half.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rr.net import Network

PATIENCE = 10.0
"""Seconds that a node must be missing at the other half while that answers: after a restart it comes back."""


@dataclass(slots=True)
class Missing:
    """The nodes that have a session here and none there, with the time since when."""

    _since: dict[str, float] = field(default_factory=dict)
    _began: float | None = None

    def see(self, names: Iterable[str], now: float) -> frozenset[str] | None:
        """Take who is missing now; answer who has been for long enough, None while nobody can have been."""
        self._began = now if self._began is None else self._began
        self._since = {name: self._since.get(name, now) for name in names}
        if now - self._began < PATIENCE:
            return None
        return frozenset(name for name, since in self._since.items() if now - since >= PATIENCE)


def lacking(missing: frozenset[str], announced: Mapping[Network, frozenset[str]]) -> frozenset[Network]:
    """The prefixes that the other half lacks: those that only nodes announce that are missing there."""
    return frozenset(prefix for prefix, nodes in announced.items() if nodes and nodes <= missing)
