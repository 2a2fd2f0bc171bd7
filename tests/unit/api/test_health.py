"""What a status amounts to."""

import copy
from typing import Any

from rr.api.health import check, reasons_not_ready
from tests.unit.api.memory import STATUS


def _status(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(STATUS) | changes


def test_all_well_is_one_line_with_figures() -> None:
    assert check(_status()) == {
        "exit": 0,
        "line": "RR OK - 1/2 nodes up, 1/1 ToRs up, 3 routes accepted, 1 rejected",
        "perfdata": "nodes=1;;;0;2 tors=1;;;0;1 routes=3;;;0 rejected=1;;;0 "
        "observed=0;;;0 engine_restarts=1c ipam_age=3s;;;0",
    }


def test_an_observed_rack_is_no_fault_and_is_said_whatever_else_there_is_to_say() -> None:
    status = _status()
    status["instances"][0] |= {
        "observed": [{"rack": "rack-7", "routes": 4}],
        "routes": {"accepted": 9, "rejected": 1, "observed": 4},
    }
    note = "rack-7 of main is only observed, routes that would be rejected: 4"
    assert check(status)["exit"] == 0
    assert (
        check(status)["line"] == f"RR OK - 1/2 nodes up, 1/1 ToRs up, 9 routes accepted, 1 rejected; {note}"
    )
    assert "observed=4;;;0" in check(status)["perfdata"]
    status["problems"] = [{"severity": "warning", "text": "ToR 10.2.0.1 is down"}]
    assert check(status)["line"] == f"RR WARNING - ToR 10.2.0.1 is down; {note}"


def test_the_worst_problem_decides_and_comes_first() -> None:
    problems = [
        {"severity": "warning", "text": "The allocations are 20 minutes old."},
        {"severity": "critical", "text": "ToR 10.2.0.1 is down | since noon\nand more."},
    ]
    verdict = check(_status(problems=problems))
    assert verdict["exit"] == 2
    assert verdict["line"] == (
        "RR CRITICAL - ToR 10.2.0.1 is down / since noon and more.; The allocations are 20 minutes old."
    )
    assert check(_status(problems=problems[:1]))["exit"] == 1


def test_an_engine_that_is_down_is_critical_even_if_nobody_listed_it() -> None:
    status = _status()
    status["instances"][0]["engine"]["state"] = "down"
    assert check(status)["line"] == "RR CRITICAL - Instance main: the engine is down"


def test_nothing_started_is_not_ready() -> None:
    assert reasons_not_ready(_status(instances=[])) == ["No instance is configured or started yet."]
    assert reasons_not_ready(_status(ready=False)) == ["The appliance is still starting."]
    assert reasons_not_ready(_status()) == []
