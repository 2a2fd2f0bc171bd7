"""Server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rr.api import stream
from rr.api.server import Api
from tests.unit.api.memory import MemoryAppliance, event
from tests.unit.api.serving import Serving, until


@asynccontextmanager
async def _listening(served: Serving, **headers: str) -> AsyncIterator[aiohttp.StreamReader]:
    async with asyncio.timeout(5), served.unix.get("/api/v1/stream", headers=headers) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert await response.content.readline() == b"retry: 2000\n"
        assert await response.content.readline() == b"\n"
        yield response.content


async def _block(content: aiohttp.StreamReader) -> dict[str, str]:
    lines = {}
    while (line := (await content.readline()).decode().rstrip("\n")) != "":
        name, _, value = line.partition(": ")
        lines[name] = value
    return lines


async def _row(content: aiohttp.StreamReader) -> Any:
    return json.loads((await _block(content))["data"])


async def test_an_event_arrives_when_it_happens(served: Serving) -> None:
    async with _listening(served) as content:
        served.appliance.happen(event(21, "violation"))
        block = await _block(content)
    assert (block["id"], block["event"]) == ("21", "violation")
    assert json.loads(block["data"]) == event(21, "violation")


async def test_what_was_missed_comes_first_and_nothing_twice(served: Serving) -> None:
    async with _listening(served, **{"Last-Event-ID": "18"}) as content:
        served.appliance.happen(event(21))
        assert [(await _row(content))["id"] for _ in range(3)] == [19, 20, 21]


async def test_an_event_that_falls_between_subscribing_and_catching_up_comes_once(served: Serving) -> None:
    appliance = served.appliance
    remembered = appliance.events

    def events(since: int) -> Any:
        if appliance.event_rows[-1]["id"] == 20:
            appliance.happen(event(21))
        return remembered(since)

    appliance.events = events  # type: ignore[method-assign]
    async with _listening(served, **{"Last-Event-ID": "20"}) as content:
        appliance.happen(event(22))
        assert [(await _row(content))["id"] for _ in range(2)] == [21, 22]


async def test_numbers_that_start_anew_are_not_taken_for_old_ones(served: Serving) -> None:
    async with _listening(served, **{"Last-Event-ID": "900"}) as content:
        served.appliance.happen(event(21))
        assert (await _row(content))["id"] == 21


async def test_a_quiet_stream_is_kept_alive(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _kept_alive_every(0.05, served.path.parent / "quiet") as quick, _listening(quick) as content:
        assert await content.readline() == b": keep-alive\n"


@asynccontextmanager
async def _kept_alive_every(seconds: float, directory: Path) -> AsyncIterator[Serving]:
    directory.mkdir()
    appliance = MemoryAppliance()
    api = Api(appliance, keep_alive=seconds)
    await api.start(directory / "rrd.sock", None)
    served = Serving(api, directory / "rrd.sock", appliance)
    try:
        yield served
    finally:
        await served.close()
        await api.stop()


async def test_a_reader_that_goes_is_unsubscribed(tmp_path: Path) -> None:
    async with _kept_alive_every(0.02, tmp_path / "gone") as served:
        async with _listening(served):
            assert len(served.appliance.subscribers) == 1
        await until(lambda: not served.appliance.subscribers)


async def test_stopping_ends_the_streams_at_once(served: Serving) -> None:
    async with _listening(served) as content:
        async with asyncio.timeout(0.8):
            await served.api.stop()
        assert await content.read() == b""
    assert served.appliance.subscribers == []


async def test_a_subscription_that_ends_ends_the_stream(served: Serving) -> None:
    async with _listening(served) as content:
        served.appliance.happen(None)
        assert await content.read() == b""


async def test_there_is_a_most_of_readers(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST", 1)
    async with _listening(served):
        answer = await served.ask("/api/v1/stream")
        assert (answer.status, answer.error) == (
            503, "There are 1 readers of the stream already; close one, or poll /api/v1/events"
        )  # fmt: skip
