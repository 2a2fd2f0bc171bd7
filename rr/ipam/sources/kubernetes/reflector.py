"""Keep up with one resource: list it, then watch it from there; go on from the last version after every break."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from rr.ipam.sources.kubernetes.client import Client
from rr.ipam.sources.kubernetes.errors import Gone, KubernetesError, NotAnswering, NotThere, NotUnderstood
from rr.ipam.sources.kubernetes.objects import (
    Event,
    NotThis,
    Page,
    read_event,
    read_named,
    read_page,
    read_status,
)
from rr.ipam.sources.kubernetes.parts import Decoded
from rr.ipam.sources.kubernetes.resources import Resource

PAGE = 500
"""Objects asked for at a time."""
WATCH = 240.0
"""Seconds, and up to half as many more, after which the server is asked to end a watch, so that load moves."""
SILENCE = 90.0
"""Seconds without a word after which a watch is begun anew: servers send a bookmark every minute."""
SHORT = 1.0
"""Seconds: a watch that ends sooner, and without a word, is a fault."""
NAMELESS = "(without a name)"
GONE = 410


class Store(Protocol):
    """What takes in objects: `rr.ipam.sources.kubernetes.cluster.Cluster`."""

    def put(self, kind: str, key: str, new: Decoded | None) -> None:
        """An object is like this now; None: it is gone."""

    def replace(self, kind: str, found: dict[str, Decoded]) -> None:
        """These are all objects of a kind."""


class Reflector:
    """One resource. `synced` once all of it was listed; `trouble` while it cannot be followed.

    `since` is when that began, in seconds since the epoch, and `began` the same by a clock that nobody sets.
    """

    def __init__(
        self,
        resource: Resource,
        client: Client,
        store: Store,
        changed: Callable[[], None],
        *,
        silence: float = SILENCE,
    ) -> None:
        self.resource = resource
        self.synced = False
        self.trouble: KubernetesError | None = None
        self.since = self.began = 0.0
        self._client = client
        self._store = store
        self._changed = changed
        self._silence = silence
        self._version: str | None = None
        self._api = 0
        self._fields = resource.fields
        self._wait = wait_exponential(multiplier=0.1, max=10.0) + wait_random(0, 0.1)

    async def run(self) -> None:
        """Follow it for ever."""
        try:
            while True:
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(KubernetesError),
                    wait=self._pause,
                    before_sleep=self._failed,
                ):
                    with attempt:
                        await self._follow()
        finally:
            await self._client.close()

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, NotAnswering) else 0.0
        return max(self._wait(state), asked)

    def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, KubernetesError)
        if not self.trouble:
            self.since, self.began = time.time(), time.monotonic()
        self.trouble = error
        self._changed()

    def _fine(self) -> None:
        if self.trouble:
            self.trouble = None
            self._changed()

    async def _follow(self) -> None:
        """List, unless a version is known to go on from, and watch until the watch ends.

        That the server has forgotten our version is no failure, unless it does so right after it has given it.
        """
        if listed := self._version is None:
            await self._list()
        try:
            await self._watch()
        except Gone:
            self._version = None
            if listed:
                raise

    def _parameters(self, **more: str) -> dict[str, str]:
        chosen = {"labelSelector": self.resource.labels, "fieldSelector": self._fields}
        return {key: value for key, value in chosen.items() if value} | more

    async def _list(self) -> None:
        """All of it, of one version. Asked of the store and not of a server's cache, which may lag behind."""
        found: dict[str, Decoded] = {}
        parameters = self._parameters(limit=str(PAGE))
        while True:
            page = await self._page(parameters)
            found.update(self._decode(raw) for raw in page.items or ())
            if not page.metadata.continue_:
                break
            parameters["continue"] = page.metadata.continue_
        self._version = page.metadata.resource_version
        self._store.replace(self.resource.full_name, found)
        self.synced = True
        self._changed()

    async def _page(self, parameters: dict[str, str]) -> Page:
        while True:
            try:
                body = await self._client.fetch(self.resource, self._path, parameters)
                return read_page(body)
            except NotThere:
                self._api = (self._api + 1) % len(self.resource.versions)
                if not self._api:
                    raise
            except NotUnderstood:
                if not parameters.pop("fieldSelector", None):
                    raise
                self._fields = None  # servers before 1.31 do not select Services by their type
            except NotThis as error:
                raise self._nonsense("a list", str(error)) from None

    @property
    def _path(self) -> str:
        return self.resource.path(self._api)

    def _nonsense(self, what: str, why: str) -> NotAnswering:
        self._version = None
        wrong = f"{self._client.server} answers with something else than {what} of {self.resource.full_name} ({why})"
        return NotAnswering(wrong, "see that it is the API server, and not a login page or a proxy before it")

    def _decode(self, raw: bytes | msgspec.Raw) -> tuple[str, Decoded]:
        """An object's key and what it contributes; one that cannot be read contributes nothing, and is named."""
        try:
            key = read_named(raw).metadata.key or NAMELESS
        except NotThis as error:
            return NAMELESS, Decoded(None, (str(error),))
        try:
            return key, self.resource.decode(raw)
        except NotThis as error:
            return key, Decoded(None, (str(error),))

    async def _watch(self) -> None:
        """Every change until the watch ends; that it breaks after a while is an end like any other."""
        answered: float | None = None
        heard = False
        parameters = self._parameters(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self._version or "",
            timeoutSeconds=str(round(WATCH * random.uniform(1.0, 1.5))),  # noqa: S311
        )
        try:
            async with self._client.lines(self.resource, self._path, parameters, self._silence) as lines:
                answered = time.monotonic()
                self._fine()
                async for line in lines:
                    self._take(line)
                    heard = True
        except NotAnswering:
            if self._version is None or answered is None or _idle(heard, answered):
                raise
        except NotThere:
            self._version = None
            raise
        else:
            if _idle(heard, answered):
                await asyncio.sleep(SHORT)

    def _take(self, line: bytes) -> None:
        """One line of a watch."""
        try:
            event = read_event(line)
            if event.type == "ERROR":
                raise self._refused(event)
            if event.type == "BOOKMARK":
                self._version = read_named(event.object).metadata.resource_version or self._version
                return
        except NotThis as error:
            raise self._nonsense("a watch", str(error)) from None
        key, decoded = self._decode(event.object)
        self._store.put(self.resource.full_name, key, None if event.type == "DELETED" else decoded)
        self._changed()
        try:
            self._version = read_named(event.object).metadata.resource_version or self._version
        except NotThis:
            return  # the next one will say it

    def _refused(self, event: Event) -> KubernetesError:
        """What the server says in the middle of a watch."""
        status = read_status(event.object)
        if status.code == GONE:
            return Gone(
                f"{self._client.server} has forgotten the version of {self.resource.full_name} that we have",
                "",
            )
        self._version = None
        wrong = f"{self._client.server} ends the watch of {self.resource.full_name} ({status.code} {status.message})"
        return NotAnswering(wrong, "see the API server's log")


def _idle(heard: bool, since: float | None) -> bool:
    """Whether a watch has ended at once, and without a word."""
    return not heard and since is not None and time.monotonic() - since < SHORT
