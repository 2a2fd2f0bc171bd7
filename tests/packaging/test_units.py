"""The units: systemd understands them, and they are as confined as they can be."""

import re
import subprocess
from pathlib import Path

import pytest

from rr.engine.process import GARBAGE, NICENESS
from rr.service.instances import FILE, unit

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
EXPOSED_AT_MOST = 15
"""Tenths of systemd's own scale, from 0 (safe) to 100."""
OURS = re.compile(
    r"Command /usr/(bin/rr(d|ctl)|libexec/rr-appliance/[a-z-]+) is not executable: No such file"
)


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60
    )


def settings(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and line[0] not in "#["]  # type: ignore[misc]


def test_systemd_understands_every_unit() -> None:
    units = [str(path) for path in UNITS.iterdir() if path.is_file()]
    assert len(units) == 7
    said = analyze("verify", "--man=no", *units).stderr.splitlines()
    ours = str(UNITS)
    about_us = [line for line in said if not OURS.search(line) and (ours in line or re.search(r"\brr", line))]
    assert about_us == []


def test_verify_would_tell_of_a_mistake(tmp_path: Path) -> None:
    wrong = (UNITS / "rrd.service").read_text().replace("ProtectClock=yes", "ProtectClok=yes")
    (tmp_path / "rr-wrong.service").write_text(wrong)
    assert "ProtectClok" in analyze("verify", "--man=no", str(tmp_path / "rr-wrong.service")).stderr


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_more_exposed_than_one_and_a_half(name: str) -> None:
    ran = analyze("security", "--offline=true", f"--threshold={EXPOSED_AT_MOST}", str(UNITS / name))
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "Overall exposure level" in ran.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_port_below_1024_is_a_right_of_a_service_that_is_not_root(name: str) -> None:
    said = dict(settings(name))
    expected = {"rr-engines.service": "CAP_DAC_READ_SEARCH", "rr-check.service": ""}
    assert said["CapabilityBoundingSet"] == expected.get(name, "CAP_NET_BIND_SERVICE")
    assert said.get("User") == (None if name == "rr-engines.service" else "rr")
    assert said["NoNewPrivileges"] == "yes"


def test_the_engine_is_started_as_rrd_itself_would_start_it() -> None:
    said = dict(settings("rr-engine@.service"))
    for flag in (
        "--api-hosts=unix:///run/rr/%i/gobgpd.sock",
        "--pprof-disable",
        "--metrics-path= ",
        "--log-level=warn",
    ):
        assert flag in said["ExecStart"]
    assert ("Environment", f"GOGC={GARBAGE}") in settings("rr-engine@.service")
    assert (said["KillSignal"], said["UMask"], said["RuntimeDirectoryMode"]) == ("SIGKILL", "0077", "0700")
    assert "rm -f /run/rr/%i/gobgpd.sock" in said["ExecStartPre"]


def test_the_controller_steps_back_as_it_would_itself() -> None:
    assert dict(settings("rrd.service"))["Nice"] == str(NICENESS)


def test_the_list_that_rrd_writes_is_the_one_that_is_followed() -> None:
    assert dict(settings("rr-engines.path"))["PathChanged"] == f"/run/rr/{FILE}"
    assert dict(settings("rr-engines.service"))["ExecStart"].endswith(f" /run/rr/{FILE}")
    assert (UNITS / unit("")).is_file()


def test_an_engine_is_stopped_before_its_controller_and_never_for_it() -> None:
    engine = settings("rr-engine@.service")
    assert any(key == "After" and "rrd.service" in value.split() for key, value in engine)
    ties = {"Requires", "BindsTo", "Requisite"}
    assert not [line for line in engine if line[0] in ties]
    assert [value for key, value in engine if key == "PartOf"] == ["rr.target"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_may_be_written_may_not_be_executed(name: str) -> None:
    """And nothing is made executable: systemd 252 would mount that anew, and writable."""
    said = dict(settings(name))
    assert "ExecPaths" not in said
    directories = (("RuntimeDirectory", "/run/"), ("StateDirectory", "/var/lib/"))
    own = {f"{parent}{said[key]}" for key, parent in directories if key in said}
    assert own | {"/run", "/tmp", "/var/tmp", "/dev/shm"} == set(said["NoExecPaths"].split())
    assert "/run" in said["ReadOnlyPaths"].split()
