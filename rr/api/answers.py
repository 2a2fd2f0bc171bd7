"""How answers are written: compact JSON, long lists a piece at a time, errors as sentences."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

PIECE = 250
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def answer(value: Any, status: int = 200) -> web.Response:
    """Answer one JSON value at once."""
    return web.Response(text=_encode(value) + "\n", status=status, content_type="application/json")


def error(status: int, sentence: str, **more: Any) -> web.Response:
    """Answer `{error: sentence}`."""
    return answer({"error": sentence, **more}, status)


async def answer_rows(request: web.Request, rows: Sequence[Any]) -> web.StreamResponse:
    """Answer a list; a long one is sent a piece at a time, with room for other work in between."""
    if len(rows) <= PIECE:
        return answer(list(rows))
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    opening = "["
    for start in range(0, len(rows), PIECE):
        piece = _encode(list(rows[start : start + PIECE]))[1:-1]
        await response.write((opening + piece).encode())
        opening = ","
        await asyncio.sleep(0)
    await response.write(b"]\n")
    return response


def event(row: Any) -> bytes:
    """Write an event the way server-sent events are."""
    return f"id: {row['id']}\nevent: {row['kind']}\ndata: {_encode(row)}\n\n".encode()
