"""Listening: a taken TCP port is no reason to die, and a long answer no reason to stop working."""

import asyncio
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from rr.api import server
from rr.api.server import Api
from rr.api.sockets import SocketTaken
from tests.unit.api.memory import MemoryAppliance, event, peer, route
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


async def test_the_event_loop_stays_free_while_long_lists_are_sent(tmp_path: Path) -> None:
    appliance = MemoryAppliance()
    appliance.peer_rows = [peer(number) for number in range(2000)]
    appliance.route_rows = [route(number) for number in range(4000)]
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            before = time.thread_time()  # Other processes of a busy machine are not the server's fault.
            await asyncio.sleep(0)
            worst = max(worst, time.thread_time() - before)

    async with serving(tmp_path, appliance) as served:
        watching = asyncio.create_task(watch())
        async with served.unix.get("/api/v1/routes") as routes, served.tcp.get("/api/v1/peers") as peers:
            assert routes.status == peers.status == 200
            async for _piece in routes.content.iter_any():
                pass
            async for _piece in peers.content.iter_any():
                pass
        watching.cancel()
    assert worst < 0.05
