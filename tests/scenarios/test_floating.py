"""A floating address: keepalived moves it between two halves, and whoever knows only that address comes back."""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab import (
    Appliance,
    BirdNode,
    FrrNode,
    FrrTor,
    Network,
    Remote,
    all_established,
    eventually,
    never,
)
from tests.lab.appliance import RRCTL
from tests.lab.process import ProgramEnded

pytestmark = pytest.mark.root

SHIPPED = Path(__file__).parents[2] / "packaging" / "keepalived"
FLOATING, TOR = "10.0.0.10", "10.2.1.1"
HALVES = {"rr-a": "10.0.0.11", "rr-b": "10.0.0.12"}
NODES = {"frr": "10.2.0.11", "bird": "10.2.0.12"}
PODS = {"frr": "10.244.1.0/24", "bird": "10.244.2.0/24"}
NONLOCAL = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")


def owned(*names: str) -> dict[str, Any]:
    return {"nodes": {name: {"addresses": [NODES[name]], "prefixes": [PODS[name]]} for name in names}}


def half(net: Network, name: str, *, nonlocal_bind: bool = True) -> Appliance:
    rack = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": TOR}]}
    main: dict[str, Any] = {"asn": 64512, "router_id": HALVES[name], "floating": [FLOATING]}
    appliance = Appliance(
        net, name, HALVES[name], instances={"main": {**main, "racks": {"rack-1": rack}}},
        allocations=owned(*NODES), start=False,
    )  # fmt: skip
    source = {"type": "file", "path": str(appliance.allocations_file)}
    appliance.settings["ipam"] = {"sources": [source], "guard": {"max_removed": "20%"}}
    appliance.set_config(appliance.instances)
    appliance.host.inside(lambda: NONLOCAL.write_text(str(int(nonlocal_bind))))
    return appliance


def keep_alive(half: Appliance, other: str) -> None:
    """Start keepalived with the shipped configuration, filled in, and the shipped track script."""
    folder = half.host.folder
    rrctl = folder / "rrctl"
    rrctl.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{RRCTL}' \"$@\"\n")
    track = folder / "track"
    track.write_text(
        f"#!/bin/sh\nPATH={folder}:$PATH exec {SHIPPED / 'rr-track'} {half.run_dir / 'rrd.sock'}\n"
    )
    for script in (rrctl, track):
        script.chmod(0o755)
    text = (SHIPPED / "keepalived.conf").read_text()
    filled = {
        "INTERFACE": "eth0",
        "OWN_ADDRESS": HALVES[half.name],
        "OTHER_ADDRESS": HALVES[other],
        "FLOATING_ADDRESS/PREFIX_LENGTH": half.host.network.with_mask(FLOATING),
        "/usr/libexec/rr-appliance/rr-track": str(track),
        "    enable_script_security\n": "",  # the lab lives in /tmp, which everybody may write
    }
    for blank, value in filled.items():
        assert blank in text, blank
        text = text.replace(blank, value)
    config = folder / "keepalived.conf"
    config.write_text(text)
    files = [f"--{kind}={folder / kind}" for kind in ("pid", "vrrp_pid", "checkers_pid")]
    command = ["keepalived", "--dont-fork", "--log-console", "--vrrp", f"--use-file={config}", *files]
    half.host.start("keepalived", command)


def holds(half: Appliance) -> bool:
    (row,) = half.rrctl("status")["floating"]
    here: bool = row["here"]
    return here


def routes_of_nodes(half: Appliance) -> set[str]:
    return {row["node"] for row in half.rrctl("routes")}


def critical(half: Appliance) -> bool:
    return half.tell("check").exit == 2


def kept_alive(net: Network) -> tuple[Appliance, Appliance]:
    """Both halves with keepalived: the one that has the address, and the other."""
    halves = {name: half(net, name) for name in HALVES}
    for appliance in halves.values():
        appliance.start()
        keep_alive(appliance, next(name for name in HALVES if name != appliance.name))
    eventually(lambda: any(map(holds, halves.values())), 25, "a half has the address")
    first, second = sorted(halves.values(), key=holds, reverse=True)
    assert not holds(second)
    return first, second


def test_a_floating_address_moves_when_its_half_dies_and_its_peers_come_back(net: Network) -> None:
    """Killed half: keepalived moves it, engines are not restarted, nodes that know no other address are back."""
    first, second = kept_alive(net)
    assert second.tell("check").exit != 2, "a half without the address is well"
    tor = FrrTor(net, "tor", TOR, to=[first.remote(), second.remote()])
    floating = Remote((FLOATING,), 64512)
    nodes = [
        FrrNode(net, "frr", NODES["frr"], to=floating, restart_time=None),
        BirdNode(net, "bird", NODES["bird"], to=floating),
    ]
    all_established(tor, *nodes, timeout=40)
    for node in nodes:
        node.announce(PODS[node.name])
    eventually(lambda: set(tor.routes()) == set(PODS.values()), 10, "the ToR holds both routes")
    engines = second.engines()
    first.kill()
    for pid in first.engines():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: holds(second), 25, "the other half has the address")
    eventually(
        lambda: routes_of_nodes(second) == set(NODES), 40, "both nodes are with it",
        seen=lambda: second.rrctl("peers"),
    )  # fmt: skip
    assert second.engines() == engines
    assert set(tor.routes()) == set(PODS.values())
    assert f"{FLOATING} of main is with this half now" in [e["text"] for e in second.rrctl("events")]
    first.start()
    never(lambda: holds(first), 8, "the address goes back by itself")
    tor.kill()
    eventually(lambda: second.tell("check").exit == 1, 15, "the ToR is missed")
    never(lambda: not holds(second), 10, "a warning moves the address")


def test_a_floating_address_stays_where_an_ipam_makes_both_halves_critical_and_leaves_a_half_that_is_drained(
    net: Network,
) -> None:
    """Held back on both: `check` is critical, the address and its session stay. Drained: the other half has both."""
    first, second = kept_alive(net)
    node = BirdNode(net, "bird", NODES["bird"], to=Remote((FLOATING,), 64512))
    all_established(node, timeout=40)
    node.announce(PODS["bird"])
    eventually(lambda: routes_of_nodes(first) == {"bird"}, 10, "its route is accepted")
    (session,) = first.rrctl("peers", "--state", "established")
    for appliance in (first, second):
        appliance.set_allocations(owned("frr"))
    for appliance in (first, second):
        eventually(partial(critical, appliance), 10, "it is held back, and critical")
    never(lambda: not holds(first) or holds(second), 12, "an IPAM that is held back moves the address")
    for appliance in (first, second):
        assert critical(appliance)
        assert appliance.tell("check", "--serving").stdout == "RR OK - serving: main\n"
    assert [row["since"] for row in first.rrctl("peers", "--state", "established")] == [session["since"]]
    assert routes_of_nodes(first) == {"bird"}, "last known good stays in force"
    assert first.tell("drain", "--wait", "0").exit == 0
    assert first.tell("check", "--serving").exit == 2
    eventually(lambda: holds(second), 25, "the other half has the address")
    eventually(
        lambda: routes_of_nodes(second) == {"bird"},
        40,
        "the node is with it",
        seen=lambda: second.rrctl("peers"),
    )
    assert first.tell("undrain").exit == 0
    never(lambda: holds(first), 8, "the address goes back by itself")


def test_a_floating_address_needs_the_sysctl_and_the_refusal_says_which(net: Network) -> None:
    """Without net.ipv4.ip_nonlocal_bind, a half that does not have the address refuses to start, in one sentence."""
    appliance = half(net, "rr-a", nonlocal_bind=False)
    with pytest.raises(ProgramEnded):
        appliance.start(timeout=5)
    log = (appliance.host.folder / "rrd.log").read_text()
    assert (
        f"{FLOATING} is not on this host now, and net.ipv4.ip_nonlocal_bind lets nobody listen on it" in log
    )
    assert "set the sysctl: net.ipv4.ip_nonlocal_bind = 1" in log
