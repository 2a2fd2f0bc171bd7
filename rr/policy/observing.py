"""What is somebody's: nodes of an observed rack may announce what nobody owns, and never what another owns.

A rack is observed while an operator looks what the filter would reject there (`enforce: observe`). Until then its nodes
may announce anything within stated bounds, but for what belongs to a node whose rack is enforced, to a VIP pool
that is not theirs, or to a node as its address: whoever is known already keeps what is his.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import TypeAlias

from rr.addresses import Order, network_of, order_of
from rr.config.model import Rack
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.net import Address, Network
from rr.policy.model import PrefixMatch

OBSERVE = "observe/"
"""How the names of the statements and sets begin that are about observed racks."""


def next_hops(rack: Rack, version: int) -> frozenset[Address]:
    """Which next hops an observed rack's nodes may announce, in one address family. One by one (docs/engine.md)."""
    return frozenset(chain.from_iterable(rack.next_hops(version))) if rack.bounds else frozenset()


def inside(rack: Rack, version: int) -> frozenset[PrefixMatch]:
    """What an observed rack's nodes may announce, in one address family."""
    prefixes = rack.bounds.prefixes if rack.bounds else ()
    return frozenset(PrefixMatch(p, p.prefixlen, p.max_prefixlen) for p in prefixes if p.version == version)


@dataclass(frozen=True, slots=True)
class Belonging:
    """A prefix that is somebody's, with everything around it, and inside up to `longest` bits."""

    network: Network
    longest: int
    owner: str
    """The node's name, or what else it is, to be put into a sentence."""

    @property
    def text(self) -> str:
        """What it is and whose."""
        return f"{self.network} of {self.owner}"


_Match: TypeAlias = tuple[int, int, int, int]
"""A member of a prefix set in numbers, which are cheap to compare: version, first address, shortest, longest."""


class Reserved:
    """What no node of an observed rack may announce unless it owns it.

    It follows the allocations: what one node's change means is worked out for that node alone.
    """

    def __init__(self, bounds: Iterable[Network], observed: Callable[[NodeAllocation], bool]) -> None:
        """`observed` tells whose prefixes are free to take: those of nodes that dial from observed racks alone."""
        self._bounds = frozenset(order_of(bound) for bound in bounds)
        self._spans = [_span(bound) for bound in self._bounds]
        self._is_observed = observed
        self._nodes: dict[str, tuple[NodeAllocation, bool, list[Belonging]]] = {}
        self._pools: tuple[VipPool, ...] = ()
        self._of_pools: list[Belonging] = []
        self._at: dict[Order, list[Belonging]] = {}
        self._counts: Counter[_Match] = Counter()
        """How many belongings each member of a prefix set is there for."""
        self._members: dict[int, dict[PrefixMatch, None]] = {4: {}, 6: {}}
        """These members, in dicts since their hashes are kept when a set is made of them."""
        self._starts: list[Order] | None = None

    # Following the allocations

    def follow(self, allocations: Allocations) -> None:
        """Take other allocations."""
        changed = False
        for name in self._nodes.keys() - allocations.nodes.keys():
            self._drop(self._nodes.pop(name)[2])
            changed = True
        for name, node in allocations.nodes.items():
            before = self._nodes.get(name)
            if before is None or before[0] is not node:
                self._drop(before[2] if before else ())
                observed = self._is_observed(node)
                found = self._add(_of_node(node, free=observed))
                self._nodes[name] = node, observed, found
                changed = changed or before is None or before[1] != observed
        if changed or self._pools != allocations.vips:
            self._pools = allocations.vips
            self._drop(self._of_pools)
            self._of_pools = self._add(belonging for pool in self._pools for belonging in self._of_pool(pool))

    def _of_pool(self, pool: VipPool) -> Iterator[Belonging]:
        """Of a pool that is open to every node, nodes may announce VIPs though the IPAM does not know them yet."""
        if pool.nodes and all(name in self._nodes and self._nodes[name][1] for name in pool.nodes):
            return
        below_hosts = int(pool.nodes is None)
        for p in pool.prefixes:
            yield Belonging(p, p.max_prefixlen - below_hosts, "the VIP pools")

    def _add(self, found: Iterable[Belonging]) -> list[Belonging]:
        """Add what touches one of the bounds, and answer what that is."""
        added = [belonging for belonging in found if self._touches(belonging.network)]
        for belonging in added:
            self._at.setdefault(order_of(belonging.network), []).append(belonging)
            for match in self._matching(belonging):
                self._counts[match] += 1
                if self._counts[match] == 1:
                    self._members[match[0]][_prefix_match(*match)] = None
            self._starts = None
        return added

    def _drop(self, gone: Iterable[Belonging]) -> None:
        for belonging in gone:
            order = order_of(belonging.network)
            self._at[order].remove(belonging)
            if not self._at[order]:
                del self._at[order]
            for match in self._matching(belonging):
                self._counts[match] -= 1
                if not self._counts[match]:
                    del self._counts[match], self._members[match[0]][_prefix_match(*match)]
            self._starts = None

    def _touches(self, network: Network) -> bool:
        version, first, last = _span(order_of(network))
        return any(version == v and first <= end and start <= last for v, start, end in self._spans)

    def _matching(self, belonging: Belonging) -> Iterator[_Match]:
        """Members of a prefix set: what is inside, and each prefix around it within the bounds."""
        version, first, length = order_of(belonging.network)
        if length <= belonging.longest:
            yield version, first, length, belonging.longest
        for v, start, shortest in self._bounds:
            if v == version and _masked(version, first, shortest) == start:
                for shorter in range(shortest, length):
                    yield version, _masked(version, first, shorter), shorter, shorter

    # Questions

    def matches(self, version: int) -> frozenset[PrefixMatch]:
        """All of it as members of a prefix set."""
        return frozenset(self._members[version])

    def of(self, prefix: Network) -> Belonging | None:
        """What a route for `prefix` would take from somebody; None where it takes nothing."""
        version, first, length = order = order_of(prefix)
        for shorter in range(length + 1):
            for around in self._at.get((version, _masked(version, first, shorter), shorter), ()):
                if length <= around.longest:
                    return around
        if self._starts is None:
            self._starts = sorted(self._at)
        # Prefixes nest or are apart: the next one by its first address lies inside, or none does.
        place = bisect_left(self._starts, (version, first, length + 1))
        inside = self._starts[place] if place < len(self._starts) else None
        return self._at[inside][0] if inside and inside[:2] <= (version, _span(order)[2]) else None


def _of_node(node: NodeAllocation, *, free: bool) -> Iterator[Belonging]:
    for address in node.addresses:
        host = network_of(address)
        yield Belonging(host, host.prefixlen, f"the addresses of {node.name}")
    if not free:
        yield from (Belonging(p, p.max_prefixlen, node.name) for p in node.prefixes)


def _span(order: Order) -> tuple[int, int, int]:
    """Version, first and last address."""
    version, first, length = order
    return version, first, first | ((1 << (_bits(version) - length)) - 1)


def _bits(version: int) -> int:
    return 32 if version == 4 else 128


@lru_cache(maxsize=65536)
def _prefix_match(version: int, first: int, shortest: int, longest: int) -> PrefixMatch:
    network = IPv4Network((first, shortest)) if version == 4 else IPv6Network((first, shortest))
    return PrefixMatch(network, shortest, longest)


def _masked(version: int, first: int, length: int) -> int:
    host = _bits(version) - length
    return first >> host << host
