"""Follow all resources of a cluster at once, and say when what they say together has changed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

from rr.config.sources import KubernetesSettings
from rr.ipam.allocations import EMPTY, Allocations
from rr.ipam.reading import Reading
from rr.ipam.sources.kubernetes.client import Client
from rr.ipam.sources.kubernetes.cluster import Cluster
from rr.ipam.sources.kubernetes.errors import KubernetesError
from rr.ipam.sources.kubernetes.handover import Handover
from rr.ipam.sources.kubernetes.reflector import Reflector
from rr.ipam.sources.kubernetes.resources import resources

PATIENCE = 2.0
"""Seconds that what passes by itself may last before it is told: a server that restarts, a connection that breaks."""
GAP = 0.01
"""Seconds between readings at least; what changes meanwhile is in the next one."""


class Following:
    """Begins when it is made. `wait`, then take the `reading` if there is one, again and again; `stop` at the end."""

    def __init__(
        self, settings: KubernetesSettings, service_account: Path, *, silence: float, patience: float
    ) -> None:
        self._name = settings.called
        self._patience = patience
        self._changed = asyncio.Event()
        self._cluster = Cluster(name_addressless=settings.node_selector is None)
        self._handover = Handover()
        self._taken: tuple[Allocations, tuple[str, ...]] = (EMPTY, ())
        self._said: tuple[Allocations, tuple[str, ...]] | None = None
        self._told: str | None = None
        self._reflectors = [
            Reflector(
                resource,
                Client(settings.kubeconfig, settings.context, settings.timeout, service_account),
                self._cluster,
                self._changed.set,
                silence=silence,
            )
            for resource in resources(settings)
        ]
        self._tasks = [asyncio.create_task(reflector.run()) for reflector in self._reflectors]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._changed.set())

    async def stop(self) -> None:
        """End all watches and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait(self) -> None:
        """Until something changed, a handover is over, or what goes wrong has lasted long enough to be told."""
        await asyncio.sleep(GAP)
        now = time.monotonic()
        told_at = [one.began + self._patience for one in self._reflectors if one.trouble]
        due = [at for at in told_at if at > now]
        if self._handover.due is not None:
            due.append(self._handover.due)
        # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with a change.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due) - now) if due else None):
                await self._changed.wait()
        self._changed.clear()

    def reading(self) -> Reading | None:
        """What is to be said now; None: nothing new. What goes wrong is told after the handovers under way are over."""
        for task in self._tasks:
            if task.done():
                task.result()  # it never ends by itself: this is a fault of ours, and ends rrd
        trouble = self._trouble()
        if trouble and self._handover.due is None:
            known, self._told = self._told, trouble.wrong
            return Reading(self._name, None, trouble) if trouble.wrong != known else None
        if not all(one.synced for one in self._reflectors):
            return None
        if not trouble:
            self._taken = self._cluster.snapshot(), self._cluster.left_out()
        snapshot, left_out = self._handover.of(self._taken[0], time.monotonic()), self._taken[1]
        if trouble and self._handover.due is None:
            self._changed.set()  # it is to be told next
        same = self._said is not None and snapshot is self._said[0] and left_out == self._said[1]
        if same and self._told is None:
            return None
        self._said, self._told = (snapshot, left_out), None
        return Reading(self._name, snapshot, left_out=left_out, mistakes=self._cluster.mistakes())

    def _trouble(self) -> KubernetesError | None:
        """What goes wrong, if it is to be told: at once what does not pass by itself, the rest after a while."""
        now = time.monotonic()
        found = [
            (one.since, one.trouble)
            for one in self._reflectors
            if one.trouble and not (one.trouble.passing and now - one.began < self._patience)
        ]
        if not found:
            return None
        since, first = min(found, key=lambda item: (item[1].passing, item[0]))
        at = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return KubernetesError(f"{first.wrong}, since {at}", first.right)
