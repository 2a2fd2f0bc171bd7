from ipaddress import ip_address, ip_network

from rr.demo.plan import VIP, Route, plan


def test_a_tor_should_hold_its_racks_podcidrs_and_every_path_of_the_vip() -> None:
    held = plan(2).held_by("tor-2")
    assert {route.prefix for route in held} == {
        VIP,
        *(ip_network(f"10.244.{number}.0/24") for number in (4, 5, 6)),
        *(ip_network(f"fd00:10:{number}::/64") for number in (4, 5, 6)),
    }
    assert sum(route.prefix == VIP for route in held) == 6


def test_a_node_should_hold_its_neighbours_podcidrs_with_them_as_next_hops_and_no_vip() -> None:
    assert plan(2).held_by("node-1") == {
        Route(ip_network("10.244.2.0/24"), ip_address("127.2.1.12")),
        Route(ip_network("10.244.3.0/24"), ip_address("127.2.1.13")),
        Route(ip_network("fd00:10:2::/64"), ip_address("fd00:1::12")),
        Route(ip_network("fd00:10:3::/64"), ip_address("fd00:1::13")),
    }


def test_a_granted_prefix_is_expected_at_its_racks_tor_and_nodes_alone() -> None:
    before = plan(2)
    after = before.granting("node-3", ip_network("10.244.23.0/24"))
    changed = [
        listener
        for listener in ("tor-1", "tor-2", *(node.name for node in before.nodes))
        if before.held_by(listener) != after.held_by(listener)
    ]
    assert changed == ["tor-1", "node-1", "node-2"]
    assert after.expected() == before.expected() + 1


def test_every_address_is_in_the_block_and_every_node_in_its_racks_range() -> None:
    demo = plan(77)
    for node in demo.nodes:
        assert node.address in demo.range_of(node.rack)
    for address in (demo.appliance, *(tor.address for tor in demo.tors)):
        assert address in ip_network("127.77.0.0/16")
        assert not any(address in demo.range_of(tor.rack) for tor in demo.tors)
