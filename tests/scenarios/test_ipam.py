"""What happens when the IPAM lies, is silent or contradicts itself: what was accepted stays, nothing new gets in."""

import copy
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rr.ipam import store
from tests.lab import Network, eventually, never
from tests.lab.appliance import replace_file
from tests.lab.process import run
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    Config,
    Fabric,
    allocations,
    build,
    tors_hold,
    undisturbed,
)

pytestmark = pytest.mark.root

LATE = "10.244.103.0/24"
"""What node-3 announces all the time and does not own at first."""
LENT = "10.244.1.5/32"
"""What node-2 and node-3 announce all the time, inside node-1's prefix."""
OTHER_VIP = "10.101.0.1/32"
EXTRA = "extra"
"""The name of the second source, a folder."""
GRACE = 3
AT_ONCE = 3.0
"""Seconds that a change may take on a busy machine; alone it takes milliseconds."""


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Fabric:
    fabric = build(shared_net)
    fabric.nodes["node-3"].announce(LATE)
    for name in ("node-2", "node-3"):
        fabric.nodes[name].announce(LENT)
        fabric.nodes[name].announce(OTHER_VIP)
    fabric.nodes["node-3"].announce(PODS["node-1"])
    return fabric


@pytest.fixture
def fabric(started: Fabric) -> Iterator[Fabric]:
    """The fabric, with two sources: a file that says everything, and a folder that says nothing yet."""
    configure(started)
    yield started
    if started.appliance.process is None:
        started.appliance.start()
    configure(started, wait=False)
    started.appliance.set_allocations(allocations())
    run_accept(started)
    eventually(lambda: not waiting(started, "grace"), 4 * GRACE + 2, "nothing has a grace any more")
    tors_hold(started, ROUTES)


@pytest.fixture
def known(fabric: Fabric) -> Config:
    """What the file says at first, to change."""
    return copy.deepcopy(allocations())


def folder_of(fabric: Fabric) -> Path:
    return fabric.appliance.host.folder / "allocations.d"


def configure(fabric: Fabric, *, only_file: bool = False, wait: bool = True, **ipam: Any) -> None:
    """Give rr.yaml its two sources, and more keys of `ipam`, and have it read."""
    folder = folder_of(fabric)
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    in_folder(fabric, "none.yaml", {"nodes": {}})
    sources: list[Config] = [{"type": "file", "path": str(fabric.appliance.allocations_file)}]
    if not only_file:
        sources.append({"type": "folder", "path": str(folder), "name": EXTRA})
    fabric.appliance.settings["ipam"] = {"sources": sources, **ipam}
    fabric.appliance.set_config(fabric.appliance.instances)
    fabric.appliance.reload()
    if wait:
        eventually(
            lambda: {row["state"] for row in sources_of(fabric).values()} == {"good"}, 5, "all are good"
        )


def run_accept(fabric: Fabric) -> None:
    """Leave nothing held behind."""
    if fabric.appliance.rrctl("status")["ipam"]["held"]:
        fabric.appliance.rrctl("ipam", "accept")


def in_folder(fabric: Fabric, name: str, document: Config | str) -> Path:
    file = folder_of(fabric) / name
    replace_file(file, document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return file


def node(name: str, *prefixes: str, **more: Any) -> Config:
    """A document that gives one node of the fabric prefixes."""
    return {"nodes": {name: {"addresses": [NODES[name]], "prefixes": list(prefixes), **more}}}


def sources_of(fabric: Fabric) -> dict[str, Config]:
    """How each source is; the file is called `file`."""
    rows = fabric.appliance.rrctl("ipam", "sources")
    return {"file" if row["type"] == "file" else row["source"]: row for row in rows}


def state_of(fabric: Fabric, source: str = "file") -> str:
    return str(sources_of(fabric)[source]["state"])


def is_in_state(fabric: Fabric, state: str, source: str = "file") -> None:
    eventually(lambda: state_of(fabric, source) == state, 5, f"{source} is {state}")


def waiting(fabric: Fabric, state: str) -> set[tuple[str, str | None, str]]:
    """What `ipam diff` shows for this reason: change, node and value."""
    rows = fabric.appliance.rrctl("ipam", "diff", "--state", state)
    return {(row["change"], row["node"], row["value"]) for row in rows}


def hops(fabric: Fabric, prefix: str, *names: str, within: float = AT_ONCE) -> None:
    """Wait until both ToRs have a prefix from exactly these nodes."""
    wanted = {NODES[name] for name in names}
    eventually(
        lambda: all(tor.next_hops(prefix) == wanted for tor in fabric.tors), within, f"{prefix}: {names}"
    )


def nothing_moves(fabric: Fabric, seconds: float = 0.7) -> None:
    """The ToRs hold what they held, and for node-1's prefix node-1's next hop alone."""
    never(lambda: set(fabric.frr.routes()) != ROUTES, seconds, "a route comes or goes")
    assert all(tor.next_hops(PODS["node-1"]) == {NODES["node-1"]} for tor in fabric.tors)


def events(fabric: Fabric, *kinds: str) -> list[str]:
    return [row["text"] for row in fabric.appliance.rrctl("events") if row["kind"] in kinds]


def metric(fabric: Fabric, name: str) -> list[str]:
    """The lines of a metric."""
    text = run(
        [
            "ip",
            "netns",
            "exec",
            fabric.appliance.host.namespace,
            "curl",
            "-s",
            "http://127.0.0.1:9632/metrics",
        ]
    )
    return [line for line in text.splitlines() if line.startswith(name)]


def restart(fabric: Fabric) -> None:
    fabric.appliance.kill()
    fabric.appliance.start()


# Silent and broken


def test_a_source_that_is_away_for_long_takes_nothing_and_gives_nothing(fabric: Fabric) -> None:
    """The file is gone, over a restart of rrd too: no route and no session moves, `check` warns and names the file."""
    file = fabric.appliance.allocations_file
    with undisturbed(fabric):
        file.unlink()
        is_in_state(fabric, "failing")
        nothing_moves(fabric)
        told = fabric.appliance.tell("check")
        assert (told.exit, str(file) in told.stdout, "stay in force" in told.stdout) == (1, True, True)
        restart(fabric)
        is_in_state(fabric, "failing")
        nothing_moves(fabric)
        assert fabric.appliance.tell("check").exit == 1
        fabric.appliance.set_allocations(allocations())
        is_in_state(fabric, "good")
        assert fabric.appliance.tell("check").exit == 0
        assert any("can be read again" in text for text in events(fabric, "ipam"))


def test_what_is_stale_at_a_start_is_enforced_and_its_age_is_critical(fabric: Fabric) -> None:
    """What the disk says is an hour old and the source broken: it is in force, and `check` is critical with its age."""
    appliance = fabric.appliance
    with undisturbed(fabric):
        appliance.kill()
        file = appliance.state_dir / store.FILE
        state = store.load(file)
        parts = {name: replace(part, time=part.time - 3600) for name, part in state.parts.items()}
        store.save(file, replace(state, parts=parts))
        appliance.allocations_file.write_text("<html>502 Bad Gateway</html>")
        appliance.start()
        is_in_state(fabric, "failing")
        nothing_moves(fabric)
        assert sources_of(fabric)["file"]["age_seconds"] > 3500
        assert (appliance.tell("check").exit, appliance.rrctl("status")["ready"]) == (2, True)
        appliance.set_allocations(allocations())
        is_in_state(fabric, "good")
        assert appliance.tell("check").exit == 0


RUBBISH = {
    "a login page": "<html>Please log in</html>",
    "another document": "name: rr-a\ninstances: {}\n",
    "a document that ends in the middle": "nodes:\n  node-1:\n    addresses: [10.2.0.11",
    "zeros": "\0" * 4096,
}


@pytest.mark.parametrize("what", RUBBISH)
def test_rubbish_instead_of_allocations_changes_nothing(fabric: Fabric, what: str) -> None:
    """Whatever it is: the source is failing and says where it is wrong, and nothing moves."""
    with undisturbed(fabric):
        fabric.appliance.allocations_file.write_text(RUBBISH[what])
        is_in_state(fabric, "failing")
        assert str(fabric.appliance.allocations_file) in sources_of(fabric)["file"]["error"]
        nothing_moves(fabric)


def test_a_source_that_never_said_anything_gives_nothing_and_is_named(fabric: Fabric) -> None:
    """The folder does not exist: the file's routes are all there, and `check` warns of the folder."""
    with undisturbed(fabric):
        folder = folder_of(fabric)
        (folder / "none.yaml").unlink()
        folder.rmdir()
        is_in_state(fabric, "failing", EXTRA)
        assert "there is no such folder" in fabric.appliance.tell("check").stdout
        nothing_moves(fabric)


# Empty, and far less


@pytest.mark.parametrize("ipam", [{}, {"guard": {"max_removed": "20%"}}], ids=["no-guard", "20%"])
def test_an_empty_document_is_held_back_until_it_is_whole_again(fabric: Fabric, ipam: Config) -> None:
    """`nodes: {}` by mistake takes nothing: it is held, critical, shown as a diff, and over when the file is whole."""
    configure(fabric, **ipam)
    with undisturbed(fabric):
        fabric.appliance.set_allocations({"nodes": {}})
        is_in_state(fabric, "held")
        assert {("revoke", name, PODS[name]) for name in NODES} <= waiting(fabric, "held")
        assert ("revoke", None, "10.100.0.0/24") in waiting(fabric, "held")
        assert fabric.appliance.tell("check").exit == 2
        assert any(line.endswith(" 1.0") for line in metric(fabric, "rr_ipam_held{"))
        nothing_moves(fabric)
        fabric.appliance.set_allocations(allocations())
        is_in_state(fabric, "good")
        assert fabric.appliance.tell("check").exit == 0


def test_nodes_that_are_all_at_other_addresses_at_once_are_held_back(fabric: Fabric, known: Config) -> None:
    """Names and prefixes stay, every address is another one, no guard is configured: held, and nothing moves."""
    for number, name in enumerate(NODES):
        known["nodes"][name]["addresses"] = [f"10.2.0.{200 + number}"]
    with undisturbed(fabric):
        fabric.appliance.set_allocations(known)
        is_in_state(fabric, "held")
        assert "removes all 3 nodes at once: node-1 (" in fabric.appliance.tell("check").stdout
        nothing_moves(fabric)
        fabric.appliance.set_allocations(allocations())
        is_in_state(fabric, "good")


def test_far_less_than_before_goes_only_when_it_is_accepted(fabric: Fabric, known: Config) -> None:
    """Two of four prefixes are missing: held, shown by node, accepted by name of the source, and gone at once."""
    configure(fabric, guard={"max_removed": "20%"}, grace=3600)
    lost = {PODS["node-2"], PODS["node-3"]}
    for name in ("node-2", "node-3"):
        known["nodes"][name]["prefixes"] = []
    with undisturbed(fabric):
        fabric.appliance.set_allocations(known)
        is_in_state(fabric, "held")
        assert waiting(fabric, "held") == {("revoke", name, PODS[name]) for name in ("node-2", "node-3")}
        nothing_moves(fabric)
        assert fabric.appliance.tell("ipam", "accept", EXTRA).exit == 1
    with undisturbed(fabric, gone=lost):
        said = fabric.appliance.rrctl("ipam", "accept", sources_of(fabric)["file"]["source"])["changed"]
        assert said == [f"{name} loses {PODS[name]}" for name in ("node-2", "node-3")]
        tors_hold(fabric, ROUTES - lost, within=AT_ONCE)
        assert waiting(fabric, "grace") == set(), "what is accepted by hand has no grace"


def test_what_is_rejected_by_hand_never_comes_into_force(fabric: Fabric, known: Config) -> None:
    """Rejected, it is a warning while the source says it, over a restart too; something else is considered anew."""
    configure(fabric, guard={"max_removed": "20%"})
    less = copy.deepcopy(known)
    for name in ("node-2", "node-3"):
        less["nodes"][name]["prefixes"] = []
    with undisturbed(fabric):
        fabric.appliance.set_allocations(less)
        is_in_state(fabric, "held")
        fabric.appliance.rrctl("ipam", "reject")
        assert state_of(fabric) == "rejected"
        told = fabric.appliance.tell("check")
        assert (told.exit, "still says what was rejected" in told.stdout) == (1, True)
        restart(fabric)
        is_in_state(fabric, "rejected")
        nothing_moves(fabric)
        less["nodes"]["node-1"]["prefixes"] = []
        fabric.appliance.set_allocations(less)
        is_in_state(fabric, "held")
        fabric.appliance.set_allocations(known)
        is_in_state(fabric, "good")
        assert fabric.appliance.tell("check").exit == 0
        nothing_moves(fabric)


def test_with_its_digest_only_what_was_looked_at_is_accepted(fabric: Fabric, known: Config) -> None:
    """The file says even less before `accept --digest`: refused with a sentence, and nothing moves."""
    configure(fabric, guard={"max_removed": "20%"})
    for name in ("node-2", "node-3"):
        known["nodes"][name]["prefixes"] = []
    with undisturbed(fabric):
        fabric.appliance.set_allocations(known)
        is_in_state(fabric, "held")
        looked_at = sources_of(fabric)["file"]["held_digest"]
        assert f"rrctl ipam accept --digest {looked_at}" in fabric.appliance.tell("check").stdout
        fabric.appliance.set_allocations({"nodes": {}})
        eventually(
            lambda: sources_of(fabric)["file"]["held_digest"] != looked_at, 5, "something else is held"
        )
        told = fabric.appliance.tell("ipam", "accept", "--digest", looked_at)
        assert (told.exit, looked_at in told.stderr) == (1, True)
        nothing_moves(fabric)


# Other sources


def name_source(fabric: Fabric, path: Path) -> Any:
    """Have rr.yaml name a file, and nothing else, as the source; answers what the reload said."""
    fabric.appliance.settings["ipam"] = {"sources": [{"type": "file", "path": str(path)}]}
    fabric.appliance.set_config(fabric.appliance.instances)
    return fabric.appliance.reload()


def test_a_source_that_moves_to_another_path_moves_no_route(fabric: Fabric) -> None:
    """The same content under another path, by reload and without a guard: nothing is revoked, and `check` is OK."""
    configure(fabric, only_file=True)
    other = fabric.appliance.host.folder / "moved.yaml"
    replace_file(other, fabric.appliance.allocations_file.read_text())
    revoked = events(fabric, "revoke")
    with undisturbed(fabric):
        name_source(fabric, other)
        eventually(lambda: [*sources_of(fabric)] == ["file"], 5, "the old one is gone")
        assert sources_of(fabric)["file"]["source"] == f"file:{other}"
        is_in_state(fabric, "good")
        nothing_moves(fabric)
        assert fabric.appliance.tell("check").exit == 0
    assert events(fabric, "revoke") == revoked, "not even for a moment"


def test_a_source_that_moves_to_nowhere_takes_nothing_with_it(fabric: Fabric) -> None:
    """A path without a file: what the old one said stays, over a restart too, and `check` says so until it is there."""
    configure(fabric, only_file=True)
    old, other = f"file:{fabric.appliance.allocations_file}", fabric.appliance.host.folder / "later.yaml"
    other.unlink(missing_ok=True)
    stays = (
        f"{old} is no longer configured; what it said stays in force until file:{other} has said something"
    )
    with undisturbed(fabric):
        assert any(
            "is no longer read: what it gives stays" in change
            for change in name_source(fabric, other)["changed"]
        )
        for again in (False, True):
            if again:
                restart(fabric)
            is_in_state(fabric, "failing")
            is_in_state(fabric, "removed", old)
            told = fabric.appliance.tell("check")
            assert (told.exit, stays in told.stdout) == (1, True)
            nothing_moves(fabric)
        replace_file(other, fabric.appliance.allocations_file.read_text())
        eventually(lambda: [*sources_of(fabric)] == ["file"], 5, "the old one is gone")
        assert fabric.appliance.tell("check").exit == 0
        nothing_moves(fabric)


# Contradictions


def test_who_has_a_prefix_keeps_it_when_another_source_gives_it_to_somebody_else(
    fabric: Fabric, known: Config
) -> None:
    """Both nodes announce it: the ToRs have the holder's path alone, the newcomer is refused and alarmed, until it is
    given up."""
    owner = PODS["node-1"]
    with undisturbed(fabric, gone={owner, LATE}):
        in_folder(fabric, "more.yaml", node("node-3", owner, LATE))
        hops(fabric, LATE, "node-3")
        assert all(tor.next_hops(owner) == {NODES["node-1"]} for tor in fabric.tors)
        told = fabric.appliance.tell("check")
        assert (told.exit, f"{owner} of node-3 ({EXTRA}) already belongs to node-1" in told.stdout) == (
            1,
            True,
        )
        assert waiting(fabric, "refused") == {("grant", "node-3", owner)}
        assert metric(fabric, "rr_ipam_conflicts") == ["rr_ipam_conflicts 1.0"]
        restart(fabric)
        assert all(tor.next_hops(owner) == {NODES["node-1"]} for tor in fabric.tors)
        assert waiting(fabric, "refused") == {("grant", "node-3", owner)}, (
            "who had it is known after a restart"
        )
        known["nodes"]["node-1"]["prefixes"] = []
        fabric.appliance.set_allocations(known)
        hops(fabric, owner, "node-3")
        assert fabric.appliance.tell("check").exit == 0
        conflicts = events(fabric, "conflict")
        assert [text.partition(":")[0] for text in conflicts[-2:]] == ["refused", "no longer in conflict"]
        assert any(f"node-3 is given {owner} (by {EXTRA})" in text for text in events(fabric, "grant"))
        (folder_of(fabric) / "more.yaml").unlink()
        fabric.appliance.set_allocations(allocations())
        hops(fabric, owner, "node-1")


def test_who_has_an_address_keeps_it(fabric: Fabric) -> None:
    """The folder gives node-1's address to a stranger with prefixes: node-1's routes stay, nothing new comes."""
    with undisturbed(fabric):
        stranger = {"addresses": [NODES["node-1"]], "prefixes": [LATE]}
        in_folder(fabric, "more.yaml", {"nodes": {"stranger": stranger}})
        eventually(
            lambda: waiting(fabric, "refused") == {("grant", "stranger", NODES["node-1"])}, 5, "it is refused"
        )
        nothing_moves(fabric)


def test_a_vip_pool_over_a_nodes_prefix_is_refused(fabric: Fabric) -> None:
    """A pool that would let every node announce parts of node-1's prefix is refused and alarmed."""
    with undisturbed(fabric):
        in_folder(fabric, "more.yaml", {"vips": [{"prefixes": ["10.244.1.0/28"]}]})
        eventually(
            lambda: waiting(fabric, "refused") == {("grant", None, "10.244.1.0/28")}, 5, "it is refused"
        )
        assert fabric.appliance.tell("check").exit == 1
        nothing_moves(fabric)


def test_at_a_start_without_state_the_source_named_first_goes_first(fabric: Fabric) -> None:
    """Nothing is known of before: the file's node gets the prefix that both give away, whoever is read first."""
    appliance = fabric.appliance
    in_folder(fabric, "more.yaml", node("node-3", PODS["node-1"]))
    with undisturbed(fabric):
        for _ in range(3):
            appliance.kill()
            (appliance.state_dir / store.FILE).unlink()
            appliance.start()
            assert waiting(fabric, "refused") == {("grant", "node-3", PODS["node-1"])}
            nothing_moves(fabric, 0.3)


def test_a_node_in_two_sources_has_what_both_say_and_loses_what_one_takes_back(fabric: Fabric) -> None:
    """`ipam show` names both; without the folder in rr.yaml the node loses the folder's prefix and nothing else."""
    with undisturbed(fabric, gone={LATE}):
        in_folder(fabric, "more.yaml", node("node-3", LATE))
        hops(fabric, LATE, "node-3")
        (row,) = fabric.appliance.rrctl("ipam", "show", "--node", "node-3", "--source", EXTRA)[:1]
        assert row["source"].endswith(f", {EXTRA}")
        assert set(row["prefixes"]) == {PODS["node-3"], LATE}
        configure(fabric, only_file=True)
        tors_hold(fabric, ROUTES, within=AT_ONCE)


def test_a_borrowed_address_is_its_borrowers_and_the_block_stays_whole(fabric: Fabric) -> None:
    """Two nodes announce an address of node-1's block: the one that borrows it gets it, the other one is rejected."""
    with undisturbed(fabric, gone={LENT}):
        document = allocations()
        document["nodes"]["node-2"]["borrowed"] = [LENT]
        fabric.appliance.set_allocations(document)
        hops(fabric, LENT, "node-2")
        assert all(tor.next_hops(PODS["node-1"]) == {NODES["node-1"]} for tor in fabric.tors)
        told = fabric.appliance.rrctl("explain", LENT, "--from", "node-3")
        assert (told["accepted"], told["reason"]) == (False, "foreign-prefix")
        assert told["text"] == f"{LENT} is borrowed by node-2 out of {PODS['node-1']} of node-1"
        fabric.appliance.set_allocations(allocations())
        tors_hold(fabric, ROUTES, within=AT_ONCE)


# Grace


def test_a_source_that_flaps_within_the_grace_moves_no_route(fabric: Fabric, known: Config) -> None:
    """Prefixes vanish and come back, and the file breaks in between: the ToRs are told nothing at all."""
    configure(fabric, grace=GRACE)
    less = copy.deepcopy(known)
    less["nodes"]["node-2"]["prefixes"] = []
    del less["nodes"]["node-3"]
    with undisturbed(fabric):
        for _ in range(4):
            fabric.appliance.set_allocations(less)
            eventually(lambda: waiting(fabric, "grace"), 2, "it has a grace")
            nothing_moves(fabric, 0.3)
            fabric.appliance.allocations_file.write_text("nodes: [")
            nothing_moves(fabric, 0.3)
            fabric.appliance.set_allocations(known)
            eventually(lambda: not waiting(fabric, "grace"), 2, "nothing happened")
        nothing_moves(fabric, GRACE + 0.5)


def test_a_revocation_waits_for_its_grace_also_over_a_restart_of_rrd(fabric: Fabric, known: Config) -> None:
    """The prefix and its time are shown; rrd is killed meanwhile; then the route goes, and nobody else's."""
    configure(fabric, grace=4 * GRACE)
    known["nodes"]["node-2"]["prefixes"] = []
    gone = PODS["node-2"]
    with undisturbed(fabric, gone={gone}):
        fabric.appliance.set_allocations(known)
        eventually(lambda: waiting(fabric, "grace") == {("revoke", "node-2", gone)}, 2, "it has a grace")
        began = time.monotonic()
        (row,) = fabric.appliance.rrctl("ipam", "show", "--node", "node-2")[:1]
        assert list(row["until"]) == [gone]
        time.sleep(1.2)  # what is in its grace is on disk within a second
        restart(fabric)
        assert waiting(fabric, "grace") == {("revoke", "node-2", gone)}
        tors_hold(fabric, ROUTES, within=0.5)
        tors_hold(fabric, ROUTES - {gone}, within=4 * GRACE + 3)
        assert time.monotonic() - began > 4 * GRACE - 2
        assert any(f"node-2 loses {gone}" in text for text in events(fabric, "revoke"))


def test_nobody_else_gets_a_prefix_before_its_grace_is_over(fabric: Fabric, known: Config) -> None:
    """It moves to a node that announces it already: the old path alone, then the new path alone, and no alarm."""
    configure(fabric, grace=GRACE)
    moved = PODS["node-1"]
    known["nodes"]["node-1"]["prefixes"] = []
    known["nodes"]["node-3"]["prefixes"].append(moved)
    with undisturbed(fabric, gone={moved}):
        fabric.appliance.set_allocations(known)
        eventually(lambda: waiting(fabric, "grace") == {("revoke", "node-1", moved)}, 2, "it has a grace")
        assert fabric.appliance.tell("check").exit == 0
        never(lambda: fabric.frr.next_hops(moved) != {NODES["node-1"]}, GRACE - 2, "it moves before its time")
        hops(fabric, moved, "node-3", within=GRACE + 3)


# A folder


def test_files_of_a_folder_come_change_and_go(fabric: Fabric) -> None:
    """A new file grants, another name for it moves nothing, a broken one changes nothing, and its end revokes."""
    with undisturbed(fabric, gone={LATE}):
        file = in_folder(fabric, "more.yaml", node("node-3", LATE))
        hops(fabric, LATE, "node-3")
        calm = len(fabric.frr.removals())
        file.rename(file.with_name("renamed.yml"))
        in_folder(fabric, "broken.yaml", "nodes: [")
        is_in_state(fabric, "failing", EXTRA)
        assert "broken.yaml:" in sources_of(fabric)[EXTRA]["error"]
        (folder_of(fabric) / "broken.yaml").unlink()
        is_in_state(fabric, "good", EXTRA)
        assert len(fabric.frr.removals()) == calm
        (folder_of(fabric) / "renamed.yml").unlink()
        tors_hold(fabric, ROUTES, within=AT_ONCE)


def test_two_files_of_a_folder_that_contradict_are_refused_with_both_places(fabric: Fabric) -> None:
    """One node in two files: the error has both files and lines, and what was in force stays."""
    with undisturbed(fabric, gone={LATE}):
        first = in_folder(fabric, "a.yaml", node("node-3", LATE))
        hops(fabric, LATE, "node-3")
        second = in_folder(fabric, "b.yaml", node("node-3"))
        is_in_state(fabric, "failing", EXTRA)
        error = sources_of(fabric)[EXTRA]["error"]
        assert f"{second}:2:" in error
        assert f"{first}:2:" in error
        hops(fabric, LATE, "node-3")


# State on disk


@pytest.mark.parametrize("damage", ["cut off", "garbage", "gone"])
def test_state_that_is_corrupt_is_said_and_done_without(fabric: Fabric, damage: str) -> None:
    """rrd starts, adopts the engine, and takes what the sources say; no session and no route moves."""
    appliance, file = fabric.appliance, fabric.appliance.state_dir / store.FILE
    with undisturbed(fabric):
        appliance.kill()
        text = file.read_bytes()
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(text[:50] if damage == "cut off" else b"\xff" * 100)
        appliance.start()
        is_in_state(fabric, "good")
        nothing_moves(fabric)
        eventually(lambda: appliance.tell("check").exit == 0, 5, "the state is written anew")
        assert store.load(file).parts


def test_without_state_and_with_a_broken_source_the_engine_keeps_what_it_holds(fabric: Fabric) -> None:
    """Nothing is known: `check` is critical, no route goes, and what was not accepted before is not accepted now."""
    appliance = fabric.appliance
    with undisturbed(fabric):
        appliance.kill()
        (appliance.state_dir / store.FILE).write_bytes(b"{")
        appliance.allocations_file.write_text("nodes: [")
        (folder_of(fabric) / "none.yaml").write_text("nodes: [")
        appliance.start()
        is_in_state(fabric, "failing")
        nothing_moves(fabric)
        assert appliance.tell("check").exit == 2
        appliance.set_allocations(allocations())
        in_folder(fabric, "none.yaml", {"nodes": {}})
        is_in_state(fabric, "good")
        eventually(lambda: appliance.tell("check").exit == 0, 5, "all is well again")


# VIPs


def test_one_more_vip_for_every_node_edits_what_they_share_and_replaces_nothing(
    fabric: Fabric, known: Config
) -> None:
    """The pool comes, is announced already, and goes: an edit each time, and the ToRs follow at once."""
    with undisturbed(fabric, gone={OTHER_VIP}):
        before = len(events(fabric, "policy"))
        known["vips"].append({"prefixes": [OTHER_VIP]})
        fabric.appliance.set_allocations(known)
        hops(fabric, OTHER_VIP, "node-2", "node-3")
        fabric.appliance.set_allocations(allocations())
        tors_hold(fabric, ROUTES, within=AT_ONCE)
        said = events(fabric, "policy")[before:]
        assert said == ["main: prefixes edited: open, vips"] * 2
        told = events(fabric, "grant", "revoke")[-2:]
        assert [text.partition(" (by")[0] for text in told] == [
            f"the VIP prefix {OTHER_VIP} is opened to every node",
            f"the VIP prefix {OTHER_VIP} is closed to every node",
        ]
