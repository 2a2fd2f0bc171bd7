"""Allocations from a Kubernetes cluster, followed live.

    client ──► reflector, one for each resource ──► cluster ──► readings
    requests    list, then watch; resourceVersion     objects as
    and errors  410, breaks, bookmarks                allocations

`resources` says what is read and with which of the decoders `nodes`, `cilium`, `calico` and `services`: pure functions
from an object's JSON (`objects`) to what it contributes (`parts`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from lightkube.config.kubeconfig import SERVICE_ACCOUNT

from rr.config.sources import KubernetesSettings
from rr.ipam.allocations import Allocations
from rr.ipam.reading import Reading
from rr.ipam.sources.kubernetes.client import Client
from rr.ipam.sources.kubernetes.cluster import Cluster
from rr.ipam.sources.kubernetes.errors import KubernetesError
from rr.ipam.sources.kubernetes.reflector import SILENCE, Reflector
from rr.ipam.sources.kubernetes.resources import resources

log = structlog.get_logger()

PATIENCE = 2.0
"""Seconds that what passes by itself may last before it is told: a server that restarts, a connection that breaks."""
GAP = 0.01
"""Seconds between readings at least; what changes meanwhile is in the next one."""
_MOST_SAID = 20


class KubernetesSource:
    """Iterate over it for readings: the first once everything is listed, then one for all that changes within `GAP`.

    While something cannot be read, the last good reading stays as a whole.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        *,
        service_account: Path = Path(SERVICE_ACCOUNT),
        silence: float = SILENCE,
        patience: float = PATIENCE,
    ) -> None:
        self.name = settings.called
        self.notices: tuple[str, ...] = ()
        """What is left out of what the cluster says, a sentence each."""
        self._settings = settings
        self._service_account = service_account
        self._silence = silence
        self._patience = patience

    async def __aiter__(self) -> AsyncIterator[Reading]:
        changed = asyncio.Event()
        settings = self._settings
        cluster = Cluster(name_addressless=settings.node_selector is None)
        reflectors = [
            Reflector(
                resource,
                Client(settings.kubeconfig, settings.context, settings.timeout, self._service_account),
                cluster,
                changed.set,
                silence=self._silence,
            )
            for resource in resources(settings)
        ]
        tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
        for task in tasks:
            task.add_done_callback(lambda _: changed.set())
        try:
            said: Allocations | None = None
            told: str | None = None
            while True:
                await self._wait(changed, reflectors)
                for task in tasks:
                    if task.done():
                        task.result()  # it never ends by itself: this is a fault of ours, and ends rrd
                trouble = self._trouble(reflectors)
                snapshot = cluster.snapshot() if all(one.synced for one in reflectors) else None
                self._notice(cluster.troubles())
                if trouble:
                    if trouble.wrong != told:
                        told = trouble.wrong
                        yield Reading(self.name, None, trouble)
                elif snapshot is not None and (told is not None or snapshot is not said):
                    said, told = snapshot, None
                    yield Reading(self.name, snapshot)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, changed: asyncio.Event, reflectors: Sequence[Reflector]) -> None:
        """Until something changed, or until what goes wrong has lasted long enough to be told."""
        await asyncio.sleep(GAP)
        due = [one.since + self._patience - time.time() for one in reflectors if one.trouble]
        left = min((seconds for seconds in due if seconds > 0), default=None)
        try:
            await asyncio.wait_for(changed.wait(), left)
        except TimeoutError:
            return
        changed.clear()

    def _trouble(self, reflectors: Sequence[Reflector]) -> KubernetesError | None:
        """What goes wrong, if it is to be told: at once what does not pass by itself, the rest after a while."""
        now = time.time()
        found = [
            (one.since, one.trouble)
            for one in reflectors
            if one.trouble and not (one.trouble.passing and now - one.since < self._patience)
        ]
        if not found:
            return None
        since, first = min(found, key=lambda item: (item[1].passing, item[0]))
        at = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return KubernetesError(f"{first.wrong}, since {at}", first.right)

    def _notice(self, troubles: tuple[str, ...]) -> None:
        """Say once what is left out, and once that it no longer is."""
        if troubles == self.notices:
            return
        new = [text for text in troubles if text not in self.notices]
        gone = [text for text in self.notices if text not in troubles]
        self.notices = troubles
        for text in new[:_MOST_SAID]:
            log.warning(text, source=self.name)
        if len(new) > _MOST_SAID:
            log.warning(f"{len(new) - _MOST_SAID} more objects are left out", source=self.name)
        if gone:
            log.info(f"{len(gone)} objects that were left out are right now, or gone", source=self.name)
