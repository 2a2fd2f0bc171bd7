"""An immutable snapshot of who owns what. Everything that filters or explains asks one of these."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from rr.addresses import contains, order_of
from rr.net import Address, Network


@dataclass(frozen=True, slots=True)
class NodeAllocation:
    """One node: the addresses that its BGP sessions come from, and what it may announce, exactly so."""

    name: str
    addresses: tuple[Address, ...]
    prefixes: tuple[Network, ...] = ()
    borrowed: tuple[Network, ...] = ()
    """Host routes (/32, /128) inside another node's prefix that this node uses (Calico borrows addresses so)."""

    @property
    def announces(self) -> tuple[Network, ...]:
        """Everything that it may announce, VIPs aside."""
        return self.prefixes + self.borrowed if self.borrowed else self.prefixes


@dataclass(frozen=True, slots=True)
class VipPool:
    """Prefixes whose host routes (/32, /128) the named nodes may announce; None means every node."""

    prefixes: tuple[Network, ...]
    nodes: frozenset[str] | None = None

    def open_to(self, node: str) -> bool:
        """Whether the node may announce a VIP of this pool."""
        return self.nodes is None or node in self.nodes


@dataclass(frozen=True, slots=True)
class Holding:
    """An allocated prefix and the node that owns it."""

    prefix: Network
    node: str


@dataclass(frozen=True, slots=True)
class Allocations:
    """Who owns what at one moment.

    In what is in force nothing overlaps but what is borrowed: `rr.ipam.settle` sees to it. What a source says may
    contradict itself or another source.
    """

    nodes: Mapping[str, NodeAllocation]
    vips: tuple[VipPool, ...] = ()
    _index: list[Index] = field(default_factory=list, init=False, repr=False, compare=False, hash=False)

    @property
    def index(self) -> Index:
        """The lookup tables, built at the first question."""
        if not self._index:
            self._index.append(Index(self))
        return self._index[0]

    def node_at(self, address: Address) -> NodeAllocation | None:
        """The node whose session comes from this address."""
        return self.index.by_address.get(address)

    def owner_of(self, prefix: Network) -> str | None:
        """The node that may announce exactly this prefix: it owns or borrows it."""
        return self.index.borrowers.get(prefix) or self.index.owners.get(prefix)

    def borrower_of(self, prefix: Network) -> str | None:
        """The node that borrows exactly this host route."""
        return self.index.borrowers.get(prefix)

    def holding(self, prefix: Network) -> Holding | None:
        """The allocation that contains `prefix`, or the first one inside it."""
        return self.index.holding(prefix)

    def covering(self, prefix: Network) -> str | None:
        """The owner of `holding(prefix)`."""
        found = self.index.holding(prefix)
        return found.node if found else None

    def pools_for(self, node: str) -> tuple[Network, ...]:
        """The VIP prefixes open to a node, those open to every node first; none for a node that is not known."""
        return self.index.open_to_all + self.index.named.get(node, ()) if node in self.nodes else ()

    def vip_pool_of(self, prefix: Network) -> VipPool | None:
        """The pool that a prefix lies in, whatever its length and whoever announces it."""
        return self.index.pool_around(prefix)

    def digest(self) -> str:
        """A short fingerprint; the order of nodes, addresses and prefixes in the document does not matter."""
        return self.index.digest

    @property
    def size(self) -> int:
        """How many prefixes nodes own or borrow, VIP pools not counted."""
        return len(self.index.owners) + len(self.index.borrowers)


class Index:
    """What makes the questions cheap; each table is built at the first question that needs it."""

    def __init__(self, allocations: Allocations) -> None:
        self._allocations = allocations

    @cached_property
    def by_address(self) -> Mapping[Address, NodeAllocation]:
        """The node at each address."""
        nodes = self._allocations.nodes.values()
        return {address: node for node in nodes for address in node.addresses}

    @cached_property
    def owners(self) -> Mapping[Network, str]:
        """The node that owns each prefix."""
        return {prefix: node.name for node in self._allocations.nodes.values() for prefix in node.prefixes}

    @cached_property
    def borrowers(self) -> Mapping[Network, str]:
        """The node that uses each borrowed host route."""
        return {route: node.name for node in self._allocations.nodes.values() for route in node.borrowed}

    @cached_property
    def pools(self) -> tuple[tuple[Network, VipPool], ...]:
        """Each VIP prefix with its pool."""
        return tuple((prefix, pool) for pool in self._allocations.vips for prefix in pool.prefixes)

    @cached_property
    def open_to_all(self) -> tuple[Network, ...]:
        """The VIP prefixes that every node may announce from."""
        return tuple(prefix for prefix, pool in self.pools if pool.nodes is None)

    @cached_property
    def named(self) -> Mapping[str, tuple[Network, ...]]:
        """The VIP prefixes whose pools name a node, for each node that is named."""
        found: dict[str, list[Network]] = {}
        for prefix, pool in self.pools:
            for node in pool.nodes or ():
                found.setdefault(node, []).append(prefix)
        return {node: tuple(prefixes) for node, prefixes in found.items()}

    @cached_property
    def _pool_table(self) -> Mapping[int, tuple[list[int], list[tuple[Network, VipPool]]]]:
        tables: dict[int, tuple[list[int], list[tuple[Network, VipPool]]]] = {4: ([], []), 6: ([], [])}
        for (version, first, _), place in sorted((order_of(p), i) for i, (p, _) in enumerate(self.pools)):
            tables[version][0].append(first)
            tables[version][1].append(self.pools[place])
        return tables

    def pool_around(self, prefix: Network) -> VipPool | None:
        """See `Allocations.vip_pool_of`; pools do not overlap, so there is one candidate."""
        starts, pools = self._pool_table[prefix.version]
        place = bisect_right(starts, int(prefix.network_address))
        network, pool = pools[place - 1] if place else (None, None)
        return pool if network and prefix.subnet_of(network) else None  # type: ignore[arg-type]

    @cached_property
    def digest(self) -> str:
        """See `Allocations.digest`."""
        lines = sorted(_line(node) for node in self._allocations.nodes.values())
        lines += sorted(
            f"- {_networks(pool.prefixes)} {'*' if pool.nodes is None else sorted(pool.nodes)}"
            for pool in self._allocations.vips
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @cached_property
    def _sorted(self) -> Mapping[int, tuple[list[int], list[Holding]]]:
        tables: dict[int, tuple[list[int], list[Holding]]] = {4: ([], []), 6: ([], [])}
        for (version, first, _), prefix in sorted((order_of(prefix), prefix) for prefix in self.owners):
            tables[version][0].append(first)
            tables[version][1].append(Holding(prefix, self.owners[prefix]))
        return tables

    def holding(self, prefix: Network) -> Holding | None:
        """Since allocations do not overlap, only the neighbours by first address need a look."""
        starts, holdings = self._sorted[prefix.version]
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        place = bisect_right(starts, first)
        if place and contains(holdings[place - 1].prefix, prefix.network_address):
            return holdings[place - 1]
        return holdings[place] if place < len(starts) and starts[place] <= last else None


def _line(node: NodeAllocation) -> str:
    addresses = sorted(f"{address.version}:{int(address):x}" for address in node.addresses)
    borrowed = f" borrowed {_networks(node.borrowed)}" if node.borrowed else ""
    return f"{node.name} {addresses} {_networks(node.prefixes)}{borrowed}"


def _networks(networks: tuple[Network, ...]) -> list[str]:
    return sorted(f"{n.version}:{int(n.network_address):x}/{n.prefixlen}" for n in networks)


EMPTY = Allocations({}, ())


@dataclass(frozen=True, slots=True)
class Changes:
    """What one snapshot changes over another; `granted` and `revoked` are (node, prefix), borrowed ones too."""

    granted: tuple[tuple[str, Network], ...] = ()
    revoked: tuple[tuple[str, Network], ...] = ()
    nodes_added: tuple[str, ...] = ()
    nodes_removed: tuple[str, ...] = ()
    addresses_changed: tuple[str, ...] = ()
    vips_changed: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.granted
            or self.revoked
            or self.nodes_added
            or self.nodes_removed
            or self.addresses_changed
            or self.vips_changed
        )

    @property
    def nodes(self) -> frozenset[str]:
        """Every node that something changed for, VIP pools aside."""
        moved = {node for node, _ in (*self.granted, *self.revoked)}
        return frozenset(moved.union(self.nodes_added, self.nodes_removed, self.addresses_changed))


def diff(old: Allocations, new: Allocations) -> Changes:
    """What changes between two snapshots; costs a look at each node, and more only for those that changed."""
    names = sorted(_changed(old.nodes, new.nodes))
    return Changes(
        granted=tuple(_gained(names, old, new)),
        revoked=tuple(_gained(names, new, old)),
        nodes_added=tuple(name for name in names if name not in old.nodes),
        nodes_removed=tuple(name for name in names if name not in new.nodes),
        addresses_changed=tuple(
            name
            for name in names
            if name in old.nodes
            and name in new.nodes
            and set(old.nodes[name].addresses) != set(new.nodes[name].addresses)
        ),
        vips_changed=old.vips is not new.vips and _pools(old) != _pools(new),
    )


def _changed(old: Mapping[str, NodeAllocation], new: Mapping[str, NodeAllocation]) -> Iterator[str]:
    """Whoever is not the same in both; most are the very same object."""
    for name, node in new.items():
        if (was := old.get(name)) is not node and was != node:
            yield name
    yield from old.keys() - new.keys()


def _pools(snapshot: Allocations) -> frozenset[tuple[frozenset[Network], frozenset[str] | None]]:
    return frozenset((frozenset(pool.prefixes), pool.nodes) for pool in snapshot.vips)


def _gained(names: list[str], before: Allocations, after: Allocations) -> Iterator[tuple[str, Network]]:
    for name in names:
        if name not in after.nodes:
            continue
        had = set(before.nodes[name].announces) if name in before.nodes else set()
        yield from ((name, prefix) for prefix in after.nodes[name].announces if prefix not in had)
