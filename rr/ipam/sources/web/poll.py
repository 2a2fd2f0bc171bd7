"""Ask again and again: a reading for what is new, and patience with what fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential, wait_random

from rr.errors import RRError
from rr.ipam.reading import Found, Reading

Ask: TypeAlias = Callable[[], Awaitable[Found]]
"""What the source says now, the same object as before if it says so; raises RRError."""

RETRY_FIRST, RETRY_LONGEST = 0.5, 30.0
"""Seconds between questions to a source that fails, doubled from the first to the longest (or to its interval)."""
BELIEVE_ERRORS_AFTER = 2
"""So many questions in a row must fail before it is said: one that is lost while a server restarts is no event."""


async def poll(name: str, ask: Ask, interval: float) -> AsyncGenerator[Reading, None]:
    """Readings for ever: the first at once, then one per change, and one when an error ends.

    `interval`: seconds between questions. An error is told once, and again when it becomes another.
    """
    last: Found | None = None
    trouble: str | None = None
    while True:
        found: Found | None = None
        async for attempt in _patiently(interval):
            error: RRError | None = None
            with attempt:
                try:
                    found = await ask()
                except RRError as failed:
                    error = failed
                    raise
            if error is not None:
                reading = Reading(name, None, error)
                believed = last is None or attempt.retry_state.attempt_number >= BELIEVE_ERRORS_AFTER
                if believed and reading.trouble != trouble:
                    trouble = reading.trouble
                    yield reading
        if found is not None and (trouble is not None or (found is not last and found != last)):
            trouble = None
            yield Reading(name, found.allocations, left_out=found.left_out, mistakes=found.mistakes)
        last = found
        await asyncio.sleep(interval)


def _patiently(interval: float) -> AsyncRetrying:
    longest = max(interval, RETRY_LONGEST)
    return AsyncRetrying(
        wait=wait_exponential(multiplier=RETRY_FIRST, max=longest) + wait_random(0, RETRY_FIRST),
        retry=retry_if_exception_type(RRError),
        sleep=asyncio.sleep,
    )
