"""The Debian package, built once for all tests."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

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


@functools.cache
def built(*options: str) -> Path:
    """The package of the sources, built once for whoever asks, and gone when the tests end."""
    folder = tempfile.mkdtemp(prefix="rr-package-")
    atexit.register(shutil.rmtree, folder)
    return build(Path(folder), *options)


@pytest.fixture(scope="session")
def package() -> Path:
    return built()


@pytest.fixture(scope="session")
def contents(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files, with its control files in DEBIAN/."""
    folder = tmp_path_factory.mktemp("contents") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    return folder
