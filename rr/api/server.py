"""The HTTP server: `Api(appliance)` listens on a unix socket, and on TCP for whoever only reads."""

import asyncio
import os
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from rr.api import guard, sockets
from rr.api.appliance import Appliance
from rr.api.handlers import MAX_BODY, WRITING, Handlers
from rr.api.stream import KEEP_ALIVE, Stream

log = structlog.get_logger(__name__)

STOP_TIMEOUT = 1.0
RETRY_FIRST, RETRY_LONGEST = 1.0, 30.0


class Api:
    """Everything on the unix socket; on TCP reading only. A TCP port that cannot be had is tried again."""

    def __init__(self, appliance: Appliance, keep_alive: float = KEEP_ALIVE) -> None:
        """`keep_alive`: seconds between comments on a quiet stream of events."""
        self._appliance = appliance
        self._keep_alive = keep_alive
        self._handlers = Handlers(appliance)
        self._unix: web.AppRunner | None = None
        self._tcp: web.AppRunner | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._socket: tuple[Path, tuple[int, int] | None] | None = None
        self.tcp_address: tuple[str, int] | None = None
        self.tcp_problem: str | None = None

    async def start(self, unix_path: Path, tcp: tuple[str, int] | None) -> None:
        """Listen; raises SocketTaken when the unix socket cannot be had, nothing for TCP."""
        bound = sockets.bind(unix_path)
        self._socket = (unix_path, sockets.identity(unix_path))
        self._unix = await self._runner([guard.sentences], self._handlers.writing())
        await web.SockSite(self._unix, bound, backlog=128).start()
        await self.listen_tcp(tcp)

    async def listen_tcp(self, tcp: tuple[str, int] | None) -> None:
        """Listen on this TCP address and port, and no longer on another; the unix socket does not notice."""
        await self._leave_tcp()
        if tcp is None or self._socket is None:
            return
        host, port = tcp
        names = guard.own_names(host)
        reading = guard.only_reading(self._socket[0], WRITING)
        self._tcp = await self._runner([guard.sentences, guard.only_own_names(names), reading], [])
        if not await self._try_tcp(self._tcp, host, port):
            self._dialing = asyncio.create_task(self._keep_trying(self._tcp, host, port))

    async def stop(self) -> None:
        """Stop listening, end open streams, and remove the socket file if it is still this server's."""
        await self._leave_tcp()
        if self._unix is not None:
            await self._unix.cleanup()
        self._unix = None
        if self._socket is not None:
            path, identity = self._socket
            if identity is not None and sockets.identity(path) == identity:
                path.unlink(missing_ok=True)
            self._socket = None

    async def _leave_tcp(self) -> None:
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.wait({self._dialing})
        if self._tcp is not None:
            await self._tcp.cleanup()
        self._dialing = self._tcp = None
        self.tcp_address = self.tcp_problem = None

    async def _runner(self, checks: list[Middleware], more: list[web.RouteDef]) -> web.AppRunner:
        app = web.Application(middlewares=checks, client_max_size=MAX_BODY)
        stream = Stream(self._appliance, self._keep_alive)
        app.router.add_routes([*self._handlers.reading(), web.get("/api/v1/stream", stream.serve), *more])
        app.on_response_prepare.append(guard.add_headers)

        async def end_streams(_app: web.Application) -> None:
            stream.close()

        app.on_shutdown.append(end_streams)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT, handle_signals=False)
        await runner.setup()
        return runner

    async def _try_tcp(self, runner: web.AppRunner, host: str, port: int) -> bool:
        try:
            await self._listen(runner, host, port)
        except OSError as fault:
            # asyncio has a text of its own in strerror, which says the address once more.
            why = os.strerror(fault.errno) if fault.errno else fault
            self.tcp_problem = f"HTTP does not listen on {host}:{port}: {why}; it is tried again"
            log.warning(self.tcp_problem)
            return False
        return True

    async def _listen(self, runner: web.AppRunner, host: str, port: int) -> None:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError:
            await site.stop()
            raise
        self.tcp_address = runner.addresses[0][:2]
        self.tcp_problem = None
        log.info(f"HTTP listens on {host}:{self.tcp_address[1]}, for reading.")

    async def _keep_trying(self, runner: web.AppRunner, host: str, port: int) -> None:
        def note(state: RetryCallState) -> None:
            fault = state.outcome.exception() if state.outcome else None
            log.debug(f"HTTP still does not listen on {host}:{port}: {fault}.")

        await asyncio.sleep(RETRY_FIRST)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(OSError),
            wait=wait_exponential(multiplier=RETRY_FIRST, max=RETRY_LONGEST),
            before_sleep=note,
        ):
            with attempt:
                await self._listen(runner, host, port)
