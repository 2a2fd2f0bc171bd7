"""A rack that nobody filtered before is observed first: what its nodes announce within bounds passes, and is shown."""

import copy
import itertools
import os
import signal
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    ExabgpNode,
    FrrNode,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    all_established,
    eventually,
    never,
)
from tests.lab.forwarding import Forwarding
from tests.scenarios.lifecycle import Calm, Config, sessions

pytestmark = pytest.mark.root

KNOWN, STRANGER, MATE, ATTACKER = "10.2.0.11", "10.2.0.12", "10.2.0.13", "10.2.0.14"
FAR, FAR_STRANGER = "10.3.0.11", "10.3.0.12"
TOR, ROUTER_ID = "10.2.1.1", "10.0.0.11"
OWN, MATES, FARS, FARS6 = "10.244.1.0/24", "10.244.3.0/24", "10.244.4.0/24", "fd00:10:4::/64"
VIP, FARS_VIP = "10.100.0.1/32", "10.100.1.1/32"
SENTINEL = "10.244.200.0/24"
PASSING = {
    # of the unknown GoBGP node
    ("10.244.20.0/24", STRANGER, "unknown-node"),
    ("10.244.20.7/32", STRANGER, "unknown-node"),
    ("fd00:10:20::/64", STRANGER, "unknown-node"),
    (VIP, STRANGER, "unknown-node"),
    # of the known FRR node
    ("10.244.21.0/24", KNOWN, "not-allocated"),
    ("10.244.1.128/25", KNOWN, "more-specific"),
    ("fd00:10:21::/64", KNOWN, "not-allocated"),
    # of the known BIRD node, which also takes the FRR node's prefix
    (OWN, MATE, "foreign-prefix"),
    ("10.244.2.0/23", MATE, "less-specific"),
}
"""What the nodes of the observed rack announce and would be rejected: prefix, peer and reason."""
OWNED = {(OWN, KNOWN), (MATES, MATE)}
"""What they announce and own."""


def instances(*, enforce: bool | str = "observe", **nodes: Any) -> Config:
    """An observed rack, and one beside it that is enforced."""
    observe = {"prefixes": ["10.244.0.0/16", "10.100.0.0/16", "fd00:10::/32"], "next_hops": ["fd00:2::/120"]}
    racks = {
        "rack-1": {
            "nodes": {"ranges": ["10.2.0.0/24"], **nodes},
            "tors": [{"address": TOR}, {"address": "10.2.1.2"}],
            "enforce": enforce,
            "observe": observe,
        },
        "rack-2": {"nodes": {"ranges": ["10.3.0.0/24"]}, "tors": [{"address": "10.3.1.1"}]},
    }
    return {"main": {"asn": 64512, "router_id": ROUTER_ID, "families": ["ipv4", "ipv6"], "racks": racks}}


ALLOCATIONS: Config = {
    "nodes": {
        "known": {"addresses": [KNOWN, "fd00:2::11"], "prefixes": [OWN]},
        "mate": {"addresses": [MATE], "prefixes": [MATES]},
        "far": {"addresses": [FAR, "fd00:3::11"], "prefixes": [FARS, FARS6]},
    },
    "vips": [{"prefixes": ["10.100.0.0/24"]}, {"prefixes": ["10.100.1.0/24"], "nodes": ["far"]}],
}


@dataclass
class Fabric:
    """An observed rack with nodes of every make, one of them up to no good, and an enforced rack."""

    appliance: Appliance
    tors: tuple[Peer, Peer]
    """Of the observed rack: FRR and BIRD."""
    far_tor: Peer
    nodes: dict[str, Peer]
    attacker: ExabgpNode
    marks: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def everyone(self) -> tuple[Peer, ...]:
        return (*self.tors, self.far_tor, *self.nodes.values())

    def reaches_nobody(self, prefix: str, **attributes: Any) -> None:
        """Have the attacker announce something, and see that no ToR ever hears it, though a later route arrives."""
        before = {tor: set(tor.paths(prefix)) for tor in (*self.tors, self.far_tor)}
        self.attacker.announce(prefix, **attributes)
        mark = f"65001:{next(self.marks)}"
        self.attacker.announce(SENTINEL, communities=[mark])
        eventually(
            lambda: all(mark in path.communities for tor in self.tors for path in tor.paths(SENTINEL)),
            5,
            "a later route of the same node",
            seen=lambda: [tor.paths(SENTINEL) for tor in self.tors],
        )
        assert {tor: set(tor.paths(prefix)) for tor in before} == before
        (row,) = eventually(lambda: self.going_on(prefix=prefix, peer=ATTACKER), 5, "it is a violation")
        assert row["enforced"] is True
        self.attacker.withdraw(prefix)

    def going_on(self, **wanted: Any) -> list[dict[str, Any]]:
        """The violations that go on."""
        return self.appliance.violations(active=True, **wanted)


def passing(appliance: Appliance) -> set[tuple[str, str, str]]:
    """What `rrctl violations --passing` lists as going on."""
    rows = appliance.rrctl("violations", "--passing")
    return {(r["prefix"], r["peer"], r["reason"]) for r in rows if r["active"]}


def held_by(tor: Peer) -> set[tuple[str, str]]:
    """What a ToR holds: prefix and who announced it."""
    return {(p, path.originator_id or "") for p, paths in tor.routes().items() for path in paths}


def from_rack(shown: Set[tuple[str, str, str]] = frozenset()) -> set[tuple[str, str]]:
    """What the observed rack's ToRs hold when this passes besides what is owned."""
    return OWNED | {(prefix, peer) for prefix, peer, _ in shown}


def tors_hold(fabric: Fabric, expected: Set[tuple[str, str]], within: float = 10) -> None:
    """Wait until both ToRs of the observed rack hold exactly this, the attacker's mark aside."""
    eventually(
        lambda: all({r for r in held_by(tor) if r[1] != ATTACKER} == expected for tor in fabric.tors),
        within,
        f"the ToRs hold exactly {sorted(expected)}",
        seen=lambda: [sorted(held_by(tor)) for tor in fabric.tors],
    )


def shown(fabric: Fabric, expected: Set[tuple[str, str, str]], within: float = 10) -> None:
    """Wait until exactly this is shown to pass, the attacker's mark aside."""
    eventually(
        lambda: {row for row in passing(fabric.appliance) if row[1] != ATTACKER} == expected,
        within,
        f"exactly {sorted(expected)} are shown",
        seen=lambda: sorted(passing(fabric.appliance)),
    )


@contextmanager
def undisturbed(fabric: Fabric, *, gone: Set[str] = frozenset()) -> Iterator[None]:
    """Assert that what happens inside resets nobody's session, and takes no route back but `gone`."""
    calm, since = Calm(fabric.everyone), sessions(fabric.appliance)
    yield
    calm.check(gone=gone)
    assert sessions(fabric.appliance).keys() == since.keys()


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Fabric:
    net = shared_net
    appliance = Appliance(net, "rr-a", ROUTER_ID, instances=instances(), allocations=ALLOCATIONS)
    remote = appliance.remote()
    nodes: dict[str, Peer] = {
        "known": FrrNode(net, "known", KNOWN, "fd00:2::11", to=remote),
        "stranger": GobgpNode(net, "stranger", STRANGER, "fd00:2::12", to=remote),
        "mate": BirdNode(net, "mate", MATE, to=remote),
        "far": GobgpNode(net, "far", FAR, "fd00:3::11", to=remote),
        "far-stranger": BirdNode(net, "far-stranger", FAR_STRANGER, to=remote),
    }
    tors = FrrTor(net, "tor-1", TOR, to=remote), BirdTor(net, "tor-2", "10.2.1.2", to=remote)
    far_tor = FrrTor(net, "tor-far", "10.3.1.1", to=remote)
    attacker = ExabgpNode(net, "attacker", ATTACKER, "fd00:2::14", to=remote)
    fabric = Fabric(appliance, tors, far_tor, nodes, attacker)
    all_established(*fabric.everyone, attacker)
    names = {KNOWN: "known", STRANGER: "stranger", MATE: "mate"}
    for prefix, peer in from_rack(PASSING):
        own_6 = {KNOWN: "fd00:2::11", STRANGER: "fd00:2::12"}.get(peer)
        nodes[names[peer]].announce(prefix, next_hop=own_6 if ":" in prefix else None)
    nodes["far"].announce(FARS)
    nodes["far"].announce(FARS6, next_hop="fd00:3::11")
    nodes["far"].announce(FARS_VIP)
    nodes["far-stranger"].announce("10.244.40.0/24")
    return fabric


@pytest.fixture
def fabric(started: Fabric) -> Iterator[Fabric]:
    """The fabric, observed and with its first allocations before and after each test."""
    expected = from_rack(PASSING) | {(FARS_VIP, FAR)}
    tors_hold(started, expected)
    yield started
    started.appliance.set_config(instances())
    started.appliance.reload()
    started.appliance.set_allocations(ALLOCATIONS)
    tors_hold(started, expected)


def turn(fabric: Fabric, enforce: bool | str) -> None:
    """Change `enforce` of the observed rack while everything runs."""
    fabric.appliance.set_config(instances(enforce=enforce))
    fabric.appliance.reload()


def test_whatever_is_within_the_bounds_passes_and_is_shown_as_what_would_be_rejected(fabric: Fabric) -> None:
    """FRR, BIRD and GoBGP nodes, known and unknown, IPv4 and IPv6: ToRs hold it all, each with its reason shown."""
    shown(fabric, PASSING)
    listed = fabric.appliance.rrctl("routes", "--rack", "rack-1")
    observed = {(r["prefix"], r["peer"]) for r in listed if r["observed"] and r["peer"] != ATTACKER}
    assert observed == {(prefix, peer) for prefix, peer, _ in PASSING}
    assert {(r["prefix"], r["peer"]) for r in listed if not r["observed"]} == OWNED


def test_an_unknown_node_is_heard_in_the_observed_rack_and_not_in_the_enforced_one_beside_it(
    fabric: Fabric,
) -> None:
    """The same kind of announcement: one is at its ToRs, the other is a violation and nowhere."""
    assert all(tor.next_hops("10.244.20.0/24") == {STRANGER} for tor in fabric.tors)
    assert not fabric.far_tor.paths("10.244.40.0/24")
    (row,) = fabric.going_on(prefix="10.244.40.0/24")
    assert (row["reason"], row["enforced"]) == ("unknown-node", True)


def test_a_vip_of_an_unknown_node_goes_where_vips_go_and_its_other_host_routes_do_not(fabric: Fabric) -> None:
    """The VIP lies in a pool that is open to every node: the other rack's ToR has it too, and nothing else."""
    eventually(lambda: fabric.far_tor.next_hops(VIP) == {STRANGER}, 5, "the VIP at the other rack's ToR")
    expected = {VIP, FARS, FARS6, FARS_VIP}
    assert set(fabric.far_tor.routes()) == expected
    kinds = {r["prefix"]: r["kind"] for r in fabric.appliance.rrctl("routes") if r["peer"] == STRANGER}
    assert (kinds[VIP], kinds["10.244.20.7/32"]) == ("vip", "pod")


@pytest.mark.parametrize(("prefix", "hop"), [("0.0.0.0/0", ATTACKER), ("::/0", "fd00:2::14")])
def test_a_default_route_never_passes_in_an_observed_rack(fabric: Fabric, prefix: str, hop: str) -> None:
    """IPv4 and IPv6: no ToR hears it."""
    fabric.reaches_nobody(prefix, next_hop=hop)


@pytest.mark.parametrize("prefix", ["10.245.0.0/24", "10.240.0.0/12", "10.2.0.12/32", "192.0.2.0/24"])
def test_nothing_outside_of_the_bounds_passes_in_an_observed_rack(fabric: Fabric, prefix: str) -> None:
    """Beside the bounds, around them, another node's own address: no ToR hears it."""
    fabric.reaches_nobody(prefix)


@pytest.mark.parametrize(
    ("prefix", "hop"),
    [
        (FARS, ATTACKER),
        ("10.244.4.128/25", ATTACKER),
        ("10.244.4.7/32", ATTACKER),
        ("10.244.4.0/22", ATTACKER),
        ("10.244.0.0/16", ATTACKER),
        (FARS6, "fd00:2::14"),
        (FARS_VIP, ATTACKER),
        ("10.100.1.0/25", ATTACKER),
        ("10.100.0.0/25", ATTACKER),
    ],
)
def test_what_an_enforced_rack_owns_is_never_taken_from_an_observed_one(
    fabric: Fabric, prefix: str, hop: str
) -> None:
    """The prefix itself, a part of it, something around it, a VIP of its pool: no ToR gets another path."""
    fabric.reaches_nobody(prefix, next_hop=hop)


@pytest.mark.parametrize(
    ("prefix", "hop"),
    [
        ("10.244.60.0/24", FAR),
        ("10.244.60.0/24", TOR),
        ("10.244.60.0/24", ROUTER_ID),
        ("10.244.60.0/24", "192.0.2.1"),
        ("fd00:10:60::/64", "fd00:3::11"),
        ("fd00:10:60::/64", f"::ffff:{ATTACKER}"),
    ],
)
def test_a_next_hop_outside_of_the_observed_rack_never_passes(fabric: Fabric, prefix: str, hop: str) -> None:
    """A node of the other rack, the ToR, the reflector, nobody: no ToR hears it."""
    fabric.reaches_nobody(prefix, next_hop=hop)


def test_a_route_that_a_node_learned_from_another_as_never_passes(fabric: Fabric) -> None:
    """With an AS number in its path it is not the node's own, and the rack does not become a transit for it."""
    fabric.reaches_nobody("10.244.61.0/24", as_path=[65001])


def test_turning_enforcing_on_takes_exactly_what_was_shown_and_nothing_else_moves(fabric: Fabric) -> None:
    """The list of `rrctl violations --passing`, peer by peer, is what the ToRs lose; the diff said how many."""
    shown(fabric, PASSING)
    listed = passing(fabric.appliance)
    fabric.appliance.set_config(instances(enforce=True))
    (told,) = [c for c in fabric.appliance.rrctl("config", "diff")["changes"] if "enforced" in c]
    assert f"routes that pass now and are rejected then: {len(listed)} " in told
    with undisturbed(fabric, gone={prefix for prefix, _, _ in listed} | {SENTINEL}):
        assert fabric.appliance.reload()["resets"] == []
        tors_hold(fabric, from_rack() | {(FARS_VIP, FAR)})
        shown(fabric, set())
        rejected = {(r["prefix"], r["peer"], r["reason"]) for r in fabric.going_on(enforced=True)}
        assert rejected - {("10.244.40.0/24", FAR_STRANGER, "unknown-node")} == listed


def test_turning_enforcing_off_brings_the_routes_back_without_anybodys_action(fabric: Fabric) -> None:
    """The nodes announce nothing again; nobody's session is reset, and nothing is taken back."""
    turn(fabric, True)
    tors_hold(fabric, from_rack() | {(FARS_VIP, FAR)})
    with undisturbed(fabric):
        turn(fabric, "observe")
        tors_hold(fabric, from_rack(PASSING) | {(FARS_VIP, FAR)})
        shown(fabric, PASSING)


def test_a_node_that_the_ipam_comes_to_know_is_shown_no_more_and_its_routes_never_move(
    fabric: Fabric,
) -> None:
    """It owns what it announced, but for one prefix, which is now shown with another reason."""
    document = copy.deepcopy(ALLOCATIONS)
    owned = ["10.244.20.0/24", "fd00:10:20::/64"]
    document["nodes"]["stranger"] = {"addresses": [STRANGER, "fd00:2::12"], "prefixes": owned}
    left = {row for row in PASSING if row[1] != STRANGER}
    with undisturbed(fabric):
        fabric.appliance.set_allocations(document)
        shown(fabric, left | {("10.244.20.7/32", STRANGER, "more-specific")})
        tors_hold(fabric, from_rack(PASSING) | {(FARS_VIP, FAR)})


def test_a_prefix_given_to_an_enforced_rack_is_at_once_nobody_elses(fabric: Fabric) -> None:
    """Two nodes of the observed rack announce it or something around it: both routes go, all else stays."""
    document = copy.deepcopy(ALLOCATIONS)
    document["nodes"]["far"]["prefixes"].append("10.244.21.0/24")
    with undisturbed(fabric, gone={"10.244.21.0/24"}):
        fabric.appliance.set_allocations(document)
        left = {row for row in PASSING if row[0] != "10.244.21.0/24"}
        tors_hold(fabric, from_rack(left) | {(FARS_VIP, FAR)}, within=3)
        shown(fabric, left)
        eventually(
            lambda: [r["enforced"] for r in fabric.going_on(prefix="10.244.21.0/24")] == [True],
            5,
            "it is rejected now",
        )


def test_a_restarted_controller_shows_the_same_and_takes_nothing_away(fabric: Fabric) -> None:
    """SIGKILL and a new start: the engine is adopted, and what passes is shown as before."""
    shown(fabric, PASSING)
    with undisturbed(fabric):
        fabric.appliance.kill()
        fabric.appliance.start()
        shown(fabric, PASSING)
        tors_hold(fabric, from_rack(PASSING) | {(FARS_VIP, FAR)})


def test_a_killed_engine_costs_an_observed_rack_no_route(fabric: Fabric) -> None:
    """Unknown nodes are in the roster as others are: ToRs forward by their routes all along, and all is shown again."""
    shown(fabric, PASSING)
    tables = [Forwarding(tor.host) for tor in fabric.tors]
    (before,) = fabric.appliance.engines()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: before not in fabric.appliance.engines(), 5, "the engine is dead")
    eventually(lambda: len(fabric.appliance.engines()) == 1, 10, "another engine runs")
    all_established(*fabric.everyone, timeout=60)
    (instance,) = eventually(
        lambda: [i for i in fabric.appliance.rrctl("status")["instances"] if not i["restart"]["under_way"]],
        60,
        "the restart is over",
    )
    assert instance["engine"]["restarts"] >= 1
    tors_hold(fabric, from_rack(PASSING) | {(FARS_VIP, FAR)}, within=20)
    shown(fabric, PASSING, within=20)
    taken = {prefix for table in tables for prefix in table.taken_out() if ":" not in prefix}
    assert taken - {SENTINEL} == set()


def test_an_observed_rack_is_never_forgotten(fabric: Fabric) -> None:
    """`check` is ok and says so all the same, `status` and `peers` count, `explain` tells what would happen."""
    shown(fabric, PASSING)
    count = len(passing(fabric.appliance))
    told = fabric.appliance.tell("check")
    assert told.exit == 0, told.stdout
    assert f"rack-1 of main is only observed, routes that would be rejected: {count}" in told.stdout
    status = fabric.appliance.tell("status").stdout
    assert f"rack-1 of main is not enforced, would be rejected: {count} routes" in status
    rows = {row["address"]: row for row in fabric.appliance.rrctl("peers")}
    assert (rows[STRANGER]["accepted"], rows[STRANGER]["rejected"], rows[STRANGER]["observed"]) == (4, 0, 4)
    assert (rows[KNOWN]["accepted"], rows[KNOWN]["rejected"], rows[KNOWN]["observed"]) == (4, 0, 3)
    told = fabric.appliance.tell("explain", "10.244.20.0/24", "--from", STRANGER)
    assert "accepted (unknown-node, but rack-1 is only observed)" in told.stdout
    assert "✓ bounds" in told.stdout


def test_a_node_with_too_many_prefixes_is_kept_out_of_an_observed_rack_too(net: Network) -> None:
    """All of them are within the bounds; past `max_prefixes` the node is quarantined, as everywhere."""
    appliance = Appliance(
        net, "rr-a", ROUTER_ID, instances=instances(max_prefixes=10), allocations=ALLOCATIONS
    )
    node = ExabgpNode(net, "node", ATTACKER, to=appliance.remote())
    all_established(node)
    for number in range(10):
        node.announce(f"10.244.{100 + number}.0/24")
    eventually(lambda: len(passing(appliance)) == 10, 5, "as many as are allowed pass")
    never(lambda: appliance.rrctl("quarantine", "list"), 2, "a quarantine for what is allowed")
    node.announce("10.244.110.0/24")
    (row,) = eventually(lambda: appliance.rrctl("quarantine", "list"), 10, "the node is kept out")
    assert (row["node"], row["reason"]) == (ATTACKER, "max-prefixes")
