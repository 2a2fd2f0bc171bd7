"""The Debian package: the same whenever it is built, clean for lintian, and whole."""

import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from rr import __version__
from tests.packaging.conftest import ROOT, build

pytestmark = pytest.mark.timeout(300)  # the first build brings wheels
SYSTEM = "/usr/bin/python3"
BASE = re.compile(
    r"lib(c|m|dl|pthread|rt|util|gcc_s|stdc\+\+|resolv)\.so\.\d+|ld-linux-(x86-64|aarch64)\.so\.\d"
)
"""What libc6, libgcc-s1 and libstdc++6 hold."""


def run(contents: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program of the package where it lies."""
    return subprocess.run(command, capture_output=True, text=True, cwd=contents, timeout=60)


def launched(contents: Path, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    text = (contents / program).read_text().replace('"/usr/lib/', f'"{contents}/usr/lib/')
    return run(contents, SYSTEM, "-I", "-B", "-c", text, *arguments)


def field(package: Path, name: str) -> str:
    asked = ["dpkg-deb", "--field", str(package), name]
    ran = subprocess.run(asked, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def test_two_builds_are_the_same_to_the_byte(package: Path, tmp_path: Path) -> None:
    assert (
        hashlib.sha256(build(tmp_path).read_bytes()).digest() == hashlib.sha256(package.read_bytes()).digest()
    )


def test_lintian_has_nothing_to_say_and_every_override_a_use(package: Path) -> None:
    command = ["lintian", "--allow-root", "--display-info", str(package)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=240).stdout.splitlines()
    assert [line for line in said if line[0] in "EW" or "override" in line] == []
    assert said, "lintian looked at it, and has remarks on what the wheels hold"


def test_every_override_has_a_reason() -> None:
    text = (ROOT / "packaging/debian/rr-appliance.lintian-overrides").read_text()
    groups = re.findall(r"((?:#.*\n)+)((?:rr-appliance: .*\n)+)", text)
    assert "".join(reason + tags for reason, tags in groups) == text


def test_the_package_has_the_version_of_the_sources(package: Path) -> None:
    assert field(package, "Version") == __version__
    changelog = (ROOT / "packaging/debian/changelog").read_text()
    assert changelog.startswith(f"rr-appliance ({__version__}) ")


def test_it_needs_the_engine_that_it_drives_and_the_python_that_it_was_built_for(package: Path) -> None:
    depends = field(package, "Depends")
    assert "gobgpd (>= 4.8), gobgpd (<< 5)" in depends
    version = subprocess.run(
        [SYSTEM, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
    ).stdout.strip()
    assert f"python3 (>= {version}~)" in depends


def test_nothing_needs_a_library_that_the_package_does_not_depend_on(contents: Path) -> None:
    library = contents / "usr/lib/rr-appliance"
    objects = [path for path in library.rglob("*.so*") if path.is_file()]
    assert objects
    for path in objects:
        dynamic = run(contents, "objdump", "-p", path).stdout
        needed = re.findall(r"NEEDED\s+(\S+)", dynamic)
        own = {inner.name for inner in objects}
        assert [name for name in needed if not BASE.fullmatch(name) and name not in own] == [], path
        assert max((int(v) for v in re.findall(r"GLIBC_2\.(\d+)", dynamic)), default=0) <= 34, path


@pytest.mark.parametrize("program", ["usr/bin/rrd", "usr/bin/rrctl"])
def test_the_programs_run_with_the_systems_python_and_nothing_else(contents: Path, program: str) -> None:
    ran = launched(contents, program, "--version")
    assert ran.returncode == 0, ran.stderr
    assert __version__ in ran.stdout
    assert (contents / program).read_text().startswith("#!/usr/bin/python3 -I\n")


def test_the_whole_controller_can_be_loaded(contents: Path) -> None:
    config = ROOT / "rr/config/examples/rr.yaml"
    ran = launched(contents, "usr/bin/rrctl", "config", "validate", "--no-host-checks", str(config))
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = launched(contents, "usr/bin/rrd", "--config", "/nowhere/rr.yaml")
    assert ran.returncode == 1
    assert "/nowhere/rr.yaml" in ran.stderr


def test_what_units_start_is_in_the_package(contents: Path) -> None:
    units = list((contents / "lib/systemd/system").iterdir())
    assert len(units) == 7
    text = "\n".join(unit.read_text() for unit in units)
    for program in set(re.findall(r"/usr/(?:libexec/rr-appliance/[a-z-]+|bin/rr\w+)\b", text)):
        mode = (contents / program.lstrip("/")).stat().st_mode
        assert stat.S_ISREG(mode), program
        assert mode & 0o111 == 0o111, program


def test_keepalived_finds_what_its_example_names(contents: Path) -> None:
    example = (contents / "usr/share/doc/rr-appliance/examples/keepalived.conf").read_text()
    (script,) = re.findall(r'script "/([^"]+)"', example)
    assert stat.S_IMODE((contents / script).stat().st_mode) == 0o755
    assert (contents / script).read_bytes() == (ROOT / "packaging/keepalived/rr-track").read_bytes()
    assert f"`/{script}`" in (ROOT / "docs/pair.md").read_text()
    assert run(contents, "sh", "-n", contents / script).returncode == 0


def test_helpers_of_the_units_load_without_an_engine(contents: Path) -> None:
    assert launched(contents, "usr/libexec/rr-appliance/stop-engine", "main").returncode == 0
    ran = launched(contents, "usr/libexec/rr-appliance/follow-instances", "/nowhere")
    assert "No such file or directory: '/nowhere'" in ran.stderr


def test_everybody_may_read_it_and_nobody_but_root_may_write_it(contents: Path) -> None:
    for path in contents.rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and path.parent.name != "DEBIAN":
            assert mode & 0o022 == 0, path
            assert mode & 0o444 == 0o444, path


def test_no_compiled_python_and_no_path_of_the_build_is_in_it(contents: Path) -> None:
    library = contents / "usr/lib/rr-appliance"
    assert not list(library.rglob("__pycache__"))
    assert not list(library.rglob("direct_url.json"))
    here = os.fsencode(ROOT)
    for path in contents.rglob("*"):
        if path.is_file() and path.suffix not in (".so", ".gz"):
            assert here not in path.read_bytes(), path


@pytest.mark.parametrize("page", ["man8/rrd.8.gz", "man1/rrctl.1.gz", "man5/rr.yaml.5.gz"])
def test_manual_pages_are_whole(contents: Path, page: str) -> None:
    packed = contents / "usr/share/man" / page
    source = subprocess.run(["zcat", packed], check=True, capture_output=True, text=True).stdout
    assert source.startswith(".TH ")
    said = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", packed],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"},
    )
    assert said.stderr == ""


def test_completions_complete(contents: Path) -> None:
    bash = contents / "usr/share/bash-completion/completions/rrctl"
    assert run(contents, "bash", "-n", bash).returncode == 0
    assert run(contents, "zsh", "-n", contents / "usr/share/zsh/vendor-completions/_rrctl").returncode == 0
    text = (contents / "usr/bin/rrctl").read_text().replace('"/usr/lib/', f'"{contents}/usr/lib/')
    env = {
        "_RRCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "rrctl dr",
        "COMP_CWORD": "1",
        "PATH": "/usr/bin",
    }
    ran = subprocess.run(
        [SYSTEM, "-I", "-B", "-c", text], capture_output=True, text=True, env=env, timeout=60
    )
    assert "drain" in ran.stdout


def test_scripts_of_the_package_are_right_for_sh(contents: Path) -> None:
    for name in ("preinst", "postinst", "prerm", "postrm"):
        assert run(contents, "sh", "-n", contents / "DEBIAN" / name).returncode == 0


def test_an_upgrade_restarts_the_controller_and_no_engine(contents: Path) -> None:
    scripts = "".join((contents / "DEBIAN" / name).read_text() for name in ("preinst", "postinst"))
    invoked = re.findall(r"deb-systemd-invoke (\S+) (.+?) >", scripts)
    assert invoked == [("stop", "gobgpd.service"), ("start", "rr.target"), ("try-restart", '"$unit"')]
    assert "for unit in rr-engines.path rrd.service rr-check.timer;" in scripts
    prerm = (contents / "DEBIAN/prerm").read_text()
    assert re.findall(r'\[ "\$1" = (\w+) \]', prerm) == ["remove"]


def test_settings_of_the_units_are_kept_on_upgrade(contents: Path) -> None:
    assert (contents / "DEBIAN/conffiles").read_text() == "/etc/default/rr-appliance\n"
