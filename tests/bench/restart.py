"""The restart: the speaker of a system is killed (SIGKILL), and its peers watch what becomes of their routes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from tests.bench.fleet import Fleet, Speaker
from tests.bench.process import cpu_seconds
from tests.bench.systems import System

AFTERWARDS = 3.0
"""Seconds for which ToRs are watched on when all is back: what is removed then counts too."""
GLANCE = 0.1

Holdings = Mapping[str, frozenset[IPv4Network]]
"""What ToRs held before, by name."""


@dataclass(slots=True)
class Restart:
    """What a restart did. Seconds are counted from SIGKILL; None: it did not come to that in time."""

    sessions: float | None = None
    """Every session was up again."""
    routes: float | None = None
    """Beside that, both ToRs had heard every route again, and an End-of-RIB."""
    nodes: float | None = None
    """Every node had heard as many routes again as it held before."""
    removals: int = 0
    """Prefixes that the ToRs removed, together."""
    reasons: dict[str, int] = field(default_factory=dict)
    """The same by reason."""
    removals_at_nodes: int = 0
    reasons_at_nodes: dict[str, int] = field(default_factory=dict)
    engine_cpu: float = 0.0
    """CPU seconds of the new speaker."""
    controller_cpu: float = 0.0
    lacking: list[str] = field(default_factory=list)
    """What never came, as sentences."""
    surplus: int = 0
    """Prefixes that a ToR was sent after the restart and not before."""

    def told(self) -> list[str]:
        """What the figures do not say: why routes were removed, and what never came."""
        removed = {"ToRs": self.reasons, "nodes": self.reasons_at_nodes}
        return self.lacking + [
            f"{count} routes removed at {where}: {why}"
            for where, reasons in removed.items()
            for why, count in reasons.items()
        ]


def measure_restart(
    system: System, fleet: Fleet, tors: Sequence[Speaker], timeout: float, patience: float
) -> Restart:
    """Kill the speaker, and wait `timeout` seconds at most until all is back, and `patience` for nodes' routes."""
    nodes = [speaker for speaker in fleet.speakers if speaker not in tors]
    before = {tor.name: tor.rib.prefixes() for tor in tors}
    held = {node.name: len(node.rib) for node in nodes}
    gone = [(speaker, speaker.rib.removals.copy()) for speaker in fleet.speakers]
    controller_cpu = cpu_seconds(system.controller())
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as other:
        killing = other.submit(system.restart)
        back = fleet.run(lambda: _all_back(fleet, tors, before, began), timeout)
        killing.result()
    result = Restart(engine_cpu=cpu_seconds(system.engine()))
    result.controller_cpu = cpu_seconds(system.controller()) - controller_cpu
    if _sessions_back(fleet, began):
        result.sessions = max(speaker.since for speaker in fleet.speakers) - began
    if back:
        moments = [moment for tor in tors for moment in (tor.since, tor.rib.latest, tor.rib.ended or 0.0)]
        result.routes = max(result.sessions or 0.0, max(moments) - began)
        result.nodes = _until_nodes_hold(fleet, nodes, held, began, patience)
    else:
        result.lacking = list(_lacking(fleet, tors, before, began, timeout))
    fleet.pause(AFTERWARDS)
    result.surplus = sum(len(tor.rib.fresh() - before[tor.name]) for tor in tors)
    reasons = {where: Counter[str]() for where in ("tors", "nodes")}
    for speaker, earlier in gone:
        reasons["tors" if speaker in tors else "nodes"] += speaker.rib.removals - earlier
    result.reasons, result.removals = dict(reasons["tors"]), reasons["tors"].total()
    result.reasons_at_nodes, result.removals_at_nodes = dict(reasons["nodes"]), reasons["nodes"].total()
    return result


def _sessions_back(fleet: Fleet, began: float) -> bool:
    everybody = fleet.established == len(fleet.speakers)
    return everybody and all(speaker.since >= began for speaker in fleet.speakers)


def _all_back(fleet: Fleet, tors: Sequence[Speaker], before: Holdings, began: float) -> bool:
    """Say whether all sessions are new ones, and ToRs have all routes anew. Asked very often: cheap where not."""
    ribs_done = all(
        tor.rib.ended is not None and tor.rib.fresh_count >= len(before[tor.name]) for tor in tors
    )
    return ribs_done and _sessions_back(fleet, began) and all(before[t.name] <= t.rib.fresh() for t in tors)


def _lacking(
    fleet: Fleet, tors: Sequence[Speaker], before: Holdings, began: float, timeout: float
) -> Iterable[str]:
    within = f"{timeout:.0f} s after the speaker was killed"
    up = sum(speaker.established and speaker.since >= began for speaker in fleet.speakers)
    if up < len(fleet.speakers):
        yield f"{up} of {len(fleet.speakers)} sessions were up {within}"
    for tor in tors:
        wanted, fresh = before[tor.name], tor.rib.fresh()
        if wanted - fresh:
            yield f"{tor.name} had heard {len(wanted & fresh)} of {len(wanted)} routes again {within}"
        if tor.rib.ended is None:
            yield f"{tor.name} had no End-of-RIB {within}"


def _until_nodes_hold(
    fleet: Fleet, nodes: Sequence[Speaker], held: Mapping[str, int], began: float, patience: float
) -> float | None:
    """Seconds from `began` until every node had as many routes anew as it held; None after `patience` seconds."""
    deadline = time.monotonic() + patience
    while any(node.rib.fresh_count < held[node.name] for node in nodes):
        if time.monotonic() >= deadline:
            return None
        fleet.pause(GLANCE)
    return max([began, *(node.rib.latest for node in nodes)]) - began
