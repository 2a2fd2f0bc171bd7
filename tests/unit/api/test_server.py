"""Listening: a taken TCP port is no reason to die, and a long answer no reason to stop working."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rr.api import answers, server
from rr.api.server import Api
from rr.api.sockets import SocketTaken
from tests.unit.api.memory import MemoryAppliance, event, route
from tests.unit.api.serving import Serving, serving, until


def _taken() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


async def test_a_taken_tcp_port_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_FIRST", 0.05)
    taken = _taken()
    port = taken.getsockname()[1]
    api = Api(MemoryAppliance())
    await api.start(tmp_path / "rrd.sock", ("127.0.0.1", port))
    served = Serving(api, tmp_path / "rrd.sock", MemoryAppliance())
    try:
        assert (await served.ask("/healthz")).status == 200
        assert api.tcp_problem is not None
        assert f"HTTP does not listen on 127.0.0.1:{port}" in api.tcp_problem
        taken.close()
        await until(lambda: api.tcp_address is not None)
        assert api.tcp_address == ("127.0.0.1", port)
        assert (await served.ask("/healthz")).status == 200
    finally:
        await served.close()
        await api.stop()


async def test_it_stops_while_the_tcp_port_is_still_taken(tmp_path: Path) -> None:
    with _taken() as taken:
        api = Api(MemoryAppliance())
        await api.start(tmp_path / "rrd.sock", ("127.0.0.1", taken.getsockname()[1]))
        async with asyncio.timeout(1):
            await api.stop()


async def test_the_tcp_listener_moves_while_the_unix_socket_stays(served: Serving) -> None:
    old = served.api.tcp_address
    async with served.unix.get("/api/v1/stream") as stream:
        await served.api.listen_tcp(("127.0.0.1", 0))
        assert served.api.tcp_address not in (None, old)
        served.appliance.happen(event(21))
        assert b"retry" in await stream.content.readuntil(b"\n\n")
        assert b"id: 21" in await stream.content.readuntil(b"\n\n")
    with pytest.raises(aiohttp.ClientConnectorError):
        await served.ask("/healthz", tcp=True)
    await served.api.listen_tcp(None)
    assert (await served.ask("/healthz")).status == 200


async def test_a_second_server_on_the_same_socket_is_refused(served: Serving) -> None:
    with pytest.raises(SocketTaken):
        await Api(MemoryAppliance()).start(served.path, None)
    assert (await served.ask("/healthz")).status == 200


async def test_it_starts_again_after_it_was_stopped(tmp_path: Path) -> None:
    api = Api(MemoryAppliance())
    for _ in range(2):
        await api.start(tmp_path / "rrd.sock", None)
        await api.stop()
    assert not (tmp_path / "rrd.sock").exists()


async def test_other_work_goes_on_while_a_long_list_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance = MemoryAppliance()
    appliance.route_rows = [route(number) for number in range(4000)]
    turns, pieces = 0, []
    encode = answers._encode

    def recorded(value: Any) -> str:
        pieces.append((turns, len(value)))
        return encode(value)

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(answers, "_encode", recorded)
    async with serving(tmp_path, appliance) as served:
        working = asyncio.create_task(other_work())
        async with served.unix.get("/api/v1/routes") as got:
            assert len(await got.json()) == 4000
        working.cancel()
    moments = [turn for turn, _ in pieces]
    assert max(length for _, length in pieces) <= answers.PIECE
    assert moments == sorted(set(moments)), "two pieces were written without room for anything between them"
