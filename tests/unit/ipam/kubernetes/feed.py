"""A source's readings as they come, for tests that wait for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from rr.config.sources import KubernetesSettings
from rr.ipam.allocations import Allocations
from rr.ipam.reading import Reading
from rr.ipam.sources.kubernetes import KubernetesSource
from tests.lab.kube_api import KubeApi


class Feed:
    """What a source said so far; `until` waits for something to be said."""

    def __init__(self, source: KubernetesSource) -> None:
        self.source = source
        self.readings: list[Reading] = []
        self._more = asyncio.Event()

    async def follow(self) -> None:
        async for reading in self.source:
            self.readings.append(reading)
            self._more.set()

    async def until(self, wanted: Callable[[Reading], object], within: float = 5.0) -> Reading:
        """The last reading as soon as it is what is wanted."""
        try:
            async with asyncio.timeout(within):
                while not (self.readings and wanted(self.readings[-1])):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            last = self.readings[-1] if self.readings else None
            raise AssertionError(f"last of {len(self.readings)}: {last}") from None
        return self.readings[-1]

    async def allocated(self, wanted: Callable[[Allocations], object], within: float = 5.0) -> Allocations:
        """The allocations as soon as they are what is wanted."""
        found = await self.until(lambda reading: reading.allocations and wanted(reading.allocations), within)
        assert found.allocations
        return found.allocations

    async def failed(self, *parts: str, within: float = 5.0) -> str:
        """The error in words, as soon as it has all of these in it."""
        found = await self.until(
            lambda one: one.error and all(part in str(one.error) for part in parts), within
        )
        return str(found.error)

    async def quiet(self, during: float = 0.4) -> None:
        """Nothing is said for a while."""
        before = len(self.readings)
        await asyncio.sleep(during)
        assert self.readings[before:] == []


def kubeconfig(
    folder: Path, api: KubeApi, user: dict[str, Any] | None = None, ca: Path | None = None
) -> Path:
    """A kubeconfig for the stand-in."""
    cluster = {"server": api.url} | ({"certificate-authority": str(ca)} if ca else {})
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "rr", "user": user or {"token": "t"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "rr"}}],
        "current-context": "lab",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o600)
    return path


@asynccontextmanager
async def following(config: Path | None, *, patience: float = 0.6, **more: Any) -> AsyncIterator[Feed]:
    """A source of this kubeconfig, and its readings while the block runs."""
    own = {key: more.pop(key) for key in ("silence", "service_account") if key in more}
    settings = KubernetesSettings(type="kubernetes", kubeconfig=config, **{"timeout": 2, **more})
    feed = Feed(KubernetesSource(settings, patience=patience, **own))
    task = asyncio.create_task(feed.follow())
    try:
        yield feed
    finally:
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError), done
