"""A VIP that moves from some nodes to others is both's for a moment, so that it is never without a path.

A new node hears of its endpoint when we do, and announces the VIP a moment later; until then those that left still do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rr.ipam.allocations import Allocations, VipPool
from rr.net import Network

HANDOVER = 1.0
"""Seconds after which a node that is new is taken to announce it."""


@dataclass(frozen=True, slots=True)
class Served:
    """Who may announce a VIP that is not everybody's."""

    nodes: frozenset[str]
    """Those that may for good."""
    since: Mapping[str, float]
    """When each of them came."""
    leaving: Mapping[str, float]
    """Those that left, and until when they may."""

    def by(self, nodes: frozenset[str], now: float) -> Served:
        """The same VIP with other nodes: who leaves stays until one of them has been there for `HANDOVER`."""
        if nodes is self.nodes:
            return self
        if not nodes:
            return NOBODYS
        since = {name: self.since.get(name, now) for name in nodes}
        until = min(since.values()) + HANDOVER
        left = {**self.leaving, **dict.fromkeys(self.nodes - nodes, until)}
        return Served(nodes, since, {name: at for name, at in left.items() if name not in nodes})

    def still(self, now: float) -> dict[str, float]:
        """Those of `leaving` whose time is not over."""
        return {name: until for name, until in self.leaving.items() if until > now}


NOBODYS = Served(frozenset(), {}, {})


class Handover:
    """Follows snapshots one after the other; `due` says when the next node has left for good."""

    def __init__(self) -> None:
        self.due: float | None = None
        self._served: dict[Network, Served] = {}
        self._seen = Allocations({})
        self._given = self._seen

    def of(self, snapshot: Allocations, now: float) -> Allocations:
        """The snapshot with whoever still hands over; the same object as before when nothing changed."""
        if snapshot is self._seen and (self.due is None or now < self.due):
            return self._given
        if snapshot.vips is not self._seen.vips:
            self._served = {
                pool.prefixes[0]: self._served.get(pool.prefixes[0], NOBODYS).by(pool.nodes, now)
                for pool in snapshot.vips
                if pool.nodes is not None
            }
        leaving = {
            vip: still
            for vip, served in self._served.items()
            if served.leaving and (still := served.still(now))
        }
        self.due = min((until for still in leaving.values() for until in still.values()), default=None)
        self._seen = snapshot
        self._given = (
            Allocations(snapshot.nodes, tuple(_shared(pool, leaving) for pool in snapshot.vips))
            if leaving
            else snapshot
        )
        return self._given


def _shared(pool: VipPool, leaving: Mapping[Network, Mapping[str, float]]) -> VipPool:
    if pool.nodes is None or pool.prefixes[0] not in leaving:
        return pool
    return VipPool(pool.prefixes, pool.nodes.union(leaving[pool.prefixes[0]]))
