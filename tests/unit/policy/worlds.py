"""Random networks: instances, allocations and announcements that stress each other's edges."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rr.config.model import Instance
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.net import Address, Network
from rr.policy.rules import Rules

EXAMPLES = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Neither a busy machine nor a large world is a reason to fail."""
RACKS = ("rack-1", "rack-2", "rack-3")
NODES = tuple(f"node-{number}" for number in range(1, 7))


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(map(ip_address, texts))


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


def instance(racks: Mapping[str, Any] | None = None, **settings: Any) -> Instance:
    """An instance as rr.yaml would say it; without racks, one with a ToR."""
    default = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": "10.3.0.1"}]}}
    values = {"asn": 64512, "router_id": "10.0.0.11", "racks": racks or default, **settings}
    return Instance.model_validate(values)


def allocations(
    nodes: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    *vips: tuple[Sequence[str], Iterable[str] | None],
) -> Allocations:
    """Nodes as `{name: (addresses, prefixes)}`, pools as `(prefixes, nodes)`."""
    return Allocations(
        {
            name: NodeAllocation(name, addresses(*own), networks(*prefixes))
            for name, (own, prefixes) in nodes.items()
        },
        tuple(
            VipPool(networks(*pool), None if open_to is None else frozenset(open_to))
            for pool, open_to in vips
        ),
    )


@dataclass(frozen=True)
class World:
    """One network: who is where, and who owns what."""

    instance: Instance
    allocations: Allocations
    pair: Address | None = None

    @property
    def rules(self) -> Rules:
        return Rules(self.instance, self.pair)

    def peers(self) -> list[Address]:
        """Nodes, ToRs, the other half, somebody unknown in each rack, and somebody outside of every rack."""
        found = {a for node in self.allocations.nodes.values() for a in node.addresses}
        found |= {tor.address for rack in self.instance.racks.values() for tor in rack.tors}
        ranges = (r for rack in self.instance.racks.values() for r in rack.nodes.ranges)
        found |= {r.network_address + 200 for r in ranges}
        found |= {self.pair} if self.pair else set()
        found |= set(addresses("203.0.113.9", "2001:db8:9::9"))
        return sorted(found, key=lambda a: (a.version, int(a)))

    def hop(self, peer: Address, prefix: Network) -> Address:
        """The next hop that a peer should announce a prefix with; a wrong one where it has none of the family."""
        node = self.allocations.node_at(peer)
        if peer == self.pair:
            node = self._announces(prefix)
        own = [a for a in (node.addresses if node else ()) if a.version == prefix.version]
        return peer if peer in own or not own else own[0]

    def _announces(self, prefix: Network) -> NodeAllocation | None:
        """A node that may announce a prefix, and so have the other half hand it on."""
        nodes = self.allocations.nodes.values()
        pool = self.allocations.vip_pool_of(prefix)
        open_to = [n for n in nodes if pool and pool.open_to(n.name)]
        return next((n for n in nodes if prefix in n.announces), open_to[0] if open_to else None)

    def prefixes(self) -> list[Network]:
        """Everything allocated, what is next to it, and what belongs to nobody."""
        found: set[Network] = set(
            networks("0.0.0.0/0", "::/0", "10.244.255.0/24", "fd00:10:ff::/64", "10.99.0.1/32")
        )
        for node in self.allocations.nodes.values():
            for prefix in node.announces:
                found |= set(_around(prefix))
        for pool in self.allocations.vips:
            for prefix in pool.prefixes:
                found |= {*_around(prefix), ip_network((prefix[-1], prefix.max_prefixlen))}
        for rack in self.instance.racks.values():
            for prefix in (*rack.from_tors, *(rack.bounds.prefixes if rack.bounds else ())):
                found |= set(_around(prefix))
        return sorted(found, key=lambda n: (n.version, int(n.network_address), n.prefixlen))


def _around(prefix: Network) -> Iterator[Network]:
    yield prefix
    if prefix.prefixlen:
        yield prefix.supernet()
    if prefix.prefixlen < prefix.max_prefixlen:
        yield from prefix.subnets()
        yield ip_network((prefix[1], prefix.max_prefixlen))


_FAMILIES = st.sampled_from((["ipv4"], ["ipv6"], ["ipv4", "ipv6"], ["ipv4", "ipv6"]))
_FROM_TORS = ("0.0.0.0/0", "::/0", "10.99.0.0/24", "10.100.0.1/32", "fd00:99::/48")
_BOUNDS = (
    "10.244.0.0/16", "10.244.2.0/23", "10.244.2.128/25", "10.100.0.0/24", "10.101.0.0/16", "10.102.0.7/32",
    "10.102.0.0/28", "192.0.2.0/24", "fd00:10::/32", "fd00:10:2::/63", "fd00:100::/64",
)  # fmt: skip
"""Of observed racks: around what is owned, inside it, and beside it."""
_REFLECT = st.fixed_dictionaries(
    {
        "nodes": st.sampled_from(("rack", "all", "none")),
        "tors": st.sampled_from(("rack", "all")),
        "vips": st.sampled_from(("rack", "all", "none")),
        "tor_vips": st.sampled_from(("rack", "all")),
    }
)


@st.composite
def _rack(draw: st.DrawFn, number: int, families: Sequence[str]) -> dict[str, Any]:
    ranges = [f"10.2.{number}.0/24", f"fd00:2:{number}::/64"]
    tors = [f"10.3.{number}.1", f"10.3.{number}.2", f"fd00:3:{number}::1"]
    carried = [
        p for p in _FROM_TORS if (":" in p and "ipv6" in families) or (":" not in p and "ipv4" in families)
    ]
    bounds = draw(st.lists(st.sampled_from(_BOUNDS), unique=True, min_size=1, max_size=3))
    named = [f"fd00:2:{number}::/120", f"10.2.{number}.0/25"]
    return {
        "enforce": draw(st.sampled_from((True, True, "observe"))),
        "observe": {
            "prefixes": bounds,
            "next_hops": draw(
                st.lists(st.sampled_from(named[1:]), max_size=1).map(lambda hops: [*named[:1], *hops])
            ),
        },
        "nodes": {"ranges": draw(st.sampled_from((ranges, ranges[:1], ranges[1:])))},
        "tors": [
            {"address": tor, "add_paths": draw(st.sampled_from((0, 2, 16)))}
            for tor in draw(st.sampled_from((tors[:1], tors[:2], tors[1:], [])))
        ],
        "from_tors": draw(st.lists(st.sampled_from(carried), unique=True, max_size=2)),
    }


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    families = draw(_FAMILIES)
    names = draw(st.sampled_from((RACKS[:1], RACKS[:2], RACKS)))
    racks = {name: draw(_rack(number, families)) for number, name in enumerate(names, 1)}
    return instance(racks, families=families, reflect=draw(_REFLECT))


PAIRS = st.sampled_from((None, *addresses("10.0.0.12", "fd00::12")))
"""The other half's speaker, where there is one."""
_HOSTS = addresses(
    *(f"10.2.{rack}.{host}" for rack in (1, 2, 3) for host in (11, 12, 13)),
    *(f"fd00:2:{rack}::{host}" for rack in (1, 2, 3) for host in (11, 12)),
    "192.0.2.1",
)
_POOLS = networks("10.100.0.0/24", "10.101.0.0/30", "10.102.0.7/32", "fd00:100::/112")
_OWNED = networks(
    *(f"10.244.{number}.0/24" for number in range(5)),
    "10.244.8.0/26",
    "10.244.8.64/26",
    "10.102.0.8/32",
    *(f"fd00:10:{number}::/64" for number in range(4)),
)


@st.composite
def all_allocations(draw: st.DrawFn) -> Allocations:
    """Every address and prefix has at most one owner, as the IPAM guarantees; some nodes own nothing."""
    names = NODES[: draw(st.integers(0, len(NODES)))]
    hosts = {name: list[Address]() for name in names}
    owned = {name: list[Network]() for name in names}
    # A pool of one address may have been a node's prefix before, and become one again.
    prefixes, pools = [*_OWNED], [*_POOLS]
    if draw(st.booleans()) and names:
        prefixes.append(pools.pop(2))
    for address in draw(st.permutations(_HOSTS)) if names else ():
        hosts[draw(st.sampled_from(names))].append(address)
    for prefix in prefixes if names else ():
        if (owner := draw(st.sampled_from((None, *names)))) is not None:
            owned[owner].append(prefix)
    named = [name for name in names if hosts[name]]
    nodes = {
        name: NodeAllocation(
            name, tuple(hosts[name][:3]), tuple(owned[name]), draw(_borrowed(name, named, owned))
        )
        for name in named
    }
    some = st.frozensets(st.sampled_from((*NODES, "not-yet")), max_size=3)
    open_to: st.SearchStrategy[frozenset[str] | None] = st.one_of(st.none(), some)
    vips = tuple(VipPool((pool,), draw(open_to)) for pool in pools if draw(st.booleans()))
    return Allocations(nodes, vips)


@st.composite
def _borrowed(
    draw: st.DrawFn, name: str, names: Sequence[str], owned: Mapping[str, Sequence[Network]]
) -> tuple[Network, ...]:
    """Host routes that a node may have borrowed: each node another one of every foreign block."""
    number = names.index(name) + 1
    blocks = [p for other in names if other != name for p in owned[other] if p.prefixlen < p.max_prefixlen]
    routes = [ip_network((block[number], block.max_prefixlen)) for block in blocks]
    return tuple(route for route in routes if draw(st.booleans()))


@st.composite
def later_than(draw: st.DrawFn, before: Allocations) -> Allocations:
    """The same nodes a while later: most as before, prefixes and pools given to others, some nodes gone."""
    drawn = draw(all_allocations())
    kept = {
        name: replace(drawn.nodes[name], addresses=node.addresses)
        if name in drawn.nodes
        else NodeAllocation(name, node.addresses)
        for name, node in before.nodes.items()
        if draw(st.integers(0, 9))
    }
    return Allocations(kept, drawn.vips)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    return World(draw(instances()), draw(all_allocations()), draw(PAIRS))
