"""What is somebody's: nodes of an observed rack may announce what nobody owns, and never what another owns.

A rack is observed while an operator looks what the filter would reject there (`enforce: observe`). Until then its nodes
may announce anything within stated bounds, but for what belongs to a node whose rack is enforced, to a VIP pool
that is not theirs, or to a node as its address: whoever is known already keeps what is his.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import chain

from rr.addresses import network_of, order_of
from rr.config.model import Rack
from rr.ipam.allocations import Allocations, NodeAllocation
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
    text: str
    """What it is, to be put into a sentence."""


def belongings(
    allocations: Allocations, observed: Callable[[NodeAllocation], bool], bounds: Iterable[Network]
) -> Iterator[Belonging]:
    """What is somebody's and touches one of the bounds; `observed` tells whose prefixes are free to take.

    Of a pool that is open to every node, nodes may still announce VIPs, though the IPAM does not know them yet.
    """
    spans = [_span(bound) for bound in bounds]
    known = {name: observed(node) for name, node in allocations.nodes.items()}
    for belonging in _all(allocations, known):
        version, first, last = _span(belonging.network)
        if any(version == v and first <= end and start <= last for v, start, end in spans):
            yield belonging


def _all(allocations: Allocations, observed: dict[str, bool]) -> Iterator[Belonging]:
    for node in allocations.nodes.values():
        for address in node.addresses:
            host = network_of(address)
            yield Belonging(host, host.prefixlen, f"{address}, an address of {node.name}")
        if not observed[node.name]:
            yield from (Belonging(p, p.max_prefixlen, f"{p} of {node.name}") for p in node.prefixes)
    for pool in allocations.vips:
        if pool.nodes and all(observed.get(name) for name in pool.nodes):
            continue
        below_hosts = int(pool.nodes is None)
        for p in pool.prefixes:
            yield Belonging(p, p.max_prefixlen - below_hosts, f"the VIP pool {p}")


class Reserved:
    """What no node of an observed rack may announce unless it owns it."""

    def __init__(self, found: Iterable[Belonging], bounds: Iterable[Network]) -> None:
        self._bounds = frozenset(order_of(bound) for bound in bounds)
        by_reach = sorted(found, key=lambda belonging: belonging.longest)
        self._at = {order_of(belonging.network): belonging for belonging in by_reach}
        self._starts = sorted(self._at)
        self._lengths = {4: set[int](), 6: set[int]()}
        for version, _, length in self._at:
            self._lengths[version].add(length)

    def of(self, prefix: Network) -> Belonging | None:
        """What a route for `prefix` would take from somebody; None where it takes nothing."""
        version, first, length = order_of(prefix)
        for shorter in self._lengths[version]:
            around = self._at.get((version, _masked(version, first, shorter), shorter))
            if around and shorter <= length <= around.longest:
                return around
        # Prefixes nest or are apart: the next one by its first address lies inside, or none does.
        place = bisect_left(self._starts, (version, first, length + 1))
        inside = self._starts[place] if place < len(self._starts) else None
        return self._at[inside] if inside and inside[:2] <= (version, _span(prefix)[2]) else None

    def matches(self, version: int) -> frozenset[PrefixMatch]:
        """The same as members of a prefix set: what is inside each, and each prefix around it within the bounds."""
        inside = {
            PrefixMatch(belonging.network, belonging.network.prefixlen, belonging.longest)
            for belonging in self._at.values()
            if belonging.network.version == version and belonging.network.prefixlen <= belonging.longest
        }
        around = {
            (_masked(version, first, shorter), shorter)
            for v, first, length in self._at
            if v == version
            for shorter in self._around(version, first, length)
        }
        return frozenset(inside | {_exactly(version, first, length) for first, length in around})

    def _around(self, version: int, first: int, length: int) -> Iterator[int]:
        for v, start, shortest in self._bounds:
            if v == version and _masked(version, first, shortest) == start:
                yield from range(shortest, length)


def _span(network: Network) -> tuple[int, int, int]:
    """Version, first and last address."""
    version, first, length = order_of(network)
    return version, first, first | ((1 << (_bits(version) - length)) - 1)


def _bits(version: int) -> int:
    return 32 if version == 4 else 128


@lru_cache(maxsize=65536)
def _exactly(version: int, first: int, length: int) -> PrefixMatch:
    return PrefixMatch.exactly(IPv4Network((first, length)) if version == 4 else IPv6Network((first, length)))


def _masked(version: int, first: int, length: int) -> int:
    host = _bits(version) - length
    return first >> host << host
