"""A pair deployed by ansible over ssh: from bare machines, through mistakes, reboots and power cuts."""

import re

import pytest

from tests.lab import eventually
from tests.lab.process import CommandFailed
from tests.machines.deployment import Deployment
from tests.machines.fabric import Fabric
from tests.machines.machine import Machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("whole"),
]


def digest(machine: Machine) -> str:
    """Of the configuration in force."""
    return str(machine.rrctl("status")["config"]["digest"])


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
    assert done.changed_tasks == foretold.changed_tasks != []
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


def test_host_that_is_replaced_is_a_half_again_by_site_alone(fabric: Fabric) -> None:
    """Another machine with the old one's name and addresses, and an empty disk: site.yml for it, and no route goes."""
    pair = fabric.pair
    with fabric.nothing_lost():
        pair.replace("rr-b")
        pair.must_play("site.yml", "--limit", "rr-b")
        fabric.wait_whole()
    assert pair.must_play("check.yml").said.count("RR OK - ") == 2
