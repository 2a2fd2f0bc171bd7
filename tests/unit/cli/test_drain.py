"""`rrctl drain` and `rrctl undrain`: orders, progress, and what is said when somebody changes his mind."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rr.api.keys import faults
from rr.cli.drain import drain
from rr.continuity.drain import WAIT
from tests.unit.cli.conftest import Background, Rrctl


@contextmanager
def becoming(rrd: Background, *states: str) -> Iterator[None]:
    """Go on to these states, one every half second, once the drain was asked for."""

    def go_on() -> None:
        while not rrd.appliance.asked:
            time.sleep(0.01)
        for state in states:
            time.sleep(0.5)
            left = 1.4 if state == "draining" else None
            rrd.appliance.status_row["instances"][0]["drain"] |= {"state": state, "seconds_left": left}

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    thread.join(10)


def test_a_drain_is_shown_until_it_is_done(rrd: Background, rrctl: Rrctl) -> None:
    with becoming(rrd, "draining", "closing", "drained"):
        ran = rrctl("drain", "main", "--wait", "2")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "main is drained, wait=2.0.",
        "main: routes are being marked, 2 sessions up.",
        "main: routes are marked, 2 sessions up, they end in 1 s.",
        "main: sessions are being ended, 2 sessions still up.",
        "main: drained, no session is up and nobody is let in.",
    ]


def test_a_drain_in_json_is_said_when_it_is_done(rrd: Background, rrctl: Rrctl) -> None:
    with becoming(rrd, "closing", "drained"):
        ran = rrctl("--output", "json", "drain")
    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    rows = json.loads(ran.out)
    assert faults("drain", rows) == []
    assert [row["state"] for row in rows] == ["drained"]


def test_in_the_background_it_returns_at_once(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("drain", "--background")
    assert (ran.code, ran.out, ran.err) == (0, "main is drained, wait=None.\n", "")
    rows = json.loads(rrctl("drain", "--background", "-o", "json").out)
    assert faults("drain", rows) == []


def test_a_drain_that_somebody_takes_back_fails(rrd: Background, rrctl: Rrctl) -> None:
    with becoming(rrd, "serving"):
        ran = rrctl("drain")
    assert ran.code == 1
    assert ran.err == "rrctl: main serves again: somebody undrained it; drain it again if it is to go\n"


def test_a_controller_that_is_restarted_meanwhile_is_waited_for(rrd: Background, rrctl: Rrctl) -> None:
    def restart() -> None:
        while not rrd.appliance.asked:
            time.sleep(0.01)
        before = rrd.appliance.looks
        while rrd.appliance.looks == before:  # rrctl has its answer, and follows the drain
            time.sleep(0.01)
        rrd.restart(pause=1.0)
        rrd.appliance.status_row["instances"][0]["drain"]["state"] = "drained"

    thread = threading.Thread(target=restart)
    thread.start()
    ran = rrctl("drain")
    thread.join(10)
    assert (ran.code, ran.err) == (0, "")


def test_undrain_says_what_was_done(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("undrain", "main")
    assert (ran.code, ran.out, ran.err) == (0, "main serves again.\n", "")
    assert faults("drain", json.loads(rrctl("-o", "json", "undrain").out)) == []


@pytest.mark.parametrize("command", ["drain", "undrain"])
def test_an_unknown_instance_is_named_with_the_known_ones(
    rrd: Background, rrctl: Rrctl, command: str
) -> None:
    ran = rrctl(command, "mian")
    assert (ran.code, ran.out, ran.err) == (1, "", "rrctl: there is no instance mian; it is one of main\n")


@pytest.mark.parametrize("wait", ["-1", "3601", "soon"])
def test_a_wait_that_is_none_is_refused(rrctl: Rrctl, wait: str) -> None:
    ran = rrctl("drain", "--wait", wait)
    assert ran.code == 2
    assert "Invalid value for '--wait'" in ran.err


def test_the_help_says_the_wait_that_is_used() -> None:
    (option,) = (o for o in drain.params if o.name == "wait")
    assert f"[default: {WAIT:g}]" in (option.help or "")


def test_status_and_peers_show_it_while_it_lasts(rrd: Background, rrctl: Rrctl) -> None:
    for command in ("status", "peers"):
        assert "DRAIN" not in rrctl(command).out
    rrctl("drain", "--background")
    rrd.appliance.peer_rows = [{**row, "drain": "draining"} for row in rrd.appliance.peer_rows]
    for command in ("status", "peers"):
        out = rrctl(command).out
        assert "DRAIN" in out
        assert "draining" in out
