"""How the engine of a unit that stops is ended: by what systemd is about, and by what rrd can do for it."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from rr.cli.client import Client, Rejected
from rr.errors import ControllerUnavailable
from rr.service.stop import Way, read_jobs, spared, stop, way

UNIT = "rr-engine@main.service"


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (f"1207 {UNIT} restart running", Way.KEEP),
        (f"1207 {UNIT} stop running", Way.DRAIN),
        (f"12 rr-engine@other.service restart running\n13 {UNIT} stop running", Way.DRAIN),
        (f"13 {UNIT} stop running\n14 poweroff.target start waiting", Way.DRAIN),
        (f"13 {UNIT} stop running\n14 reboot.target start waiting", Way.SPARE),
        (f"13 {UNIT} stop running\n14 kexec.target start waiting", Way.SPARE),
        ("No jobs running.", Way.DRAIN),
        ("", Way.DRAIN),
    ],
)
def test_the_way_out_follows_from_what_systemd_is_about(listing: str, expected: Way) -> None:
    assert way(read_jobs(listing), UNIT) is expected


@pytest.mark.parametrize(
    ("pair", "expected"),
    [(None, False), ({"refusal": "the other half rr-b cannot be reached"}, False), ({"refusal": None}, True)],
)
def test_at_a_reboot_a_half_is_drained_only_where_the_other_takes_over(pair: Any, expected: bool) -> None:
    rrd = Rrd("serving")
    rrd.pair = pair
    assert spared(rrd) is expected
    assert spared(Rrd()) is False


class Rrd(Client):
    """An rrd whose drain goes one step further with each look."""

    def __init__(self, *states: str, drains: bool = True, pretends: bool = False) -> None:
        super().__init__("/nowhere")
        self.states = list(states)
        self.drains = drains
        self.pretends = pretends
        self.posted: list[str] = []
        self.pair: Any = None

    def get(self, resource: str, timeout: float = 1.0, **parameters: Any) -> Any:
        if not self.states:
            raise ControllerUnavailable("rrd does not answer")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"instances": [{"instance": "main", "drain": {"state": state}}], "pair": self.pair}

    def post(self, resource: str, body: str = "", timeout: float = 1.0, **parameters: Any) -> Any:
        self.posted.append(resource)
        assert resource != "drain" or parameters["force"] == "true"
        if resource == "drain" and not self.drains:
            raise Rejected(409, "the other half lacks a peer")
        if resource == "undrain" and not self.pretends:
            self.states = ["serving"]
            raise ControllerUnavailable("no answer within 1 s")


@pytest.fixture
def engine() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def test_an_engine_is_ended_when_it_is_drained_and_the_next_one_serves(
    engine: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    rrd = Rrd("serving", "draining", "closing", "drained")
    stop(rrd, "main", engine.pid)
    assert engine.wait(5) == -9
    assert rrd.posted == ["drain", "undrain"]
    assert capsys.readouterr().out == "main: drained\n"


def test_what_an_operator_drained_stays_drained(engine: "subprocess.Popen[bytes]") -> None:
    rrd = Rrd("drained")
    stop(rrd, "main", engine.pid)
    assert engine.wait(5) == -9
    assert rrd.posted == ["drain"]


@pytest.mark.parametrize(
    ("rrd", "why"),
    [
        (Rrd(), "rrd does not answer"),
        (Rrd("serving", drains=False), "the other half lacks a peer"),
        (Rrd("draining"), "draining took too long"),
    ],
)
def test_where_it_cannot_be_drained_its_sessions_are_closed_at_once(
    engine: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str], rrd: Rrd, why: str
) -> None:
    stop(rrd, "main", engine.pid, patience=0.0)
    assert engine.wait(5) == -15
    assert f"main: not drained, its sessions are closed at once: {why}" in capsys.readouterr().out


def test_an_instance_that_rrd_has_forgotten_is_closed_at_once(
    engine: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    stop(Rrd("serving"), "old", engine.pid)
    assert engine.wait(5) == -15
    assert "rrd knows no instance old" in capsys.readouterr().out


def test_an_undrain_that_did_nothing_is_said(
    engine: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    stop(Rrd("serving", "drained", pretends=True), "main", engine.pid)
    assert "it stays drained; `rrctl undrain main` has it serve again" in capsys.readouterr().out
