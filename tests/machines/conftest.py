"""Fixtures of the machines' tests."""

from pathlib import Path

import pytest

from tests.machines.packages import build


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of these sources, built once."""
    return build(tmp_path_factory.mktemp("package"))
