"""The benchmark's network."""

from itertools import combinations

import pytest

from tests.bench.rib import Rib
from tests.bench.topology import REFLECTOR, TORS, Allocated, Topology
from tests.bench.wire import announcement, split, withdrawal


def network(nodes: int, rack_size: int = 50) -> Topology:
    return Topology(nodes, rack_size, "rack", hold_time=90, add_paths=16, trials=20)


@pytest.mark.parametrize(("nodes", "rack_size"), [(2, 50), (100, 50), (130, 61), (130, 62), (40, 1)])
def test_racks_hold_all_nodes_and_do_not_overlap(nodes: int, rack_size: int) -> None:
    topology = network(nodes, rack_size)
    assert len({node.address for node in topology.all_nodes}) == nodes
    assert all(node.address in rack.range for rack in topology.racks for node in rack.nodes)
    assert not any(a.range.overlaps(b.range) for a, b in combinations(topology.racks, 2))
    assert not any(address in rack.range for rack in topology.racks for address in (REFLECTOR, *TORS))


def test_fifty_nodes_need_a_26() -> None:
    assert {rack.range.prefixlen for rack in network(2000).racks} == {26}


def test_no_prefix_has_two_owners() -> None:
    topology = network(4000)
    allocated = Allocated(frozenset(node.name for node in topology.growers))
    owned = [prefix for node in topology.all_nodes for prefix in topology.owned(node, allocated)]
    assert len(owned) == len(set(owned))
    assert topology.expected < set(owned)


def test_vips_are_nobodys_prefix_and_come_from_racks_of_their_own() -> None:
    topology = network(500)
    assert len(topology.vips) == len(set(topology.vips)) == 10
    owned = [prefix for node in topology.all_nodes for prefix in topology.owned(node)]
    assert not any(vip.overlaps(prefix) for vip in topology.vips for prefix in owned)
    for vip in topology.vips:
        assert len({node.rack for node in topology.vip_announcers(vip)}) == 5


@pytest.mark.parametrize("nodes", [1, 3, 7])
def test_a_vip_comes_from_each_of_few_nodes_once(nodes: int) -> None:
    topology = Topology(nodes, 50, "rack", hold_time=90, add_paths=16, trials=3)
    announcers = topology.vip_announcers(topology.vips[0]) if topology.vips else ()
    assert len(set(announcers)) == len(announcers) == min(5, nodes)


def test_who_announces_more_and_who_is_granted_more_are_different_nodes() -> None:
    topology = network(500)
    assert len(topology.announcers) == len(topology.growers) == 20
    assert not set(topology.announcers) & set(topology.growers)


def test_a_rib_counts_withdrawals_and_keeps_the_first_arrival() -> None:
    node = network(10).all_nodes[0]
    prefix = node.prefix(0)
    rib = Rib()
    for now, data in (
        (1.0, announcement([prefix], node.address)),
        (2.0, announcement([prefix], node.address)),
    ):
        for _, body in split(bytearray(data)):
            rib.apply(body, add_path=False, now=now)
    assert (rib.when(prefix), rib.departed(prefix)) == (1.0, None)
    assert rib.prefixes() == {prefix}
    for _, body in split(bytearray(withdrawal([prefix]))):
        rib.apply(body, add_path=False, now=3.0)
    assert (len(rib), rib.withdrawals, rib.when(prefix), rib.departed(prefix)) == (0, 1, None, 3.0)
