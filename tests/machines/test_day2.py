"""The daily life of a deployed pair: passwords, certificates, a floating address, a dead node, a replaced host."""

import sys

import pytest

from tests.lab import eventually
from tests.lab.process import run
from tests.machines.conftest import FLOATING
from tests.machines.fabric import PODS, Fabric
from tests.machines.machine import Machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("whole"),
]


CONNECTIONS = 8
"""How many the firewall lets each address have (rr_appliance_connections)."""


def test_keepalived_moves_the_floating_address_off_a_half_that_is_critical(fabric: Fabric) -> None:
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


def test_host_that_is_replaced_is_a_half_again_by_site_alone(fabric: Fabric) -> None:
    """Another machine with the old one's name and addresses, and an empty disk: site.yml for it, and no route goes."""
    pair = fabric.pair
    with fabric.nothing_lost():
        pair.replace("rr-b")
        pair.must_play("site.yml", "--limit", "rr-b")
        fabric.wait_whole()
    assert pair.must_play("check.yml").said.count("RR OK - ") == 2
