"""What a status amounts to."""

import copy
from typing import Any

import pytest

from rr.api.health import check, reasons_not_ready, serving
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


def _two(*, floating: tuple[str, ...]) -> dict[str, Any]:
    """A status of the instances main and edge, of which these have a floating address."""
    status = _status(
        floating=[{"instance": name, "address": "10.0.0.10", "here": False} for name in floating]
    )
    status["instances"].append(copy.deepcopy(status["instances"][0]) | {"instance": "edge"})
    status["listen"].append({"instance": "edge", "address": "10.0.0.12", "here": True})
    return status


def _down(status: dict[str, Any], instance: int = 0) -> None:
    status["instances"][instance]["engine"]["state"] = "down"


def _drain(status: dict[str, Any], state: str) -> None:
    status["instances"][0]["drain"]["state"] = state


def test_a_half_that_serves_says_which_instances_and_no_figures() -> None:
    assert serving(_two(floating=())) == {"exit": 0, "line": "RR OK - serving: main, edge", "perfdata": ""}


def test_whether_it_serves_is_no_matter_of_the_ipam_quarantine_the_other_half_or_peers() -> None:
    status = _status(
        ready=False,
        ipam={"known": False, "error": "HTTP 503", "held": "it removes too much", "age_seconds": 9000},
        problems=[{"severity": "critical", "text": "New allocations are held back"}],
        pair=None,
    )
    status["instances"][0]["sessions"]["tors"]["up"] = 0
    assert check(status)["exit"] == 2
    assert serving(status)["line"] == "RR OK - serving: main"


def _no_policy(status: dict[str, Any]) -> None:
    status["instances"][0]["policy"]["in_force"] = False


def _address_gone(status: dict[str, Any]) -> None:
    status["listen"][0]["here"] = False


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (_down, "Instance main: the engine is down"),
        (_no_policy, "Instance main: the policy is not in force"),
        (_address_gone, "Instance main: 10.0.0.11 is not an address of this host"),
        (lambda status: _drain(status, "closing"), "Instance main: a drain has closed it"),
        (lambda status: _drain(status, "drained"), "Instance main: a drain has closed it"),
        (lambda status: status["instances"].clear(), "Instance main: not started yet"),
    ],
)
def test_a_half_that_does_not_serve_is_critical_and_says_why(happens: Any, said: str) -> None:
    status = _status()
    happens(status)
    assert serving(status) == {"exit": 2, "line": f"RR CRITICAL - {said}", "perfdata": ""}


def test_nothing_started_serves_nobody() -> None:
    line = "RR CRITICAL - No instance is configured or started yet"
    assert serving(_status(instances=[], floating=[]))["line"] == line


def test_an_instance_that_is_being_drained_serves_until_its_sessions_end() -> None:
    status = _status()
    _drain(status, "draining")
    assert serving(status)["exit"] == 0


def test_where_one_instance_has_a_floating_address_the_others_do_not_count() -> None:
    status = _two(floating=("edge",))
    _down(status)
    _address_gone(status)
    assert serving(status)["line"] == "RR OK - serving: edge"
    _down(status, 1)
    assert serving(status)["line"] == "RR CRITICAL - Instance edge: the engine is down"
    everybody = _two(floating=())
    _down(everybody)
    assert serving(everybody)["exit"] == 2
    both = _two(floating=("main", "edge", "main"))
    assert serving(both)["line"] == "RR OK - serving: main, edge"
