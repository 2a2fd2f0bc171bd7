"""How the controller is, said to the service manager for as long as the event loop turns."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from rr.instance.health import Health
from rr.service.notify import Notifier

START_PATIENCE = 45.0
"""Seconds after which the start is called over although it is not known how each instance is."""
LOOK_EVERY = 0.1
STATUS_EVERY = 5.0
"""Seconds between two words on how it is, where no watchdog asks for them more often."""


async def tell(
    notifier: Notifier,
    healths: Callable[[], Iterable[Health]],
    status: Callable[[], str],
    serving: asyncio.Event,
) -> None:
    """Say READY when rrctl is answered and each instance's policy is in force, or why it is not is known; then live on.

    Runs in the event loop on purpose: a loop that hangs says nothing, and the watchdog ends it.
    """
    if notifier.address is None:
        await asyncio.get_running_loop().create_future()  # nobody asks, ever
    # Past that rrctl says what is missing; systemd could only start us again, and that would help nobody.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_PATIENCE):
            await _settled(healths, serving)
    notifier.ready(status())
    every = min(STATUS_EVERY, notifier.watchdog / 3) if notifier.watchdog else STATUS_EVERY
    while True:
        notifier.alive(status())
        await asyncio.sleep(every)


async def _settled(healths: Callable[[], Iterable[Health]], serving: asyncio.Event) -> None:
    await serving.wait()
    while True:
        if all(health.in_force or health.problem for health in healths()):
            return
        await asyncio.sleep(LOOK_EVERY)
