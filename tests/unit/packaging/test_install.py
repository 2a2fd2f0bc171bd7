"""The installer takes the machine's engine if it will do, and says plainly what it does if not."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import archive, install, sources
from engine.archive import without_credentials
from engine.errors import InstallError


def program(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'gobgpd version {version}'\n")
    path.chmod(0o755)
    return path


class Debian:
    """Stands in for the archive: what it offers, and what becomes of a download."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offers = {"gobgpd": ["4.8.0-1"], "golang-github-osrg-gobgp-dev": ["4.8.0-1"]}
        self.runs = "4.8.0"
        self.downloads: list[str] = []
        self.mirrors = ["http://mirror.example/debian"]
        self.broken: dict[str, str] = {}
        monkeypatch.setattr(sources, "debian_mirrors", lambda: self.mirrors)
        monkeypatch.setattr(install, "Archive", self.archive)
        monkeypatch.setattr(install, "unpack", self.unpack)

    def archive(self, _: Path, mirror: str) -> "FakeArchive":
        return FakeArchive(self, mirror)

    def unpack(self, package: Path, into: Path) -> None:
        if package.name == "gobgpd":
            program(into / "usr/bin/gobgpd", self.runs)
            program(into / "usr/bin/gobgp", self.runs)
        else:
            (into / install.API_PATH / "api").mkdir(parents=True)


class FakeArchive:
    """The archive as one mirror offers it."""

    def __init__(self, debian: Debian, mirror: str) -> None:
        self.debian = debian
        self.mirror = mirror

    def update(self) -> None:
        if self.mirror in self.debian.broken:
            raise InstallError(self.debian.broken[self.mirror])

    def versions(self, package: str) -> list[str]:
        return self.debian.offers.get(package, [])

    def download(self, package: str, version: str, into: Path) -> Path:
        self.debian.downloads.append(f"{package}={version}")
        return into / package


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Debian:
    monkeypatch.delenv("GOBGPD", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}/path")  # the machine's own engine stays out of it
    return Debian(monkeypatch)


def run(tmp_path: Path, *options: str) -> int:
    return install.main(["--into", str(tmp_path / "engine"), *options])


def test_a_good_engine_on_path_is_used_and_nothing_is_fetched(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = program(tmp_path / "path/gobgpd", "4.9.1")
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.strip() == f"{tmp_path}/engine/bin/gobgpd"
    assert (tmp_path / "engine/bin/gobgpd").resolve() == found
    assert not debian.downloads


def test_without_an_engine_debians_is_brought(debian: Debian, tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    assert debian.downloads == ["gobgpd=4.8.0-1"]
    assert os.readlink(tmp_path / "engine/bin/gobgpd") == "../gobgpd_4.8.0-1/usr/bin/gobgpd"
    assert (tmp_path / "engine/bin/gobgp").exists()


def test_a_too_old_engine_is_refused_and_debians_brought(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = program(tmp_path / "path/gobgpd", "3.10.0")
    assert run(tmp_path) == 0
    assert (
        f"{old} is version 3.10.0, needed is 4.8 or newer, below 5; bringing one from Debian sid"
        in capsys.readouterr().err
    )
    assert debian.downloads


def test_a_too_old_engine_without_download_is_an_error_with_the_way_out(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = program(tmp_path / "path/gobgpd", "3.10.0")
    assert run(tmp_path, "--no-download") == 1
    assert capsys.readouterr().err == (
        f"engine: {old} is version 3.10.0, needed is 4.8 or newer, below 5;"
        " install gobgpd 4.8 or newer, below 5, and put it on PATH or name it in GOBGPD,"
        " or run without --no-download to bring Debian's\n"
    )
    assert not debian.downloads


def test_a_too_new_engine_is_refused_too(debian: Debian, tmp_path: Path) -> None:
    program(tmp_path / "path/gobgpd", "5.0.0")
    assert run(tmp_path) == 0
    assert debian.downloads


def test_the_engine_that_is_named_goes_before_all_others(
    debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path) == 0
    named = program(tmp_path / "mine/gobgpd-4.9", "4.9.0")
    monkeypatch.setenv("GOBGPD", str(named))
    assert run(tmp_path) == 0
    assert (tmp_path / "engine/bin/gobgpd").resolve() == named


@pytest.mark.parametrize(
    ("name", "says"), [("old/gobgpd", "which is version 3.10.0"), ("none", "is not a program")]
)
def test_a_named_engine_that_will_not_do_is_an_error(
    name: str,
    says: str,
    debian: Debian,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program(tmp_path / "old/gobgpd", "3.10.0")
    monkeypatch.setenv("GOBGPD", str(tmp_path / name))
    assert run(tmp_path) == 1
    assert says in capsys.readouterr().err
    assert not debian.downloads


def test_the_second_run_fetches_nothing_and_says_nothing(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "--dev")
    downloads = list(debian.downloads)
    capsys.readouterr()
    assert run(tmp_path, "--dev") == 0
    assert capsys.readouterr().err == ""
    assert debian.downloads == downloads == ["gobgpd=4.8.0-1", "golang-github-osrg-gobgp-dev=4.8.0-1"]


def test_the_directory_may_move(debian: Debian, tmp_path: Path) -> None:
    run(tmp_path, "--dev")
    (tmp_path / "engine").rename(tmp_path / "moved")
    assert (tmp_path / "moved/bin/gobgpd").exists()
    assert (tmp_path / "moved/dev" / install.API_PATH).is_dir()


def test_an_engine_that_does_not_run_here_leaves_nothing(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debian.runs = "unknown"
    assert run(tmp_path) == 1
    assert "does not run on this machine: it needs libc6 2.34 or newer" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "engine").iterdir()] == ["lock"]


def test_what_a_killed_run_left_is_cleared(debian: Debian, tmp_path: Path) -> None:
    (tmp_path / "engine/.new-1/tree").mkdir(parents=True)
    assert run(tmp_path) == 0
    assert not (tmp_path / "engine/.new-1").exists()


def test_the_next_mirror_is_tried_when_one_fails(debian: Debian, tmp_path: Path) -> None:
    debian.mirrors = ["http://down.example/debian", "http://up.example/debian"]
    debian.broken = {"http://down.example/debian": "not reachable"}
    assert run(tmp_path) == 0


def test_when_debian_has_moved_on_the_error_names_both_versions(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debian.offers["gobgpd"] = ["5.1.0-1"]
    assert run(tmp_path) == 1
    assert "Debian sid has gobgpd 5.1.0-1; needed is 4.8 or newer, below 5" in capsys.readouterr().err


def test_a_machine_without_debian_sources_is_told_what_to_do(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debian.mirrors = []
    assert run(tmp_path) == 1
    assert "no Debian mirror in this machine's apt sources; install gobgpd" in capsys.readouterr().err


def test_a_second_run_waits_for_the_first(debian: Debian, tmp_path: Path) -> None:
    program(tmp_path / "path/gobgpd", "4.8.0")
    (tmp_path / "engine").mkdir()
    script = str(install.ROOT / "packaging/engine")
    command = [sys.executable, script, "--into", str(tmp_path / "engine"), "--no-download"]
    with open(tmp_path / "engine/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert second.stderr is not None
        assert second.stderr.readline() == "engine: another run is at work, waiting for it\n"
        assert second.poll() is None
    assert second.wait(timeout=20) == 0
    second.stderr.close()


def test_credentials_in_a_mirrors_address_are_not_shown() -> None:
    assert (
        without_credentials("E: http://me:secret@mirror.example/debian") == "E: http://mirror.example/debian"
    )


def test_without_debians_keyring_nothing_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archive, "KEYRINGS", (tmp_path / "none",))
    with pytest.raises(InstallError, match="apt-get install debian-archive-keyring"):
        archive.keyring()


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(
        InstallError, match=r"^sh -c echo 'E: no such thing' >&2; exit 7 failed: E: no such thing$"
    ):
        archive.run(["sh", "-c", "echo 'E: no such thing' >&2; exit 7"])


def test_a_missing_program_means_not_debian() -> None:
    with pytest.raises(InstallError, match="no-such-apt is not installed: this is not a Debian system"):
        archive.run(["no-such-apt"])
