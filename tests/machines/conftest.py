"""Fixtures of the machines' tests."""

from pathlib import Path

import pytest

from tests.lab.process import run
from tests.machines import packages
from tests.machines.base import base


@pytest.fixture(scope="session", autouse=True)
def _can_boot() -> None:
    """Leave all of them out, with the reason, where there is no base file system, or a container lets nobody mount."""
    try:
        base()
        run(["unshare", "--mount", "--propagation", "slave", "mount", "-t", "tmpfs", "none", "/mnt"])
    except (AssertionError, OSError) as error:
        pytest.skip(f"this host boots no machines with systemd: {str(error).partition(chr(10))[0]}")


@pytest.fixture(scope="session")
def package() -> Path:
    """The Debian package of these sources, built once."""
    return packages.package()


NEXT = "99.0"
"""The version that upgrades lead to."""


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newer version of it."""
    return packages.another(package, tmp_path_factory.mktemp("newer"), NEXT)
