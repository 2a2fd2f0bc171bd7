"""Allocations from a Kubernetes cluster, followed live.

    client ──► reflector, one for each resource ──► cluster ──► handover ──► readings (following)
    requests    list, then watch; resourceVersion     objects as    VIPs that
    and errors  410, breaks, bookmarks                allocations   move

`resources` says what is read and with which of the decoders `nodes`, `cilium`, `calico` and `services`: pure functions
from an object's JSON (`objects`) to what it contributes (`parts`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from lightkube.config.kubeconfig import SERVICE_ACCOUNT

from rr.config.sources import KubernetesSettings
from rr.ipam.reading import Reading
from rr.ipam.sources.kubernetes.following import PATIENCE, Following
from rr.ipam.sources.kubernetes.reflector import SILENCE


class KubernetesSource:
    """Iterate over it for readings: the first once everything is listed, then one for all that changes within 10 ms.

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
        self._settings = settings
        self._service_account = service_account
        self._silence = silence
        self._patience = patience

    async def __aiter__(self) -> AsyncIterator[Reading]:
        following = Following(
            self._settings, self._service_account, silence=self._silence, patience=self._patience
        )
        try:
            while True:
                await following.wait()
                reading = following.reading()
                if reading:
                    yield reading
        finally:
            await following.stop()
