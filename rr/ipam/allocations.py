"""An immutable snapshot of who owns what. Everything that filters or explains asks one of these."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from rr.addresses import contains
from rr.net import Address, Network


@dataclass(frozen=True, slots=True)
class NodeAllocation:
    """One node: the addresses that its BGP sessions come from, and the prefixes that it may announce."""

    name: str
    addresses: tuple[Address, ...]
    prefixes: tuple[Network, ...] = ()


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
    """Who owns what at one moment. Node prefixes never overlap, nor do pools: `rr.ipam.document` sees to it."""

    nodes: Mapping[str, NodeAllocation]
    vips: tuple[VipPool, ...] = ()
    _index: list[Index] = field(default_factory=list, init=False, repr=False, compare=False, hash=False)

    @property
    def index(self) -> Index:
        """The lookup tables, built at the first question."""
        if not self._index:
            self._index.append(Index.of(self))
        return self._index[0]

    def node_at(self, address: Address) -> NodeAllocation | None:
        """The node whose session comes from this address."""
        return self.index.by_address.get(address)

    def owner_of(self, prefix: Network) -> str | None:
        """The node that owns exactly this prefix."""
        return self.index.owners.get(prefix)

    def holding(self, prefix: Network) -> Holding | None:
        """The allocation that contains `prefix`, or the first one inside it."""
        return self.index.holding(prefix)

    def covering(self, prefix: Network) -> str | None:
        """The owner of `holding(prefix)`."""
        found = self.index.holding(prefix)
        return found.node if found else None

    def pools_for(self, node: str) -> tuple[Network, ...]:
        """The VIP prefixes open to a node, in order of the document; none for a node that is not known."""
        if node not in self.nodes:
            return ()
        return tuple(chain.from_iterable(pool.prefixes for pool in self.vips if pool.open_to(node)))

    def vip_pool_of(self, prefix: Network) -> VipPool | None:
        """The pool that a prefix lies in, whatever its length and whoever announces it."""
        for network, pool in self.index.pools:
            if prefix.version == network.version and prefix.subnet_of(network):  # type: ignore[arg-type]
                return pool
        return None

    def digest(self) -> str:
        """A short fingerprint; the order of nodes, addresses and prefixes in the document does not matter."""
        return self.index.digest

    @property
    def size(self) -> int:
        """How many prefixes nodes own, VIP pools not counted."""
        return len(self.index.owners)


@dataclass(frozen=True, slots=True)
class Index:
    """What makes the questions cheap; follows from the snapshot alone."""

    by_address: Mapping[Address, NodeAllocation]
    owners: Mapping[Network, str]
    pools: tuple[tuple[Network, VipPool], ...]
    starts: Mapping[int, tuple[list[int], list[Holding]]]
    digest: str

    @classmethod
    def of(cls, allocations: Allocations) -> Index:
        """Build the tables."""
        nodes = allocations.nodes.values()
        owners = {prefix: node.name for node in nodes for prefix in node.prefixes}
        return cls(
            by_address={address: node for node in nodes for address in node.addresses},
            owners=owners,
            pools=tuple((prefix, pool) for pool in allocations.vips for prefix in pool.prefixes),
            starts={version: _by_start(owners, version) for version in (4, 6)},
            digest=_digest(allocations),
        )

    def holding(self, prefix: Network) -> Holding | None:
        """Since allocations do not overlap, only the neighbours by first address need a look."""
        starts, holdings = self.starts[prefix.version]
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        place = bisect_right(starts, first)
        if place and contains(holdings[place - 1].prefix, prefix.network_address):
            return holdings[place - 1]
        return holdings[place] if place < len(starts) and starts[place] <= last else None


def _by_start(owners: Mapping[Network, str], version: int) -> tuple[list[int], list[Holding]]:
    pairs = sorted(
        (int(prefix.network_address), prefix.prefixlen, node)
        for prefix, node in owners.items()
        if prefix.version == version
    )
    by_key = {
        (int(prefix.network_address), prefix.prefixlen): prefix
        for prefix in owners
        if prefix.version == version
    }
    return [start for start, _, _ in pairs], [
        Holding(by_key[start, length], node) for start, length, node in pairs
    ]


def _digest(allocations: Allocations) -> str:
    lines = [
        f"{name} {_words(node.addresses)} {_words(node.prefixes)}"
        for name, node in sorted(allocations.nodes.items())
    ]
    lines += sorted(
        f"- {_words(pool.prefixes)} {'*' if pool.nodes is None else ','.join(sorted(pool.nodes))}"
        for pool in allocations.vips
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _words(values: tuple[Address, ...] | tuple[Network, ...]) -> str:
    return ",".join(sorted(map(str, values)))


EMPTY = Allocations({}, ())


@dataclass(frozen=True, slots=True)
class Changes:
    """What one snapshot changes over another. `granted` and `revoked` are (node, prefix), in a stable order."""

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
    names = [name for name in sorted({*old.nodes, *new.nodes}) if old.nodes.get(name) != new.nodes.get(name)]
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
        vips_changed=_pools(old) != _pools(new),
    )


def _pools(snapshot: Allocations) -> frozenset[tuple[frozenset[Network], frozenset[str] | None]]:
    return frozenset((frozenset(pool.prefixes), pool.nodes) for pool in snapshot.vips)


def _gained(names: list[str], before: Allocations, after: Allocations) -> Iterator[tuple[str, Network]]:
    for name in names:
        if name not in after.nodes:
            continue
        had = set(before.nodes[name].prefixes) if name in before.nodes else set()
        yield from ((name, prefix) for prefix in after.nodes[name].prefixes if prefix not in had)
