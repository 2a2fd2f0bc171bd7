"""apt is used apart from the machine's own state, and gives nothing that Debian did not sign."""

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest

from engine import archive
from engine.archive import Archive
from engine.errors import InstallError

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get: not a Debian system")

PACKAGES = """\
Package: gobgpd
Version: 4.8.0-1
Architecture: {architecture}
Filename: pool/gobgpd.deb
Size: 1
SHA256: {digest}
"""


@pytest.fixture
def unsigned(tmp_path: Path) -> Archive:
    """A mirror on disk that offers a gobgpd, and that nobody signed."""
    architecture = archive.run(["dpkg", "--print-architecture"]).strip()
    folder = tmp_path / f"mirror/dists/sid/main/binary-{architecture}"
    folder.mkdir(parents=True)
    packages = gzip.compress(PACKAGES.format(architecture=architecture, digest="0" * 64).encode())
    (folder / "Packages.gz").write_bytes(packages)
    entry = f"{hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-{architecture}/Packages.gz"
    release = f"Suite: unstable\nCodename: sid\nComponents: main\nArchitectures: {architecture}\n"
    (tmp_path / "mirror/dists/sid/Release").write_text(f"{release}SHA256:\n {entry}\n")
    return Archive(tmp_path / "apt", f"file:{tmp_path}/mirror")


def test_an_archive_that_is_not_signed_is_refused(unsigned: Archive) -> None:
    with pytest.raises(InstallError, match=r"apt-get -q update failed: .*not signed"):
        unsigned.update()


def test_the_machines_hooks_and_sources_stay_out(unsigned: Archive) -> None:
    with pytest.raises(InstallError):
        unsigned.update()
    settings = (unsigned.directory / "apt.conf").read_text()
    assert "Invoke" not in settings
    assert 'Dir::Etc::sourceparts "/dev/null"' in settings
    assert f'Dir::State::lists "{unsigned.directory}/lists"' in settings


def test_only_the_owner_may_read_the_mirrors_address(unsigned: Archive) -> None:
    with pytest.raises(InstallError):
        unsigned.update()
    for name in ("apt.conf", "debian.sources"):
        assert (unsigned.directory / name).stat().st_mode & 0o777 == 0o600
