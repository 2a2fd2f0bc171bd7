"""`rrctl events`, above all when it follows."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.api.memory import event
from tests.unit.cli.conftest import COMMAND, Background, Rrctl, environment


@contextmanager
def _following(path: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [*COMMAND, "--socket", str(path), *arguments, "events", "--follow"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment(),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_events_are_listed_and_filtered(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.event_rows.append(event(21, "violation"))
    lines = rrctl("events").out.splitlines()
    assert len(lines) == 22
    assert lines[1].split(maxsplit=4) == ["2026-11-23", "12:00:00", "session", "node-1", "It came up."]
    assert len(rrctl("events", "--kind", "violation").out.splitlines()) == 2
    assert [row["id"] for row in json.loads(rrctl("events", "--since", "19", "-o", "json").out)] == [20, 21]


def test_following_shows_the_last_ten_and_then_what_happens(rrd: Background) -> None:
    with _following(rrd.path, "--output", "json") as process:
        assert [json.loads(_line(process))["id"] for _ in range(10)] == list(range(11, 21))
        rrd.happen(event(21))
        assert json.loads(_line(process)) == event(21)


def test_following_outlasts_a_restart_of_rrd_and_misses_nothing(rrd: Background) -> None:
    with _following(rrd.path) as process:
        for _ in range(10):
            _line(process)
        rrd.wait_for_a_reader()
        rrd.appliance.event_rows.append(event(21))
        rrd.restart(pause=1.2)
        rrd.happen(event(22))
        assert "node-21" in _line(process)
        assert "node-22" in _line(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
    assert err.count("\n") == 1
    assert err.endswith("trying again\n")


def test_ctrl_c_ends_it_quietly(rrd: Background) -> None:
    with _following(rrd.path) as process:
        for _ in range(10):
            _line(process)
        rrd.wait_for_a_reader()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_that_stops_ends_it_quietly(rrd: Background) -> None:
    with _following(rrd.path) as process:
        for _ in range(10):
            _line(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        rrd.wait_for_a_reader()
        rrd.happen(event(21))
        assert process.wait(5) == 141
        assert process.stderr.read() == ""
