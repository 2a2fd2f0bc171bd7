"""An appliance that is alone, and whose package comes from the host's own apt sources."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from rr import __version__
from tests.lab import Network
from tests.lab.process import run
from tests.machines.conftest import NEXT
from tests.machines.deployment import Deployment
from tests.machines.fabric import STREAM, Fabric
from tests.machines.machine import Machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.machine,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("whole"),
]

ARCHIVE = "/srv/archive"
"""An operator's own, on the machine itself: packages, and apt's list of them (deb822, one flat folder)."""


@pytest.fixture(scope="module")
def alone(shared_net: Network, package: Path) -> Deployment:
    """A machine that had nothing, after `ansible-playbook site.yml`."""
    made = Deployment(shared_net, None, alone=True)
    made.set_allocations({"node-2": STREAM})
    offer(made.rr_a, [package])
    made.must_play("site.yml")
    return made


@pytest.fixture(scope="module")
def fabric(alone: Deployment) -> Fabric:
    return Fabric(alone)


def offer(machine: Machine, packages: Sequence[Path]) -> None:
    """Let the machine's apt know of these packages."""
    entries = []
    for package in packages:
        machine.copy(package, f"{ARCHIVE}/{package.name}")
        content = package.read_bytes()
        entries.append(
            run(["dpkg-deb", "--field", package]).rstrip()
            + f"\nFilename: ./{package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    machine.write(f"{ARCHIVE}/Packages", "\n".join(entries))
    machine.write("/etc/apt/sources.list.d/own.list", f"deb [trusted=yes] file:{ARCHIVE} ./\n")
    machine.run("apt-get", "--quiet", "update", timeout=120)


def test_site_installs_from_apt_sources_and_a_second_run_changes_nothing(fabric: Fabric) -> None:
    """No package is named in the inventory: apt has one; every route is at the ToRs, and nothing is left to do."""
    assert fabric.carries()
    assert fabric.pair.versions() == [__version__]
    assert fabric.pair.must_play("site.yml").changed == 0
    assert "RR OK - " in fabric.pair.must_play("check.yml").said


def test_upgrade_of_an_appliance_that_is_alone_moves_no_session(
    fabric: Fabric, package: Path, newer: Path
) -> None:
    """Its controller is exchanged beside the engine, under load, for the version that apt offers now."""
    alone, before = fabric.pair, fabric.marks()
    assert alone.must_play("upgrade.yml").changed == 0, "apt offers nothing else yet"
    offer(alone.rr_a, [package, newer])
    with fabric.nothing_lost(load=True):
        alone.must_play("upgrade.yml")
    assert alone.versions() == [NEXT]
    assert fabric.marks() == before
    assert alone.must_play("upgrade.yml").changed == 0


def test_rollback_takes_the_version_before_from_apt_again_and_moves_no_session(fabric: Fabric) -> None:
    """rollback.yml goes to what the host remembers, and apt still has it."""
    alone, before = fabric.pair, fabric.marks()
    with fabric.nothing_lost(load=True):
        alone.must_play("rollback.yml")
    assert alone.versions() == [__version__]
    assert fabric.marks() == before
