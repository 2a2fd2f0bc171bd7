"""Nodes that restart keep their routes, nodes that die lose them: after their time, or at once where that is known."""

from typing import Any

import pytest

from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    FrrNode,
    Network,
    all_established,
    eventually,
    never,
)
from tests.scenarios.lifecycle import NODES, PODS, ROUTES, VIP, Calm, Fabric, build, instances, tors_hold

pytestmark = pytest.mark.root

STALE_TIME = 6
SLACK = 3.0
"""Seconds for rrd to notice, and for the ToR to be told."""


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    return build(shared_net)


@pytest.fixture(autouse=True)
def _as_found(fabric: Fabric) -> Any:
    yield
    keep_for(fabric, None)
    for node in fabric.nodes.values():
        if not node.processes:
            node.start()
    all_established(*fabric.nodes.values(), timeout=40)
    tors_hold(fabric, ROUTES, within=20)


def keep_for(fabric: Fabric, seconds: int | None) -> None:
    """Set `stale_time` of the rack, or leave it to its default."""
    config = instances()
    if seconds is not None:
        config["main"]["racks"]["rack-1"]["nodes"]["stale_time"] = seconds
    fabric.appliance.set_config(config)
    fabric.appliance.reload()


def others(fabric: Fabric, but: str) -> Calm:
    return Calm((*fabric.tors, *(node for name, node in fabric.nodes.items() if name != but)))


def stale(appliance: Appliance, address: str) -> int:
    """How many routes of a peer are kept while it restarts."""
    return sum(int(p["stale"]) for p in appliance.rrctl("peers") if p["address"] == address)


def die(fabric: Fabric, name: str) -> None:
    """Have a node die, and wait until its routes are stale."""
    fabric.nodes[name].kill()
    eventually(lambda: stale(fabric.appliance, NODES[name]) == 2, 5, f"the routes of {name} are stale")


@pytest.mark.parametrize("name", NODES)
def test_a_node_whose_agent_restarts_keeps_its_routes(fabric: Fabric, name: str) -> None:
    """The BGP daemon of an FRR, BIRD and GoBGP node is killed and started again: 0 removals at both ToRs."""
    calm = others(fabric, name)
    die(fabric, name)
    never(calm.removed, 2, "a removal while the agent is away")
    fabric.nodes[name].start()
    all_established(fabric.nodes[name], timeout=30)
    eventually(lambda: stale(fabric.appliance, NODES[name]) == 0, 15, "every route was announced again")
    never(calm.removed, 2, "a removal after it is back")
    calm.check()
    tors_hold(fabric, ROUTES)


def test_a_node_that_dies_loses_its_routes_when_the_time_is_over(fabric: Fabric) -> None:
    """With `stale_time: 6` its routes stay for 6 seconds, although it asked for 120, and then they are gone."""
    keep_for(fabric, STALE_TIME)
    calm = others(fabric, "node-2")
    die(fabric, "node-2")
    never(calm.removed, STALE_TIME - 2, "a removal before the time is over")
    tors_hold(fabric, ROUTES - {PODS["node-2"]}, within=2 + SLACK)
    calm.check(gone={PODS["node-2"], VIP})
    assert any(
        "2 routes of node-2 (10.2.0.12), whose session is down, are dropped after 6 s" in event["text"]
        for event in fabric.appliance.rrctl("events")
    )


def test_with_a_stale_time_of_zero_routes_go_with_the_session(fabric: Fabric) -> None:
    """`stale_time: 0`: the routes of a node that dies are gone within moments."""
    keep_for(fabric, 0)
    calm = others(fabric, "node-1")
    fabric.nodes["node-1"].kill()
    tors_hold(fabric, ROUTES - {PODS["node-1"]}, within=SLACK)
    calm.check(gone={PODS["node-1"], VIP})


def test_a_node_that_an_administrator_says_is_down_loses_its_routes_at_once(fabric: Fabric) -> None:
    """`rrctl node down` on a dead node: stale routes gone at once; a second time there is nothing to do."""
    calm = others(fabric, "node-2")
    die(fabric, "node-2")
    told = fabric.appliance.rrctl("node", "down", "node-2")
    assert told == {
        "node": "node-2",
        "closed": [{"instance": "main", "address": NODES["node-2"], "routes": 2}],
    }
    tors_hold(fabric, ROUTES - {PODS["node-2"]}, within=1)
    calm.check(gone={PODS["node-2"], VIP})
    eventually(
        lambda: fabric.appliance.rrctl("node", "down", "node-2") == {"node": "node-2", "closed": []},
        2,
        "nothing is left to do",
    )


def test_a_node_that_is_alive_comes_back_after_node_down(fabric: Fabric) -> None:
    """`rrctl node down` on a living node: its session is closed and comes back by itself; it is not blamed for it."""
    calm = others(fabric, "node-3")
    (closed,) = fabric.appliance.rrctl("node", "down", NODES["node-3"])["closed"]
    assert closed["address"] == NODES["node-3"]
    tors_hold(fabric, ROUTES, within=20)
    calm.check(gone={PODS["node-3"], VIP})
    assert fabric.appliance.rrctl("quarantine", "list") == []


def test_node_down_of_nobody_is_refused_in_a_sentence(fabric: Fabric) -> None:
    """A name that the IPAM does not know: exit code 1, and where to look."""
    told = fabric.appliance.tell("node", "down", "node-77")
    assert told.exit == 1
    assert "node-77 is neither an address nor a node that the IPAM knows" in told.stderr


def test_stale_routes_of_a_node_that_lost_power_go_too(net: Network) -> None:
    """The cable is pulled, so nobody closes anything: gone after the hold time and `stale_time`, not before."""
    rack = {
        "nodes": {"ranges": ["10.2.0.0/24"], "stale_time": STALE_TIME},
        "tors": [{"address": "10.2.1.1"}],
    }
    main = {"asn": 64512, "router_id": "10.0.0.11", "hold_time": 3, "racks": {"rack-1": rack}}
    nodes = {"node-1": {"addresses": ["10.2.0.11"], "prefixes": ["10.244.1.0/24"]}}
    appliance = Appliance(net, "rr-a", "10.0.0.11", instances={"main": main}, allocations={"nodes": nodes})
    tor = BirdTor(net, "tor-1", "10.2.1.1", to=appliance.remote())
    node = BirdNode(net, "node-1", "10.2.0.11", to=appliance.remote(), hold_time=3)
    node.announce("10.244.1.0/24")
    all_established(tor, node)
    eventually(lambda: tor.next_hops("10.244.1.0/24"), 5, "the ToR has the route")
    node.host.unplug()
    never(tor.removals, STALE_TIME - 1, "a removal before the time is over")
    eventually(tor.removals, 3 + 1 + SLACK + 2, "the route is gone")


def test_bfd_ends_a_dead_nodes_routes_at_once(net: Network) -> None:
    """With `bfd: true` an FRR node whose cable is pulled loses its routes within 2 seconds, without a stale time."""
    rack = {"nodes": {"ranges": ["10.2.0.0/24"], "bfd": True}, "tors": [{"address": "10.2.1.1"}]}
    main = {"asn": 64512, "router_id": "10.0.0.11", "racks": {"rack-1": rack}}
    nodes = {"node-1": {"addresses": ["10.2.0.11"], "prefixes": ["10.244.1.0/24"]}}
    appliance = Appliance(net, "rr-a", "10.0.0.11", instances={"main": main}, allocations={"nodes": nodes})
    tor = BirdTor(net, "tor-1", "10.2.1.1", to=appliance.remote())
    node = FrrNode(net, "node-1", "10.2.0.11", to=appliance.remote())
    node.start_bfd()
    node.announce("10.244.1.0/24")
    all_established(tor, node)
    eventually(lambda: tor.next_hops("10.244.1.0/24"), 5, "the ToR has the route")
    eventually(
        node.bfd_up, 15, "the BFD session is up", seen=lambda: node.vty("show bfd peers", program="bfdd")
    )
    node.host.unplug()
    eventually(tor.removals, 2, "the route is gone")
