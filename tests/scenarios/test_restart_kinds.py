"""Restarts of fabrics of every kind: many nodes, peers that know half of graceful restart or nothing of it."""

import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    Crowd,
    Forwarding,
    FrrNode,
    FrrTor,
    Network,
    Peer,
    all_established,
    eventually,
)
from tests.lab.crowd import SPACE
from tests.lab.gobgp import engine_program

pytestmark = pytest.mark.root

TORS = ("10.2.1.1", "10.2.1.2")
NODE, POD = "10.2.0.11", "10.244.1.0/24"
DEFERRAL = 6
CROWD_RACKS = list(SPACE.subnets(new_prefix=26))


class Fabric:
    """An appliance with an FRR and a BIRD ToR; nodes come as each test needs them."""

    def __init__(self, net: Network, nodes: Mapping[str, Any], **speaker: Any) -> None:
        tors = [{"address": address, "add_paths": 64} for address in TORS]
        racks = {
            "rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": tors},
            **{f"crowd-{n}": {"nodes": {"ranges": [str(r)]}} for n, r in enumerate(CROWD_RACKS)},
        }
        main = {
            "asn": 64512,
            "router_id": "10.0.0.11",
            "racks": racks,
            "graceful_restart": {"restart_time": 60, "deferral_time": DEFERRAL},
            "reflect": {"tors": "all"},
            **speaker,
        }
        self.net = net
        self.appliance = Appliance(
            net, "rr-a", "10.0.0.11", instances={"main": main}, allocations={"nodes": dict(nodes)}
        )

    def add_tors(self, **options: Any) -> None:
        remote = self.appliance.remote()
        self.frr = FrrTor(self.net, "tor-1", TORS[0], to=remote, **options)
        self.bird = BirdTor(self.net, "tor-2", TORS[1], to=remote, **options)
        all_established(self.frr, self.bird)

    @property
    def tors(self) -> tuple[Peer, Peer]:
        return self.frr, self.bird

    def hold(self, prefixes: Set[str], within: float) -> None:
        eventually(
            lambda: all(set(tor.routes()) == prefixes for tor in self.tors),
            within,
            f"both ToRs hold {len(prefixes)} routes",
            seen=lambda: {tor.name: len(tor.routes()) for tor in self.tors},
        )

    def engine(self) -> Any:
        return self.status()["engine"]

    def status(self) -> Any:
        return self.appliance.rrctl("status")["instances"][0]

    def kill_engine(self) -> None:
        (before,) = self.appliance.engines()
        os.kill(before, signal.SIGKILL)
        eventually(lambda: self.engine()["pid"] not in (None, before), 10, "another engine runs")

    def whole(self, within: float) -> None:
        eventually(
            lambda: self.engine()["state"] == "running" and not self.status()["restart"]["under_way"],
            within,
            "nobody is awaited",
            seen=lambda: (self.status(), self.said()[-5:]),
        )

    def up(self) -> int:
        """How many sessions rrd says are up."""
        return sum(peer["state"] == "established" for peer in self.appliance.rrctl("peers"))

    def said(self) -> list[str]:
        return [event["text"] for event in self.appliance.rrctl("events") if event["kind"] == "engine"]


@contextmanager
def nothing_lost(*tors: Peer, but: Set[str] = frozenset()) -> Iterator[None]:
    """Assert that inside no ToR is told to drop a route, or stops forwarding by it."""
    before = {tor.name: len(tor.removals()) for tor in tors}
    tables = {tor.name: Forwarding(tor.host) for tor in tors}
    yield
    told = {tor.name: {heard.prefix for heard in tor.removals()[before[tor.name] :]} - but for tor in tors}
    lost = {name: set(table.taken_out()) - but for name, table in tables.items()}
    assert {name: prefixes for name, prefixes in told.items() if prefixes} == {}
    assert {name: prefixes for name, prefixes in lost.items() if prefixes} == {}


def one_node() -> dict[str, Any]:
    return {"node-1": {"addresses": [NODE], "prefixes": [POD]}}


def with_a_crowd(net: Network, count: int, **kind: bool) -> tuple[Fabric, Crowd]:
    """A fabric whose ToRs hold all that a crowd of nodes announces."""
    fabric = Fabric(net, {})
    crowd = Crowd(net, count, fabric.appliance.remote(), **kind)
    fabric.appliance.set_allocations({"nodes": crowd.allocations()})
    fabric.add_tors()
    fabric.hold(crowd.prefixes, within=30)
    eventually(lambda: fabric.up() == count + 2, 10, "rrd has seen all of them")
    return fabric, crowd


@pytest.mark.parametrize("count", [50, 500])
def test_many_nodes_are_all_back_after_a_kill_and_no_tor_lost_a_route(net: Network, count: int) -> None:
    """SIGKILL with this many nodes: 0 routes removed at FRR and at BIRD, and both hold exactly what they held."""
    fabric, crowd = with_a_crowd(net, count)
    with nothing_lost(*fabric.tors):
        fabric.kill_engine()
        fabric.whole(within=30)
        fabric.hold(crowd.prefixes, within=20)
    assert f"all {count + 2} peers are back" in fabric.said()[-1]


def test_nodes_without_graceful_restart_cost_no_route_at_the_tors(net: Network) -> None:
    """Nodes that negotiate none send no End-of-RIB: ToRs are let in when their routes are there, and lose nothing."""
    fabric, crowd = with_a_crowd(net, 20, graceful=False, end_of_rib=False)
    with nothing_lost(*fabric.tors):
        fabric.kill_engine()
        fabric.whole(within=20)
        fabric.hold(crowd.prefixes, within=10)


def test_nodes_that_never_send_end_of_rib_cost_no_route_at_the_tors(net: Network) -> None:
    """Nodes that promise graceful restart and send no End-of-RIB hold nobody up for long, and no route is lost."""
    fabric, crowd = with_a_crowd(net, 20, graceful=True, end_of_rib=False)
    with nothing_lost(*fabric.tors):
        fabric.kill_engine()
        fabric.whole(within=DEFERRAL + 20)
        fabric.hold(crowd.prefixes, within=10)


def test_tors_without_graceful_restart_get_everything_back(net: Network) -> None:
    """ToRs that do not take part drop their routes when the engine dies, and hold all of them again afterwards."""
    fabric = Fabric(net, one_node())
    node = FrrNode(net, "node-1", NODE, to=fabric.appliance.remote())
    node.announce(POD)
    fabric.add_tors(restart_time=None)
    fabric.hold({POD}, within=10)
    fabric.kill_engine()
    fabric.whole(within=20)
    fabric.hold({POD}, within=10)


def test_a_node_that_carries_one_of_two_families_holds_nobody_up(net: Network) -> None:
    """The instance carries IPv4 and IPv6, the node only IPv4: everybody is back, and nothing was lost."""
    fabric = Fabric(net, one_node(), families=["ipv4", "ipv6"])
    node = BirdNode(net, "node-1", NODE, to=fabric.appliance.remote(), families=("ipv4",))
    node.announce(POD)
    fabric.add_tors()
    fabric.hold({POD}, within=10)
    with nothing_lost(*fabric.tors):
        fabric.kill_engine()
        fabric.whole(within=DEFERRAL)
        fabric.hold({POD}, within=5)


def test_an_engine_that_outgrows_its_memory_is_restarted_once_without_loss(net: Network) -> None:
    """`max_memory` far too small: the engine is restarted for it, once, then check is critical; no route is lost."""
    fabric = Fabric(net, one_node())
    node = BirdNode(net, "node-1", NODE, to=fabric.appliance.remote())
    node.announce(POD)
    fabric.add_tors()
    fabric.hold({POD}, within=10)
    instances = dict(fabric.appliance.instances)
    fabric.appliance.set_config({"main": {**instances["main"], "max_memory": "8MiB"}})
    with nothing_lost(*fabric.tors):
        fabric.appliance.reload()
        eventually(lambda: fabric.engine()["ends"]["memory"] == 1, 10, "it is restarted")
        fabric.whole(within=20)
        fabric.hold({POD}, within=5)
        eventually(lambda: fabric.appliance.tell("check").exit == 2, 10, "check is critical")
        assert "MiB, more than 8 MiB" in fabric.appliance.tell("check").stdout
    assert fabric.engine()["ends"] == {"died": 0, "hung": 0, "memory": 1, "settings": 0, "asked": 0}


class Programs:
    """A gobgpd at a path that can be exchanged, as a package upgrade does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gobgpd"
        self.install()

    def install(self) -> None:
        """Put a copy of gobgpd there, as another file."""
        fresh = self.path.with_suffix(".new")
        shutil.copy2(engine_program("gobgpd"), fresh)
        fresh.rename(self.path)

    def install_broken(self) -> None:
        """Put something there that tells the right version and does not start."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo gobgpd version 4.8.0 && exit\necho no luck\nexit 3\n'
        )
        fresh.chmod(0o755)
        fresh.rename(self.path)


def test_an_engine_is_upgraded_to_another_program_without_loss_and_only_then(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rrctl engine upgrade`: nothing to do at first; a broken program is refused with the engine left alone; a good
    one is started, and no route is lost."""
    programs = Programs(tmp_path)
    monkeypatch.setenv("GOBGPD", str(programs.path))
    fabric = Fabric(net, one_node())
    node = BirdNode(net, "node-1", NODE, to=fabric.appliance.remote())
    node.announce(POD)
    fabric.add_tors()
    fabric.hold({POD}, within=10)
    before = fabric.engine()["pid"]
    with nothing_lost(*fabric.tors):
        told = fabric.appliance.tell("engine", "upgrade")
        assert (told.exit, told.stdout) == (0, "main: the engine runs gobgpd 4.8.0 already.\n")
        programs.install_broken()
        told = fabric.appliance.tell("engine", "upgrade")
        assert told.exit == 1
        assert told.stderr.startswith(f"rrctl: {programs.path} (gobgpd 4.8.0) does not start: no luck; ")
        assert fabric.engine()["pid"] == before
        programs.install()
        told = fabric.appliance.tell("engine", "upgrade", timeout=60)
        assert told.exit == 0, told
        assert fabric.engine()["pid"] != before
        fabric.hold({POD}, within=5)
    assert Path(f"/proc/{fabric.engine()['pid']}/exe").samefile(programs.path)


def test_engines_are_restarted_one_after_the_other_each_when_the_last_is_whole(net: Network) -> None:
    """Two instances: `rrctl engine restart` ends the second engine only after the first has everybody back."""
    racks = {
        name: {"nodes": {"ranges": [f"10.2.{n}.0/24"]}, "tors": [{"address": f"10.2.1.{n}"}]}
        for n, name in ((2, "rack-1"), (3, "rack-2"))
    }
    instances = {
        "one": {"asn": 64512, "router_id": "10.0.0.11", "racks": {"rack-1": racks["rack-1"]}},
        "two": {"asn": 64513, "router_id": "10.0.0.12", "racks": {"rack-2": racks["rack-2"]}},
    }
    owned = {f"node-{n}": {"addresses": [f"10.2.{n}.11"], "prefixes": [f"10.244.{n}.0/24"]} for n in (2, 3)}
    appliance = Appliance(
        net, "rr-a", "10.0.0.11", "10.0.0.12", instances=instances, allocations={"nodes": owned}
    )
    peers: list[Peer] = []
    for n, name in ((2, "one"), (3, "two")):
        node = BirdNode(net, f"node-{n}", f"10.2.{n}.11", to=appliance.remote(name))
        node.announce(f"10.244.{n}.0/24")
        peers += [node, BirdTor(net, f"tor-{n}", f"10.2.1.{n}", to=appliance.remote(name))]
    tors = peers[1::2]
    all_established(*peers)
    eventually(
        lambda: [set(tor.routes()) for tor in tors] == [{"10.244.2.0/24"}, {"10.244.3.0/24"}],
        10,
        "routes are there",
    )
    with nothing_lost(*tors):
        done = appliance.rrctl("engine", "restart", timeout=90)
    assert [(row["instance"], row["changed"], row["missing"]) for row in done] == [
        ("one", True, 0),
        ("two", True, 0),
    ]
    said = [event["text"] for event in appliance.rrctl("events") if event["kind"] == "engine"]
    whole = next(i for i, text in enumerate(said) if text.startswith("one is whole again"))
    assert whole < said.index("the engine of two is gone: it is restarted, as asked")
