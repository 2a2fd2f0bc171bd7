"""Fixtures of the machines' tests."""

from pathlib import Path

import pytest

from tests.lab import Network
from tests.machines.machine import Machine
from tests.machines.packages import build


@pytest.fixture(scope="session", autouse=True)
def _boots() -> None:
    """Leave all of them out, with the reason, where the kernel or a container around us lets nobody boot a machine."""
    try:
        with Network() as network:
            machine = Machine(network, "probe", "10.0.0.9")
            machine.start()
            machine.stop()
    except (AssertionError, OSError) as error:
        first = str(error).partition("\n")[0]
        pytest.skip(f"this host boots no machines with systemd: {first}")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of these sources, built once."""
    return build(tmp_path_factory.mktemp("package"))
