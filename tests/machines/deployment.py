"""A pair, or an appliance alone, as an operator deploys it: bare machines, the example inventory, ansible over ssh."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.lab.network import Network
from tests.lab.peer import Remote
from tests.lab.process import CommandFailed, run
from tests.lab.wait import eventually
from tests.machines.machine import Machine
from tests.machines.mirror import Mirror

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"
PROGRAMS = Path(sys.prefix) / "ansible" / "bin"
"""Where `make test` puts ansible: in an environment of its own."""

PLAYBOOK_SECONDS = 600
RECAP = re.compile(r"^(\S+)\s+: (ok=.*)$", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Ran(NamedTuple):
    """What a playbook did: its exit code, all that it printed, and by host how many tasks did what."""

    exit: int
    said: str
    hosts: Mapping[str, Mapping[str, int]]

    @property
    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.hosts.values())

    @property
    def changed_tasks(self) -> list[tuple[str, str]]:
        """Which tasks changed something where, in their order."""
        found, task = [], ""
        for line in self.said.splitlines():
            if started := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
                task = started[1]
            elif host := re.match(r"changed: \[(\S+?)\]", line):
                found.append((task, host[1]))
        return found


class Deployment:
    """Bare machines, rr-a and rr-b or rr-a alone, and a host `control` that reaches them; nothing is installed yet.

    `inventory` is a copy of the example, with the package in place, or with "" for the machines' own apt sources;
    `set_group` and `set_host` change it.
    """

    def __init__(self, net: Network, package: Path | None, *, alone: bool = False) -> None:
        self.net = net
        self.control = net.host("control", "10.0.0.5")
        self.mirror = Mirror(net, self.control)
        self.inventory = self.control.folder / "inventory"
        shutil.copytree(ANSIBLE / "inventory" / "example", self.inventory)
        self._hosts, self._group = (
            self.inventory / "hosts.yml",
            self.inventory / "group_vars" / "rr_appliance.yml",
        )
        key = self.control.folder / "key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        # Machines of a test are new every time; nobody else should do without knowing a host's key.
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        self.set_group(rr_appliance_package=str(package or ""), ansible_ssh_private_key_file=str(key))
        self.set_group(ansible_ssh_common_args=options)
        self._key = key.with_suffix(".pub").read_text()
        if alone:
            self._be_alone()
        self.halves = [
            self._machine(name, variables["ansible_host"])
            for name, variables in self._read(self._hosts)["rr_appliance"]["hosts"].items()
        ]

    def _be_alone(self) -> None:
        hosts = self._read(self._hosts)
        del hosts["rr_appliance"]["hosts"]["rr-b"]
        self._write(self._hosts, hosts)
        self.set_host("rr-a", rr_appliance_other_half="")

    def _machine(self, name: str, address: str) -> Machine:
        machine = Machine(self.net, name, address, mirror=self.mirror)
        self._let_in(machine)
        return machine

    def _let_in(self, machine: Machine) -> None:
        machine.write("/root/.ssh/authorized_keys", self._key, mode=0o600)

    def replace(self, name: str) -> None:
        """Put a bare machine into the place of a half."""
        machine = self.machine(name)
        machine.replace(self.mirror)
        machine.start()
        self._let_in(machine)

    def machine(self, name: str) -> Machine:
        """One half by its name."""
        return {machine.name: machine for machine in self.halves}[name]

    @property
    def rr_a(self) -> Machine:
        return self.machine("rr-a")

    @property
    def rr_b(self) -> Machine:
        return self.machine("rr-b")

    @property
    def remotes(self) -> list[Remote]:
        """The halves, as peers name them."""
        return [Remote(machine.host.addresses, 64512) for machine in self.halves]

    # The inventory.

    def group(self) -> Any:
        """The variables of all halves."""
        return self._read(self._group)

    def set_group(self, **variables: Any) -> None:
        """Give all halves these variables."""
        self._write(self._group, self.group() | variables)

    def set_allocations(self, more: Mapping[str, Sequence[str]]) -> None:
        """Let nodes of the example have further prefixes."""
        file = self.inventory / "files" / "allocations.yaml"
        content = self._read(file)
        for node, prefixes in more.items():
            content["nodes"][node]["prefixes"] += prefixes
        self._write(file, content)

    def set_host(self, name: str, **variables: Any) -> None:
        """Give one half these variables."""
        hosts = self._read(self._hosts)
        hosts["rr_appliance"]["hosts"][name] |= variables
        self._write(self._hosts, hosts)

    @staticmethod
    def _read(file: Path) -> Any:
        return yaml.safe_load(file.read_text())

    @staticmethod
    def _write(file: Path, content: Any) -> None:
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    # Playbooks.

    def play(self, playbook: str, *options: str, variables: Mapping[str, Any] | None = None) -> Ran:
        """Run a playbook and return what it did, whether it failed or not."""
        extra = (
            [f"--extra-vars={yaml.safe_dump(dict(variables), default_flow_style=True)}"] if variables else []
        )
        command = [PROGRAMS / "ansible-playbook", "--inventory", self._hosts, *extra, *options, playbook]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.control.folder / "ansible"),
            # Connections are kept by address, and other networks have the same ones.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.control.folder / "cp"),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.control.namespace}", "--", *map(str, command)],
            cwd=ANSIBLE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PLAYBOOK_SECONDS,
            check=False,
        )
        said = COLOURS.sub("", done.stdout)
        with (self.control.folder / "ansible.log").open("a") as log:
            log.write(f"$ {playbook} {' '.join(options)}\n{said}\n")
        return Ran(done.returncode, said, {host: _counts(words) for host, words in RECAP.findall(said)})

    def must_play(self, playbook: str, *options: str, variables: Mapping[str, Any] | None = None) -> Ran:
        """Run a playbook that has to succeed; raises CommandFailed with the end of what it said."""
        ran = self.play(playbook, *options, variables=variables)
        if ran.exit != 0:
            raise CommandFailed(f"ansible-playbook {playbook}: exit {ran.exit}:\n{ran.said[-6000:]}")
        return ran

    # The halves.

    def versions(self) -> list[str]:
        """What is installed on each half, and runs: they must be the same."""
        installed = [
            half.run("dpkg-query", "--show", "--showformat=${Version}", "rr-appliance")
            for half in self.halves
        ]
        assert installed == [half.rrctl("status")["version"] for half in self.halves]
        return installed

    def wait_whole(self, nodes: int, timeout: float = 60) -> None:
        """Wait until all halves are well and have every node and ToR."""
        for machine in self.halves:
            eventually(
                lambda machine=machine: self._is_whole(machine, nodes),  # type: ignore[misc]
                timeout,
                f"{machine.name} has {nodes} nodes and no problem",
                seen=lambda machine=machine: machine.tell("rrctl", "status").stdout[-3000:],  # type: ignore[misc]
            )

    @staticmethod
    def _is_whole(machine: Machine, nodes: int) -> bool:
        up = [peer for peer in machine.rrctl("peers") if peer["state"] == "established"]
        return (
            len([peer for peer in up if peer["role"] == "node"]) == nodes
            and machine.tell("rrctl", "check").exit == 0
        )


def _counts(words: str) -> dict[str, int]:
    return {name: int(number) for name, number in (word.split("=") for word in words.split())}
