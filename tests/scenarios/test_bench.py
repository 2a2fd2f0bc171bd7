"""The benchmark runs from end to end and measures everything; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.table import ROWS

pytestmark = pytest.mark.root

NODES, TRIALS = 10, 2
RESTART = 10
"""Seconds after a kill. Bare gobgpd may take three times as long, and is not waited for."""


def test_a_small_benchmark_has_all_its_figures(tmp_path: Path) -> None:
    """Ten nodes, one run of the appliance and of bare gobgpd: no fault, no route is missing, no figure either.

    Both are killed, and the appliance's ToRs remove nothing.
    """
    file = tmp_path / "figures.json"
    words = (
        "--nodes",
        NODES,
        "--runs",
        1,
        "--trials",
        TRIALS,
        "--restart-timeout",
        RESTART,
        "--systems",
        "appliance,gobgpd",
        "--json",
        file,
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *map(str, words)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    runs: dict[str, Any] = {run["system"]: run for run in found["runs"]}
    assert runs.keys() == {"appliance", "gobgpd"}
    for system, run in runs.items():
        assert run["nodes"] == NODES
        assert 0 < run["converged"] <= run["settled"]
        assert run["engine_memory"]["rss"] > 0
        assert run["node_megabytes"] > 0
        assert len(run["announce_ms"]) == TRIALS
        owners = TRIALS if system == "appliance" else 0
        assert (len(run["grant_ms"]), len(run["revoke_ms"])) == (owners, owners)
        assert min(run["announce_ms"] + run["grant_ms"] + run["revoke_ms"]) > 0
        assert 0 < run["restart"]["sessions"] < RESTART
        assert run["restart"]["engine_cpu"] > 0
        assert run["faults"] == []
        unwanted = ("missing_at_tors", "missing_at_nodes", "withdrawals", "redials")
        assert {name: run[name] for name in unwanted} == dict.fromkeys(unwanted, 0)
    restart = runs["appliance"]["restart"]
    assert restart["sessions"] <= restart["routes"] < RESTART
    assert (restart["removals"], restart["lacking"]) == (0, [])
    assert runs["appliance"]["controller_memory"]["rss"] > 0
    assert len(runs["appliance"]["check_ms"]) == 10
    titles = {row.title for row in ROWS}
    assert [medians.keys() - {"system", "nodes"} for medians in found["medians"]] == [titles, titles]
    assert all(goal["nodes"] == NODES for goal in found["goals"])
    assert found["goals"]
