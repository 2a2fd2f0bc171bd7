"""The health channel: JSON over HTTPS between the halves, with certificates both ways. Asks, and answers."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from aiohttp import web

from rr.config.types import HostPort
from rr.continuity.pair import word
from rr.continuity.pair.tls import names_of
from rr.continuity.pair.word import NotUnderstood, Word
from rr.errors import RRError

PATH = "/pair"
ANSWER_WITHIN = 2.0
"""Seconds that the other half has for an answer, connection and handshake included."""


class Unanswered(RRError):
    """The other half gave no answer that counts; the message says why."""


async def ask(connect: HostPort, name: str, context: ssl.SSLContext) -> Word:
    """Ask the other half how it is; each time over a new connection, so that what has expired is noticed.

    Raises Unanswered.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            data = await _get(f"https://{connect}{PATH}", name, context)
        said = word.read(data)
    except TimeoutError:
        raise Unanswered(f"no answer within {ANSWER_WITHIN:g} s") from None
    except NotUnderstood as error:
        raise Unanswered(str(error)) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unanswered(_why(error)) from None
    if said.name != name:
        raise Unanswered(f"it calls itself {said.name}, not {name}")
    return said


async def _get(url: str, name: str, context: ssl.SSLContext) -> Any:
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, server_hostname=name, allow_redirects=False) as response,
    ):
        if response.status != 200:
            said = (await response.content.read(300)).decode(errors="replace")
            raise Unanswered(f"it refuses: {' '.join(said.split())}")
        return await response.json()


def _why(error: BaseException) -> str:
    """The cause in words that a person can act on."""
    for cause in _causes(error):
        if isinstance(cause, aiohttp.ClientError):
            continue  # it says less than what caused it
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message.rstrip('.')}"
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or str(cause)).lower().replace("_", " ")
            if "alert" in reason:
                return f"it does not accept our certificate: {reason.partition('alert ')[2]}"
            return f"no TLS is possible: {reason}"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return "it closes the connection; it may not accept our certificate"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        if isinstance(inner, BaseException):
            yield inner
        error = error.__cause__ or error.__context__


class Answering:
    """Answers the other half, and nobody else, on one address."""

    def __init__(self, name: str, own: Callable[[], Word]) -> None:
        """`name` is the other half's."""
        self._name = name
        self._own = own
        self._runner: web.AppRunner | None = None

    async def start(self, listen: HostPort, context: ssl.SSLContext) -> None:
        """Listen, with these credentials instead of any before; raises OSError."""
        await self.stop()
        application = web.Application()
        application.router.add_get(PATH, self._answer)
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(
                runner, listen.host, listen.port, ssl_context=context, reuse_address=True
            ).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def stop(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        names = names_of(request.get_extra_info("peercert"))
        if self._name not in names:
            said = f"the certificate is for {', '.join(names) or 'nobody'}, not for {self._name}"
            return web.Response(status=403, text=said)
        return web.json_response(word.write(self._own()))
