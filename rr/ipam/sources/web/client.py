"""Ask a server over HTTP, and say in a sentence why there is no answer. The token never goes to another host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from yarl import URL

from rr import __version__
from rr.addresses import shown
from rr.config.secrets import read_token
from rr.config.sources.web import WebSettings
from rr.errors import SourceError
from rr.ipam.sources.web import tls
from rr.ipam.sources.web.trouble import refused, unanswered

MAX_SIZE = 64 << 20
"""Bytes of one answer, unpacked."""
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever it is."""

    url: URL
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is for a person with a browser: a login page, or that of a proxy."""
        start = self.body[:512].lstrip().lower()
        return "html" in self.headers.get("Content-Type", "") or start.startswith((b"<!doctype", b"<html"))


def bearer(token: str) -> str:
    """The Authorization header of most servers (RFC 6750)."""
    return f"Bearer {token}"


class WebClient:
    """Use as an async context manager. The token and certificates are read again when their files change."""

    def __init__(self, settings: WebSettings, authorization: Callable[[str], str] = bearer) -> None:
        """`authorization` makes the header of that name from a token."""
        self._settings = settings
        self._authorization = authorization
        self._session: aiohttp.ClientSession | None = None
        self._stamp: tuple[object, ...] | None = None

    async def __aenter__(self) -> WebClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: URL, headers: Mapping[str, str] | None = None) -> Answer:
        """What is answered to GET, after redirects within the host; raises SourceError or SecretError.

        A token that was exchanged while it was on its way is sent once more.
        """
        token = self._token()
        answer = await self._follow(url, headers or {}, token)
        if answer.status in (401, 403) and (newer := self._token()) != token:
            answer = await self._follow(url, headers or {}, newer)
        return answer

    async def must_get(self, url: URL, headers: Mapping[str, str] | None = None) -> Answer:
        """An answer of status 200, or 304 where `headers` ask for that; raises SourceError or SecretError."""
        answer = await self.get(url, headers)
        if answer.status != 200 and not (answer.status == 304 and headers):
            raise refused(answer.url, answer.status, self._settings)
        return answer

    def _token(self) -> str | None:
        return read_token(self._settings.token_file) if self._settings.token_file else None

    async def _follow(self, url: URL, headers: Mapping[str, str], token: str | None) -> Answer:
        sent = {**headers, "Authorization": self._authorization(token)} if token else headers
        here = url
        for _ in range(_MOST_REDIRECTS):
            answer = await self._ask(here, sent)
            if answer.status not in _REDIRECTS:
                return answer
            here = _target(here, answer.headers.get("Location", ""))
            if here.origin() != url.origin():
                wrong = (
                    f"{url} leads to another host, {shown(str(here.origin()))}, and we do not follow it there"
                )
                raise SourceError(wrong, "write the URL that it leads to, if that is right")
        raise SourceError(
            f"{url} leads from one place to the next without end", "see how that server is set up"
        )

    async def _ask(self, url: URL, headers: Mapping[str, str]) -> Answer:
        session = await self._opened()
        try:
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                return Answer(url, response.status, response.headers, await _bounded(response))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise unanswered(url, error, self._settings) from None

    async def _opened(self) -> aiohttp.ClientSession:
        """The session, which keeps connections; a new one when certificates were exchanged."""
        stamp = tls.stamp(self._settings)
        if self._session is not None and stamp == self._stamp:
            return self._session
        context = tls.context(self._settings)
        if self._session is not None:
            await self._session.close()
        self._stamp = stamp
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            headers={"User-Agent": f"rr-appliance/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session


def _target(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
        target.origin()
    except ValueError:
        raise SourceError(
            f"{url} leads to {shown(location)}, which is no URL", "see how that server is set up"
        ) from None
    return target


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_SIZE:
            raise SourceError(
                f"{response.url} answers with more than {MAX_SIZE >> 20} MiB", "see that it is the right URL"
            )
        parts.append(part)
    return b"".join(parts)
