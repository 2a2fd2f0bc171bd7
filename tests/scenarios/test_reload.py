"""Reload without a flap: a changed configuration reaches a running network, and nobody else notices."""

import copy
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import BirdTor, FrrNode, GobgpNode, Network, Peer, Remote, eventually, never
from tests.lab.appliance import replace_file
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    VIP,
    Config,
    Fabric,
    allocations,
    build,
    sessions,
    tors_hold,
    undisturbed,
)

pytestmark = pytest.mark.root

NEWCOMER, NEW_POD = "10.3.0.11", "10.244.9.0/24"
NEW_TOR = "10.3.1.1"


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Fabric:
    fabric = build(shared_net, password="first")
    known = allocations()
    known["nodes"]["newcomer"] = {"addresses": [NEWCOMER], "prefixes": [NEW_POD]}
    fabric.appliance.set_allocations(known)
    return fabric


@pytest.fixture
def fabric(started: Fabric) -> Iterator[Fabric]:
    """The fabric, with its first configuration again after each test."""
    base = copy.deepcopy(dict(started.appliance.instances))
    settings = dict(started.appliance.settings)
    yield started
    started.appliance.settings = settings
    password(started).write_text("first\n")
    configure(started, base)
    tors_hold(started, ROUTES, within=20)
    eventually(lambda: len(sessions(started.appliance)) == 5, 20, "the sessions of before")


@pytest.fixture(scope="module")
def newcomer(started: Fabric) -> GobgpNode:
    """A node that no range lets in at first: it dials and dials."""
    remote = started.appliance.remote()
    node = GobgpNode(started.net, "newcomer", NEWCOMER, to=remote, password="first")
    node.announce(NEW_POD)
    return node


@pytest.fixture(scope="module")
def new_tor(started: Fabric) -> BirdTor:
    """A ToR that is not configured at first."""
    return BirdTor(started.net, "new-tor", NEW_TOR, to=started.appliance.remote())


def password(fabric: Fabric) -> Path:
    return fabric.net.folder / "password"


def changed(fabric: Fabric, **settings: Any) -> Config:
    """The present instances with other settings of `main`."""
    config = copy.deepcopy(dict(fabric.appliance.instances))
    config["main"].update(settings)
    return config


def racks(fabric: Fabric) -> Config:
    """The present racks, to change and give to `changed`."""
    found: Config = copy.deepcopy(fabric.appliance.instances["main"]["racks"])
    return found


def configure(fabric: Fabric, config: Config) -> Any:
    """Write rr.yaml and reload it; returns what `rrctl config reload` said."""
    fabric.appliance.set_config(config)
    return fabric.appliance.reload()


def foretold(fabric: Fabric) -> Any:
    return fabric.appliance.rrctl("config", "diff")


def happened(fabric: Fabric) -> list[str]:
    return [event["text"] for event in fabric.appliance.rrctl("events")]


@pytest.mark.parametrize("way", ["SIGHUP", "rrctl config reload"])
def test_a_file_that_did_not_change_changes_nothing_when_it_is_reloaded(fabric: Fabric, way: str) -> None:
    """Either way of reloading: no session is reset, no ToR and no node hears a removal."""
    with undisturbed(fabric):
        loaded = fabric.appliance.rrctl("status")["config"]["loaded"]
        if way == "SIGHUP":
            hang_up(fabric)
        else:
            assert fabric.appliance.reload() == {"changed": [], "resets": []}
        eventually(
            lambda: fabric.appliance.rrctl("status")["config"]["loaded"] > loaded, 5, "the file is read"
        )


def hang_up(fabric: Fabric) -> None:
    assert fabric.appliance.process is not None
    fabric.appliance.process.signal(signal.SIGHUP)


def test_another_hold_time_resets_no_session(fabric: Fabric) -> None:
    """12 s instead of 9 s, by SIGHUP: foretold without resets, every session stays, no route is taken back."""
    with undisturbed(fabric):
        fabric.appliance.set_config(changed(fabric, hold_time=12))
        said = foretold(fabric)
        assert said == {"changes": ["instances.main.hold_time changes from 9 to 12"], "resets": []}
        hang_up(fabric)
        eventually(lambda: said["changes"][0] in happened(fabric), 5, "the change is said")
        assert foretold(fabric) == {"changes": [], "resets": []}


@pytest.mark.parametrize("reflect", [{"tors": "all", "nodes": "all"}, {"tors": "all", "vips": "rack"}])
def test_wider_reflection_takes_no_route_back(fabric: Fabric, reflect: Config) -> None:
    """Nodes are given more than before: nobody hears a removal, and no session is reset."""
    with undisturbed(fabric):
        configure(fabric, changed(fabric, reflect=reflect))
        if "vips" in reflect:
            eventually(lambda: fabric.nodes["node-2"].paths(VIP), 5, "nodes hear the VIP")


def test_narrower_reflection_takes_back_exactly_what_is_no_longer_due(fabric: Fabric) -> None:
    """Without reflection to nodes they lose each other's pods and the ToRs lose nothing; no session is reset."""
    with undisturbed(fabric, gone=set(PODS.values())) as calm:
        configure(fabric, changed(fabric, reflect={"tors": "all", "nodes": "none"}))
        eventually(lambda: not any(node.routes() for node in fabric.nodes.values()), 5, "nodes hold nothing")
        assert not {"tor-1", "tor-2"} & calm.removed().keys()


def test_a_rack_comes_and_goes_and_nobody_else_notices(
    fabric: Fabric, newcomer: GobgpNode, new_tor: BirdTor
) -> None:
    """Added: its node and ToR have sessions and routes. Removed: exactly those sessions and routes are gone."""
    base = dict(fabric.appliance.instances)
    nodes = {"ranges": ["10.3.0.0/24"], "password_file": str(password(fabric))}
    rack_2 = {"nodes": nodes, "tors": [{"address": NEW_TOR}]}
    with undisturbed(fabric, gone={NEW_POD}):
        configure(fabric, changed(fabric, racks=racks(fabric) | {"rack-2": rack_2}))
        tors_hold(fabric, ROUTES | {NEW_POD}, within=15)
        eventually(lambda: set(new_tor.routes()) == ROUTES | {NEW_POD}, 15, "the new ToR holds everything")
        fabric.appliance.set_config(base)
        said = foretold(fabric)
        assert said["changes"] == ["instances.main.racks.rack-2 is removed"]
        assert said["resets"] == [
            f"ToR {NEW_TOR} of main: it is removed",
            "nodes of main that dialed from 10.3.0.0/24 and are in no other range",
        ]
        done = fabric.appliance.reload()
        assert done == {"changed": said["changes"], "resets": said["resets"]}
        tors_hold(fabric, ROUTES)
        eventually(lambda: not newcomer.established() and not new_tor.established(), 10, "they are out")
        left = {*NODES.values(), "10.2.1.1", "10.2.1.2"}
        eventually(lambda: sessions(fabric.appliance).keys() == left, 2, "rrctl shows the others alone")


def test_a_range_comes_and_goes_and_nobody_else_notices(fabric: Fabric, newcomer: GobgpNode) -> None:
    """A second range of a rack: its node gets in, and is out again when the range is removed; no other session."""
    base = dict(fabric.appliance.instances)
    with undisturbed(fabric, gone={NEW_POD}):
        wider = racks(fabric)
        wider["rack-1"]["nodes"]["ranges"].append("10.3.0.0/24")
        configure(fabric, changed(fabric, racks=wider))
        tors_hold(fabric, ROUTES | {NEW_POD}, within=15)
        said = configure(fabric, base)
        gone = "node range 10.3.0.0/24 removed: sessions from it are closed"
        assert said["changed"] == [f"rack-1 of main: {gone}"]
        assert said["resets"] == ["nodes of main that dialed from 10.3.0.0/24 and are in no other range"]
        tors_hold(fabric, ROUTES)
        eventually(lambda: not newcomer.established(), 10, "the node is out")


def test_a_tor_comes_and_goes_and_nobody_else_notices(fabric: Fabric, new_tor: BirdTor) -> None:
    """One more ToR of a rack is given everything, and is closed when it is removed; no other session."""
    base = dict(fabric.appliance.instances)
    with undisturbed(fabric):
        more = racks(fabric)
        more["rack-1"]["tors"].append({"address": NEW_TOR})
        configure(fabric, changed(fabric, racks=more))
        eventually(lambda: set(new_tor.routes()) == ROUTES, 15, "the new ToR holds everything")
        said = configure(fabric, base)
        assert said["changed"] == [f"rack-1 of main: ToR {NEW_TOR} removed: its session is closed"]
        assert said["resets"] == [f"ToR {NEW_TOR} of main: it is removed"]
        eventually(lambda: not new_tor.established(), 10, "it is out")


def test_another_password_of_a_rack_is_for_sessions_that_start_from_now_on(
    fabric: Fabric, newcomer: GobgpNode
) -> None:
    """A changed password file: running sessions stay, a node with the old one is refused, one with the new gets in."""
    with undisturbed(fabric):
        wider = racks(fabric)
        wider["rack-1"]["nodes"]["ranges"].append("10.3.0.0/24")
        fabric.appliance.set_config(changed(fabric, racks=wider))
        password(fabric).write_text("second\n")
        assert any("password of nodes/rack-1 of main changes" in said for said in foretold(fabric)["changes"])
        assert fabric.appliance.reload()["resets"] == []
        late = FrrNode(fabric.net, "late", "10.2.0.21", to=fabric.appliance.remote(), password="second")
        eventually(late.established, 15, "the node with the new password is in")
        assert not newcomer.established()
        late.kill()
        password(fabric).write_text("first\n")
        fabric.appliance.reload()
        eventually(newcomer.established, 15, "the node with the old password gets in once it is right again")
        eventually(lambda: NEW_POD in fabric.frr.routes(), 5, "and its route is there")


def test_a_tors_other_password_resets_that_tor_alone(fabric: Fabric, new_tor: BirdTor) -> None:
    """A ToR's password file changes: foretold as a reset of this ToR, and no other session notices."""
    secret = fabric.net.folder / "tor-password"
    secret.write_text("for the ToR")
    secret.chmod(0o600)
    with undisturbed(fabric):
        more = racks(fabric)
        more["rack-1"]["tors"].append({"address": NEW_TOR})
        configure(fabric, changed(fabric, racks=more))
        eventually(new_tor.established, 15, "the ToR has a session without a password")
        more["rack-1"]["tors"][-1]["password_file"] = str(secret)
        fabric.appliance.set_config(changed(fabric, racks=more))
        assert foretold(fabric)["resets"] == [f"ToR {NEW_TOR} of main: its settings change"]
        fabric.appliance.reload()
        eventually(lambda: not new_tor.established(), 10, "it is out: it does not know the password")
        eventually(lambda: NEW_TOR not in sessions(fabric.appliance), 2, "rrctl shows it as down")


def test_what_tors_may_send_is_let_in_and_out_by_reload(fabric: Fabric) -> None:
    """A prefix in from_tors reaches the nodes at the reload, and goes when it is removed; no session is reset."""
    offered = "192.0.2.0/24"
    base = dict(fabric.appliance.instances)
    fabric.bird.announce(offered)
    with undisturbed(fabric, gone={offered}):
        open_ = racks(fabric)
        open_["rack-1"]["from_tors"] = [offered]
        configure(fabric, changed(fabric, racks=open_))
        nodes = fabric.nodes.values()
        eventually(lambda: all(node.paths(offered) for node in nodes), 5, "every node has the ToR's route")
        configure(fabric, base)
        eventually(lambda: not any(node.paths(offered) for node in nodes), 5, "no node has it any more")
    fabric.bird.withdraw(offered)


BROKEN = {
    "an unknown key": ("hold_time:", "hold_tme:", "hold_tme"),
    "YAML that is none": ("racks:", "racks: [", "rr.yaml"),
    "overlapping ranges": ("10.2.0.0/24", "10.2.0.0/23", "10.2.1.1"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("way", ["SIGHUP", "rrctl config reload"])
def test_a_broken_file_changes_nothing(fabric: Fabric, what: str, way: str) -> None:
    """Exit code 1, the problem on stderr with file, line and key (in the log, by SIGHUP); what ran goes on."""
    old, new, named = BROKEN[what]
    base = changed(fabric, hold_time=9)
    configure(fabric, base)
    good = fabric.appliance.config_file.read_text()
    running = fabric.appliance.rrctl("config", "show")
    with undisturbed(fabric):
        replace_file(fabric.appliance.config_file, good.replace(old, new, 1))
        if way == "SIGHUP":
            assert fabric.appliance.process is not None
            log = fabric.appliance.process.log
            before = len(log.read_text())
            hang_up(fabric)
            eventually(lambda: named in log.read_text()[before:], 5, "the problem is in the log")
        else:
            told = fabric.appliance.tell("config", "reload")
            assert (told.exit, told.stdout) == (1, "")
            assert f"{fabric.appliance.config_file}:" in told.stderr
            assert named in told.stderr
        assert fabric.appliance.rrctl("config", "show") == running
        tors_hold(fabric, ROUTES)


def test_every_problem_of_a_broken_file_is_said_at_once(fabric: Fabric) -> None:
    """Three mistakes, three lines on stderr, the same for reload and validate, and diff refuses the file too."""
    broken = changed(fabric, hold_time=1, asn="many", cluster_id="nowhere")
    fabric.appliance.set_config(broken)
    for words in (("config", "reload"), ("config", "validate", str(fabric.appliance.config_file))):
        told = fabric.appliance.tell(*words)
        assert told.exit == 1
        lines = told.stderr.splitlines()
        assert len(lines) == 3, told.stderr
        for key in ("hold_time", "asn", "cluster_id"):
            assert any(f" instances.main.{key}: " in line for line in lines), key
    assert fabric.appliance.tell("config", "diff").exit == 1


def test_a_good_part_of_a_broken_file_is_not_applied(fabric: Fabric) -> None:
    """A new rack and a mistake elsewhere in one file: the rack stays out."""
    config = changed(fabric, racks=racks(fabric) | {"rack-2": {"nodes": {"ranges": ["10.3.0.0/24"]}}}, port=0)
    fabric.appliance.set_config(config)
    assert fabric.appliance.tell("config", "reload").exit == 1
    never(lambda: "rack-2" in fabric.appliance.tell("config", "show").stdout, 0.5, "half a file is applied")


def test_an_instance_comes_and_goes_while_another_keeps_its_sessions(fabric: Fabric) -> None:
    """A second instance gets an engine and a session; removed, its engine ends; nobody of `main` notices."""
    base = dict(fabric.appliance.instances)
    fabric.appliance.host.add_addresses("10.0.0.12")
    rack = {"nodes": {"ranges": ["10.4.0.0/24"]}}
    other = {"asn": 64513, "router_id": "10.0.0.12", "racks": {"rack-4": rack}}
    with undisturbed(fabric):
        fabric.appliance.set_config(base | {"other": other})
        assert foretold(fabric) == {"changes": ["instances.other is added"], "resets": []}
        fabric.appliance.reload()
        assert len(fabric.appliance.engines()) == 2
        node: Peer = GobgpNode(fabric.net, "other-node", "10.4.0.11", to=Remote(("10.0.0.12",), 64513))
        eventually(node.established, 15, "a node of the new instance has a session")
        assert configure(fabric, base)["resets"] == ["every session of other: the instance is removed"]
        eventually(lambda: len(fabric.appliance.engines()) == 1, 10, "its engine has ended")
        eventually(lambda: not node.established(), 10, "and so have its sessions")
        node.kill()


def test_another_router_id_restarts_the_engine_of_that_instance_and_says_so(fabric: Fabric) -> None:
    """What cannot change while an engine runs: foretold as a reset of every session, and all routes come back."""
    config = changed(fabric, cluster_id="10.0.0.11", router_id="10.0.0.111", listen=["10.0.0.11"])
    fabric.appliance.set_config(config)
    assert any("so its engine is restarted" in said for said in foretold(fabric)["resets"])
    before = fabric.appliance.engines()
    fabric.appliance.reload()
    tors_hold(fabric, ROUTES, within=20)
    assert fabric.appliance.engines() != before


def test_http_moves_to_another_port_without_touching_a_session(fabric: Fabric) -> None:
    """The old port is closed, the new one answers, and rrctl goes on over the unix socket."""

    def answers(address: str, port: int) -> bool:
        with fabric.appliance.host.connect(address, port):
            return True

    with undisturbed(fabric):
        fabric.appliance.settings["http"] = {"listen": "10.0.0.11:9700"}
        said = configure(fabric, dict(fabric.appliance.instances))
        assert said["changed"] == ["http.listen changes from 127.0.0.1:9632 to 10.0.0.11:9700"]
        eventually(lambda: answers("10.0.0.11", 9700), 5, "it answers at the new port")
        with pytest.raises(ConnectionRefusedError):
            answers("127.0.0.1", 9632)


def test_a_taken_http_port_is_refused_before_anything_changes(fabric: Fabric) -> None:
    """Another process listens there: reload fails with the sentence, and HTTP goes on where it was."""
    with undisturbed(fabric), fabric.appliance.host.listen(9701):
        fabric.appliance.settings["http"] = {"listen": "127.0.0.1:9701"}
        fabric.appliance.set_config(dict(fabric.appliance.instances))
        told = fabric.appliance.tell("config", "reload")
        assert told.exit == 1
        assert "port 9701 of 127.0.0.1 is taken by another process" in told.stderr
        fabric.appliance.host.connect("127.0.0.1", 9632).close()
