"""Engines that die, hang, or hold what nobody asked for are replaced or repaired, and no hijack survives."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import ExabgpNode, Forwarding, GobgpNode, Network, all_established, eventually
from tests.lab.gobgp import engine_program
from tests.lab.process import alive, run
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    TORS,
    VIP,
    Calm,
    Fabric,
    build,
    tors_hold,
    undisturbed,
)

pytestmark = pytest.mark.root

INTRUDER = "10.2.0.66"
HIJACKS = {PODS["node-1"], "0.0.0.0/0", "203.0.113.0/24", "10.244.2.0/25"}
REPAIRED = 12.0
"""Seconds in which whatever somebody did to an engine is undone: two audits."""


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    """The fabric, and an intruder that announces others' prefixes all the time."""
    fabric = build(shared_net)
    intruder = ExabgpNode(shared_net, "intruder", INTRUDER, to=fabric.appliance.remote())
    for prefix in HIJACKS:
        intruder.announce(prefix)
    eventually(intruder.established, 15, "the intruder has a session")
    fabric.nodes["intruder"] = intruder
    eventually(
        lambda: len(fabric.appliance.violations(active=True)) == len(HIJACKS), 5, "its hijacks are seen"
    )
    return fabric


@pytest.fixture(autouse=True)
def _whole_again(fabric: Fabric) -> Iterator[None]:
    yield
    tors_hold(fabric, ROUTES, within=60)
    tors_have_whole_vip(fabric)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 60, "all is well after the test")


def tors_have_whole_vip(fabric: Fabric) -> None:
    eventually(
        lambda: all(tor.next_hops(VIP) == set(NODES.values()) for tor in fabric.tors), 60, "the VIP is whole"
    )


def engine(fabric: Fabric) -> Any:
    """What `rrctl status` says of the engine."""
    return fabric.appliance.rrctl("status")["instances"][0]["engine"]


def policy(fabric: Fabric) -> Any:
    """What `rrctl status` says of the policy."""
    return fabric.appliance.rrctl("status")["instances"][0]["policy"]


def gobgp(fabric: Fabric, *words: str) -> str:
    """The engine's own command line tool, in the hands of somebody who should not."""
    socket = fabric.appliance.run_dir / "main" / "gobgpd.sock"
    return run([engine_program("gobgp"), "--target", f"unix://{socket}", *words])


def happened(fabric: Fabric, since: int, kind: str) -> list[str]:
    events = fabric.appliance.rrctl("events", "--since", str(since))
    return [event["text"] for event in events if event["kind"] == kind]


def last_event(fabric: Fabric) -> int:
    return int(fabric.appliance.rrctl("events")[-1]["id"])


# Tampering


def accept_by_default(fabric: Fabric) -> None:
    gobgp(fabric, "global", "policy", "import", "set", "rr-import", "default", "accept")


def take_the_policy_off(fabric: Fabric) -> None:
    gobgp(fabric, "global", "policy", "import", "set", "default", "accept")


def let_everything_through(fabric: Fabric) -> None:
    gobgp(fabric, "policy", "statement", "open", "add", "action", "accept")
    gobgp(fabric, "policy", "add", "open", "open")
    gobgp(fabric, "global", "policy", "import", "set", "open", "default", "accept")


def edit_a_prefix_set(fabric: Fabric) -> None:
    """Give node-3 the pod prefix of node-1, and announce it from there."""
    sets = json.loads(gobgp(fabric, "policy", "prefix", "-j"))
    name = next(s["name"] for s in sets if any(p["ip_prefix"] == PODS["node-3"] for p in s["prefixes"]))
    gobgp(fabric, "policy", "prefix", "add", name, PODS["node-1"])


def remove_a_prefix_from_a_set(fabric: Fabric) -> None:
    sets = json.loads(gobgp(fabric, "policy", "prefix", "-j"))
    name = next(s["name"] for s in sets if any(p["ip_prefix"] == PODS["node-3"] for p in s["prefixes"]))
    gobgp(fabric, "policy", "prefix", "del", name, PODS["node-3"])


def delete_the_policy(fabric: Fabric) -> None:
    gobgp(fabric, "global", "policy", "import", "del", "rr-import")
    gobgp(fabric, "policy", "del", "rr-import")


TAMPERING = {
    "the default is accept": accept_by_default,
    "the policy is taken off": take_the_policy_off,
    "another policy lets everything through": let_everything_through,
    "a prefix is put into a node's set": edit_a_prefix_set,
    "a prefix is taken out of a node's set": remove_a_prefix_from_a_set,
    "the policy is deleted": delete_the_policy,
}


@pytest.mark.parametrize("what", TAMPERING)
def test_a_policy_that_somebody_changed_is_repaired(fabric: Fabric, what: str) -> None:
    """With the hijacks announced again meanwhile: within two audits only what is allowed is left, and it is said."""
    repairs, mark = policy(fabric)["repairs"], last_event(fabric)
    node_3 = fabric.nodes["node-3"]
    calm = Calm(fabric.tors)
    TAMPERING[what](fabric)
    node_3.announce(PODS["node-1"])
    for peer in (fabric.nodes["intruder"], node_3):
        gobgp(fabric, "neighbor", peer.router_id, "softresetin")
    eventually(
        lambda: policy(fabric)["repairs"] > repairs,
        REPAIRED,
        "the repair is counted",
        seen=lambda: (gobgp(fabric, "global", "policy"), gobgp(fabric, "policy", "prefix")),
    )
    assert any("nobody asked for" in text for text in happened(fabric, mark, "repair"))
    tors_hold(fabric, ROUTES, within=REPAIRED)
    eventually(
        lambda: all(tor.next_hops(PODS["node-1"]) == {NODES["node-1"]} for tor in fabric.tors), 5, "its owner"
    )
    assert dict(fabric.frr.session_marks()) == calm.marks[fabric.frr]
    node_3.withdraw(PODS["node-1"])


def test_a_stray_neighbor_is_removed(fabric: Fabric) -> None:
    """Somebody adds a neighbor that the configuration does not have: it is gone within an audit; others stay."""
    stray = GobgpNode(fabric.net, "stray", "10.5.0.66", to=fabric.appliance.remote(), passive=True)
    stray.announce("198.51.100.0/24")
    with undisturbed(fabric):
        gobgp(fabric, "neighbor", "add", "10.5.0.66", "as", "64512")
        eventually(lambda: "10.5.0.66" not in neighbors(fabric), REPAIRED, "it is removed")
    assert not any("198.51.100.0/24" in {h.prefix for h in tor.heard()} for tor in fabric.tors)
    stray.kill()


def neighbors(fabric: Fabric) -> set[str]:
    return {n["state"]["neighbor_address"] for n in json.loads(gobgp(fabric, "neighbor", "-j"))}


def test_a_tor_that_somebody_deleted_is_back(fabric: Fabric) -> None:
    """`gobgp neighbor del` of a ToR: within seconds its session is up again and holds everything; others stay."""
    others = Calm((fabric.bird, *fabric.nodes.values()))
    gobgp(fabric, "neighbor", "del", TORS[0])
    eventually(lambda: not fabric.frr.established(), 5, "the ToR is out")
    all_established(fabric.frr, timeout=REPAIRED + 10)
    tors_hold(fabric, ROUTES, within=10)
    others.check()


def sessions_up(fabric: Fabric) -> int:
    return sum(peer["state"] == "established" for peer in fabric.appliance.rrctl("peers"))


# Death


def test_a_killed_engine_is_replaced_and_no_hijack_gets_in_meanwhile(fabric: Fabric) -> None:
    """SIGKILL: all sessions return, no ToR removes a route or hears of the intruder once; it is counted and said."""
    eventually(lambda: sessions_up(fabric) == len(fabric.everyone), 10, "rrd knows of all sessions")
    before, mark = engine(fabric), last_event(fabric)
    told, calm = {tor: len(tor.heard()) for tor in fabric.tors}, Calm(fabric.tors)
    tables = {tor.name: Forwarding(tor.host) for tor in fabric.tors}
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: engine(fabric)["pid"] not in (None, before["pid"]), 5, "another engine runs")
    whole = "main is whole again: all 6 peers are back"
    eventually(lambda: happened(fabric, mark, "engine")[-1].startswith(whole), 20, "it is whole")
    now = engine(fabric)
    assert (now["state"], now["restarts"]) == ("running", before["restarts"] + 1)
    said = happened(fabric, mark, "engine")
    assert said[0].startswith("the engine of main is gone: ")
    assert said[1] == f"engine started (gobgpd {now['version']}, pid {now['pid']})"
    assert said[2] == "main takes 4 nodes back that were up before"
    all_established(*fabric.everyone, timeout=5)
    tors_hold(fabric, ROUTES, within=5)
    assert calm.lost() == {}
    assert {name: table.taken_out() for name, table in tables.items()} == {"tor-1": [], "tor-2": []}
    for tor in fabric.tors:
        assert not {h.prefix for h in tor.heard()[told[tor] :]} & (HIJACKS - ROUTES)
        assert tor.next_hops(PODS["node-1"]) == {NODES["node-1"]}


def test_an_engine_that_hangs_is_noticed_and_replaced(fabric: Fabric) -> None:
    """SIGSTOP: within half a minute it is called hanging, ended and replaced."""
    before, mark = engine(fabric), last_event(fabric)
    os.kill(before["pid"], signal.SIGSTOP)
    try:
        eventually(
            lambda: engine(fabric)["pid"] not in (None, before["pid"]),
            30,
            "another engine runs",
            seen=lambda: happened(fabric, mark, "engine"),
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(before["pid"], signal.SIGCONT)
    assert not alive(before["pid"])
    assert any("hangs" in text for text in happened(fabric, mark, "engine"))


def test_an_engine_whose_port_is_taken_says_so_and_starts_when_it_is_free(fabric: Fabric) -> None:
    """The engine dies and another process takes its port: check is critical and names it, then it recovers."""
    controller = fabric.appliance.process
    assert controller is not None
    controller.signal(signal.SIGSTOP)  # so that the port is taken before it can react
    os.kill(engine_pid(fabric), signal.SIGKILL)
    with eventually(lambda: fabric.appliance.host.listen(179), 2, "the port is taken"):
        controller.signal(signal.SIGCONT)
        line = eventually(
            lambda: said_of_port(fabric), 10, "check names the port", seen=lambda: check(fabric)
        )
        assert line.startswith("RR CRITICAL - Instance main: ")
    eventually(lambda: engine(fabric)["state"] == "running", 40, "it runs once the port is free")


def engine_pid(fabric: Fabric) -> int:
    (pid,) = fabric.appliance.engines()
    return pid


def check(fabric: Fabric) -> str:
    return fabric.appliance.tell("check").stdout


def said_of_port(fabric: Fabric) -> str:
    line = check(fabric)
    return line if "179" in line else ""
