"""Medians over the runs, the goals beside them, as text and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from tests.bench.measure import Measurement
from tests.bench.restart import Restart

BASELINE = "gobgpd"
SUBJECT = "appliance"

Figure = Callable[[Measurement], float | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what it shows, how to get it from a measurement, and in how many decimals."""

    title: str
    figure: Figure
    decimals: int = 2
    ratio: bool = False
    always: bool = False


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _worst(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _nodes_whole(measurement: Measurement) -> float | None:
    """Infinite where a node never got a route of its rack."""
    if measurement.missing_at_nodes:
        return math.inf
    return measurement.nodes_whole


def _restart(figure: Callable[[Restart], float | None]) -> Figure:
    """A figure of the restart; infinite where it never came to that."""

    def found(measurement: Measurement) -> float | None:
        if measurement.restart is None:
            return None
        value = figure(measurement.restart)
        return math.inf if value is None else value

    return found


def _if(value: float) -> float | None:
    return value or None


ROWS = (
    Row("start until ready, s", lambda m: _if(m.start)),
    Row("ToRs hold everything, s", lambda m: _if(m.converged), ratio=True),
    Row("all quiet again, s", lambda m: _if(m.settled), ratio=True),
    Row("engine CPU until ToRs hold everything, s", lambda m: _if(m.converged_cpu.engine), ratio=True),
    Row("engine CPU until quiet, s", lambda m: _if(m.settled_cpu.engine), ratio=True),
    Row("controller CPU before the first dial, s", lambda m: _if(m.start_cpu.controller)),
    Row("controller CPU until ToRs hold everything, s", lambda m: _if(m.converged_cpu.controller)),
    Row("controller CPU until quiet, s", lambda m: _if(m.settled_cpu.controller)),
    Row("engine RSS, MB", lambda m: _if(m.engine_memory.rss), 0, ratio=True),
    Row("engine PSS, MB", lambda m: _if(m.engine_memory.pss), 0),
    Row("controller RSS, MB", lambda m: _if(m.controller_memory.rss), 0),
    Row("controller PSS, MB", lambda m: _if(m.controller_memory.pss), 0),
    Row("announce to ToR, median ms", lambda m: _median(m.announce_ms), 1, ratio=True),
    Row("announce to ToR, worst ms", lambda m: _worst(m.announce_ms), 1),
    Row("allocation to ToR, median ms", lambda m: _median(m.grant_ms), 1),
    Row("allocation to ToR, worst ms", lambda m: _worst(m.grant_ms), 1),
    Row("revocation to ToR, median ms", lambda m: _median(m.revoke_ms), 1),
    Row("revocation to ToR, worst ms", lambda m: _worst(m.revoke_ms), 1),
    Row("node taken out to ToR, median ms", lambda m: _median(m.leave_ms), 1),
    Row("node taken out to ToR, worst ms", lambda m: _worst(m.leave_ms), 1),
    Row("node put in to ToR, median ms", lambda m: _median(m.join_ms), 1),
    Row("node put in to ToR, worst ms", lambda m: _worst(m.join_ms), 1),
    Row("VIP opened to every node, median ms", lambda m: _median(m.open_ms), 1),
    Row("VIP opened to every node, worst ms", lambda m: _worst(m.open_ms), 1),
    Row("VIP closed again, median ms", lambda m: _median(m.close_ms), 1),
    Row("VIP closed again, worst ms", lambda m: _worst(m.close_ms), 1),
    Row("rrctl check, median ms", lambda m: _median(m.check_ms), 0),
    Row("engine CPU when idle, s a minute", lambda m: m.idle_cpu.engine),
    Row("controller CPU when idle, s a minute", lambda m: _if(m.idle_cpu.controller)),
    Row("the speakers' own CPU until quiet, s", lambda m: _if(m.settled_cpu.speakers)),
    Row("nodes hold the routes of their rack, s", _nodes_whole),
    Row("received by nodes, MB", lambda m: m.node_megabytes, 1),
    Row("routes that never came to a ToR", lambda m: float(m.missing_at_tors), 0, always=True),
    Row("routes that never came to a node", lambda m: float(m.missing_at_nodes), 0, always=True),
    Row("withdrawals seen by ToRs", lambda m: float(m.withdrawals), 0, always=True),
    Row("connections lost and redialed", lambda m: float(m.redials), 0, always=True),
    Row("killed, until every session is up, s", _restart(lambda r: r.sessions)),
    Row("killed, until ToRs heard every route again, s", _restart(lambda r: r.routes)),
    Row("killed, until nodes heard theirs again, s", _restart(lambda r: r.nodes)),
    Row("killed, routes removed at ToRs", _restart(lambda r: r.removals), 0, always=True),
    Row("killed, routes removed at nodes", _restart(lambda r: r.removals_at_nodes), 0, always=True),
    Row("killed, engine CPU until ToRs heard all, s", _restart(lambda r: r.engine_cpu)),
    Row("killed, controller CPU until ToRs heard all, s", _restart(lambda r: r.controller_cpu)),
)


def middle(row: Row, runs: Sequence[Measurement]) -> float | None:
    """The median of a figure over the runs that have it."""
    return _median([value for run in runs if (value := row.figure(run)) is not None])


def table(measurements: Sequence[Measurement], nodes: int) -> str:
    """The table of one size: a row a figure, a column a system, ratios to bare gobgpd in brackets."""
    systems = list(dict.fromkeys(m.system for m in measurements))
    runs = {s: [m for m in measurements if m.system == s and m.nodes == nodes] for s in systems}
    lines = [f"{nodes} nodes" + " " * 36 + "".join(f"{system:>18}" for system in systems)]
    for row in ROWS:
        values = {system: middle(row, runs[system]) for system in systems}
        if not any(values.values()) and not row.always:
            continue
        cells = "".join(f"{_cell(row, system, values):>18}" for system in systems)
        lines.append(f"  {row.title:<46}{cells}")
    every = [m for system in systems for m in runs[system]]
    lines += [f"  {m.system}: {what}" for m in every if m.restart for what in m.restart.told()]
    lines += [f"  ! {m.system}: {fault}" for m in every for fault in m.faults]
    return "\n".join(lines)


def _cell(row: Row, system: str, values: dict[str, float | None]) -> str:
    value, base = values[system], values.get(BASELINE)
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    text = f"{value:.{row.decimals}f}"
    return f"{text} ({value / base:.2f}x)" if row.ratio and base and system != BASELINE else text


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal at one size: what is asked, what was found (None: not measured)."""

    nodes: int
    text: str
    limit: float
    found: float | None

    @property
    def met(self) -> bool | None:
        return None if self.found is None else self.found <= self.limit

    def __str__(self) -> str:
        verdict = {None: "not measured", True: "met", False: "MISSED"}[self.met]
        found = "" if self.found is None else f" {self.found:.2f}"
        return f"  {self.nodes:>5} nodes: {self.text} <= {self.limit:g}:{found} {verdict}"


def goals(measurements: Sequence[Measurement], nodes: int) -> list[Goal]:
    """The project's goals for the appliance, at one size."""
    ours = [m for m in measurements if m.system == SUBJECT and m.nodes == nodes]
    if not ours:
        return []
    bare = [m for m in measurements if m.system == BASELINE and m.nodes == nodes]

    def ratio(top: float | None, bottom: float | None) -> float | None:
        return top / bottom if top is not None and bottom else None

    def ours_of(figure: Figure) -> float | None:
        return middle(Row("", figure), ours)

    def against_bare(figure: Figure) -> float | None:
        return ratio(ours_of(figure), middle(Row("", figure), bare))

    found = [
        Goal(
            nodes, "time until ToRs hold everything, x bare", 1.15, against_bare(lambda m: _if(m.converged))
        ),
        Goal(
            nodes, "engine CPU until quiet, x bare", 1.15, against_bare(lambda m: _if(m.settled_cpu.engine))
        ),
        Goal(nodes, "controller memory (RSS), MB", 150, ours_of(lambda m: _if(m.controller_memory.rss))),
        Goal(
            nodes,
            "controller CPU until quiet, share of the engine's",
            0.2,
            ratio(
                ours_of(lambda m: m.settled_cpu.controller if m.settled else None),
                ours_of(lambda m: _if(m.settled_cpu.engine)),
            ),
        ),
        Goal(nodes, "rrctl check, s", 0.3, ratio(ours_of(lambda m: _median(m.check_ms)), 1000.0)),
    ]
    if nodes <= 1000:
        found += [
            Goal(nodes, "allocation to ToR, median ms", 100, ours_of(lambda m: _median(m.grant_ms))),
            Goal(nodes, "killed, until all is back, s", 15, ours_of(_restart(lambda r: r.routes))),
        ]
    found.append(Goal(nodes, "killed, routes removed at ToRs", 0, ours_of(_restart(lambda r: r.removals))))
    return found


def as_json(measurements: Sequence[Measurement], settings: Mapping[str, object]) -> dict[str, object]:
    """Everything that was measured, and the goals, as plain data."""
    sizes = list(dict.fromkeys(m.nodes for m in measurements))
    return {
        "settings": settings,
        "runs": [asdict(m) for m in measurements],
        "medians": [
            {
                "system": system,
                "nodes": nodes,
                **{
                    row.title: _finite(
                        middle(row, [m for m in measurements if (m.system, m.nodes) == (system, nodes)])
                    )
                    for row in ROWS
                },
            }
            for nodes in sizes
            for system in dict.fromkeys(m.system for m in measurements)
        ],
        "goals": [
            {"nodes": g.nodes, "goal": g.text, "limit": g.limit, "found": _finite(g.found), "met": g.met}
            for nodes in sizes
            for g in goals(measurements, nodes)
        ],
    }


def _finite(value: float | None) -> float | None:
    """JSON knows no infinity."""
    return None if value is None or math.isinf(value) else value
