"""The package, installed by apt on a machine, and configured by hand as docs/configuration.md says."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.lab.appliance import Told
from tests.lab.peer import Remote
from tests.lab.wait import eventually
from tests.machines.machine import Machine

CONFIG, ALLOCATIONS = "/etc/rr/rr.yaml", "/etc/rr/allocations.yaml"
PIN = """\
Package: *
Pin: release n=sid
Pin-Priority: -1

Package: gobgpd
Pin: version 4.8.*
Pin-Priority: 990

Package: gobgpd
Pin: version 3.*
Pin-Priority: -1
"""
"""Nothing comes from sid but the engine (packaging/debian/control wants gobgpd 4.8)."""


class Installed:
    """An appliance whose parts systemd runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.name = machine.name
        self.host = machine.host
        self.instances: Mapping[str, Any] = {}

    # apt

    def pin_engine(self) -> None:
        """Let apt take gobgpd, and nothing else, from Debian sid."""
        sources = self.machine.read("/etc/apt/sources.list.d/debian.sources")
        sid = "\n".join(
            "Suites: sid" if line.startswith("Suites:") else line for line in sources.splitlines()
        )
        # A mirror that is a snapshot serves what has expired.
        self.machine.write("/etc/apt/sources.list.d/sid.sources", f"{sid}\nCheck-Valid-Until: no\n")
        self.machine.write("/etc/apt/preferences.d/gobgp", PIN)
        self.machine.run("apt-get", "--quiet", "update", timeout=120)

    def apt(self, *words: str) -> str:
        """Run apt-get and answer nothing that it asks."""
        options = ("--quiet", "--yes", "--no-install-recommends")
        return self.machine.run(
            "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, *words, timeout=240
        )

    def install(self, package: Path, *options: str) -> None:
        """Install a package file, and what it depends on."""
        self.machine.copy(package, f"/root/{package.name}")
        self.apt(*options, "install", f"/root/{package.name}")

    # Files

    def configure(self, instances: Mapping[str, Any], **settings: Any) -> None:
        """Write rr.yaml, for root to write and for rr to read."""
        self.instances = instances
        sources = [{"type": "file", "path": ALLOCATIONS}]
        config = {"name": self.name, "instances": instances, "ipam": {"sources": sources}, **settings}
        self._write(CONFIG, config)

    def allocate(self, allocations: Mapping[str, Any]) -> None:
        """Write allocations.yaml; rrd sees it by itself."""
        self._write(ALLOCATIONS, allocations)

    def _write(self, path: str, data: Mapping[str, Any]) -> None:
        new = f"{path}.new"
        self.machine.write(new, yaml.safe_dump(dict(data), sort_keys=False), mode=0o640)
        self.machine.run("chgrp", "rr", new)
        self.machine.run("mv", new, path)

    # Questions

    def rrctl(self, *words: str, timeout: float = 20) -> Any:
        """Run `rrctl --output json` inside and return what it printed, parsed."""
        return json.loads(self.machine.run("rrctl", "--output", "json", *words, timeout=timeout))

    def tell(self, *words: str, timeout: float = 20) -> Told:
        """Run `rrctl` inside and return all that it said, whatever its exit code."""
        return self.machine.tell("rrctl", *words, timeout=timeout)

    def wait_ready(self, within: float = 30) -> None:
        """Wait until every policy is in force and every engine serves."""
        eventually(self._ready, within, f"{self.name} is ready", seen=self.story)

    def _ready(self) -> bool:
        told = self.tell("--output", "json", "status")
        return told.exit == 0 and bool(json.loads(told.stdout)["ready"])

    def story(self) -> str:
        """What there is to read where something is not as it should be."""
        return self.tell("status").stdout + self.machine.journal("--lines=40")

    def pid(self, unit: str) -> int:
        """The main process of a unit, by its number inside the machine; 0 where there is none."""
        return int(self.machine.unit(unit)["MainPID"])

    def remote(self, instance: str = "main") -> Remote:
        """Where peers of an instance connect to."""
        settings = self.instances[instance]
        listen: Sequence[str] = settings.get("listen", [settings["router_id"]])
        return Remote(tuple(map(str, listen)), settings["asn"], settings.get("port", 179))
