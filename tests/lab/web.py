"""Web servers of tests: real ones on real sockets, in a thread, that fail on demand in every way that servers do."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web

Fault: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What a server does instead of answering."""

LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>...</form></body></html>"


@dataclass
class Asked:
    """One request, and the status that it was answered with (0: not at all)."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    status: int = 0
    size: int = 0


@dataclass
class WebServer:
    """Answers with `answer` until it is told to fail. Attributes may be changed at any time from any thread.

    `token`: what must stand in the Authorization header; `unauthorized` is the status otherwise.
    """

    listener: socket.socket
    tls: ssl.SSLContext | None = None
    fault: Fault | None = None
    authorization: str | None = None
    unauthorized: int = 401
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port: int = self.listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10), "the server did not start"

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        """A URL of it."""
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{path}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._runner.server.connections) if self._runner.server else 0

    def stop(self) -> None:
        """Close every connection and the socket."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application(client_max_size=1 << 20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        self._loop.run_until_complete(self._serve(self._runner))
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end(self._runner))
        self._loop.close()

    async def _serve(self, runner: web.AppRunner) -> None:
        await runner.setup()
        await web.SockSite(runner, self.listener, ssl_context=self.tls).start()

    async def _end(self, runner: web.AppRunner) -> None:
        for connection in list(runner.server.connections) if runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()  # a TLS client that is busy would keep us waiting
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports that were closed do so in the loop's next rounds

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query = {key: request.query.getall(key) for key in request.query}
        asked = Asked(request.path, query, dict(request.headers))
        self.asked.append(asked)
        if self.fault is not None:
            response = await self.fault(request)
        elif self.authorization is not None and asked.headers.get("Authorization") != self.authorization:
            response = self.refusal()
        else:
            response = await self.answer(request)
        asked.status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            asked.size = len(response.body)
        return response

    def refusal(self) -> web.Response:
        """What somebody without the right token is told."""
        return web.json_response({"detail": "Invalid token"}, status=self.unauthorized)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What a healthy server answers."""
        raise NotImplementedError


def listening() -> socket.socket:
    """A free port of loopback, listened on."""
    return socket.create_server(("127.0.0.1", 0))


def status(code: int, text: str = "no") -> Fault:
    """Answer with a status."""

    async def fault(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text)

    return fault


def redirect(location: str, code: int = 302) -> Fault:
    """Send to another place."""

    async def fault(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={"Location": location})

    return fault


async def login_page(request: web.Request) -> web.StreamResponse:
    """What a proxy answers whose session has ended: a page, and status 200."""
    return web.Response(text=LOGIN_PAGE, content_type="text/html")


async def silent(request: web.Request) -> web.StreamResponse:
    """Take the request, and never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    """Answer an octet at a time."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(36000):
            await response.write(b"#")
            await asyncio.sleep(0.1)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    """Promise more than comes, and close."""
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b"nodes:\n")
    assert request.transport is not None
    request.transport.close()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close without a word."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()
