"""Drain and undrain: with two appliances a ToR has moved before a session ends, and nobody gets back in meanwhile."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Appliance, BirdTor, FrrTor, GobgpNode, Network, Peer, all_established, eventually, never
from tests.lab.appliance import RRCTL
from tests.lab.forwarding import Forwarding
from tests.scenarios.lifecycle import KINDS, NODES, PODS, ROUTES, TORS, VIP, allocations, instances

pytestmark = pytest.mark.root

A, B = "10.0.0.11", "10.0.0.12"
MORE = "10.244.103.0/24"
MESSAGE = "drained for maintenance"


@dataclass(frozen=True)
class Pair:
    """Two appliances that reflect the same nodes to the same two ToRs; the first is the one that is drained."""

    net: Network
    a: Appliance
    b: Appliance
    frr: FrrTor
    bird: BirdTor
    nodes: dict[str, Peer]

    @property
    def everyone(self) -> tuple[Peer, ...]:
        return self.frr, self.bird, *self.nodes.values()


@pytest.fixture(scope="module")
def built(shared_net: Network) -> Pair:
    made = []
    for name, address in (("rr-a", A), ("rr-b", B)):
        config = instances()
        # An FRR node whose session broke without a NOTIFICATION waits so long to be dialed (docs/engine.md).
        config["main"] |= {
            "router_id": address,
            "graceful_restart": {"restart_time": 30, "deferral_time": 10},
        }
        made.append(Appliance(shared_net, name, address, instances=config, allocations=allocations()))
    a, b = made
    remotes = (a.remote(), b.remote())
    frr, bird = (
        FrrTor(shared_net, "tor-1", TORS[0], to=remotes),
        BirdTor(shared_net, "tor-2", TORS[1], to=remotes),
    )
    nodes = {name: KINDS[name](shared_net, name, at, to=remotes) for name, at in NODES.items()}
    pair = Pair(shared_net, a, b, frr, bird, nodes)
    all_established(*pair.everyone)
    for name, node in nodes.items():
        node.announce(PODS[name])
        node.announce(VIP)
    nodes["node-3"].announce(MORE)
    return pair


@pytest.fixture
def pair(built: Pair) -> Iterator[Pair]:
    """The two appliances, both serving, before and after each test."""
    whole(built)
    yield built
    for appliance in (built.a, built.b):
        appliance.set_allocations(allocations())
        if appliance.process is None:
            appliance.start()
        appliance.tell("undrain")
    whole(built)


def whole(pair: Pair) -> None:
    """Wait until every session is up, and both ToRs have every route from both appliances, unmarked."""
    all_established(*pair.everyone, timeout=60)
    for prefix in ROUTES:
        for tor in (pair.frr, pair.bird):
            eventually(
                lambda tor=tor, prefix=prefix: (
                    {p.local_pref for p in tor.paths(prefix)} == {100}  # type: ignore[misc]
                    and used(tor, prefix) >= {A, B}
                ),
                30,
                f"{tor.name} uses what both send for {prefix}",
                seen=lambda tor=tor, prefix=prefix: (used(tor, prefix), tor.paths(prefix)),  # type: ignore[misc]
            )
    eventually(lambda: pair.a.tell("check").exit == 0, 30, "all is well", seen=lambda: pair.a.tell("check"))


def used(tor: FrrTor | BirdTor, prefix: str) -> set[str]:
    """The appliances whose paths a ToR would forward by: the best, and those that are as good."""
    if isinstance(tor, FrrTor):
        entry = tor.table("ipv4").get(prefix, [])
        paths = entry if isinstance(entry, list) else entry.get("paths", [])
        return {
            p["peer"]["peerId"] for p in paths if p.get("valid") and p["locPrf"] == best_preference(paths)
        }
    shown = tor.birdc(f"show route for {prefix} all")
    found = re.findall(r"\[rr(\d) .*?BGP\.local_pref: (\d+)", shown, re.DOTALL)
    best = max((int(preference) for _, preference in found), default=0)
    return {tor.sessions[int(number)].remote for number, preference in found if int(preference) == best}


def best_preference(paths: list[dict[str, Any]]) -> int | None:
    """The LOCAL_PREF of the path that FRR has chosen."""
    return next((int(p["locPrf"]) for p in paths if p.get("bestpath", {}).get("overall")), None)


def moved(pair: Pair) -> bool:
    """Tell whether no ToR uses anything that the first appliance sends."""
    return all(used(tor, prefix) == {B} for tor in (pair.frr, pair.bird) for prefix in ROUTES)


def marked(pair: Pair, prefix: str) -> bool:
    """Tell whether both ToRs hold marked paths for a prefix from the first appliance."""
    return all(
        any("graceful-shutdown" in p.communities and p.local_pref == 1 for p in tor.paths(prefix))
        for tor in (pair.frr, pair.bird)
    )


def state(appliance: Appliance, instance: str = "main") -> str:
    """How far an instance is drained, as `rrctl status` says."""
    rows = {row["instance"]: row["drain"]["state"] for row in appliance.rrctl("status")["instances"]}
    return str(rows[instance])


def drained(pair: Pair, within: float = 15) -> None:
    eventually(lambda: state(pair.a) == "drained", within, "rr-a is drained", seen=lambda: state(pair.a))


def states(pair: Pair, remote: str = A) -> dict[str, str]:
    """The state of everybody's session with one appliance."""
    return {peer.name: peer.session_states()[remote] for peer in pair.everyone}


def nobody_in(pair: Pair) -> bool:
    return "established" not in states(pair).values()


class Kernels:
    """What happens to the routes of both ToRs' kernels, from its making on."""

    def __init__(self, pair: Pair) -> None:
        self.tors = (pair.frr, pair.bird)
        self.watched = [Forwarding(tor.host) for tor in self.tors]
        assert self.lost() == []

    def lost(self) -> list[str]:
        """Routes that were taken out of a kernel's table, or are not in it now."""
        taken_out = [p for watched in self.watched for p in watched.taken_out() if p in ROUTES]
        return taken_out + [
            f"{t.name} lacks {p}" for t in self.tors for p in ROUTES if not t.kernel_next_hops(p)
        ]


def test_tors_and_their_kernels_have_moved_before_a_session_ends(pair: Pair) -> None:
    """While draining, FRR and BIRD use the other appliance's paths alone; the kernel's routes are never deleted."""
    kernels = Kernels(pair)
    told = pair.a.rrctl("drain", "--wait", "4", "--background")
    assert [(row["instance"], row["state"]) for row in told] == [("main", "draining")]
    eventually(
        lambda: moved(pair), 2, "both ToRs have moved", seen=lambda: {p: used(pair.bird, p) for p in ROUTES}
    )
    assert all(marked(pair, prefix) for prefix in ROUTES)
    assert set(states(pair).values()) == {"established"}
    assert state(pair.a) == "draining"
    (row,) = pair.a.rrctl("status")["instances"]
    assert 0 < row["drain"]["seconds_left"] <= 4
    drained(pair)
    assert nobody_in(pair)
    assert set(states(pair, B).values()) == {"established"}
    assert moved(pair)
    assert kernels.lost() == []


def test_nodes_are_told_by_the_marks_too(pair: Pair) -> None:
    """A node's routes of other nodes carry GRACEFUL_SHUTDOWN and the lowest LOCAL_PREF, from the drained one only."""
    pair.a.rrctl("drain", "--wait", "3", "--background")
    node = pair.nodes["node-2"]
    eventually(
        lambda: (
            sorted(("graceful-shutdown" in p.communities, p.local_pref) for p in node.paths(PODS["node-1"]))
            == [(False, 100), (True, 1)]
        ),
        2.5,
        "node-2 has a marked path and another",
        seen=lambda: node.paths(PODS["node-1"]),
    )


def test_everybody_is_told_why_the_session_ended(pair: Pair) -> None:
    """FRR, BIRD and GoBGP, ToRs and nodes, log Cease/Administrative Shutdown with the message (RFC 9003)."""
    began = {peer.name: len(heard(peer)) for peer in pair.everyone}
    pair.a.rrctl("drain", "--wait", "0")
    for peer in pair.everyone:
        eventually(
            lambda peer=peer: MESSAGE in heard(peer)[began[peer.name] :],  # type: ignore[misc]
            3,
            f"{peer.name} was told why",
            seen=lambda peer=peer: heard(peer)[began[peer.name] :][-1500:],  # type: ignore[misc]
        )
    neighbor = json.loads(pair.frr.vty(f"show bgp neighbors {A} json"))[A]
    assert neighbor["lastResetDueTo"].startswith("BGP Notification received")
    assert neighbor["lastNotificationReason"] == "Cease/Administrative Shutdown"


def heard(peer: Peer) -> str:
    """What a peer has logged."""
    return "".join(
        log.read_text(errors="replace")
        for log in sorted(peer.host.folder.glob("*.log"))
        if not log.name.startswith("routes-")
    )


def test_routes_are_gone_at_once_where_there_is_no_other_path(pair: Pair) -> None:
    """With graceful restart on both sides the far side keeps nothing: the NOTIFICATION is the end of the session."""
    pair.b.rrctl("drain", "--wait", "0")
    forwarding = [pair.frr.kernel_next_hops(p) for p in ROUTES]
    assert all(forwarding)
    pair.a.rrctl("drain", "--wait", "2", "--background")
    eventually(lambda: marked(pair, VIP), 2, "marked")
    assert [pair.frr.kernel_next_hops(p) for p in ROUTES] == forwarding
    drained(pair)
    for tor in (pair.frr, pair.bird):
        eventually(lambda tor=tor: tor.routes() == {}, 2, f"{tor.name} holds nothing")  # type: ignore[misc]
        for prefix in ROUTES:
            eventually(lambda at=(tor, prefix): not at[0].kernel_next_hops(at[1]), 2, f"{prefix} is gone")  # type: ignore[misc]


def test_nobody_gets_back_in_while_it_is_drained(pair: Pair) -> None:
    """ToRs and nodes that try, a node that starts anew and one that was never there: no session for six seconds."""
    pair.a.rrctl("drain", "--wait", "0")
    pair.nodes["node-3"].stop()
    pair.nodes["node-3"].start()
    stranger = GobgpNode(pair.net, f"stranger-{len(pair.net.hosts)}", "10.2.0.77", to=pair.a.remote())
    never(
        lambda: not nobody_in(pair) or stranger.established(),
        6,
        "somebody has a session",
        seen=lambda: states(pair),
    )
    stranger.stop()
    told = pair.a.tell("check")
    assert told.exit == 1
    assert "Instance main is drained since" in told.stdout
    assert "has no session" not in told.stdout
    assert [row["state"] for row in pair.a.rrctl("peers")] == ["idle", "idle"]
    assert {row["drain"] for row in pair.a.rrctl("peers")} == {"drained"}
    assert 'rr_drain_state{instance="main"} 3.0' in pair.a.host.run(
        "curl", "-sf", "http://127.0.0.1:9632/metrics"
    )
    assert json.loads(pair.a.host.run("curl", "-sf", "http://127.0.0.1:9632/readyz"))["ready"]


def test_undrain_brings_everything_back(pair: Pair) -> None:
    """Every session returns, every route unmarked; the other appliance's sessions and the kernels noticed nothing."""
    kernels = Kernels(pair)
    marks = {peer: peer.session_marks()[B] for peer in pair.everyone}
    pair.a.rrctl("drain", "--wait", "1")
    (told,) = pair.a.rrctl("undrain")
    assert (told["state"], told["since"]) == ("serving", None)
    whole(pair)
    assert kernels.lost() == []
    assert {peer: peer.session_marks()[B] for peer in pair.everyone} == marks


def test_undrain_during_the_wait_takes_the_marks_off_and_ends_no_session(pair: Pair) -> None:
    """Routes are unmarked at both ToRs, no session was reset, and nothing ends when the wait would have been over."""
    marks = {peer: dict(peer.session_marks()) for peer in pair.everyone}
    pair.a.rrctl("drain", "--wait", "3", "--background")
    eventually(lambda: moved(pair), 2, "both ToRs have moved")
    (told,) = pair.a.rrctl("undrain")
    assert told["text"] == "main serves again; no session was closed"
    whole(pair)
    never(
        lambda: state(pair.a) != "serving" or "established" not in states(pair).values(), 3, "it is drained"
    )
    assert {peer: dict(peer.session_marks()) for peer in pair.everyone} == marks


def test_what_is_drained_is_drained_only_once(pair: Pair) -> None:
    """Where there is nothing to do they say so, exit 0 and change nothing; an unknown instance is refused."""
    assert "main is not drained." in pair.a.tell("undrain").stdout
    first = pair.a.tell("drain", "--wait", "1")
    assert first.exit == 0
    since = pair.a.rrctl("status")["instances"][0]["drain"]["since"]
    again = pair.a.tell("drain", "main")
    assert (again.exit, again.stdout) == (0, "main is drained already.\n")
    assert pair.a.rrctl("status")["instances"][0]["drain"]["since"] == since
    wrong = pair.a.tell("drain", "mian")
    assert wrong.exit == 1
    assert "there is no instance mian; it is one of main" in wrong.stderr
    assert pair.a.tell("undrain", "main").stdout == "main serves again.\n"


def test_ctrl_c_ends_the_watching_and_not_the_drain(pair: Pair) -> None:
    """`rrctl drain` shows how far it is; interrupted, it says that the drain goes on, and so it does."""
    command = [
        sys.executable,
        "-c",
        RRCTL,
        "--socket",
        str(pair.a.run_dir / "rrd.sock"),
        "drain",
        "--wait",
        "3",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[0] == "main marks its routes now, and ends its sessions 3 s later.\n"
    assert re.fullmatch(r"main: routes are (being )?marked, 5 sessions up.*\n", lines[1])
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=5)
    assert process.returncode == 130
    assert complaint == "rrctl: the drain goes on; `rrctl undrain` takes it back\n"
    drained(pair)


# Whatever ends meanwhile


def begin(pair: Pair) -> None:
    pair.a.rrctl("drain", "--wait", "2", "--background")


def marks_out(pair: Pair) -> None:
    begin(pair)
    eventually(lambda: marked(pair, VIP), 2, "the ToRs hold marked routes")


def first_session_ends(pair: Pair) -> None:
    begin(pair)
    eventually(lambda: state(pair.a) in ("closing", "drained"), 10, "sessions are being ended")


def all_done(pair: Pair) -> None:
    begin(pair)
    drained(pair)


def kill_controller(pair: Pair) -> None:
    pair.a.kill()


def kill_everything(pair: Pair) -> None:
    pair.a.kill()
    kill_engine(pair)


def kill_engine(pair: Pair) -> None:
    pair.a.host.run("kill", "-9", *map(str, pair.a.engines()))


@pytest.mark.parametrize("until", [begin, marks_out, first_session_ends, all_done], ids=lambda f: f.__name__)
@pytest.mark.parametrize("end", [kill_controller, kill_everything, kill_engine], ids=lambda f: f.__name__)
def test_a_drain_goes_on_whatever_is_killed(pair: Pair, until: Any, end: Any) -> None:
    """Controller, engine or both killed in each phase: it ends drained, with nobody in, and no kernel lost a route."""
    kernels = Kernels(pair)
    until(pair)
    end(pair)
    if pair.a.process is None or end is not kill_engine:
        pair.a.process = None
        pair.a.start()
    drained(pair, within=30)
    assert nobody_in(pair)
    never(lambda: not nobody_in(pair), 2, "somebody gets in", seen=lambda: states(pair))
    assert kernels.lost() == []


def test_an_undrain_is_finished_after_the_controller_was_killed(pair: Pair) -> None:
    """Killed right after `rrctl undrain` in the middle of the wait, and started again: every mark is taken off."""
    marks_out(pair)
    pair.a.rrctl("undrain")
    pair.a.kill()
    pair.a.start()
    whole(pair)
    assert state(pair.a) == "serving"


def test_a_drained_engine_that_is_killed_is_started_empty_and_lets_nobody_in(pair: Pair) -> None:
    """A new engine runs, and is drained; undrain then is a cold start: no ToR waits for anybody's End-of-RIB."""
    all_done(pair)
    (before,) = pair.a.engines()
    kill_engine(pair)
    eventually(lambda: pair.a.engines() not in ([], [before]), 10, "another engine runs")
    eventually(lambda: pair.a.rrctl("status")["instances"][0]["policy"]["in_force"], 10, "it is looked after")
    never(lambda: not nobody_in(pair), 4, "somebody gets in", seen=lambda: states(pair))
    assert state(pair.a) == "drained"
    pair.a.rrctl("undrain")
    eventually(
        lambda: VIP in pair.frr.routes() and used(pair.frr, VIP) == {A, B}, 20, "the FRR ToR is served"
    )


@pytest.mark.parametrize("garbage", [b"", b"{", b'{"version": 1, "digest": "", "content": {}}'])
def test_where_the_decision_cannot_be_read_the_engine_says_it(pair: Pair, garbage: bytes) -> None:
    """A corrupt drain.json is said aloud; the instance is taken to be as its engine is, and stays drained."""
    all_done(pair)
    pair.a.kill()
    (pair.a.state_dir / "drain.json").write_bytes(garbage)
    pair.a.start()
    assert state(pair.a) in ("closing", "drained")
    drained(pair)
    events = [event["text"] for event in pair.a.rrctl("events") if event["kind"] == "drain"]
    assert any("drain.json (it is corrupt)" in text for text in events)
    assert "main is taken to be drained: its engine is" in events
    pair.a.kill()
    pair.a.start()
    drained(pair)


def test_allocations_that_change_meanwhile_are_in_force(pair: Pair) -> None:
    """While draining, a revoked prefix is withdrawn and a granted one sent marked; after undrain all is as they say."""
    known = allocations()
    known["nodes"]["node-2"]["prefixes"] = []
    known["nodes"]["node-3"]["prefixes"].append(MORE)
    pair.a.rrctl("drain", "--wait", "4", "--background")
    eventually(lambda: moved(pair), 2, "both ToRs have moved")
    pair.a.set_allocations(known)
    eventually(lambda: marked(pair, MORE), 2, "what is granted is marked")
    eventually(
        lambda: all(
            used(tor, PODS["node-2"]) == {B} and len(tor.paths(PODS["node-2"])) == 1
            for tor in (pair.frr, pair.bird)
        ),
        2,
        "what is revoked is withdrawn",
    )
    drained(pair)
    known["nodes"]["node-1"]["prefixes"] = []
    pair.a.set_allocations(known)
    eventually(
        lambda: not any(row["prefixes"] for row in pair.a.rrctl("ipam", "show") if row["node"] == "node-1"),
        5,
        "read",
    )
    assert state(pair.a) == "drained"
    pair.a.rrctl("undrain")
    for tor in (pair.frr, pair.bird):
        eventually(lambda tor=tor: used(tor, MORE) == {A}, 30, f"{tor.name} has what was granted")  # type: ignore[misc]
        assert used(tor, PODS["node-1"]) == used(tor, PODS["node-2"]) == {B}


def test_only_one_of_two_instances_is_drained(net: Network) -> None:
    """The sessions of that instance end, the other's stay and its routes are not marked; without a name it is both."""
    config = {}
    for number, name in enumerate(("left", "right"), start=1):
        rack = {
            "nodes": {"ranges": [f"10.{1 + number}.0.0/24"]},
            "tors": [{"address": f"10.{1 + number}.1.1"}],
        }
        config[name] = {"asn": 64512, "router_id": f"10.0.0.{10 + number}", "racks": {f"rack-{number}": rack}}
    owned = {
        "nodes": {
            f"node-{n}": {"addresses": [f"10.{1 + n}.0.11"], "prefixes": [f"10.244.{n}.0/24"]} for n in (1, 2)
        }
    }
    appliance = Appliance(net, "rr-a", "10.0.0.11", "10.0.0.12", instances=config, allocations=owned)
    peers: list[Peer] = []
    for number, name in ((1, "left"), (2, "right")):
        remote = appliance.remote(name)
        peers += [BirdTor(net, f"tor-{number}", f"10.{1 + number}.1.1", to=remote)]
        peers += [GobgpNode(net, f"node-{number}", f"10.{1 + number}.0.11", to=remote)]
    all_established(*peers)
    for number in (1, 2):
        peers[2 * number - 1].announce(f"10.244.{number}.0/24")
    eventually(lambda: peers[2].paths("10.244.2.0/24"), 5, "the other ToR holds its route")
    assert [row["state"] for row in appliance.rrctl("drain", "left", "--wait", "1")] == ["drained"]
    assert [state(appliance, name) for name in ("left", "right")] == ["drained", "serving"]
    assert [peer.established() for peer in peers] == [False, False, True, True]
    assert [path.local_pref for path in peers[2].paths("10.244.2.0/24")] == [100]
    assert [row["state"] for row in appliance.rrctl("drain", "--wait", "1")] == ["drained", "drained"]
    assert not any(peer.established() for peer in peers)
    appliance.rrctl("undrain")
    all_established(*peers, timeout=30)
