"""The Debian package, built once for all tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.once import once

ROOT = Path(__file__).parents[2]


def build(folder: Path, *options: str) -> Path:
    """Build the package of the sources as they are."""
    ran = subprocess.run(
        [sys.executable, ROOT / "packaging" / "deb.py", *options, folder],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert ran.returncode == 0, ran.stderr
    return Path(ran.stdout.strip())


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "package", build)


@pytest.fixture(scope="session")
def contents(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files, with its control files in DEBIAN/."""
    folder = tmp_path_factory.mktemp("contents") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    return folder
