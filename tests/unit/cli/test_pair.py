"""`rrctl pair`: how the pair is, and its certificates."""

import json
from pathlib import Path

import pytest

from rr.api.keys import faults
from tests.unit.cli.conftest import Background, Rrctl


def test_the_pair_is_shown_in_a_few_lines_and_two_tables(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("pair")
    assert ran.code == 0
    assert rrctl("pair", "status").out == ran.out
    lines = ran.out.splitlines()
    assert (
        lines[0]
        == "pair           rr-b answers, version 0.1.0, 1 difference; nodes with both 5, one 1, none 2"
    )
    assert lines[1].startswith("warning        the halves hold different allocations, for ")
    assert lines[2] == "to be spared   no: the other half rr-b has no session with the node node-2 of main"
    assert lines[3] == "certificate    until 2026-11-23"
    assert lines[6].split() == ["main", "10.0.0.12", "established", "yes", "5", "1", "2", "1/2", "3"]
    assert lines[9].split() == ["main", "node-2", "this", "half"]


def test_an_other_half_that_does_not_answer_is_said_with_the_reason(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.status_row["pair"] |= {"reachable": False, "problem": "connection refused"}
    assert rrctl("pair").out.startswith("pair           rr-b cannot be reached: connection refused\n")
    assert "rr-b cannot be reached: connection refused" in rrctl("status").out


def test_the_json_has_the_documented_keys(rrd: Background, rrctl: Rrctl) -> None:
    answer = json.loads(rrctl("pair", "status", "--output", "json").out)
    assert faults("pair", answer) == []
    assert answer["redundancy"] == [{"instance": "main", "node": "node-2", "here": True, "there": False}]


def test_an_appliance_that_is_alone_says_so(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.status_row["pair"] = None
    ran = rrctl("pair")
    assert (ran.code, ran.out) == (1, "")
    assert "this appliance is no half of a pair" in ran.err
    assert "pair  " not in rrctl("status").out


def test_certificates_are_made_once_and_renewed_on_request(rrctl: Rrctl, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    ran = rrctl("pair", "certificates", "--names", "rr-a,rr-b", str(folder))
    names = ["ca.crt", "ca.key", "rr-a.crt", "rr-a.key", "rr-b.crt", "rr-b.key"]
    assert (ran.code, ran.out.splitlines()) == (0, [str(folder / name) for name in names])
    again = rrctl("pair", "certificates", "--names", "rr-a,rr-b", str(folder))
    assert again.code == 1
    assert "ca.crt is there already, and nothing is overwritten; use --renew" in again.err
    renewed = rrctl("pair", "certificates", "--names", "rr-a,rr-b", "--renew", "-o", "json", str(folder))
    assert json.loads(renewed.out) == {"made": [str(folder / name) for name in names[2:]]}


@pytest.mark.parametrize("names", ["rr-a", "rr-a,rr-a", "rr-a,rr-b,rr-c", "rr-a,../b", "rr-a,"])
def test_names_that_are_not_two_are_refused(rrctl: Rrctl, tmp_path: Path, names: str) -> None:
    ran = rrctl("pair", "certificates", "--names", names, str(tmp_path / "pair"))
    assert ran.code == 2
    assert "is not two different names; write --names rr-a,rr-b" in ran.err
    assert not (tmp_path / "pair").exists()
