"""A cold start of many nodes: their routes are counted while they pour in, and looked at one by one afterwards.

To tell a watcher of a path is work inside the engine's hot path, and to take it in is work beside it: together a sixth
of the CPU of such a start (docs/bench.md). The filter is in force all the while; only the picture comes later.
"""

import asyncio
import time
from collections.abc import Iterable

from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.view.live import LiveView

MANY = 200
"""Nodes from which on a cold start is a storm."""
WINDOW = 0.5
"""Seconds between two counts."""
CALM = 10
"""Fewer new paths than this between two counts: most nodes are there."""
PATIENCE = 15.0
"""Seconds after which paths are looked at in any case."""


def expected(view: LiveView) -> bool:
    """Say whether many nodes may dial in at once."""
    nodes = view.allocations.nodes.values()
    return sum(any(map(view.rules.rack_of, node.addresses)) for node in nodes) >= MANY


async def passed(view: LiveView, engine: Engine, families: Iterable[pb.Family]) -> None:
    """Return when most routes are there. Until then they count as moving, so that nothing is audited or sent again."""
    deadline, before = time.monotonic() + PATIENCE, 0
    while time.monotonic() < deadline:
        await asyncio.sleep(WINDOW)
        held = sum([await engine.count_paths(family) for family in families])
        if held != before:
            view.crossings.moved = time.monotonic()
        if before and abs(held - before) < CALM:
            return
        before = held
