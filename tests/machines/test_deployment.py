"""A pair deployed by ansible over ssh: from bare machines, through mistakes, reboots and power cuts."""

import re
import sys

import pytest

from tests.lab import eventually
from tests.lab.process import CommandFailed, run
from tests.machines.conftest import FLOATING
from tests.machines.deployment import Deployment, Ran
from tests.machines.fabric import PODS, Fabric
from tests.machines.machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.machine, pytest.mark.timeout(900)]


CONNECTIONS = 8
"""How many the firewall lets each address have (rr_appliance_connections)."""


@pytest.fixture(autouse=True)
def _whole(fabric: Fabric) -> None:
    """Every test begins with a pair that carries everything."""
    fabric.wait_whole()


def digest(machine: Machine) -> str:
    """Of the configuration in force."""
    return str(machine.rrctl("status")["config"]["digest"])


def changed_tasks(ran: Ran) -> list[tuple[str, str]]:
    """Which tasks changed something where, in their order."""
    found, task = [], ""
    for line in ran.said.splitlines():
        if started := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
            task = started[1]
        elif host := re.match(r"changed: \[(\S+?)\]", line):
            found.append((task, host[1]))
    return found


def test_site_alone_makes_a_pair_that_carries_routes(fabric: Fabric) -> None:
    """Sessions, pods and both paths of a VIP at each ToR; no unit failed on either half."""
    assert fabric.carries()
    for machine in fabric.pair.halves:
        assert machine.failed_units() == []


def test_second_run_changes_nothing(pair: Deployment) -> None:
    """changed=0 on both halves."""
    ran = pair.must_play("site.yml", "--diff")
    assert ran.changed == 0, ran.said


def test_check_foretells_what_a_run_changes(pair: Deployment) -> None:
    """`--check --diff` changes nothing and names the tasks that the run then changes: a rack more is in force."""
    before = [digest(machine) for machine in pair.halves]
    racks = pair.group()["rr_appliance_instances"]
    racks["main"]["racks"]["rack-3"] = {
        "nodes": {"ranges": ["10.2.2.128/25"]},
    }
    pair.set_group(rr_appliance_instances=racks)
    foretold = pair.must_play("site.yml", "--check", "--diff")
    assert "+          - 10.2.2.128/25" in foretold.said
    assert [digest(machine) for machine in pair.halves] == before
    done = pair.must_play("site.yml", "--diff")
    assert changed_tasks(done) == changed_tasks(foretold) != []
    for machine in pair.halves:
        assert "rack-3" in machine.rrctl("config", "show")["config"]["instances"]["main"]["racks"]
        assert "10.2.2.128/25" in machine.run("nft", "list", "set", "inet", "rr_appliance", "peers4")


def test_run_refuses_what_would_reset_sessions_unless_allowed(pair: Deployment) -> None:
    """A rack that goes: refused with the peers that would be reset, done with rr_appliance_allow_resets."""
    racks = pair.group()["rr_appliance_instances"]
    del racks["main"]["racks"]["rack-3"]
    pair.set_group(rr_appliance_instances=racks)
    before = digest(pair.rr_a)
    with pytest.raises(CommandFailed, match="the new one would reset nodes of main that dialed from"):
        pair.must_play("site.yml")
    assert digest(pair.rr_a) == before
    pair.must_play("site.yml", variables={"rr_appliance_allow_resets": True})
    for machine in pair.halves:
        assert "rack-3" not in machine.rrctl("config", "show")["config"]["instances"]["main"]["racks"]


def test_bad_configuration_never_reaches_the_daemon(fabric: Fabric) -> None:
    """A ToR inside a node range stops the run, with rrctl's own sentence; file, daemon and sessions stay."""
    pair = fabric.pair
    files, digests = [m.read("/etc/rr/rr.yaml") for m in pair.halves], [digest(m) for m in pair.halves]
    marks = [peer.session_marks() for peer in fabric.tors]
    good = pair.group()["rr_appliance_instances"]
    bad = pair.group()["rr_appliance_instances"]
    bad["main"]["racks"]["rack-1"]["tors"][0]["address"] = "10.2.0.130"
    pair.set_group(rr_appliance_instances=bad)
    ran = pair.play("site.yml")
    pair.set_group(rr_appliance_instances=good)
    assert ran.exit != 0
    assert "10.2.0.130 is inside the node range 10.2.0.128/25" in ran.said
    assert "rr-b" not in ran.hosts
    assert [m.read("/etc/rr/rr.yaml") for m in pair.halves] == files
    assert [digest(m) for m in pair.halves] == digests
    assert [peer.session_marks() for peer in fabric.tors] == marks


def test_only_ranges_and_tors_reach_the_bgp_port_and_each_a_few_times(pair: Deployment) -> None:
    """A stranger gets no answer; an address of a range gets eight connections and not a ninth."""
    with pytest.raises(OSError, match="timed out"):
        pair.control.connect("10.0.0.11", 179, timeout=1)
    crowd = pair.net.host("crowd", "10.2.1.200")
    connections = [crowd.connect("10.0.0.11", 179) for _ in range(8)]
    with pytest.raises(OSError, match="timed out"):
        crowd.connect("10.0.0.11", 179, timeout=1)
    for connection in connections:
        connection.close()


def test_unknown_instance_is_refused_before_anything_is_touched(pair: Deployment) -> None:
    """Instances without a speaker on the host: one sentence that says what is missing."""
    with pytest.raises(CommandFailed, match="must name the same instances"):
        pair.must_play("site.yml", variables={"rr_appliance_speakers": {"other": {"listen": ["10.0.0.11"]}}})


@pytest.mark.parametrize("half", ["rr-a", "rr-b"])
def test_reboot_of_a_half_costs_no_route_and_it_comes_back_by_itself(fabric: Fabric, half: str) -> None:
    """ToRs lose no route while a half reboots; afterwards every unit, session and firewall rule is back."""
    machine = fabric.pair.machine(half)
    with fabric.nothing_lost():
        machine.reboot()
        fabric.wait_whole()
    assert machine.failed_units() == []
    assert "10.2.0.128/25" in machine.run("nft", "list", "set", "inet", "rr_appliance", "peers4")


@pytest.mark.parametrize("half", ["rr-a", "rr-b"])
def test_power_cut_of_a_half_costs_no_route_and_it_comes_back_by_itself(fabric: Fabric, half: str) -> None:
    """Not a word of farewell, and off until every ToR has noticed; the other half carries everything."""
    machine = fabric.pair.machine(half)
    address = machine.host.addresses[0]
    with fabric.nothing_lost():
        machine.power_cut()
        eventually(
            lambda: all(tor.session_states()[address] != "established" for tor in fabric.tors),
            30,
            f"every ToR misses {half}",
            seen=lambda: [tor.session_states() for tor in fabric.tors],
        )
        machine.start()
        fabric.wait_whole()
    assert machine.failed_units() == []


def test_check_playbook_says_how_both_halves_are(pair: Deployment) -> None:
    """Green on a whole pair; an error with the appliance's own sentence while rrd of one half is stopped."""
    ran = pair.must_play("check.yml")
    assert ran.said.count("RR OK - ") == 2
    assert ran.changed == 0
    pair.rr_b.run("systemctl", "stop", "rrd.service")
    ran = pair.play("check.yml")
    pair.rr_b.run("systemctl", "start", "rrd.service")
    assert ran.exit != 0
    assert ran.hosts["rr-a"]["failed"] == 0
    assert re.search(r"rr-b: RR CRITICAL - .*rrd", ran.said)


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
    assert {host for _, host in changed_tasks(pair.must_play("site.yml"))} == {"rr-a", "rr-b"}
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
