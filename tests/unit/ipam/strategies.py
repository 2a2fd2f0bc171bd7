"""Random allocations, valid and not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import strategies as st

from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.net import Address, Network


def network4(first: int, length: int) -> IPv4Network:
    """A prefix under 10.240.0.0/12, crowded enough that random ones often overlap."""
    return IPv4Network(((10 << 24) + (240 << 16) + (first << 6), length), strict=False)


def network6(first: int, length: int) -> IPv6Network:
    return IPv6Network(((0xFD00 << 112) + (first << 60), length), strict=False)


networks: st.SearchStrategy[Network] = st.one_of(
    st.builds(network4, st.integers(0, 2**10), st.integers(20, 28)),
    st.builds(network6, st.integers(0, 2**10), st.integers(52, 66)),
)
addresses: st.SearchStrategy[Address] = st.one_of(
    st.builds(lambda low: IPv4Address((10 << 24) + (2 << 16) + low), st.integers(1, 2000)),
    st.builds(lambda low: IPv6Address((0xFC02 << 112) + low), st.integers(1, 2000)),
)
names = st.from_regex(r"[a-z0-9][a-zA-Z0-9_.-]{0,8}", fullmatch=True)


def apart(found: list[Network]) -> list[Network]:
    """The prefixes that overlap none before them."""
    kept: list[Network] = []
    for network in found:
        if not any(one.version == network.version and one.overlaps(network) for one in kept):
            kept.append(network)
    return kept


def host_in(block: Network, number: int) -> Network:
    """A host route inside a prefix."""
    return ip_network((block[number + 1], block.max_prefixlen))


@st.composite
def allocations(draw: st.DrawFn) -> Allocations:
    """Valid allocations."""
    chosen = draw(st.lists(names, unique=True, max_size=6))
    hosts = draw(st.lists(addresses, unique=True, min_size=2 * len(chosen), max_size=2 * len(chosen)))
    free = apart(draw(st.lists(networks, max_size=20)))
    nodes = {}
    for index, name in enumerate(chosen):
        take = draw(st.integers(0, min(4, len(free))))
        nodes[name] = NodeAllocation(name, tuple(hosts[2 * index : 2 * index + 2]), tuple(free[:take]))
        free = free[take:]
    for index, name in enumerate(chosen):
        blocks = [block for other in chosen if other != name for block in nodes[other].prefixes]
        lent = draw(st.lists(st.sampled_from(blocks), unique=True, max_size=2)) if blocks else []
        nodes[name] = replace(nodes[name], borrowed=tuple(host_in(block, index) for block in lent))
    pools = [
        VipPool((network,), draw(st.none() | st.frozensets(st.sampled_from(chosen)) if chosen else st.none()))
        for network in free[:3]
    ]
    return Allocations(nodes, tuple(pools))
