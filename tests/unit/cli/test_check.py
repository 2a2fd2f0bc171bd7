"""`rrctl check`, when all is well and when nothing is."""

import json
import socket
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Background, Rrctl, answering

QUICKLY = 2.0  # Seconds of wall time on a busy machine; 0.8 of them are the command's own limit.


def _http(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_all_well_is_one_line_with_perfdata(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("check")
    assert (ran.code, ran.err) == (0, "")
    line, perfdata = ran.out.rstrip("\n").split(" | ")
    assert line == "RR OK - 1/2 nodes up, 1/1 ToRs up, 3 routes accepted, 1 rejected"
    assert perfdata.split()[0] == "nodes=1;;;0;2"


@pytest.mark.parametrize(("severity", "code"), [("warning", 1), ("critical", 2)])
def test_a_problem_is_the_line_and_the_exit_code(
    rrd: Background, rrctl: Rrctl, severity: str, code: int
) -> None:
    rrd.appliance.status_row["problems"] = [{"severity": severity, "text": "The allocations are old"}]
    ran = rrctl("check")
    assert ran.code == code
    assert ran.out.startswith(f"RR {severity.upper()} - The allocations are old | ")


def test_serving_asks_only_whether_this_half_serves(rrd: Background, rrctl: Rrctl) -> None:
    status = rrd.appliance.status_row
    status["problems"] = [{"severity": "critical", "text": "The allocations are old"}]
    assert rrctl("check").code == 2
    ran = rrctl("check", "--serving")
    assert (ran.code, ran.out, ran.err) == (0, "RR OK - serving: main\n", "")
    status["instances"][0]["engine"]["state"] = "down"
    ran = rrctl("check", "--serving", "--output", "json")
    assert ran.code == 2
    line = "RR CRITICAL - Instance main: the engine is down"
    assert json.loads(ran.out) == {"exit": 2, "line": line, "perfdata": ""}


def test_an_rrd_that_does_not_know_the_question_is_unknown(rrctl: Rrctl, tmp_path: Path) -> None:
    older = _http(
        b'{"error": "/api/v1/check has no parameter \'serving\'; it takes none"}', "400 Bad Request"
    )
    with answering(tmp_path / "rrd.sock", older):
        ran = rrctl("check", "--serving")
    assert ran.code == 3
    assert ran.out.startswith("RR UNKNOWN - rrd refused the check: /api/v1/check has no parameter")


def test_a_dead_rrd_serves_nobody_and_a_hung_one_is_told_in_time(rrctl: Rrctl, tmp_path: Path) -> None:
    assert rrctl("check", "--serving").code == 2
    with answering(tmp_path / "rrd.sock", None):
        ran = rrctl("check", "--serving")
    assert ran.code == 2
    assert ran.seconds < QUICKLY


def test_no_socket_is_critical(rrctl: Rrctl, tmp_path: Path) -> None:
    ran = rrctl("check")
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.startswith(
        f"RR CRITICAL - rrd does not answer on {tmp_path}/rrd.sock: there is no such socket;"
    )
    assert ran.out.count("\n") == 1
    assert ran.seconds < QUICKLY


def test_a_dead_rrd_is_critical(rrctl: Rrctl, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "rrd.sock"))
    ran = rrctl("check")
    assert ran.code == 2
    assert "nobody listens there; start rrd" in ran.out


def test_a_hung_rrd_is_critical_in_time(rrctl: Rrctl, tmp_path: Path) -> None:
    with answering(tmp_path / "rrd.sock", None):
        ran = rrctl("check")
    assert ran.code == 2
    assert "rrd.sock: no answer within 0.8 s" in ran.out
    assert ran.seconds < QUICKLY


def test_a_full_backlog_is_critical_in_time(rrctl: Rrctl, tmp_path: Path) -> None:
    path = str(tmp_path / "rrd.sock")
    with socket.socket(socket.AF_UNIX) as stuck, socket.socket(socket.AF_UNIX) as waiting:
        stuck.bind(path)
        stuck.listen(0)
        waiting.connect(path)
        ran = rrctl("check")
    assert ran.code == 2
    assert ran.seconds < QUICKLY


def test_an_answer_that_drips_in_is_cut_off_in_time(rrctl: Rrctl, tmp_path: Path) -> None:
    path = tmp_path / "rrd.sock"
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 400:
                    try:
                        connection.send(bytes([letter]))
                    except OSError:
                        break
                    time.sleep(0.05)
                ended.set()

        thread = threading.Thread(target=drip)
        thread.start()
        ran = rrctl("check")
        thread.join(5)
    assert ran.code == 2
    assert ran.seconds < QUICKLY
    assert ended.is_set()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff rubbish \x00",
        b"220 mail.example ESMTP\r\n",
        _http(b"<html>hello</html>"),
        _http(b"[]"),
        _http(b'{"exit": 7, "line": "x", "perfdata": ""}'),
        _http(b'{"exit": true, "line": "x", "perfdata": ""}'),
        _http(b'{"exit": 0, "line": null, "perfdata": ""}'),
        _http(b'{"exit": 0, "line": "RR O'),
        _http(b'{"error": "broken"}', "500 Internal Server Error"),
        _http(b"\xff\xfe", "404 Not Found"),
    ],
)
def test_an_answer_that_is_not_understood_is_unknown(rrctl: Rrctl, tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "rrd.sock", answer):
        ran = rrctl("check")
    assert ran.out.count("\n") == 1
    assert ran.err == ""
    assert ran.code == (3 if answer else 2)
    assert ran.out.startswith("RR UNKNOWN - " if answer else "RR CRITICAL - ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check --bogus", "No such option"),
        ("check --output x", "'x' is not one of"),
        ("--output x check", "'x' is not one of"),
        ("--socket /run/rr/rrd.sock -o x check --serving", "'x' is not one of"),
        ("--bogus check", "No such option"),
        ("--timeout 5 check", "No such option"),
    ],
)
def test_a_wrong_command_line_is_unknown_and_not_critical(rrctl: Rrctl, words: str, said: str) -> None:
    ran = rrctl(*words.split())
    assert (ran.code, ran.out) == (3, "")
    assert said in ran.err


def test_json_has_the_documented_keys_also_when_rrd_is_dead(rrctl: Rrctl) -> None:
    import json

    ran = rrctl("--output", "json", "check")
    assert ran.code == 2
    assert sorted(json.loads(ran.out)) == ["exit", "line", "perfdata"]


def test_the_answer_is_kept_in_a_file_that_everybody_may_read(
    rrd: Background, rrctl: Rrctl, tmp_path: Path
) -> None:
    kept = tmp_path / "check.json"
    rrd.appliance.status_row["problems"] = [{"severity": "warning", "text": "The allocations are old"}]
    ran = rrctl("check", "--write", str(kept))
    told = json.loads(kept.read_text())
    assert (ran.code, told["exit"]) == (1, 1)
    assert ran.out == f"{told['line']} | {told['perfdata']}\n"
    assert datetime.now(UTC) - datetime.fromisoformat(told["time"]) < timedelta(minutes=1)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
    assert list(kept.parent.glob(".check*")) == []


def test_a_file_that_cannot_be_written_is_unknown(rrd: Background, rrctl: Rrctl, tmp_path: Path) -> None:
    ran = rrctl("check", "--write", str(tmp_path / "nowhere" / "check.json"))
    assert ran.code == 3
    assert "check.json cannot be written: No such file or directory; the check said: RR OK" in ran.out
