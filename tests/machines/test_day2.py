"""The daily life of a deployed pair: passwords, certificates, a floating address, nodes that die, other versions."""

import json
import re
import sys
from pathlib import Path

import pytest

from rr import __version__
from tests.lab import eventually
from tests.lab.process import run
from tests.machines.conftest import FLOATING, NEXT
from tests.machines.fabric import PODS, Fabric
from tests.machines.machine import Machine
from tests.machines.packages import another

pytestmark = [
    pytest.mark.root,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("whole"),
]


CONNECTIONS = 8
"""How many the firewall lets each address have (rr_appliance_connections)."""
SHORT = {"rr_appliance_patience": 6}
"""Seconds that playbooks wait for what does not come."""
OBSTACLE = "/etc/systemd/system/rrd.service.d/obstacle.conf"


def test_keepalived_moves_the_floating_address_off_a_half_that_does_not_serve(fabric: Fabric) -> None:
    """When rrd ends on the half that has it, the track script, run as user rr, fails: the other half has it."""
    pair = fabric.pair

    def holders() -> list[str]:
        return [m.name for m in pair.halves if f"{FLOATING}/" in m.run("ip", "-4", "address", "show", "eth0")]

    eventually(lambda: len(holders()) == 1, 20, "the address is somewhere", seen=holders)
    (first,) = holders()
    pair.machine(first).run("systemctl", "stop", "rrd.service")
    eventually(lambda: holders() not in ([], [first]) and len(holders()) == 1, 30, "it moves", seen=holders)
    pair.machine(first).run("systemctl", "start", "rrd.service")


def test_another_password_of_a_rack_flaps_no_session(fabric: Fabric) -> None:
    """site.yml on one half, the nodes' side for it, then the other half: no other session notices it."""
    pair = fabric.pair
    secrets = pair.group()["rr_appliance_secrets"] | {"rack-1": "another-password"}
    pair.set_group(rr_appliance_secrets=secrets)
    with fabric.nothing_lost():
        for half in pair.halves:
            (address,) = half.host.addresses
            before, others = fabric.marks(), fabric.marks(but=[address])
            pair.must_play("site.yml", "--limit", half.name)
            assert fabric.marks() == before, "who is up stays up"
            fabric.guarded.set_password(address, "another-password")
            fabric.wait_whole()
            assert {**fabric.marks(but=[address])} == others


def test_node_with_a_wrong_password_is_back_soon_after_it_is_right(fabric: Fabric) -> None:
    """Its connections have no answer; more of them than the firewall lets through do not count against it later."""
    (address,) = fabric.pair.rr_a.host.addresses
    right = fabric.pair.group()["rr_appliance_secrets"]["rack-1"]
    fabric.guarded.set_password(address, "wrong")
    before = failures(fabric.pair.rr_a)
    try:
        eventually(
            lambda: failures(fabric.pair.rr_a) - before >= 2 * CONNECTIONS,
            60,
            "it tried more often than the firewall allows connections",
            seen=lambda: failures(fabric.pair.rr_a) - before,
        )
    finally:
        fabric.guarded.set_password(address, right)
    eventually(
        lambda: fabric.guarded.session_states()[address] == "established",
        15,
        "it is back",
        seen=lambda: fabric.pair.rr_a.run("nft", "list", "table", "inet", "rr_appliance"),
    )


def failures(machine: Machine) -> int:
    """How many segments with a wrong password its kernel has seen."""
    names, numbers = (
        line.split()
        for line in machine.run("cat", "/proc/net/netstat").splitlines()
        if line.startswith("TcpExt:")
    )
    return int(dict(zip(names, numbers, strict=True))["TCPMD5Failure"])


def test_dead_node_is_gone_at_once_when_both_halves_are_told(fabric: Fabric) -> None:
    """A cable is cut; `rrctl node down` on both halves takes its routes away, long before their time is over."""
    (tor, node) = (fabric.tors[1], fabric.nodes[1])
    node.host.unplug()
    try:
        assert tor.kernel_next_hops(PODS[node.name])
        for half in fabric.pair.halves:
            half.run("rrctl", "node", "down", node.name)
        eventually(lambda: not tor.kernel_next_hops(PODS[node.name]), 5, "its pods' route is gone")
    finally:
        node.host.plug()
    fabric.wait_whole()


def test_renewed_certificates_are_taken_into_use_without_a_session_moving(fabric: Fabric) -> None:
    """`rrctl pair certificates --renew` where the CA is, then site.yml: both halves have them, and reach each other."""
    pair, before = fabric.pair, fabric.marks()
    old = {half.name: half.rrctl("pair")["certificate_ends"] for half in pair.halves}
    made = [sys.executable, "-m", "rr.cli", "pair", "certificates", "--names", "rr-a,rr-b", "--days", "400"]
    run([*made, "--renew", pair.inventory / "certificates"])
    assert {host for _, host in pair.must_play("site.yml").changed_tasks} == {"rr-a", "rr-b"}
    eventually(
        lambda: all(half.rrctl("pair")["certificate_ends"] != old[half.name] for half in pair.halves),
        10,
        "they are in use",
    )
    fabric.wait_whole()
    assert fabric.marks() == before


# Other versions


def test_version_that_cannot_start_is_stopped_with_the_old_one_in_service(
    fabric: Fabric, package: Path, tmp_path: Path
) -> None:
    """upgrade.yml ends at the first half, says how it left it, and rollback.yml brings that back; no route goes."""
    pair = fabric.pair
    broken = another(package, tmp_path, "98.0", daemon="raise SystemExit('broken')")
    with fabric.nothing_lost():
        ran = pair.play("upgrade.yml", variables={**SHORT, "rr_appliance_package": str(broken)})
        assert ran.exit != 0
        said = " ".join(ran.said.split())
        assert 'rr-a: stopped at "Wait until it is ready". It was left with version 98.0' in said
        assert "Meanwhile rr-b says: RR WARNING - " in said
        assert "rollback.yml --limit rr-a" in said
        assert pair.rr_b.rrctl("status")["version"] == __version__
        assert [peer["state"] for peer in pair.rr_b.rrctl("peers") if peer["role"] != "pair"] == [
            "established"
        ] * 4
        assert fabric.carries()
        pair.must_play("rollback.yml")
        fabric.wait_whole()
    assert pair.versions() == [__version__, __version__]


def test_version_that_refuses_the_configuration_is_stopped_before_anything_is_touched(
    fabric: Fabric, package: Path, tmp_path: Path
) -> None:
    """The new version's own code validates rr.yaml of each half before the first one is taken out."""
    pair, before = fabric.pair, fabric.marks()
    picky = another(package, tmp_path, "97.0", validation="raise SystemExit('it wants more')")
    ran = pair.play("upgrade.yml", variables={"rr_appliance_package": str(picky)})
    assert ran.exit != 0
    assert "Nothing was touched: version 97.0 refuses /etc/rr/rr.yaml of rr-a" in " ".join(ran.said.split())
    assert (pair.versions(), fabric.marks()) == ([__version__, __version__], before)


def test_upgrade_under_load_costs_no_route_and_a_second_run_does_nothing(fabric: Fabric, newer: Path) -> None:
    """Both halves in turn under a stream of announcements: no ToR drops a route that still exists."""
    pair = fabric.pair
    pair.set_group(rr_appliance_package=str(newer))
    foretold = pair.must_play("upgrade.yml", "--check", "--diff")
    assert foretold.said.count(f"would be drained, brought from version {__version__} to {NEXT}") == 2
    assert pair.versions() == [__version__, __version__]
    with fabric.nothing_lost(load=True):
        pair.must_play("upgrade.yml")
    fabric.wait_whole()
    assert pair.versions() == [NEXT, NEXT]
    assert pair.must_play("upgrade.yml").changed == 0


def test_rollback_under_load_brings_the_version_before_back_and_costs_no_route(
    fabric: Fabric, package: Path
) -> None:
    """rollback.yml: both halves in turn, to what each remembers; a second run does nothing."""
    pair = fabric.pair
    pair.set_group(rr_appliance_package=str(package))
    with fabric.nothing_lost(load=True):
        pair.must_play("rollback.yml")
    fabric.wait_whole()
    assert pair.versions() == [__version__, __version__]
    assert pair.must_play("rollback.yml").changed == 0


def test_upgrade_begins_nothing_while_a_half_complains(fabric: Fabric, newer: Path) -> None:
    """A half that is drained by somebody: refused with check's own sentence before anything is touched."""
    pair = fabric.pair
    pair.rr_b.run("rrctl", "drain", "--wait", "0", timeout=60)
    ran = pair.play("upgrade.yml", variables={"rr_appliance_package": str(newer)})
    pair.rr_b.run("rrctl", "undrain")
    assert ran.exit != 0
    assert re.search(r"Nothing was touched: rr-b says RR WARNING - .*drained", " ".join(ran.said.split()))
    fabric.wait_whole()
    assert pair.versions() == [__version__, __version__]


def test_upgrade_that_was_stopped_is_taken_up_where_it_is(fabric: Fabric, newer: Path) -> None:
    """Something of the host keeps the new version from starting; that put right, upgrade.yml goes on from there."""
    pair = fabric.pair
    pair.rr_a.write(OBSTACLE, "[Service]\nExecStartPre=/bin/false\n")
    with fabric.nothing_lost():
        ran = pair.play("upgrade.yml", variables={**SHORT, "rr_appliance_package": str(newer)})
        assert ran.exit != 0
        assert 'rr-a: stopped at "' in " ".join(ran.said.split())
        unfinished = json.loads(pair.rr_a.read("/var/cache/rr-appliance/unfinished"))
        assert unfinished["to"] == NEXT
        assert len(unfinished["peers"]) == 5  # nodes, ToRs, and the other half
        assert fabric.carries()
        pair.rr_a.run("rm", OBSTACLE)
        pair.rr_a.run("systemctl", "daemon-reload")
        pair.must_play("upgrade.yml", variables={"rr_appliance_package": str(newer)})
        fabric.wait_whole()
    assert pair.versions() == [NEXT, NEXT]
    assert not any(half.path("/var/cache/rr-appliance/unfinished").exists() for half in pair.halves)


def test_rollback_goes_to_the_version_that_is_named_and_refuses_one_that_is_not_there(fabric: Fabric) -> None:
    """-e rr_appliance_version: one whose package lies on no half is refused before anything is touched."""
    pair, before = fabric.pair, fabric.marks()
    ran = pair.play("rollback.yml", variables={"rr_appliance_version": "12.3"})
    assert ran.exit != 0
    assert "Nothing was touched: rr-a has no package of version 12.3 in" in " ".join(ran.said.split())
    assert (pair.versions(), fabric.marks()) == ([NEXT, NEXT], before)
    with fabric.nothing_lost():
        pair.must_play("rollback.yml", variables={"rr_appliance_version": __version__})
        fabric.wait_whole()
    assert pair.versions() == [__version__, __version__]
