"""Two instances with different AS numbers in one controller: own engines, own sessions, and nothing crosses."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    all_established,
    eventually,
)
from tests.scenarios.lifecycle import Calm

pytestmark = pytest.mark.root

RED, BLUE = "red", "blue"
ASN = {RED: 64512, BLUE: 4200000001}
OWN = {RED: "10.0.0.11", BLUE: "10.0.0.12"}
NODE = {RED: "10.2.0.11", BLUE: "10.3.0.11"}
TOR = {RED: "10.2.1.1", BLUE: "10.3.1.1"}
POD = {RED: "10.244.1.0/24", BLUE: "10.244.2.0/24"}
VIP = "10.100.0.1/32"


@dataclass(frozen=True)
class Pair:
    """One appliance, two instances, a node and a ToR for each."""

    appliance: Appliance
    nodes: dict[str, Peer]
    tors: dict[str, Peer]

    @property
    def everyone(self) -> tuple[Peer, ...]:
        return (*self.nodes.values(), *self.tors.values())


def instances() -> dict[str, Any]:
    return {
        colour: {
            "asn": ASN[colour],
            "router_id": OWN[colour],
            "racks": {
                f"rack-{colour}": {
                    "nodes": {"ranges": [NODE[colour].rsplit(".", 1)[0] + ".0/24"]},
                    "tors": [{"address": TOR[colour]}],
                }
            },
            "reflect": {"nodes": "all", "tors": "all", "vips": "all"},
        }
        for colour in (RED, BLUE)
    }


@pytest.fixture(scope="module")
def pair(shared_net: Network) -> Pair:
    nodes = {colour: {"addresses": [NODE[colour]], "prefixes": [POD[colour]]} for colour in (RED, BLUE)}
    appliance = Appliance(
        shared_net,
        "rr-a",
        *OWN.values(),
        instances=instances(),
        allocations={"nodes": nodes, "vips": [{"prefixes": ["10.100.0.0/24"]}]},
    )
    pair = Pair(
        appliance,
        {
            RED: GobgpNode(shared_net, "node-red", NODE[RED], to=appliance.remote(RED)),
            BLUE: BirdNode(shared_net, "node-blue", NODE[BLUE], to=appliance.remote(BLUE)),
        },
        {
            RED: FrrTor(shared_net, "tor-red", TOR[RED], to=appliance.remote(RED)),
            BLUE: BirdTor(shared_net, "tor-blue", TOR[BLUE], to=appliance.remote(BLUE)),
        },
    )
    all_established(*pair.everyone)
    for colour, node in pair.nodes.items():
        node.announce(POD[colour])
        node.announce(VIP)
    for colour in (RED, BLUE):
        hold_own(pair, colour)
    return pair


def hold_own(pair: Pair, colour: str) -> None:
    eventually(
        lambda: set(pair.tors[colour].routes()) == {POD[colour], VIP},
        20,
        f"the {colour} ToR holds its routes",
        seen=pair.tors[colour].routes,
    )


def engines(pair: Pair) -> dict[str, int]:
    return {i["instance"]: i["engine"]["pid"] for i in pair.appliance.rrctl("status")["instances"]}


def test_each_instance_has_an_engine_and_a_socket_of_its_own(pair: Pair) -> None:
    """Two processes, two AS numbers (one of them of 32 bits), two sockets that only their owner can open."""
    assert sorted(engines(pair).values()) == sorted(pair.appliance.engines())
    shown = pair.appliance.rrctl("status")["instances"]
    assert {i["instance"]: (i["asn"], i["router_id"]) for i in shown} == {c: (ASN[c], OWN[c]) for c in ASN}
    for colour in (RED, BLUE):
        directory = pair.appliance.run_dir / colour
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "gobgpd.sock").is_socket()


def test_nothing_crosses_from_one_instance_to_the_other(pair: Pair) -> None:
    """With everything reflected to everybody: each side holds its own routes alone, its VIP by its own node."""
    for colour, other in ((RED, BLUE), (BLUE, RED)):
        assert set(pair.tors[colour].routes()) == {POD[colour], VIP}
        assert pair.tors[colour].next_hops(VIP) == {NODE[colour]}
        assert POD[other] not in {heard.prefix for heard in pair.tors[colour].heard()}
        assert pair.nodes[colour].routes() == {}


def test_what_one_instance_says_is_told_apart_from_the_others(pair: Pair) -> None:
    """`peers`, `routes` and `explain` name the instance, and can be asked for one."""
    for colour in (RED, BLUE):
        peers = pair.appliance.rrctl("peers", "--instance", colour)
        assert {(p["instance"], p["address"]) for p in peers} == {
            (colour, NODE[colour]),
            (colour, TOR[colour]),
        }
        routes = pair.appliance.rrctl("routes", "--instance", colour)
        assert {(r["prefix"], r["node"]) for r in routes} == {(POD[colour], colour), (VIP, colour)}
        assert pair.appliance.rrctl("explain", POD[colour], "--from", colour)["instance"] == colour


def test_a_node_cannot_announce_the_other_instances_prefix(pair: Pair) -> None:
    """The pod prefix of the blue node from the red one: rejected in red, and blue does not even hear of it."""
    pair.nodes[RED].announce(POD[BLUE])
    eventually(
        lambda: pair.appliance.violations(instance=RED, prefix=POD[BLUE], reason="foreign-prefix"), 5, "seen"
    )
    assert not pair.appliance.violations(instance=BLUE)
    assert set(pair.tors[RED].routes()) == {POD[RED], VIP}
    assert pair.tors[BLUE].next_hops(POD[BLUE]) == {NODE[BLUE]}
    pair.nodes[RED].withdraw(POD[BLUE])


def test_the_death_of_one_engine_is_not_noticed_by_the_other_instance(pair: Pair) -> None:
    """The red engine is killed and comes back; blue sessions and routes stay, and so does its engine."""
    before = engines(pair)
    calm = Calm((pair.nodes[BLUE], pair.tors[BLUE]))
    pair.appliance.host.run("kill", "-KILL", str(before[RED]))
    eventually(lambda: engines(pair)[RED] not in (None, before[RED]), 10, "another red engine runs")
    all_established(*pair.everyone, timeout=30)
    hold_own(pair, RED)
    calm.check()
    assert engines(pair)[BLUE] == before[BLUE]


def test_both_engines_are_adopted_by_a_new_controller(pair: Pair) -> None:
    """The controller is killed and started: both engines are the same, no session and no route noticed."""
    calm, before = Calm(pair.everyone), engines(pair)
    pair.appliance.kill()
    pair.appliance.start()
    assert engines(pair) == before
    calm.check()


@pytest.mark.parametrize("hanging", [False, True], ids=["its engine answers", "its engine hangs"])
def test_an_instance_that_was_renamed_while_no_controller_ran_keeps_its_port(
    pair: Pair, hanging: bool
) -> None:
    """Its engine under the old name ends, one under the new name listens in its place; the other stays untouched."""
    before, calm = engines(pair), Calm((pair.nodes[BLUE], pair.tors[BLUE]))
    (old,) = before.keys() - {BLUE}
    new = f"{old}-renamed"
    pair.appliance.kill()
    if hanging:
        pair.appliance.host.run("kill", "-STOP", str(before[old]))
    pair.appliance.set_config({new: instances()[RED], BLUE: instances()[BLUE]})
    pair.appliance.start()
    now = engines(pair)
    assert now.keys() == {new, BLUE}
    assert now[BLUE] == before[BLUE]
    assert sorted(now.values()) == sorted(pair.appliance.engines())
    assert before[old] not in now.values()
    all_established(*pair.everyone, timeout=30)
    hold_own(pair, RED)
    calm.check()
