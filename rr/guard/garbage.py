"""Who sends what is no BGP: only the engine's log tells.

Counters of a session go with it, and a malformed UPDATE that the engine tolerates (RFC 7606) counts as a good one.
Where the engine's log is not a file (an engine that systemd runs may log elsewhere), such a node is noticed by its
sessions that are lost again and again.
"""

import json
import os
from collections import Counter
from pathlib import Path

from rr.addresses import NotValid, read_address
from rr.net import Address

_RESETS = "Session will be reset due to malformed BGP"
"""So begins what the engine says of a bad header, message or UPDATE."""
_TOLERATED = frozenset(
    {"the received Update message was treated as withdraw", "Some attributes were discarded"}
)
TOLERATED_AT_ONCE = 100
"""Malformed UPDATEs that cost no session and are as bad as one that does."""
LARGEST = 64 << 20
"""Bytes past which the log is begun anew: it lies in memory, and whoever sends garbage makes it grow."""
_MOST = 1 << 20
"""Bytes of the log that are read at once; where it grows faster, some are passed over."""


class EngineLog:
    """Reads what is new in an engine's log, beginning with what comes after now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position: int | None = None
        self._rest = b""
        self._tolerated: Counter[Address] = Counter()

    def news(self) -> dict[Address, int]:
        """How often each peer sent garbage since the last call."""
        found: Counter[Address] = Counter()
        for line in self._lines():
            if b"alformed" not in line and b"treated as withdraw" not in line and b"discarded" not in line:
                continue
            peer, resets = _garbage(line)
            if peer is None:
                continue
            if resets:
                found[peer] += 1
            else:
                self._tolerated[peer] += 1
        for peer, count in list(self._tolerated.items()):
            found[peer] += count // TOLERATED_AT_ONCE
            self._tolerated[peer] = count % TOLERATED_AT_ONCE
        return {peer: count for peer, count in found.items() if count}

    def _lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, 2)
                if self._position is None or end < self._position:
                    # We have just begun, or the file was begun anew.
                    self._position, self._rest = (end if self._position is None else 0), b""
                if end - self._position > _MOST:
                    self._position, self._rest = end - _MOST, b""
                file.seek(self._position)
                data = self._rest + file.read(_MOST)
                self._position = file.tell()
            if end > LARGEST:
                # The engine appends, so it goes on at the beginning; the lines of this moment are the loss.
                os.truncate(self.path, 0)
        except OSError:
            return []
        *lines, self._rest = data.split(b"\n")
        return lines


def _garbage(line: bytes) -> tuple[Address | None, bool]:
    """Whose garbage a line tells of, and whether it ended a session."""
    try:
        entry = json.loads(line)
        message, key = entry["msg"], entry["Key"]
        resets = message.startswith(_RESETS)
        if resets or message in _TOLERATED:
            return read_address(key), resets
    except (ValueError, KeyError, TypeError, AttributeError, NotValid):
        pass
    return None, False
