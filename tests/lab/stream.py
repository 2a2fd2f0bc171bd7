"""A stream of announcements: load that never ends while something else is tried."""

import threading
from collections.abc import Sequence

from tests.lab.peer import Peer

PAUSE = 0.2
"""Seconds between two announcements."""


class Stream(threading.Thread):
    """Announces prefixes one after the other, and withdraws each when the next is out; `stop` withdraws the last."""

    def __init__(self, node: Peer, prefixes: Sequence[str]) -> None:
        super().__init__()
        self.node = node
        self.prefixes = prefixes
        self.rounds = 0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        before: str | None = None
        while not self._ended.is_set():
            current = self.prefixes[self.rounds % len(self.prefixes)]
            self.node.announce(current)
            if before is not None:
                self.node.withdraw(before)
            before = current
            self.rounds += 1
            self._ended.wait(PAUSE)
        if before is not None:
            self.node.withdraw(before)

    def stop(self) -> None:
        """End it, and see that it ran: every prefix was announced more than once."""
        self._ended.set()
        self.join()
        assert self.rounds > 2 * len(self.prefixes)
