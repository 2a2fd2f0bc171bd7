"""Know which sessions are up without watching them: by what peers send, and by asking about those in doubt.

Watching session changes would make the engine lose routes (docs/engine.md). A peer that sends something is up, and the
routes of one that goes down are taken back one by one, which raises a doubt. Only a peer that never announces anything
can go unnoticed for a while: ToRs are like that, so they are asked about all the time, and the audit asks about all.
"""

import asyncio
import time
from collections.abc import Iterable

from rr.engine import events
from rr.engine.client import Engine
from rr.net import Address
from rr.view.live import LiveView

GATHER = 0.05
"""Seconds in which more doubts are awaited before the engine is asked."""
ONE_BY_ONE = 20
"""Peers that are asked about one at a time; for more, one question about everybody is cheaper."""
TORS_EVERY = 1.0
"""Seconds between questions about ToRs."""


async def take_census(view: LiveView, engine: Engine, *, initial: bool = False) -> None:
    """Ask about everybody; `initial` where watching begins, and nothing of it is news."""
    since = time.monotonic()
    listed = await engine.peers()
    view.census((events.read_peer(peer, initial=initial) for peer in listed), since)


async def settle_doubts(view: LiveView, engine: Engine) -> None:
    """Ask about peers that may not be in the state we believe, until cancelled."""
    while True:
        await asyncio.sleep(GATHER)
        if len(view.doubtful) > ONE_BY_ONE:
            await take_census(view, engine)
        elif view.doubtful:
            await _ask(view, engine, tuple(view.doubtful))


async def look_at_tors(view: LiveView, engine: Engine) -> None:
    """Ask about every ToR, and the other half, again and again, until cancelled."""
    while True:
        await asyncio.sleep(TORS_EVERY)
        await _ask(view, engine, tuple(view.rules.configured()))


async def _ask(view: LiveView, engine: Engine, addresses: Iterable[Address]) -> None:
    for address in addresses:
        since = time.monotonic()
        listed = await engine.peers(address)
        view.census((events.read_peer(peer, initial=False) for peer in listed), since, asked=(address,))
