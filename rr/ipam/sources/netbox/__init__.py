"""Allocations from NetBox: read whole, and asked every few seconds whether its change log has anything new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import structlog

from rr.config.sources.netbox import NetboxSettings
from rr.ipam.reading import Found, Reading
from rr.ipam.sources.netbox.api import Mark, NetboxApi, authorization
from rr.ipam.sources.netbox.compiling import Inventory, compiled
from rr.ipam.sources.web.client import WebClient
from rr.ipam.sources.web.poll import poll

log = structlog.get_logger(__name__)

_TRIES = 3
"""Times that everything is read in a row, for one time without a change in the middle."""


class NetboxSource:
    """Iterate over it for readings: the first at once, then one per change of what NetBox says."""

    def __init__(self, settings: NetboxSettings, interval: float | None = None) -> None:
        """`interval`: seconds between questions, by default those of the settings."""
        self._settings = settings
        self._interval = settings.interval if interval is None else interval
        self._last: Found | None = None
        self._mark: Mark | None = None
        self._read_at = 0.0
        self._blind = False

    async def __aiter__(self) -> AsyncIterator[Reading]:
        async with WebClient(self._settings, authorization) as client:
            api = NetboxApi(self._settings, client)
            async with aclosing(
                poll(self._settings.called, lambda: self._ask(api), self._interval)
            ) as readings:
                async for reading in readings:
                    yield reading

    async def _ask(self, api: NetboxApi) -> Found:
        last = self._last
        if last is not None and time.monotonic() - self._read_at < self._settings.reread:
            unmoved = self._mark is not None and await api.mark(self._mark.floor) == self._mark
            if unmoved:
                return last
        return await self._read(api)

    async def _read(self, api: NetboxApi) -> Found:
        self._last = None  # a reading that fails must not leave the one before as what NetBox says
        began = time.monotonic()
        mark, inventory = await self._everything(api)
        found = await asyncio.to_thread(compiled, self._settings, inventory)
        self._tell(mark)
        self._last, self._mark, self._read_at = found, mark, began
        return found

    async def _everything(self, api: NetboxApi) -> tuple[Mark | None, Inventory]:
        """Read everything; once more where something was changed while it was read, but not for ever."""
        tries = 1
        while True:
            mark = await api.mark()
            inventory = await api.inventory()
            if mark is None or tries == _TRIES or await api.mark(mark.floor) == mark:
                return mark, inventory
            tries += 1

    def _tell(self, mark: Mark | None) -> None:
        if mark is None and not self._blind:
            log.warning(
                "NetBox's change log may not be read, so everything is read each time; "
                "allow the token's owner to view object changes",
                source=self._settings.called,
            )
        self._blind = mark is None
