"""VIP pools out of Services, their endpoints, and pools that are open to every node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from rr.addresses import order_of, overlap
from rr.ipam.allocations import VipPool
from rr.ipam.sources.kubernetes.cilium import joined
from rr.ipam.sources.kubernetes.parts import Endpoints, OpenPool, ServiceVips
from rr.net import Network


class Vips:
    """Takes in single objects in any order; `settle` gives the pools, and only looks at what changed."""

    def __init__(self) -> None:
        self._services: dict[str, ServiceVips] = {}
        self._slices: dict[str, Endpoints] = {}
        self._open: dict[str, OpenPool] = {}
        self._users: dict[Network, set[str]] = {}
        self._behind: dict[str, dict[str, Endpoints]] = {}
        self._changed: set[Network] = set()
        self._reopen = False
        self._pools: dict[Network, VipPool] = {}
        self._opened: tuple[Network, ...] = ()
        """All that is in a pool."""
        self._wide: tuple[Network, ...] = ()
        """The same without the addresses of Local services."""
        self._result: tuple[VipPool, ...] = ()

    def service(self, key: str, new: ServiceVips | None) -> None:
        """A Service is like this now; None: it is gone."""
        old = self._services.pop(key, None)
        if new is not None:
            self._services[key] = new
        if old == new:
            return
        for vip in old.vips if old else ():
            self._users[vip].discard(key)
            self._changed.add(vip)
        for vip in new.vips if new else ():
            self._users.setdefault(vip, set()).add(key)
            self._changed.add(vip)

    def endpoints(self, key: str, new: Endpoints | None) -> None:
        """An EndpointSlice is like this now; None: it is gone."""
        old = self._slices.pop(key, None)
        if new is not None:
            self._slices[key] = new
        if old == new:
            return
        if old:
            self._behind[old.service].pop(key)
            self._touch(old.service)
        if new:
            self._behind.setdefault(new.service, {})[key] = new
            self._touch(new.service)

    def _touch(self, service: str) -> None:
        if not self._behind[service]:
            del self._behind[service]
        if service in self._services:
            self._changed.update(self._services[service].vips)

    def pool(self, key: str, new: OpenPool | None) -> None:
        """A pool is like this now; None: it is gone or disabled."""
        old = self._open.pop(key, None)
        if new is not None:
            self._open[key] = new
        self._reopen = self._reopen or old != new

    def settle(self) -> tuple[VipPool, ...]:
        """The pools now; the same object as before when nothing changed."""
        if not self._changed and not self._reopen:
            return self._result
        limited = {vip for vip, pool in self._pools.items() if pool.nodes is not None}
        moved = {vip for vip in self._changed if self._settle(vip)}
        self._changed.clear()
        if not moved and not self._reopen:
            return self._result
        now = {vip for vip, pool in self._pools.items() if pool.nodes is not None}
        if self._reopen or (self._open and limited != now):
            self._widen(now)
        self._reopen = False
        self._result = tuple(self._listed())
        return self._result

    def _settle(self, vip: Network) -> bool:
        """Decide anew who may announce a VIP; tells whether that changed."""
        users = self._users[vip]
        if not users:
            del self._users[vip]
        before = self._pools.pop(vip, None)
        if users:
            self._pools[vip] = VipPool((vip,), self._nodes(users))
        return self._pools.get(vip) != before

    def _nodes(self, users: Iterable[str]) -> frozenset[str] | None:
        """The nodes behind any of the Services that share a VIP; None: every node."""
        found: set[str] = set()
        for service in users:
            if not self._services[service].local:
                return None
            behind = self._behind.get(service, {}).values()
            ready = frozenset[str]().union(*(part.ready for part in behind))
            found |= ready or frozenset[str]().union(*(part.ending for part in behind))
        return frozenset(found)

    def _widen(self, limited: set[Network]) -> None:
        self._opened = joined([network for pool in self._open.values() for network in pool.prefixes])
        self._wide = tuple(part for network in self._opened for part in without(network, limited))

    def _listed(self) -> Iterator[VipPool]:
        """In one order, whatever came first; all that is open to everybody is one pool, and nothing is in it twice."""
        everybodys = []
        for vip in sorted(self._pools, key=order_of):
            pool = self._pools[vip]
            if pool.nodes is not None:
                yield pool
            elif not any(overlap(network, vip) for network in self._opened):
                everybodys.append(vip)
        if everybodys or self._wide:
            yield VipPool((*everybodys, *self._wide), None)


def without(network: Network, hosts: Iterable[Network]) -> Iterator[Network]:
    """A prefix less some host routes in it, in as few prefixes as there can be."""
    inside = [host for host in hosts if overlap(network, host)]
    if not inside:
        yield network
    elif network.prefixlen < network.max_prefixlen:
        for half in _halves(network):
            yield from without(half, inside)


def _halves(network: Network) -> Iterator[Network]:
    if isinstance(network, IPv4Network):
        yield from network.subnets()
    else:
        yield from network.subnets()
