"""The IPAM gives and takes while everything runs: routes follow it at once, and nobody's session is touched."""

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import GobgpNode, Network, eventually, never
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    VIP,
    Config,
    Fabric,
    allocations,
    build,
    tors_hold,
    undisturbed,
)

pytestmark = pytest.mark.root

MORE = {"node-1": "10.244.101.0/24", "node-2": "10.244.102.0/24", "node-3": "10.244.103.0/24"}
"""What each node announces all the time and does not own at first."""
CLOSED_VIP = "10.101.0.1/32"
STRANGER, STRANGERS_POD = "10.2.0.40", "10.244.40.0/24"
AT_ONCE = 2.0
"""Seconds that a change may take on a busy machine; alone it takes milliseconds."""


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Fabric:
    fabric = build(shared_net)
    for name, node in fabric.nodes.items():
        node.announce(MORE[name])
        node.announce(CLOSED_VIP)
    stranger = GobgpNode(shared_net, "stranger", STRANGER, to=fabric.appliance.remote())
    stranger.announce(STRANGERS_POD)
    eventually(stranger.established, 15, "the unknown node has a session")
    fabric.nodes["stranger"] = stranger
    return fabric


@pytest.fixture
def fabric(started: Fabric) -> Iterator[Fabric]:
    """The fabric, with its first allocations again after each test."""
    yield started
    started.appliance.set_allocations(allocations())
    tors_hold(started, ROUTES)


@pytest.fixture
def known(fabric: Fabric) -> Config:
    """The first allocations, to change."""
    return copy.deepcopy(allocations())


def rejected_as(fabric: Fabric, prefix: str) -> set[str]:
    """For which reasons announcements of a prefix are rejected now."""
    return {v["reason"] for v in fabric.appliance.violations(prefix=prefix, active=True)}


def say(fabric: Fabric, document: Config) -> None:
    fabric.appliance.set_allocations(document)


def prefixes_known(fabric: Fabric, count: int) -> None:
    eventually(lambda: fabric.appliance.rrctl("status")["ipam"]["prefixes"] == count, 5, f"{count} are known")


@pytest.mark.parametrize("node", MORE)
def test_a_granted_prefix_that_is_announced_already_appears_by_itself(
    fabric: Fabric, known: Config, node: str
) -> None:
    """FRR, BIRD and GoBGP nodes do nothing, and the ToRs have the route; it is no violation any more."""
    eventually(lambda: rejected_as(fabric, MORE[node]) == {"not-allocated"}, 5, "it is rejected before")
    known["nodes"][node]["prefixes"].append(MORE[node])
    with undisturbed(fabric):
        say(fabric, known)
        tors_hold(fabric, ROUTES | {MORE[node]}, within=AT_ONCE)
        assert fabric.frr.next_hops(MORE[node]) == {NODES[node]}
        eventually(lambda: not rejected_as(fabric, MORE[node]), 2, "it is no violation any more")


@pytest.mark.parametrize("node", MORE)
def test_a_revoked_prefix_goes_at_once_though_the_node_announces_it_on(
    fabric: Fabric, known: Config, node: str
) -> None:
    """ToRs and nodes lose that prefix and no other, and the node's announcement is a violation: revoked."""
    known["nodes"][node]["prefixes"].append(MORE[node])
    say(fabric, known)
    tors_hold(fabric, ROUTES | {MORE[node]})
    with undisturbed(fabric, gone={MORE[node]}):
        say(fabric, allocations())
        tors_hold(fabric, ROUTES, within=AT_ONCE)
        eventually(lambda: rejected_as(fabric, MORE[node]) == {"revoked"}, 2, "it is called revoked")
        assert not any(peer.paths(MORE[node]) for peer in fabric.nodes.values())


@pytest.mark.parametrize("node", PODS)
def test_a_node_that_loses_its_last_prefix_keeps_its_session(
    fabric: Fabric, known: Config, node: str
) -> None:
    """Its pod route goes, its VIP stays, and the prefix works again as soon as it is given back."""
    known["nodes"][node]["prefixes"] = []
    with undisturbed(fabric, gone={PODS[node]}):
        say(fabric, known)
        tors_hold(fabric, ROUTES - {PODS[node]}, within=AT_ONCE)
        say(fabric, allocations())
        tors_hold(fabric, ROUTES, within=AT_ONCE)


def test_a_prefix_moves_to_a_node_that_announces_it_already(fabric: Fabric, known: Config) -> None:
    """Two nodes announce it; the ToRs have the owner's next hop alone, before and after, never both."""
    owner, heir = fabric.nodes["node-1"], fabric.nodes["node-3"]
    heir.announce(PODS["node-1"])
    known["nodes"]["node-1"]["prefixes"].remove(PODS["node-1"])
    known["nodes"]["node-3"]["prefixes"].append(PODS["node-1"])
    with undisturbed(fabric, gone={PODS["node-1"]}):
        assert all(tor.next_hops(PODS["node-1"]) == {NODES["node-1"]} for tor in fabric.tors)
        say(fabric, known)
        eventually(
            lambda: all(tor.next_hops(PODS["node-1"]) == {NODES["node-3"]} for tor in fabric.tors),
            AT_ONCE,
            "both ToRs have the heir's next hop",
        )
        eventually(lambda: owner.next_hops(PODS["node-1"]) == {NODES["node-3"]}, 2, "so has the old owner")
        say(fabric, allocations())
        eventually(
            lambda: all(tor.next_hops(PODS["node-1"]) == {NODES["node-1"]} for tor in fabric.tors),
            AT_ONCE,
            "and it moves back",
        )
    heir.withdraw(PODS["node-1"])


def test_a_node_whose_address_changes_in_the_ipam_is_judged_by_the_new_one(
    fabric: Fabric, known: Config
) -> None:
    """A session from the old address is an unknown node's: all its routes go; they are back with the address."""
    known["nodes"]["node-3"]["addresses"] = ["10.2.0.99"]
    mine = {PODS["node-3"]}
    with undisturbed(fabric, gone={*mine, VIP}):
        say(fabric, known)
        tors_hold(fabric, ROUTES - mine, within=AT_ONCE)
        assert all(tor.next_hops(VIP) == {NODES["node-1"], NODES["node-2"]} for tor in fabric.tors)
        eventually(lambda: rejected_as(fabric, PODS["node-3"]) == {"unknown-node"}, 2, "said as unknown")
        known["nodes"]["node-3"]["addresses"] = ["10.2.0.99", NODES["node-3"]]
        say(fabric, known)
        tors_hold(fabric, ROUTES, within=AT_ONCE)


def test_an_unknown_node_has_a_session_and_not_one_route_until_the_ipam_knows_it(
    fabric: Fabric, known: Config
) -> None:
    """Known: its route appears without anybody's action. Removed: it goes, and the session stays."""
    peer = next(p for p in fabric.appliance.rrctl("peers") if p["address"] == STRANGER)
    assert (peer["state"], peer["node"], peer["accepted"], peer["rejected"]) == ("established", None, 0, 1)
    known["nodes"]["late"] = {"addresses": [STRANGER], "prefixes": [STRANGERS_POD]}
    with undisturbed(fabric, gone={STRANGERS_POD}):
        say(fabric, known)
        tors_hold(fabric, ROUTES | {STRANGERS_POD}, within=AT_ONCE)
        peer = next(p for p in fabric.appliance.rrctl("peers") if p["address"] == STRANGER)
        assert (peer["node"], peer["accepted"], peer["rejected"]) == ("late", 1, 0)
        say(fabric, allocations())
        tors_hold(fabric, ROUTES, within=AT_ONCE)
        eventually(lambda: rejected_as(fabric, STRANGERS_POD) == {"unknown-node"}, 2, "unknown again")


def test_a_node_that_is_removed_from_the_ipam_loses_all_its_routes(fabric: Fabric, known: Config) -> None:
    """Pod prefix and VIP path go at both ToRs, what the others announce stays, and so do all sessions."""
    del known["nodes"]["node-2"]
    with undisturbed(fabric, gone={PODS["node-2"], VIP}):
        say(fabric, known)
        tors_hold(fabric, ROUTES - {PODS["node-2"]}, within=AT_ONCE)
        assert all(tor.next_hops(VIP) == {NODES["node-1"], NODES["node-3"]} for tor in fabric.tors)


def test_a_vip_pool_opens_to_nodes_and_closes_again(fabric: Fabric, known: Config) -> None:
    """Added for one node, opened to a second and to all, closed to one, removed: next hops follow each time."""
    pool: dict[str, Any] = {"prefixes": ["10.101.0.0/24"], "nodes": ["node-1"]}
    known["vips"].append(pool)

    def announced_by(*nodes: str) -> None:
        say(fabric, known)
        wanted = {NODES[node] for node in nodes}
        eventually(
            lambda: all(tor.next_hops(CLOSED_VIP) == wanted for tor in fabric.tors), AT_ONCE, f"{nodes}"
        )

    with undisturbed(fabric, gone={CLOSED_VIP}):
        announced_by("node-1")
        pool["nodes"].append("node-3")
        announced_by("node-1", "node-3")
        del pool["nodes"]
        announced_by("node-1", "node-2", "node-3")
        pool["nodes"] = ["node-2"]
        announced_by("node-2")
        assert rejected_as(fabric, CLOSED_VIP) == {"vip-not-allowed"}
        known["vips"].remove(pool)
        announced_by()


def test_fifty_changes_within_a_second_end_in_the_last_state(fabric: Fabric, known: Config) -> None:
    """Each document grants one prefix and takes the one of 15 documents ago: the ToRs end with the last 15."""
    node = fabric.nodes["node-3"]
    extra = [f"10.245.{number}.0/24" for number in range(50)]
    for prefix in extra:
        node.announce(prefix)
    owned = known["nodes"]["node-3"]["prefixes"]
    with undisturbed(fabric, gone=set(extra)):
        began = time.monotonic()
        for number, prefix in enumerate(extra):
            owned.append(prefix)
            if number >= 15:
                owned.remove(extra[number - 15])
            say(fabric, known)
        assert time.monotonic() - began < 1
        tors_hold(fabric, ROUTES | set(extra[-15:]))
        say(fabric, allocations())
        tors_hold(fabric, ROUTES)
    for prefix in extra:
        node.withdraw(prefix)


def test_a_file_that_an_editor_writes_in_place_is_taken_over(fabric: Fabric) -> None:
    """The same file, opened, cut and written in two pieces: what it says in the end is in force."""
    file = fabric.appliance.allocations_file
    text = file.read_text().replace(f"- {PODS['node-1']}", f"- {PODS['node-1']}\n    - {MORE['node-1']}")
    assert MORE["node-1"] in text
    with undisturbed(fabric), file.open("r+") as stream:
        stream.truncate()
        stream.write(text[:100])
        stream.flush()
        stream.write(text[100:])
        stream.close()
        tors_hold(fabric, ROUTES | {MORE["node-1"]}, within=AT_ONCE)


BAD = {
    "deleted": None,
    "empty": "",
    "cut off in the middle": "nodes:\n  node-1:\n    addresses: [10.2.0.11",
    "something else": "<html>502 Bad Gateway</html>",
    "of an unknown shape": "hosts: []\n",
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_no_good_leaves_everything_in_force(fabric: Fabric, known: Config, what: str) -> None:
    """No route goes; `status` names the file and `check` warns (exit 1); a good file is taken over as before."""
    file, text = fabric.appliance.allocations_file, BAD[what]
    with undisturbed(fabric):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        eventually(lambda: fabric.appliance.rrctl("status")["ipam"]["error"], 5, "the error is said")
        status = fabric.appliance.rrctl("status")
        assert str(file) in status["ipam"]["error"]
        assert status["ready"]
        told = fabric.appliance.tell("check")
        assert (told.exit, told.stdout.startswith("RR WARNING - ")) == (1, True)
        tors_hold(fabric, ROUTES)
        known["nodes"]["node-2"]["prefixes"].append(MORE["node-2"])
        say(fabric, known)
        tors_hold(fabric, ROUTES | {MORE["node-2"]}, within=AT_ONCE)
        assert fabric.appliance.rrctl("status")["ipam"]["error"] is None
        assert fabric.appliance.tell("check").exit == 0


def test_two_owners_of_one_prefix_are_refused_with_both_places(fabric: Fabric, known: Config) -> None:
    """The error has the line of the one and of the other owner, and the last good document stays in force."""
    known["nodes"]["node-3"]["prefixes"].append(PODS["node-1"])
    with undisturbed(fabric):
        say(fabric, known)
        error = eventually(lambda: fabric.appliance.rrctl("status")["ipam"]["error"], 5, "the error is said")
        lines = fabric.appliance.allocations_file.read_text().splitlines()
        first, second = (n for n, line in enumerate(lines, start=1) if PODS["node-1"] in line)
        assert f"{fabric.appliance.allocations_file}:{second}:" in error
        assert f"{fabric.appliance.allocations_file}:{first}:" in error
        assert "node-1" in error
        never(lambda: set(fabric.frr.routes()) != ROUTES, 0.5, "a refused document changes routes")


def test_a_mass_removal_is_held_back_until_it_is_accepted(fabric: Fabric, known: Config) -> None:
    """With a guard of 20 % losing two of four prefixes changes nothing and alarms; `ipam accept` lets it through."""
    source = {"type": "file", "path": str(fabric.appliance.allocations_file)}
    fabric.appliance.settings["ipam"] = {"sources": [source], "guard": {"max_removed": "20%"}}
    fabric.appliance.set_config(fabric.appliance.instances)
    lost = {PODS["node-1"], PODS["node-2"]}
    for node in ("node-1", "node-2"):
        known["nodes"][node]["prefixes"] = []
    try:
        with undisturbed(fabric):
            fabric.appliance.reload()
            assert fabric.appliance.tell("ipam", "accept").exit == 1
            say(fabric, known)
            eventually(lambda: fabric.appliance.rrctl("status")["ipam"]["held"], 5, "it is held")
            told = fabric.appliance.tell("check")
            assert told.exit == 2
            assert "rrctl ipam accept" in told.stdout
            assert all(f"{PODS[node]} of {node}" in told.stdout for node in ("node-1", "node-2"))
            never(lambda: set(fabric.frr.routes()) != ROUTES, 0.5, "what is held back takes routes away")
        with undisturbed(fabric, gone=lost):
            said = fabric.appliance.rrctl("ipam", "accept")["changed"]
            assert said == [f"{node} loses {PODS[node]}" for node in ("node-1", "node-2")]
            tors_hold(fabric, ROUTES - lost, within=AT_ONCE)
            assert fabric.appliance.tell("check").exit == 0
    finally:
        del fabric.appliance.settings["ipam"]
        fabric.appliance.set_config(fabric.appliance.instances)
        fabric.appliance.reload()


def test_a_mass_removal_that_recovers_by_itself_was_never_in_force(fabric: Fabric, known: Config) -> None:
    """Without a guard 26 of 44 prefixes may not go, up to 19 at a time may; the document as before ends the alarm."""
    node = known["nodes"]["node-3"]["prefixes"]
    node += [f"10.246.{number}.0/24" for number in range(40)]
    say(fabric, known)
    prefixes_known(fabric, 43)
    with undisturbed(fabric):
        fewer = copy.deepcopy(known)
        fewer["nodes"]["node-3"]["prefixes"] = node[:15]
        say(fabric, fewer)
        held = eventually(lambda: fabric.appliance.rrctl("status")["ipam"]["held"], 5, "it is held")
        assert "removes 26 of 44 prefixes" in held[0]["reason"]
        say(fabric, known)
        eventually(lambda: not fabric.appliance.rrctl("status")["ipam"]["held"], 5, "nothing is held")
        tors_hold(fabric, ROUTES)
    for end in (30, 15, 1):
        known["nodes"]["node-3"]["prefixes"] = node[:end]
        say(fabric, known)
        prefixes_known(fabric, end + 2)
