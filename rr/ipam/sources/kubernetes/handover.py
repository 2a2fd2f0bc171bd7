"""A VIP that moves from some nodes to others is both's for a moment, so that it is never without a path.

The new node hears of its endpoint when we do, and announces the VIP a moment later; until then the old one does.
"""

from __future__ import annotations

from collections.abc import Mapping

from rr.ipam.allocations import Allocations, VipPool
from rr.net import Network

HANDOVER = 1.0
"""Seconds for which the old nodes may still announce it."""


class Handover:
    """Follows snapshots one after the other; `due` says when the next handover is over."""

    def __init__(self) -> None:
        self.due: float | None = None
        self._nodes: Mapping[Network, frozenset[str]] = {}
        """Of each VIP that is not everybody's: the nodes that may announce it for good."""
        self._leaving: dict[Network, dict[str, float]] = {}
        """The nodes that may do so for a while, and until when."""
        self._seen = Allocations({})
        self._given = self._seen

    def of(self, snapshot: Allocations, now: float) -> Allocations:
        """The snapshot with whoever still hands over; the same object as before when nothing changed."""
        if snapshot is self._seen and (self.due is None or now < self.due):
            return self._given
        if snapshot.vips is not self._seen.vips:
            self._begin(snapshot.vips, now)
        self._end(now)
        self.due = min((until for nodes in self._leaving.values() for until in nodes.values()), default=None)
        self._seen = snapshot
        self._given = (
            Allocations(snapshot.nodes, tuple(map(self._shared, snapshot.vips)))
            if self._leaving
            else snapshot
        )
        return self._given

    def _begin(self, pools: tuple[VipPool, ...], now: float) -> None:
        """What has only other nodes than before is handed over; what has none is nobody's at once."""
        nodes = {pool.prefixes[0]: pool.nodes for pool in pools if pool.nodes is not None}
        for vip, before in self._nodes.items():
            if (after := nodes.get(vip)) and after.isdisjoint(before):
                self._leaving.setdefault(vip, {}).update(dict.fromkeys(before, now + HANDOVER))
        self._nodes = nodes

    def _end(self, now: float) -> None:
        self._leaving = {
            vip: left
            for vip, nodes in self._leaving.items()
            if self._nodes.get(vip)
            and (left := {name: until for name, until in nodes.items() if until > now})
        }

    def _shared(self, pool: VipPool) -> VipPool:
        leaving = self._leaving.get(pool.prefixes[0]) if pool.nodes is not None else None
        return (
            VipPool(pool.prefixes, pool.nodes.union(leaving)) if leaving and pool.nodes is not None else pool
        )
