"""Events as they happen, as server-sent events: `/api/v1/stream`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from rr.api import query
from rr.api.answers import error, event
from rr.api.appliance import Appliance, Row

KEEP_ALIVE = 15.0
STUCK = 30.0
MOST = 32
RETRY_MS = 2000


class Stream:
    """Serves `/api/v1/stream` to a bounded number of readers of one listener."""

    def __init__(self, appliance: Appliance, keep_alive: float = KEEP_ALIVE) -> None:
        self._appliance = appliance
        self._keep_alive = keep_alive
        self._closing = asyncio.Event()
        self._readers = 0

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self._closing.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer what was missed since Last-Event-ID (or `since`), then every event as it happens."""
        asked = query.read(request, since=query.event_id)
        last = request.headers.get("Last-Event-ID")
        since = query.event_id("Last-Event-ID", last) if last else asked.get("since")
        if self._readers >= MOST:
            return error(
                503, f"There are {MOST} readers of the stream already; close one, or poll /api/v1/events"
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        if request.method != "HEAD":
            self._readers += 1
            try:
                await self._run(response, since)
            except (ConnectionError, TimeoutError):
                pass  # The reader went, or stopped reading: it comes back with its Last-Event-ID.
            finally:
                self._readers -= 1
        return response

    async def _run(self, response: web.StreamResponse, since: int | None) -> None:
        events = self._appliance.subscribe()
        coming = asyncio.ensure_future(_next(events))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.sleep(
                0
            )  # An async generator subscribes at its first step; nothing may fall in between.
            sent = await self._catch_up(response, since)
            while True:
                await asyncio.wait({coming, closing}, timeout=self._keep_alive, return_when="FIRST_COMPLETED")
                if closing.done():
                    return
                if not coming.done():
                    await _write(response, b": keep-alive\n\n")
                    continue
                row = coming.result()
                if row is None:
                    return
                if row["id"] not in sent:
                    await _write(response, event(row))
                coming = asyncio.ensure_future(_next(events))
        finally:
            await _end(events, coming, closing)

    async def _catch_up(self, response: web.StreamResponse, since: int | None) -> frozenset[int]:
        missed = [] if since is None else self._appliance.events(since)
        await _write(response, f"retry: {RETRY_MS}\n\n".encode() + b"".join(map(event, missed)))
        return frozenset(row["id"] for row in missed)


async def _next(events: AsyncIterator[Row]) -> Row | None:
    return await anext(events, None)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(STUCK):
        await response.write(data)


async def _end(events: AsyncIterator[Row], *tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
