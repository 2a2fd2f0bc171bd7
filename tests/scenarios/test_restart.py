"""An engine that dies comes back without a packet lost: what the ToRs forward by is watched all the time."""

import os
import signal
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import Forwarding, Network, all_established, eventually
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    VIP,
    Calm,
    Config,
    Fabric,
    allocations,
    build,
    tors_hold,
)

pytestmark = pytest.mark.root

DEFERRAL = 8
HOLD_TIME = 60
"""Seconds, for a power cut: a GoBGP node is back after 5 to 8, ToRs after 2 or 3 more, and a busy host adds to it."""
SPEAKER: Config = {
    "hold_time": HOLD_TIME,
    "graceful_restart": {"restart_time": 60, "deferral_time": DEFERRAL},
}
BACK = 20.0
"""Seconds in which everybody is back: a GoBGP node waits five before it dials again."""


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    return build(shared_net, speaker=SPEAKER, hold_time=HOLD_TIME)


@pytest.fixture(autouse=True)
def _whole_before(fabric: Fabric) -> None:
    whole(fabric)
    tors_hold(fabric, ROUTES, within=BACK)


def status(fabric: Fabric) -> Any:
    return fabric.appliance.rrctl("status")["instances"][0]


def whole(fabric: Fabric, within: float = BACK) -> None:
    """Wait until the engine serves, nobody is awaited, every peer is up, and the roster has them all."""

    def now() -> bool:
        found = status(fabric)
        return found["engine"]["state"] == "running" and not found["restart"]["under_way"]

    eventually(now, within, "nobody is awaited", seen=lambda: (status(fabric), said(fabric)[-5:]))
    all_established(*fabric.everyone, timeout=within)
    peers = len(fabric.everyone)
    eventually(
        lambda: len([p for p in fabric.appliance.rrctl("peers") if p["state"] == "established"]) == peers,
        5,
        "rrd sees all of them",
    )


def pid(fabric: Fabric) -> int:
    (found,) = fabric.appliance.engines()
    return found


def kill_engine(fabric: Fabric) -> None:
    """SIGKILL, and wait for another one."""
    before = pid(fabric)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: status(fabric)["engine"]["pid"] not in (None, before), 10, "another engine runs")


def said(fabric: Fabric, kind: str = "engine") -> list[str]:
    return [event["text"] for event in fabric.appliance.rrctl("events") if event["kind"] == kind]


@contextmanager
def nothing_lost(fabric: Fabric, *, but: Set[str] = frozenset()) -> Iterator[None]:
    """Assert that inside, neither ToR is told to drop a route or stops forwarding by it, except `but`."""
    calm, tables = Calm(fabric.tors), {tor.name: Forwarding(tor.host) for tor in fabric.tors}
    yield
    assert {name: found - but for name, found in calm.lost().items() if found - but} == {}
    lost = {name: set(table.taken_out()) - but for name, table in tables.items()}
    assert {name: found for name, found in lost.items() if found} == {}


def test_no_tor_loses_a_route_when_the_engine_is_killed(fabric: Fabric) -> None:
    """SIGKILL: every session returns, and neither ToR removed a route or a next hop from its forwarding table."""
    with nothing_lost(fabric):
        kill_engine(fabric)
        whole(fabric)
        tors_hold(fabric, ROUTES)
    assert said(fabric)[-1].startswith("main is whole again: all 5 peers are back, ")


def test_no_tor_loses_a_route_over_several_restarts_in_a_row(fabric: Fabric) -> None:
    """Killed three times, each time as soon as it is whole."""
    with nothing_lost(fabric):
        for _ in range(3):
            kill_engine(fabric)
            whole(fabric)
    tors_hold(fabric, ROUTES)


def test_an_engine_killed_in_the_middle_of_its_restart_still_gets_everybody_back(fabric: Fabric) -> None:
    """Killed again as soon as it takes its nodes back, twice: the roster still has everybody, and nothing is lost."""
    with nothing_lost(fabric):
        for _ in range(3):
            kill_engine(fabric)
        whole(fabric)
        tors_hold(fabric, ROUTES)
    assert said(fabric)[-1].startswith("main is whole again: all 5 peers are back, ")


def test_engine_and_controller_killed_together_come_back_without_loss(fabric: Fabric) -> None:
    """Both SIGKILLed; the next rrd finds the roster on disk and takes everybody back."""
    with nothing_lost(fabric):
        fabric.appliance.kill()
        os.kill(pid(fabric), signal.SIGKILL)
        fabric.appliance.start()
        whole(fabric)
        tors_hold(fabric, ROUTES)
    assert "main takes 3 nodes back that were up before" in said(fabric)[-4:]


def test_a_controller_killed_in_the_middle_of_a_restart_goes_on_with_it(fabric: Fabric) -> None:
    """rrd is killed right after the new engine began to take nodes back: the next rrd knows of it, and finishes it."""
    with nothing_lost(fabric):
        kill_engine(fabric)
        fabric.appliance.kill()
        fabric.appliance.start()
        assert status(fabric)["restart"]["under_way"]
        refused = fabric.appliance.tell("engine", "restart", "main")
        assert refused.exit == 1
        assert "main is taking its peers back from the restart before" in refused.stderr
        whole(fabric)
        tors_hold(fabric, ROUTES)
    assert said(fabric)[-1].startswith("main is whole again: all 5 peers are back, ")


def test_a_power_cut_shorter_than_the_hold_time_loses_no_route(fabric: Fabric) -> None:
    """The cable is pulled, engine and rrd are killed, nobody hears a FIN; both are started again: nothing is lost."""
    with nothing_lost(fabric):
        fabric.appliance.host.unplug()
        fabric.appliance.kill()
        os.kill(pid(fabric), signal.SIGKILL)
        fabric.appliance.host.plug()
        fabric.appliance.start()
        whole(fabric)
        tors_hold(fabric, ROUTES)


def test_a_route_revoked_while_the_engine_is_down_is_gone_afterwards_and_no_other(fabric: Fabric) -> None:
    """Allocations shrink between the engine's death and its return: that route alone is removed from both ToRs."""
    shrunk = allocations()
    shrunk["nodes"]["node-2"]["prefixes"] = []
    controller = fabric.appliance.process
    assert controller is not None
    with nothing_lost(fabric, but={PODS["node-2"]}):
        controller.signal(signal.SIGSTOP)
        os.kill(pid(fabric), signal.SIGKILL)
        fabric.appliance.set_allocations(shrunk)
        controller.signal(signal.SIGCONT)
        tors_hold(fabric, ROUTES - {PODS["node-2"]}, within=BACK)
        whole(fabric)
    fabric.appliance.set_allocations(allocations())


def test_a_hijack_tried_in_the_middle_of_a_restart_is_never_seen(fabric: Fabric) -> None:
    """A node announces another's prefix, a VIP-less default route and an unallocated one while the engine is down."""
    node, stolen = fabric.nodes["node-2"], {PODS["node-1"], "0.0.0.0/0", "203.0.113.0/24"}
    told = {tor: len(tor.heard()) for tor in fabric.tors}
    with nothing_lost(fabric):
        os.kill(pid(fabric), signal.SIGKILL)
        for prefix in stolen:
            node.announce(prefix)
        whole(fabric)
        eventually(lambda: len(fabric.appliance.violations(active=True)) == 3, 10, "all three are seen")
        tors_hold(fabric, ROUTES)
    for tor in fabric.tors:
        assert not {h.prefix for h in tor.heard()[told[tor] :]} & (stolen - ROUTES)
        assert tor.next_hops(PODS["node-1"]) == {NODES["node-1"]}
    for prefix in stolen:
        node.withdraw(prefix)


def test_a_node_that_never_comes_back_is_gone_after_the_deferral_time_and_no_sooner(fabric: Fabric) -> None:
    """One of three nodes dies with the engine: its route stays for the deferral time; it is missing until it comes."""
    node = fabric.nodes["node-3"]
    with nothing_lost(fabric, but={PODS["node-3"], VIP}):
        node.kill()
        os.kill(pid(fabric), signal.SIGKILL)
        all_established(fabric.nodes["node-1"], fabric.nodes["node-2"], timeout=DEFERRAL)
        assert all(PODS["node-3"] in tor.routes() for tor in fabric.tors)
        tors_hold(fabric, ROUTES - {PODS["node-3"]}, within=DEFERRAL + 5)
        eventually(
            lambda: all(t.next_hops(VIP) == {NODES["node-1"], NODES["node-2"]} for t in fabric.tors), 5, "VIP"
        )
        eventually(
            lambda: said(fabric)[-1].startswith("main waits no longer: 1 of 5 peers are not back, "),
            DEFERRAL + 10,
            "it is said",
        )
    assert missing(fabric) == [NODES["node-3"]]
    node.start()
    whole(fabric, within=30)
    eventually(lambda: missing(fabric) == [], 5, "nobody is missing any more")


def missing(fabric: Fabric) -> list[str]:
    (row,) = fabric.appliance.rrctl("status")["instances"]
    found: list[str] = row["restart"]["missing_peers"]
    assert row["restart"]["missing"] == len(found)
    return found


def test_a_node_that_stayed_away_dials_in_again_like_any_other(fabric: Fabric) -> None:
    """After the wait its explicit entry is handed back to the range: its next session is a dynamic one."""
    node = fabric.nodes["node-2"]
    node.kill()
    os.kill(pid(fabric), signal.SIGKILL)
    eventually(
        lambda: any("awaited no longer" in text for text in said(fabric, "policy")),
        DEFERRAL + 25,
        "it is handed back",
    )
    node.start()
    whole(fabric)
    tors_hold(fabric, ROUTES)


def test_a_tor_that_restarts_with_the_engine_ends_with_everything(fabric: Fabric) -> None:
    """The BIRD ToR is killed and started again while the engine is down: the FRR ToR loses nothing, BIRD has all."""
    calm, table = Calm((fabric.frr,)), Forwarding(fabric.frr.host)
    fabric.bird.kill()
    os.kill(pid(fabric), signal.SIGKILL)
    fabric.bird.start()
    whole(fabric)
    tors_hold(fabric, ROUTES, within=DEFERRAL + BACK)
    assert (calm.lost(), table.taken_out()) == ({}, [])


def test_an_engine_restarted_on_request_loses_nothing_and_says_how_far_it_is(fabric: Fabric) -> None:
    """`rrctl engine restart`: exit 0 once everybody is back, with what happened line by line, and no route lost."""
    with nothing_lost(fabric):
        told = fabric.appliance.tell("engine", "restart", timeout=60)
        assert told.exit == 0, told
        lines = told.stdout.splitlines()
        assert lines[0] == "main: the engine was ended; 5 peers are to come back."
        assert lines[-1].startswith("main: whole again after ")
        whole(fabric)
    assert status(fabric)["engine"]["ends"]["asked"] == 1


def test_a_restart_of_an_unknown_instance_is_refused(fabric: Fabric) -> None:
    """Exit 1 and one sentence that names the instances that there are; the engine goes on."""
    before = pid(fabric)
    told = fabric.appliance.tell("engine", "restart", "mian")
    assert (told.exit, told.stderr) == (1, "rrctl: there is no instance mian; it is one of main\n")
    assert pid(fabric) == before


def test_a_roster_that_is_corrupt_is_a_cold_start_said_aloud(fabric: Fabric) -> None:
    """The file is damaged while rrd is down and the engine dies: it says so, starts cold, and everything comes back."""
    roster = fabric.appliance.state_dir / "roster" / "main.json"
    fabric.appliance.kill()
    os.kill(pid(fabric), signal.SIGKILL)
    roster.write_bytes(roster.read_bytes()[:-20])
    fabric.appliance.start()
    assert any("the roster" in t and "cannot be used (it is corrupt)" in t for t in said(fabric, "roster"))
    tors_hold(fabric, ROUTES, within=70)
    assert "takes" not in said(fabric)[-1]
    eventually(roster.exists, 5, "the file is written anew")
    whole(fabric, within=70)
