"""Announcements that were rejected: who, what, why, how often, and whether it is still going on."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rr.net import Address, Network
from rr.policy.verdict import Reason
from rr.view import clock

REMEMBERED = 10_000


@dataclass(slots=True)
class Violation:
    """One kind of rejected announcement: the same peer, prefix and reason."""

    prefix: Network
    peer: Address
    node: str | None
    reason: Reason
    text: str
    first_seen: float
    last_seen: float
    count: int = 1
    active: bool = True


@dataclass(slots=True)
class Violations:
    """The violations of one instance; the oldest ended ones are forgotten first."""

    instance: str
    kept: dict[tuple[Address, Network, Reason], Violation] = field(default_factory=dict)
    totals: Counter[Reason] = field(default_factory=Counter)

    def seen(
        self, peer: Address, prefix: Network, node: str | None, reason: Reason, text: str, at: float
    ) -> Violation | None:
        """Count one; return it where it is the first of its kind."""
        self.totals[reason] += 1
        key = (peer, prefix, reason)
        known = self.kept.get(key)
        if known:
            known.count += 1
            known.last_seen, known.active, known.text, known.node = at, True, text, node
            return None
        self._make_room()
        self.kept[key] = Violation(prefix, peer, node, reason, text, at, at)
        return self.kept[key]

    def ended(self, peer: Address, prefix: Network, but: Reason | None = None) -> None:
        """The announcement is gone, or is rejected for another reason now (`but`)."""
        for reason in Reason:
            known = self.kept.get((peer, prefix, reason))
            if known and reason is not but:
                known.active = False

    def _make_room(self) -> None:
        if len(self.kept) < REMEMBERED:
            return
        ended = next((key for key, violation in self.kept.items() if not violation.active), None)
        del self.kept[ended or next(iter(self.kept))]

    def rows(self) -> list[dict[str, Any]]:
        """The violations for JSON, the latest first."""
        return [
            {
                "instance": self.instance,
                "prefix": str(v.prefix),
                "peer": str(v.peer),
                "node": v.node,
                "reason": str(v.reason),
                "text": v.text,
                "count": v.count,
                "first_seen": clock.text(v.first_seen),
                "last_seen": clock.text(v.last_seen),
                "active": v.active,
            }
            for v in sorted(self.kept.values(), key=lambda v: v.last_seen, reverse=True)
        ]
