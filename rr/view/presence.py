"""Whether an instance's nodes are there at all: that none has a session where some had is nothing ordinary."""

from dataclasses import dataclass


@dataclass(slots=True)
class Presence:
    """How many nodes had a session at once, and since when none has."""

    most: int = 0
    _alone_since: float | None = None

    def see(self, nodes: int, now: float) -> None:
        """Take note of how many nodes have a session at `now` (monotonic seconds)."""
        self.most = max(self.most, nodes)
        if nodes or not self.most:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now

    def alone_for(self, now: float) -> float:
        """Seconds for which no node has had a session; 0 where one has, or none ever had."""
        return 0.0 if self._alone_since is None else now - self._alone_since
