"""Send their routes once more to peers that a route may have crossed (`rr.view.crossings` says how that happens)."""

import asyncio
import time

import structlog

from rr.engine.reconcile import Reconciler
from rr.net import Address
from rr.view.live import LiveView, Role

_log = structlog.get_logger(__name__)
LOOK_EVERY = 0.25
"""Seconds between looks for peers that may lack a route."""
QUIET = 1.0
"""Seconds that routes must not have moved, so that nothing is sent three times in a start of many nodes."""
PATIENCE = 10.0
"""Seconds after which it is done although routes still move."""
SLOWNESS = 19.0
"""Times what the last sending took is rested before the next: the engine has other things to do. Nodes can wait: what a
node lacks takes the default route; ToRs are sent theirs without rest."""


async def mend(view: LiveView, reconciler: Reconciler) -> None:
    """Work off the suspects of one engine's life, ToRs first, until cancelled."""
    waited = 0.0
    while True:
        await asyncio.sleep(LOOK_EVERY)
        suspects = view.crossings.suspects - reconciler.syncing
        waited = waited + LOOK_EVERY if suspects else 0.0
        quiet = time.monotonic() - view.crossings.moved >= QUIET
        if suspects and (quiet or waited >= PATIENCE):
            mended = await _work_off(view, reconciler, suspects)
            _log.info("peers that came up while routes moved were sent them again", peers=mended)


async def _work_off(view: LiveView, reconciler: Reconciler, suspects: set[Address]) -> int:
    mended = 0
    for address in sorted(suspects, key=lambda suspect: view.role(suspect) is Role.NODE):
        if address not in view.crossings.suspects:
            continue  # its session ended meanwhile
        view.crossings.suspects.discard(address)
        began = time.monotonic()
        await reconciler.refresh([address], outward=True)
        mended += 1
        if view.role(address) is Role.NODE:
            await asyncio.sleep((time.monotonic() - began) * SLOWNESS)
    return mended
