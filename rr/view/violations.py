"""Announcements that were rejected, or would be if their rack was not only observed: who, what, why, how often, and
whether it is still going on.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rr.net import Address, Network
from rr.policy.verdict import Reason
from rr.view import clock

REMEMBERED = 10_000


@dataclass(slots=True)
class Violation:
    """One kind of announcement against the rules: the same peer, prefix, reason and outcome."""

    prefix: Network
    peer: Address
    node: str | None
    reason: Reason
    text: str
    first_seen: float
    last_seen: float
    enforced: bool = True
    """Whether it was rejected; else it passed, since its rack is observed."""
    count: int = 1
    active: bool = True


@dataclass(slots=True)
class Violations:
    """The violations of one instance; the oldest ended ones are forgotten first."""

    instance: str
    kept: dict[tuple[Address, Network, Reason, bool], Violation] = field(default_factory=dict)
    totals: Counter[tuple[Reason, bool]] = field(default_factory=Counter)
    """How often something was rejected, or (False) passed, for each reason."""
    _active: dict[tuple[Address, Network], set[tuple[Reason, bool]]] = field(default_factory=dict)
    """What goes on: reasons and outcomes by peer and prefix."""

    def seen(
        self,
        peer: Address,
        prefix: Network,
        node: str | None,
        reason: Reason,
        text: str,
        at: float,
        *,
        enforced: bool = True,
    ) -> Violation | None:
        """Count one; return it where it is the first of its kind."""
        self.totals[reason, enforced] += 1
        self._active.setdefault((peer, prefix), set()).add((reason, enforced))
        key = (peer, prefix, reason, enforced)
        known = self.kept.get(key)
        if known:
            known.count += 1
            known.last_seen, known.active, known.text, known.node = at, True, text, node
            return None
        self._make_room()
        self.kept[key] = Violation(prefix, peer, node, reason, text, at, at, enforced)
        return self.kept[key]

    def ended(self, peer: Address, prefix: Network, but: tuple[Reason, bool] | None = None) -> None:
        """The announcement is gone, or goes on for another reason or with another outcome now (`but`)."""
        going_on = self._active.pop((peer, prefix), None)
        for kind in going_on or ():
            if kind == but:
                self._active[peer, prefix] = {kind}
            else:
                self.kept[peer, prefix, *kind].active = False

    def _make_room(self) -> None:
        if len(self.kept) < REMEMBERED:
            return
        ended = next((key for key, violation in self.kept.items() if not violation.active), None)
        key = peer, prefix, reason, enforced = ended or next(iter(self.kept))
        del self.kept[key]
        self._active.get((peer, prefix), set()).discard((reason, enforced))

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
                "enforced": v.enforced,
            }
            for v in sorted(self.kept.values(), key=lambda v: v.last_seen, reverse=True)
        ]
