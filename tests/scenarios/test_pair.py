"""The pair: two appliances, both active, every node and ToR with both; each half may go, and nobody lacks a route."""

import os
import signal
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rr.continuity.pair.certificates import make
from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    FrrNode,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    all_established,
    eventually,
    never,
)
from tests.scenarios.lifecycle import Calm

pytestmark = pytest.mark.root

NAMES = ("rr-a", "rr-b")
HALVES = {"rr-a": "10.0.0.11", "rr-b": "10.0.0.12"}
TORS = {"tor-1": "10.2.1.1", "tor-2": "10.2.1.2"}
KINDS: dict[str, type[Peer]] = {"frr": FrrNode, "bird": BirdNode, "gobgp": GobgpNode}
ALONE = "single"
"""A BIRD node with a session with rr-a only."""
NODES = {"frr": "10.2.0.11", "bird": "10.2.0.12", "gobgp": "10.2.0.13", ALONE: "10.2.0.14"}
PODS = {name: f"10.244.{number}.0/24" for number, name in enumerate(NODES, start=1)}
VIP = "10.100.0.1/32"
ROUTES = {*PODS.values(), VIP}


@dataclass
class Pair:
    """Both halves, an FRR and a BIRD ToR, and nodes of three makes with both; one with rr-a only."""

    net: Network
    halves: dict[str, Appliance]
    tors: tuple[Peer, ...]
    nodes: dict[str, Peer]

    @property
    def everyone(self) -> tuple[Peer, ...]:
        return (*self.tors, *self.nodes.values())

    def row(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = self.halves[name].rrctl("pair", "status")
        return row

    def counts(self, name: str) -> dict[str, int]:
        counts: dict[str, int] = self.row(name)["instances"][0]["nodes"]
        return counts

    def problems(self, name: str) -> list[str]:
        return [problem["text"] for problem in self.halves[name].rrctl("status")["problems"]]


def other(name: str) -> str:
    return NAMES[1 - NAMES.index(name)]


def instances(name: str, **settings: Any) -> dict[str, Any]:
    tors = [{"address": address} for address in TORS.values()]
    rack = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": tors}
    main = {"asn": 64512, "router_id": HALVES[name], "racks": {"rack-1": rack}, **settings}
    return {"main": main}


def allocations() -> dict[str, Any]:
    nodes = {name: {"addresses": [NODES[name]], "prefixes": [PODS[name]]} for name in NODES}
    return {"nodes": nodes, "vips": [{"prefixes": ["10.100.0.0/24"]}]}


def pair_of(name: str, folder: Path) -> dict[str, Any]:
    return {
        "name": other(name),
        "peers": {"main": HALVES[other(name)]},
        "listen": f"{HALVES[name]}:9633",
        "connect": f"{HALVES[other(name)]}:9633",
        "certificate": str(folder / f"{name}.crt"),
        "key": str(folder / f"{name}.key"),
        "ca": str(folder / "ca.crt"),
    }


def half(net: Network, name: str, folder: Path, **settings: Any) -> Appliance:
    return Appliance(
        net, name, HALVES[name], instances=instances(name), allocations=allocations(),
        settings={"pair": pair_of(name, folder), **settings}, start=False,
    )  # fmt: skip


@pytest.fixture
def pair(net: Network) -> Pair:
    folder = net.folder / "certificates"
    make(folder, NAMES, 30)
    halves = {name: half(net, name, folder) for name in NAMES}
    for appliance in halves.values():
        appliance.start()
    remotes = [appliance.remote() for appliance in halves.values()]
    tors = (
        FrrTor(net, "tor-1", TORS["tor-1"], to=remotes),
        BirdTor(net, "tor-2", TORS["tor-2"], to=remotes),
    )
    nodes: dict[str, Peer] = {name: kind(net, name, NODES[name], to=remotes) for name, kind in KINDS.items()}
    nodes[ALONE] = BirdNode(net, ALONE, NODES[ALONE], to=remotes[0])
    found = Pair(net, halves, tors, nodes)
    all_established(*found.everyone)
    for name, node in nodes.items():
        node.announce(PODS[name])
        if name != ALONE:
            node.announce(VIP)
    eventually(
        lambda: all(set(tor.routes()) == ROUTES for tor in tors), 10, "both ToRs hold everything",
        seen=lambda: [sorted(tor.routes()) for tor in tors],
    )  # fmt: skip
    eventually(lambda: all(found.row(name)["reachable"] for name in NAMES), 10, "the halves reach each other")
    return found


def sessions_between(pair: Pair) -> dict[str, str]:
    return {
        name: next(p["state"] for p in half.rrctl("peers") if p["role"] == "pair")
        for name, half in pair.halves.items()
    }


def connected(pair: Pair) -> None:
    eventually(
        lambda: set(sessions_between(pair).values()) == {"established"}, 15, "the session between the halves is up",
        seen=lambda: sessions_between(pair),
    )  # fmt: skip


def held_by(pair: Pair, name: str, prefix: str) -> list[dict[str, Any]]:
    """The paths of a prefix that a half holds, as `rrctl routes` says."""
    rows: list[dict[str, Any]] = pair.halves[name].rrctl("routes", prefix)
    return rows


def lent(pair: Pair) -> None:
    """Wait until both ToRs have the route of the node with rr-a only from both halves."""
    connected(pair)
    eventually(
        lambda: all(len(tor.paths(PODS[ALONE])) == 2 for tor in pair.tors), 25, "both halves carry the node of rr-a",
        seen=lambda: [tor.paths(PODS[ALONE]) for tor in pair.tors],
    )  # fmt: skip


def test_the_halves_see_each_other_and_count_who_has_a_session_with_both(pair: Pair) -> None:
    """Session and health channel are up on both halves; three nodes with both, one with one, none with none."""
    connected(pair)
    for name in NAMES:
        eventually(
            lambda: pair.counts(name) == {"both": 3, "one": 1, "none": 0}, 10, "the sessions are counted",  # noqa: B023
            seen=lambda: pair.row(name),  # noqa: B023
        )  # fmt: skip
        eventually(lambda: pair.row(name)["redundancy"], 10, "who has one session is named")  # noqa: B023
        row = pair.row(name)
        assert (row["differences"], row["problem"]) == ([], None)
        (thin,) = row["redundancy"]
        assert (thin["node"], thin["here"], thin["there"]) == (ALONE, name == "rr-a", name == "rr-b")
    assert ALONE in pair.row("rr-a")["refusal"]
    assert pair.row("rr-b")["refusal"] is None


def test_a_node_with_a_session_with_one_half_is_carried_by_both(pair: Pair) -> None:
    """rr-b holds its route, as the node's own, and ToRs have it from both; no other is lent; withdrawn, it is gone."""
    lent(pair)
    rows = held_by(pair, "rr-b", PODS[ALONE])
    assert [(r["node"], r["rack"], r["peer"]) for r in rows] == [(ALONE, "rack-1", HALVES["rr-a"])]
    assert [len(held_by(pair, name, PODS["frr"])) for name in NAMES] == [1, 1]
    assert [pair.row(name)["instances"][0]["lent"] for name in NAMES] == [1, 0]
    for tor in pair.tors:
        assert {path.next_hop for path in tor.paths(PODS[ALONE])} == {NODES[ALONE]}
        assert {path.local_pref for path in tor.paths(PODS[ALONE])} == {100, 50}
    pair.nodes[ALONE].withdraw(PODS[ALONE])
    eventually(lambda: not any(held_by(pair, name, PODS[ALONE]) for name in NAMES), 5, "gone from both")
    eventually(lambda: not any(tor.paths(PODS[ALONE]) for tor in pair.tors), 5, "gone from the ToRs")


def whole(pair: Pair) -> None:
    """Wait until the halves reach each other, agree, and have every session that they should have."""
    connected(pair)
    for name in NAMES:
        eventually(
            lambda: pair.row(name)["reachable"] and not pair.row(name)["differences"], 10, "the halves agree",  # noqa: B023
            seen=lambda: pair.row(name),  # noqa: B023
        )  # fmt: skip
        eventually(
            lambda: pair.counts(name) == {"both": 3, "one": 1, "none": 0}, 20, "all nodes have their sessions",  # noqa: B023
            seen=lambda: pair.row(name),  # noqa: B023
        )  # fmt: skip


def lacking(pair: Pair, routes: Set[str]) -> list[tuple[str, set[str]]]:
    """Which ToR lacks which of these routes."""
    missing = {tor.name: set(routes) - set(tor.routes()) for tor in pair.tors}
    return [(name, prefixes) for name, prefixes in missing.items() if prefixes]


def says(pair: Pair, name: str, sentence: str, within: float = 5) -> None:
    eventually(
        lambda: any(sentence in problem for problem in pair.problems(name)), within, f"{name} says: {sentence}",
        seen=lambda: pair.problems(name),
    )  # fmt: skip


def says_no_more(pair: Pair, name: str, sentence: str, within: float = 10) -> None:
    eventually(
        lambda: not any(sentence in problem for problem in pair.problems(name)), within, f"no longer: {sentence}",
        seen=lambda: pair.problems(name),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_half_that_is_killed_is_missed_by_no_tor(pair: Pair, name: str) -> None:
    """Engine and rrd get SIGKILL: no ToR ever lacks a route; the other half says so; started again, all is whole."""
    lent(pair)
    appliance = pair.halves[name]
    appliance.kill()
    for pid in appliance.engines():
        os.kill(pid, signal.SIGKILL)
    never(lambda: lacking(pair, ROUTES), 6, "a ToR lacks a route")
    says(pair, other(name), "it has no BGP session either")
    assert pair.halves[other(name)].tell("check").exit == 1, (
        "a warning, and nothing critical: this half serves"
    )
    appliance.start()
    never(lambda: lacking(pair, ROUTES), 6, "a ToR lacks a route while the half comes back")
    whole(pair)


def test_a_half_that_is_cut_off_is_missed_by_no_tor(pair: Pair) -> None:
    """Its cable is pulled: ToRs never lack a route of a node with both; both halves say so; plugged, all is whole."""
    connected(pair)
    routes = ROUTES - {PODS[ALONE]}
    pair.halves["rr-a"].host.unplug()
    never(lambda: lacking(pair, routes), 14, "a ToR lacks a route")
    for name in NAMES:
        says(pair, name, f"The other half {other(name)} cannot be reached")
        says(pair, name, "it has no BGP session either")
    pair.halves["rr-a"].host.plug()
    never(lambda: lacking(pair, routes), 5, "a ToR lacks a route")
    eventually(lambda: not lacking(pair, ROUTES), 30, "everything is back")
    whole(pair)


def test_different_allocations_are_reported_and_the_report_ends_with_them(pair: Pair) -> None:
    """Within 5 s both halves name it; where a change reaches one half 1.5 s after the other, nothing is said."""
    whole(pair)
    changed = allocations()
    changed["nodes"]["frr"]["prefixes"].append("10.244.99.0/24")
    began = {name: len(pair.halves[name].rrctl("events")) for name in NAMES}
    pair.halves["rr-b"].set_allocations(changed)
    for name in NAMES:
        says(pair, name, "The halves hold different allocations")
        says(pair, name, "The halves enforce different rules in instance main")
    pair.halves["rr-a"].set_allocations(changed)
    for name in NAMES:
        says_no_more(pair, name, "The halves", 5)
        events = pair.halves[name].rrctl("events")[began[name] :]
        assert [e["text"] for e in events if "the halves" in e["text"]] == [
            "the halves hold different allocations", "the halves enforce different rules in instance main",
            "the halves agree again",
        ]  # fmt: skip
    pair.halves["rr-b"].set_allocations(allocations())
    never(lambda: pair.row("rr-a")["differences"], 1.5, "a change that travels is a difference")
    pair.halves["rr-a"].set_allocations(allocations())
    never(lambda: any(pair.row(name)["differences"] for name in NAMES), 5, "the halves differ")


def test_a_different_configuration_is_named_by_its_part(pair: Pair) -> None:
    """Other `reflect` settings on rr-b are reported on both halves within 5 s, by the key and the instance."""
    whole(pair)
    half = pair.halves["rr-b"]
    half.set_config(instances("rr-b", reflect={"nodes": "none"}))
    half.reload()
    for name in NAMES:
        says(pair, name, "The halves are configured differently: reflect of instance main")
    half.set_config(instances("rr-b"))
    half.reload()
    for name in NAMES:
        says_no_more(pair, name, "The halves", 5)


def test_a_wrong_certificate_is_a_plain_problem_and_touches_no_session(pair: Pair) -> None:
    """One of another CA, for another name, or missing: each is said; the right one is taken without a restart."""
    whole(pair)
    folder = pair.net.folder / "certificates"
    good = {path: path.read_bytes() for path in folder.glob("rr-a.*")}
    strange = pair.net.folder / "strange"
    make(strange, NAMES, 30)
    with undisturbed(pair):
        exchange(folder, "rr-a", strange, "rr-a")
        says(pair, "rr-b", "its certificate is not accepted", 8)
        says(pair, "rr-a", "The other half rr-b cannot be reached", 8)
        exchange(folder, "rr-a", folder, "rr-b")
        says(pair, "rr-a", "rr-a.crt is for rr-b, and this half is rr-a")
        (folder / "rr-a.crt").unlink()
        says(pair, "rr-a", "there is no file")
        assert pair.halves["rr-a"].tell("check").exit == 1
        for path, content in good.items():
            path.write_bytes(content)
        for name in NAMES:
            says_no_more(pair, name, "The other half", 15)


def exchange(folder: Path, name: str, source: Path, of: str) -> None:
    for ending in ("crt", "key"):
        (folder / f"{name}.{ending}").write_bytes((source / f"{of}.{ending}").read_bytes())


@contextmanager
def undisturbed(pair: Pair) -> Iterator[None]:
    """Assert that what happens inside resets no session and takes no route back."""
    calm = Calm(pair.everyone)
    yield
    calm.check()


def test_halves_that_lose_sight_of_each_other_go_on_as_they_are(pair: Pair) -> None:
    """rrd of rr-b killed: rr-a says that BGP is up, so it runs. Without BGP between them: said. No session ends."""
    lent(pair)
    with undisturbed(pair):
        half = pair.halves["rr-b"]
        half.kill()
        says(pair, "rr-a", "its BGP session is up in main, so it runs", 8)
        assert "cannot be reached" in pair.row("rr-a")["refusal"]
        half.start()
        for name in NAMES:
            says_no_more(pair, name, "The other half", 15)
        assert not lacking(pair, ROUTES)
        assert all(len(tor.paths(PODS[ALONE])) == 2 for tor in pair.tors), "what is lent stays lent"
    half.settings["pair"] = {**half.settings["pair"], "peers": {}}
    half.set_config(half.instances)
    half.reload()
    says(pair, "rr-a", "has no BGP session", 15)
    assert pair.row("rr-a")["reachable"]
    assert not lacking(pair, ROUTES)


def test_a_pair_comes_and_goes_with_the_configuration_and_resets_nobody(pair: Pair) -> None:
    """`pair:` is taken out of rr.yaml and put back, with reloads: no other session is reset, no route taken back."""
    connected(pair)
    half = pair.halves["rr-b"]
    settings = half.settings.pop("pair")
    with undisturbed(pair):
        half.set_config(half.instances)
        told = half.reload()
        assert [text for text in told["resets"] if "10.2." in text] == []
        assert half.rrctl("status")["pair"] is None
        assert [p for p in half.rrctl("peers") if p["role"] == "pair"] == []
        assert half.tell("pair").exit == 1
        half.settings["pair"] = settings
        half.set_config(half.instances)
        half.reload()
        whole(pair)


def test_a_half_is_not_drained_while_the_other_does_not_carry_everybody(pair: Pair) -> None:
    """`drain` on rr-a names the node that only it has; rr-b goes, and then rr-a may not; ToRs never lack a route."""
    lent(pair)
    told = pair.halves["rr-a"].tell("drain", "--wait", "0")
    assert told.exit == 1
    assert "the other half rr-b has no session with the node single of main" in told.stderr
    assert "--force" in told.stderr
    told = pair.halves["rr-b"].tell("drain", "--wait", "1")
    assert told.exit == 0, told
    assert pair.halves["rr-b"].tell("drain").exit == 0, "to drain what is drained changes nothing"
    never(lambda: lacking(pair, ROUTES), 4, "a ToR lacks a route")
    eventually(
        lambda: pair.row("rr-a")["refusal"] == "main is drained at the other half rr-b", 5, "rr-a is needed",
        seen=lambda: pair.row("rr-a"),
    )  # fmt: skip
    pair.halves["rr-b"].rrctl("undrain")
    never(lambda: lacking(pair, ROUTES), 4, "a ToR lacks a route")
    whole(pair)


def test_a_half_is_not_restarted_while_the_other_does_not_carry_everybody(pair: Pair) -> None:
    """`engine restart` on rr-a names the node that only it has, and obeys --force; on rr-b it is free to go."""
    lent(pair)
    told = pair.halves["rr-a"].tell("engine", "restart")
    assert told.exit == 1
    assert "the other half rr-b has no session with the node single of main" in told.stderr
    assert "--force" in told.stderr
    told = pair.halves["rr-b"].tell("engine", "restart", timeout=60)
    assert told.exit == 0, told
    assert not lacking(pair, ROUTES)
    whole(pair)
    told = pair.halves["rr-a"].tell("engine", "restart", "--force", timeout=60)
    assert told.exit == 0, told
    assert not lacking(pair, ROUTES)
    pair.halves["rr-a"].kill()
    told = pair.halves["rr-b"].tell("engine", "restart")
    assert told.exit == 1, told
    assert "the other half rr-a cannot be reached" in told.stderr


def test_what_passes_only_because_its_rack_is_observed_is_not_handed_over(pair: Pair) -> None:
    """What the node of rr-a owns is carried by both halves, what it does not own by rr-a alone; the halves agree."""
    for name, appliance in pair.halves.items():
        config = instances(name)
        config["main"]["racks"]["rack-1"] |= {
            "enforce": "observe",
            "observe": {"prefixes": ["10.244.0.0/16"]},
        }
        appliance.set_config(config)
        assert appliance.reload()["resets"] == []
    pair.nodes[ALONE].announce("10.244.99.0/24")
    lent(pair)
    eventually(lambda: all(tor.paths("10.244.99.0/24") for tor in pair.tors), 5, "the ToRs have it")
    never(lambda: held_by(pair, "rr-b", "10.244.99.0/24"), 3, "it is at rr-b")
    assert [len(tor.paths("10.244.99.0/24")) for tor in pair.tors] == [1, 1]
    assert [row["observed"] for row in held_by(pair, "rr-a", "10.244.99.0/24")] == [True]
    assert not pair.halves["rr-b"].violations(active=True)
    for name in NAMES:
        eventually(lambda: pair.row(name)["differences"] == [], 10, "the halves agree")  # noqa: B023
