"""Allocations from a URL, asked for again and again with conditional requests (RFC 9110, 13)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from yarl import URL

from rr.config.sources.http import HttpSettings
from rr.errors import AllocationsError, Problem, RRError, SourceError
from rr.ipam.document import parse
from rr.ipam.reading import Found, Reading
from rr.ipam.sources.web.client import Answer, WebClient
from rr.ipam.sources.web.poll import poll


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was answered last, what it means, and by what the server tells whether it still is the same."""

    digest: bytes
    meaning: Found | RRError
    validators: dict[str, str]


class HttpSource:
    """Iterate over it for readings: the first at once, then one per change of what the URL serves."""

    def __init__(self, settings: HttpSettings, interval: float | None = None) -> None:
        """`interval`: seconds between questions, by default those of the settings."""
        self._settings = settings
        self._interval = settings.interval if interval is None else interval
        self._url = URL(settings.url)
        self._seen: _Seen | None = None

    async def __aiter__(self) -> AsyncIterator[Reading]:
        async with WebClient(self._settings) as client:
            asked = poll(self._settings.called, lambda: self._ask(client), self._interval)
            async with aclosing(asked) as readings:
                async for reading in readings:
                    yield reading

    async def _ask(self, client: WebClient) -> Found:
        headers = {"Accept": "application/yaml, application/json, text/*;q=0.9, */*;q=0.8"}
        validators = self._seen.validators if self._seen else {}
        answer = await client.must_get(self._url, {**headers, **validators})
        self._seen = await asyncio.to_thread(self._understood, answer)
        if isinstance(self._seen.meaning, RRError):
            raise self._seen.meaning.with_traceback(None)
        return self._seen.meaning

    def _understood(self, answer: Answer) -> _Seen:
        """What an answer means; one that was there before is not parsed again."""
        if answer.status == 304:
            if self._seen is None or not self._seen.validators:
                raise SourceError(
                    f"{self._url} answers 304 Not Modified to a question without a condition", "see its log"
                )
            return self._seen
        digest = hashlib.sha256(answer.body).digest()
        same = self._seen is not None and self._seen.digest == digest
        meaning = self._seen.meaning if same and self._seen else self._meaning(answer)
        return _Seen(digest, meaning, _validators(answer))

    def _meaning(self, answer: Answer) -> Found | RRError:
        if answer.is_page:
            wrong = f"{answer.url} answers with a web page, not with allocations"
            return SourceError(
                wrong, "see whether it is a login page, or that of a proxy, and correct the URL or the token"
            )
        try:
            return Found(parse(_text(answer), self._settings.url))
        except AllocationsError as error:
            return error


def _text(answer: Answer) -> str:
    try:
        return answer.body.decode("utf-8-sig")
    except UnicodeDecodeError as trouble:
        wrong = f"byte 0x{answer.body[trouble.start]:02x} is not UTF-8"
        raise AllocationsError([Problem(str(answer.url), 0, 0, "", wrong, "serve it in UTF-8")]) from None


def _validators(answer: Answer) -> dict[str, str]:
    pairs = {
        "If-None-Match": answer.headers.get("ETag"),
        "If-Modified-Since": answer.headers.get("Last-Modified"),
    }
    return {condition: value for condition, value in pairs.items() if value}
