"""What a light speaker holds, kept as a graceful-restart helper does (RFC 4724, section 4.2), with path identifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network

from tests.bench import wire

ONE_PATH: set[bytes] = {b""}
"""Shared by all prefixes that came without a path identifier: thousands of sets would be all the memory."""

Paths = dict[bytes, set[bytes]]
"""Path identifiers by prefix, as both stand in an UPDATE."""

WITHDRAWN = "withdrawn"
SESSION_LOST = "session lost without graceful restart"
STALE_TWICE = "still stale when the session was lost again"
NOT_KEPT = "the restarted speaker did not keep its forwarding state"
NOT_REFRESHED = "still stale at End-of-RIB"
TOO_LATE = "still stale at the end of the restart time"


class Rib:
    """What a speaker holds: paths by prefix, and when the first path of each prefix came and the last one went.

    Paths of a session that was lost may be kept as stale, until they come again or are given up. A prefix is removed
    when its last path, stale or not, goes.
    """

    def __init__(self) -> None:
        self._fresh: Paths = {}
        self._stale: Paths = {}
        self._departed: dict[bytes, float] = {}
        self.arrived: dict[bytes, float] = {}
        """When each prefix first came in the present session (time.monotonic)."""
        self.latest = 0.0
        """When a prefix last came that had not come in its session before."""
        self.ended: float | None = None
        """When the present session's End-of-RIB came."""
        self.withdrawals = 0
        """Paths that were withdrawn, held or not."""
        self.removals: Counter[str] = Counter()
        """Prefixes that went, by the reason for it."""

    def __len__(self) -> int:
        return len(self._fresh | self._stale) if self._stale else len(self._fresh)

    def __contains__(self, prefix: IPv4Network) -> bool:
        field = wire.nlri(prefix)
        return field in self._fresh or field in self._stale

    def apply(self, body: bytes, add_path: bool, now: float) -> None:
        """Take in one UPDATE that was received at `now` (time.monotonic)."""
        if body == wire.END_OF_RIB_BODY:
            self.ended = now
            self.drop_stale(NOT_REFRESHED, now)
            return
        withdrawn, announced = wire.parse_update(body, add_path)
        for prefix, identifier in withdrawn:
            self._withdraw(prefix, identifier, now)
        for prefix, identifier in announced:
            if identifier:
                self._fresh.setdefault(prefix, set()).add(identifier)
            else:
                self._fresh[prefix] = ONE_PATH
            if prefix not in self.arrived:
                self.arrived[prefix] = self.latest = now
            if self._stale:
                _discard(self._stale, prefix, identifier)

    def _withdraw(self, prefix: bytes, identifier: bytes, now: float) -> None:
        self.withdrawals += 1
        if prefix not in self._fresh and prefix not in self._stale:
            return
        _discard(self._stale, prefix, identifier)
        _discard(self._fresh, prefix, identifier)
        if prefix not in self._fresh:
            self.arrived.pop(prefix, None)
        self._removed_if_gone([prefix], WITHDRAWN, now)

    def keep_as_stale(self, now: float) -> None:
        """The session is gone, and the far side may restart: what was stale already must go, the rest is kept."""
        before, self._stale, self._fresh = self._stale, self._fresh, {}
        self._session_over()
        self._removed_if_gone(before, STALE_TWICE, now)

    def drop_stale(self, why: str, now: float) -> None:
        """Give up what has not come again."""
        before, self._stale = self._stale, {}
        self._removed_if_gone(before, why, now)

    def drop_all(self, why: str, now: float) -> None:
        """Give up everything."""
        before, self._stale, self._fresh = self._fresh | self._stale, {}, {}
        self._session_over()
        self._removed_if_gone(before, why, now)

    def _session_over(self) -> None:
        self.arrived = {}
        self.ended = None

    def _removed_if_gone(self, prefixes: Iterable[bytes], why: str, now: float) -> None:
        for prefix in prefixes:
            if prefix not in self._fresh and prefix not in self._stale:
                self.removals[why] += 1
                self._departed[prefix] = now

    def paths(self, prefix: IPv4Network) -> int:
        """How many paths of the prefix came in the present session."""
        return len(self._fresh.get(wire.nlri(prefix), ()))

    def when(self, prefix: IPv4Network) -> float | None:
        """When the prefix came in the present session (time.monotonic), None if it has not."""
        return self.arrived.get(wire.nlri(prefix))

    def departed(self, prefix: IPv4Network) -> float | None:
        """When the prefix last went (time.monotonic), None if it never did."""
        return self._departed.get(wire.nlri(prefix))

    def prefixes(self) -> frozenset[IPv4Network]:
        """Everything held, stale or not."""
        return frozenset(map(wire.prefix_of, self._fresh | self._stale))

    def fresh(self) -> frozenset[IPv4Network]:
        """Everything held that came in the present session."""
        return frozenset(map(wire.prefix_of, self._fresh))

    @property
    def fresh_count(self) -> int:
        """How many prefixes are held that came in the present session."""
        return len(self._fresh)


def _discard(held: Paths, prefix: bytes, identifier: bytes) -> None:
    """Take one path out; the prefix goes with its last one, and without path identifiers there is only one."""
    if (paths := held.get(prefix)) is None:
        return
    if identifier:
        paths.discard(identifier)
    if not identifier or not paths:
        del held[prefix]
