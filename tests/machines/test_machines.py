"""Machines boot, are what they seem to be, and leave nothing behind."""

import select
from pathlib import Path

import pytest

from tests.lab import Network, eventually, never
from tests.lab.process import CommandFailed
from tests.machines import Machine, Mirror
from tests.machines.cgroups import own_groups

pytestmark = [pytest.mark.root, pytest.mark.machine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def machine(shared_net: Network) -> Machine:
    control = shared_net.host("control", "10.0.0.5", "fd00::5")
    return Machine(shared_net, "alpha", "10.0.0.11", "fd00::11", mirror=Mirror(shared_net, control))


@pytest.fixture(autouse=True)
def _on(request: pytest.FixtureRequest) -> None:
    if "machine" in request.fixturenames:
        machine: Machine = request.getfixturevalue("machine")
        if not machine.running:
            machine.start()


def unit(machine: Machine, name: str, *lines: str) -> None:
    """Start a service of these lines."""
    machine.write(f"/etc/systemd/system/{name}.service", "\n".join(["[Service]", *lines]) + "\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", name)


def test_machine_boots_without_a_failed_unit_and_has_its_own_name(machine: Machine) -> None:
    assert machine.run("systemctl", "is-system-running").strip() == "running", machine.failed_units()
    assert machine.run("hostname").strip() == "alpha"
    assert machine.run("cat", "/proc/1/comm").strip() == "systemd"


def test_machine_and_host_of_the_lab_reach_each_other(machine: Machine) -> None:
    lab = machine.network.hosts["control"]
    machine.run("ping", "-c1", "-W2", "10.0.0.5")
    for address in ("10.0.0.11", "fd00::11"):
        lab.connect(address, 22).close()


def test_files_and_commands_go_in_and_answers_come_out(machine: Machine, tmp_path: Path) -> None:
    machine.write("/etc/new/folder/secret", "line\n", mode=0o600)
    assert machine.read("/etc/new/folder/secret") == "line\n"
    (tmp_path / "hear").write_text("#!/bin/sh\nread word; echo got $word\n")
    machine.copy(tmp_path / "hear", "/usr/local/bin/hear", mode=0o755)
    assert machine.run("hear", stdin="it\n") == "got it\n"
    assert machine.run("whoami", user="nobody") == "nobody\n"
    assert machine.tell("cat", "/etc/new/folder/secret", user="nobody").exit == 1
    with pytest.raises(CommandFailed, match="exit 3"):
        machine.run("sh", "-c", "exit 3")


def test_reboot_keeps_the_disk_and_nothing_else(machine: Machine) -> None:
    machine.write("/etc/kept", "yes")
    machine.write("/run/lost", "yes")
    machine.run("ip", "address", "add", "10.9.9.9/32", "dev", "lo")
    before = machine.run("cat", "/proc/sys/kernel/random/boot_id", "/etc/machine-id")
    leader = machine.leader
    machine.reboot()
    assert machine.leader != leader
    assert machine.read("/etc/kept") == "yes"
    assert machine.tell("cat", "/run/lost").exit == 1
    assert "10.9.9.9" not in machine.run("ip", "address")
    assert "10.0.0.11/12" in machine.run("ip", "address")
    assert machine.run("cat", "/proc/sys/kernel/random/boot_id", "/etc/machine-id") != before


def test_power_cut_says_nothing_and_machine_comes_back(machine: Machine) -> None:
    unit(machine, "farewell", "ExecStart=/bin/sleep infinity", "ExecStopPost=/bin/touch /etc/farewell")
    lab = machine.network.hosts["control"]
    with lab.connect("10.0.0.11", 22) as ssh:
        assert ssh.recv(100).startswith(b"SSH-")
        machine.power_cut()
        assert not machine.running
        never(lambda: select.select([ssh], [], [], 0)[0], 0.5, "a word from the dead machine")
    with pytest.raises(CommandFailed, match="switched off"):
        machine.run("true")
    machine.start()
    assert machine.tell("ls", "/etc/farewell").exit != 0
    lab.connect("10.0.0.11", 22).close()


def test_limits_of_units_are_enforced(machine: Machine) -> None:
    hungry = "/usr/bin/python3 -c 'x = bytearray(300 << 20); import time; time.sleep(99)'"
    unit(machine, "greedy", f"ExecStart={hungry}", "MemoryMax=50M")
    eventually(
        lambda: machine.unit("greedy")["ExecMainStatus"] == "9",
        20,
        "killed",
        seen=lambda: machine.unit("greedy"),
    )
    ping = "ExecStartPost=-/bin/ping -c1 -W1 10.0.0.5"
    unit(machine, "lonely", "Type=exec", "ExecStart=/bin/sleep infinity", "IPAddressDeny=any", ping)
    said = machine.journal("--unit=lonely")
    assert "0 received" in said
    assert "1 received" in machine.run("ping", "-c1", "-W1", "10.0.0.5")


def test_apt_installs_through_the_mirror(machine: Machine) -> None:
    machine.run("apt-get", "--quiet", "update", timeout=120)
    machine.run(
        "apt-get",
        "--quiet",
        "install",
        "--yes",
        "--no-install-recommends",
        "hostname",
        "nftables",
        timeout=120,
    )
    assert "table" in machine.run("sh", "-c", "nft add table inet test && nft list ruleset")


def test_nothing_is_left_of_a_machine_after_a_failure() -> None:
    made: list[Machine] = []

    def scenario(net: Network) -> None:
        made.append(Machine(net, "beta", "10.0.0.12"))
        raise RuntimeError("scenario")

    network = Network()
    with pytest.raises(RuntimeError, match="scenario"), network:
        scenario(network)
    (beta,) = made
    assert not beta.running
    assert not network.folder.exists()
    assert not list(Path("/run/netns").glob(f"{network.prefix}*"))
    assert not [group for group in own_groups() if (group / beta.host.namespace).exists()]
    assert network.prefix not in Path("/proc/self/mountinfo").read_text()
    assert not Path("/run/systemd/nspawn/propagate", beta.host.namespace).exists()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if network.prefix in text(path)]


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
