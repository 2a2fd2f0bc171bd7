"""Fixtures of the machines' tests."""

import os
from pathlib import Path

import pytest

from tests.lab import Network
from tests.lab.process import run
from tests.machines import packages
from tests.machines.base import base
from tests.machines.deployment import Deployment
from tests.machines.fabric import STREAM, Fabric
from tests.once import once
from tests.packaging.conftest import build


@pytest.fixture(scope="session", autouse=True)
def _can_boot() -> None:
    """Leave all of them out, with the reason, where there is no base file system, or a container lets nobody mount."""
    try:
        base()
        run(["unshare", "--mount", "--propagation", "slave", "mount", "-t", "tmpfs", "none", "/mnt"])
    except (AssertionError, OSError) as error:
        pytest.skip(f"this host boots no machines with systemd: {str(error).partition(chr(10))[0]}")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of these sources; RR_PACKAGE names one that is built already."""
    if already := os.environ.get("RR_PACKAGE"):
        return Path(already)
    return once(tmp_path_factory, "package", build)


NEXT = "99.0"
"""The version that upgrades lead to."""


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newer version of it."""
    return once(tmp_path_factory, "newer", lambda folder: packages.another(package, folder, NEXT))


FLOATING = "10.0.0.10"


@pytest.fixture(scope="module")
def pair(shared_net: Network, package: Path) -> Deployment:
    """Two machines that had nothing, after `ansible-playbook site.yml`."""
    made = Deployment(shared_net, package)
    instances = made.group()["rr_appliance_instances"]
    instances["main"]["floating"] = [FLOATING]
    made.set_group(rr_appliance_instances=instances, rr_appliance_floating=f"{FLOATING}/12")
    made.set_group(rr_appliance_floating_interface="eth0", rr_appliance_drain_wait=1)
    made.set_allocations({"node-2": STREAM})
    ran = made.must_play("site.yml")
    assert set(ran.hosts) == {"rr-a", "rr-b"}
    return made


@pytest.fixture(scope="module")
def fabric(pair: Deployment) -> Fabric:
    return Fabric(pair)


@pytest.fixture
def whole(fabric: Fabric) -> None:
    """A test that uses it begins with a deployment that carries everything."""
    fabric.wait_whole()
