"""Medians, ratios and goals."""

import json

from tests.bench.measure import Cpu, Measurement
from tests.bench.process import Memory
from tests.bench.restart import Restart
from tests.bench.table import as_json, goals, table


def run(system: str, seconds: float, grant_ms: list[float] | None = None) -> Measurement:
    return Measurement(
        system,
        1000,
        converged=seconds,
        settled=seconds,
        settled_cpu=Cpu(2 * seconds, 0.1, 0.2),
        controller_memory=Memory(80.0, 70.0),
        grant_ms=grant_ms or [],
    )


RUNS = [run("appliance", 3.0, [40, 90]), run("appliance", 1.0, [50]), run("gobgpd", 2.0)]


def test_a_cell_is_the_median_of_the_runs_beside_its_ratio_to_bare_gobgpd() -> None:
    [line] = [
        line
        for line in table(RUNS, 1000).splitlines()
        if "ToRs hold everything, s" in line and "CPU" not in line
    ]
    assert line.split()[-3:] == ["2.00", "(1.00x)", "2.00"]


def test_faults_are_shown_under_the_table() -> None:
    broken = run("bird", 1.0)
    broken.faults.append("something is missing")
    assert table([broken], 1000).endswith("! bird: something is missing")


def test_goals_are_met_missed_or_not_measured() -> None:
    met = {goal.text: goal.met for goal in goals(RUNS, 1000)}
    assert met["allocation to ToR, median ms"] is True
    assert met["rrctl check, s"] is None
    slow = [run("appliance", 9.0), run("gobgpd", 2.0)]
    assert [goal.met for goal in goals(slow, 1000)][:2] == [False, False]


def test_the_hundred_milliseconds_are_asked_up_to_a_thousand_nodes() -> None:
    assert not any("allocation" in goal.text for goal in goals(RUNS, 2000))


def test_json_has_runs_medians_and_goals() -> None:
    found = as_json(RUNS, {"runs": 2})
    assert set(found) == {"settings", "runs", "medians", "goals"}


def test_a_restart_that_never_ends_is_shown_misses_its_goal_and_is_no_number_in_json() -> None:
    never, done = run("appliance", 1.0), run("gobgpd", 2.0)
    never.restart = Restart(sessions=3.0, removals=7, reasons={"withdrawn": 7}, lacking=["nothing came"])
    done.restart = Restart(sessions=3.0, routes=4.0)
    shown = table([never, done], 1000).splitlines()
    [line] = [line for line in shown if "ToRs heard every route" in line]
    assert line.split()[-2:] == ["never", "4.00"]
    assert shown[-2:] == ["  appliance: nothing came", "  appliance: 7 routes removed at ToRs: withdrawn"]
    met = {goal.text: goal.met for goal in goals([never, done], 1000)}
    assert (met["killed, until all is back, s"], met["killed, routes removed at ToRs"]) == (False, False)
    json.dumps(as_json([never, done], {}), allow_nan=False)
