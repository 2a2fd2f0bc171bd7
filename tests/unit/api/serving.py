"""A real server on a real unix socket and TCP port, and questions to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from rr.api.server import Api
from tests.unit.api.memory import MemoryAppliance


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        return str(self.json["error"])


class Serving:
    """The two listeners of one server."""

    def __init__(self, api: Api, path: Path, appliance: MemoryAppliance) -> None:
        self.api = api
        self.path = path
        self.appliance = appliance
        self.unix = aiohttp.ClientSession("http://rrd", connector=aiohttp.UnixConnector(str(path)))
        host, port = api.tcp_address or ("127.0.0.1", 1)
        self.tcp = aiohttp.ClientSession(f"http://{host}:{port}")

    async def ask(self, resource: str, method: str = "GET", *, tcp: bool = False, **more: Any) -> Answer:
        session = self.tcp if tcp else self.unix
        async with session.request(method, resource, **more) as response:
            return Answer(response.status, response.headers, await response.text())

    async def close(self) -> None:
        await self.unix.close()
        await self.tcp.close()


@asynccontextmanager
async def serving(directory: Path, appliance: MemoryAppliance | None = None) -> AsyncIterator[Serving]:
    """Serve an appliance for a while."""
    appliance = appliance or MemoryAppliance()
    api = Api(appliance)
    path = directory / "rrd.sock"
    await api.start(path, ("127.0.0.1", 0))
    served = Serving(api, path, appliance)
    try:
        yield served
    finally:
        await served.close()
        await api.stop()


async def until(true: Callable[[], bool], seconds: float = 3) -> None:
    """Wait until something is so, and not for ever."""
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)
