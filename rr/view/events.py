"""The event history: what happened, in plain sentences, numbered, bounded, and kept over a restart of rrd."""

import asyncio
import contextlib
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from rr.view import clock

_log = structlog.get_logger(__name__)
REMEMBERED = 10_000
_QUEUE = 1000
_FILE_LIMIT = 8_000_000
"""Bytes after which the file is begun anew with what is still remembered."""


class EventHistory:
    """Events in memory, in a file of JSON lines, and to whoever follows them."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._events: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._followers: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._broken = False
        self._cut = False
        self._load()
        self._last = self._events[-1]["id"] if self._events else 0

    def add(self, kind: str, subject: str, text: str) -> None:
        """Remember an event, log it, and tell the followers."""
        self._last += 1
        event = {
            "id": self._last,
            "time": clock.text(time.time()),
            "kind": kind,
            "subject": subject,
            "text": text,
        }
        self._events.append(event)
        _log.info(text, kind=kind, subject=subject)
        self._write(event)
        for queue in list(self._followers):
            if queue.qsize() >= _QUEUE:
                # Too slow: it is let go, and comes back with the last number it saw.
                self._followers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def since(self, number: int) -> list[dict[str, Any]]:
        """The events after this number, oldest first."""
        return [event for event in self._events if event["id"] > number]

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Yield every event from now on; ends when the reader is too slow."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._followers.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._followers.discard(queue)

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            text = self._file.read_text(errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning(
                "the event history cannot be read; it begins anew", file=str(self._file), why=str(error)
            )
            return
        self._cut = text != "" and not text.endswith("\n")
        for line in text.splitlines()[-REMEMBERED:]:
            # A line cut off by a crash is lost; the rest is not.
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("id"), int):
                    self._events.append(event)

    def _write(self, event: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.exists() and self._file.stat().st_size > _FILE_LIMIT:
                fresh = self._file.with_suffix(".new")
                fresh.write_text("".join(json.dumps(kept) + "\n" for kept in self._events))
                os.replace(fresh, self._file)
            else:
                with self._file.open("a") as file:
                    file.write(("\n" if self._cut else "") + json.dumps(event) + "\n")
                    self._cut = False
            self._broken = False
        except OSError as error:
            if not self._broken:
                _log.warning("the event history is not written", file=str(self._file), why=str(error))
            self._broken = True
