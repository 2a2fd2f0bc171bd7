"""python -m tests.bench: the appliance, bare gobgpd and BIRD side by side, and the goals."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import namespace
from tests.bench.measure import Measurement, Scope, measure
from tests.bench.process import BenchError, raise_open_files
from tests.bench.systems import System
from tests.bench.systems.appliance import Appliance
from tests.bench.systems.bird import Bird
from tests.bench.systems.cluster import ClusterAppliance
from tests.bench.systems.gobgp import Gobgp
from tests.bench.table import as_json, goals, table
from tests.bench.topology import MAX_NODES, Topology

SYSTEMS: dict[str, Callable[[], System]] = {
    "appliance": Appliance,
    "gobgpd": Gobgp,
    "bird": Bird,
    "kubernetes": ClusterAppliance,
}
COMPARED = ["appliance", "gobgpd", "bird"]
"""Those that run where nobody says which."""


def _numbers(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",")]
    if not all(2 <= number <= MAX_NODES for number in numbers):
        raise argparse.ArgumentTypeError(f"from 2 to {MAX_NODES} nodes")
    return numbers


def _systems(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    p.add_argument(
        "--nodes", type=_numbers, default=[100, 500, 1000, 2000], metavar="N,N,…", help="sizes to run"
    )
    p.add_argument("--systems", type=_systems, default=COMPARED, metavar="S,S,…", help=", ".join(SYSTEMS))
    p.add_argument(
        "--runs", type=int, default=1, metavar="R", help="runs of each; medians are shown (default 1)"
    )
    p.add_argument(
        "--reflect",
        choices=["rack", "none"],
        default="rack",
        help="whose routes nodes are given: those of their rack (default), or none; ToRs get all either way",
    )
    p.add_argument("--rack-size", type=int, default=50, metavar="N", help="nodes in a rack (default 50)")
    p.add_argument("--hold-time", type=int, default=90, metavar="S", help="of all sessions (default 90)")
    p.add_argument("--add-paths", type=int, default=16, metavar="N", help="paths a prefix to ToRs; 0 is off")
    p.add_argument("--trials", type=int, default=20, metavar="N", help="trials of each latency (default 20)")
    p.add_argument("--timeout", type=float, default=240.0, metavar="S", help="for one system to converge")
    p.add_argument(
        "--redial",
        type=float,
        default=0.5,
        metavar="S",
        help="after which a node dials again that has lost its session (default 0.5; ToRs: always 0.5)",
    )
    p.add_argument(
        "--restart-timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="for one system to be whole again after its speaker was killed (default 60); 0 leaves that out",
    )
    p.add_argument(
        "--restart-only", action="store_true", help="measure nothing between the start and the restart"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to a file as well")
    p.add_argument("--keep", action="store_true", help="keep the configurations and logs, and say where")
    p.add_argument(
        "--strict", action="store_true", help="exit 1 also when a goal is missed, not only on faults"
    )
    return p


def main(arguments: Sequence[str]) -> int:
    """Outside: make the namespaces and the folder. Inside: measure. 0 if all went well, 1 if not."""
    options = parser().parse_args(arguments)
    if (folder := namespace.inside()) is not None:
        return _bench(options, folder)
    for name in options.systems:
        SYSTEMS[name]().require()
    if options.json:
        arguments = [*arguments, "--json", str(options.json.resolve())]
    folder = Path(tempfile.mkdtemp(prefix="rr-bench-"))
    try:
        return namespace.run_inside(arguments, folder)
    finally:
        if options.keep:
            print(f"files kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _bench(options: argparse.Namespace, folder: Path) -> int:
    namespace.prepare()
    raise_open_files()
    measurements: list[Measurement] = []
    try:
        for nodes in options.nodes:
            measurements += _one_size(options, nodes, folder)
            print(f"\n{table(measurements, nodes)}", flush=True)
            for goal in goals(measurements, nodes):
                print(goal, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        if options.json:
            settings = {key: str(value) for key, value in vars(options).items()}
            options.json.write_text(json.dumps(as_json(measurements, settings), indent=1) + "\n")
    found = [goal for nodes in options.nodes for goal in goals(measurements, nodes)]
    missed = options.strict and any(goal.met is False for goal in found)
    return 1 if missed or any(m.faults for m in measurements) else 0


def _one_size(options: argparse.Namespace, nodes: int, folder: Path) -> list[Measurement]:
    """All systems in turn, as many rounds as asked for: what disturbs the machine disturbs them alike."""
    topology = Topology(
        nodes,
        options.rack_size,
        options.reflect,
        options.hold_time,
        options.add_paths,
        options.trials,
        options.redial,
    )
    scope = Scope(options.timeout, options.restart_timeout, options.restart_only)
    done = []
    for run in range(1, options.runs + 1):
        for name in options.systems:
            print(f"{nodes} nodes, run {run} of {options.runs}: {name} …", file=sys.stderr, flush=True)
            done.append(measure(SYSTEMS[name](), topology, folder / f"{nodes}-{run}-{name}", scope))
    return done


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        os._exit(130)
