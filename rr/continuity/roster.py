"""Who was up: what an engine that comes up empty must know to take its peers back without losing a route.

A restarted speaker waits for the End-of-RIB of its peers before it sends any route (RFC 4724, section 4.1), and stock
GoBGP waits only for peers that it knows. Peers that dial in from a range are known to nobody but this roster.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rr import files
from rr.errors import StateError
from rr.net import Address

_VERSION = 1
_SKEW = 2.0
"""Seconds that the clock may have been set back between two lives of a controller."""


@dataclass(frozen=True, slots=True)
class Known:
    """A peer that was up, and what its session could do."""

    address: Address
    seen: float
    """Unix time at which the session was last known to be up."""
    families: tuple[str, ...] = ()
    """Address families that it carried."""
    graceful: tuple[str, ...] | None = None
    """Those of them under graceful restart, which end with an End-of-RIB; None while that is not known."""


class Roster:
    """The peers of one instance that are up, or were up when its engine went away. Kept in a file across power cuts."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._peers: dict[Address, Known] = {}
        self._up: frozenset[Address] = frozenset()
        self._alive = 0.0
        """Unix time at which those were up."""
        self._changed = False
        self._written = 0.0

    @property
    def peers(self) -> dict[Address, Known]:
        """Whoever is up, or was and is awaited."""
        return {
            a: replace(known, seen=self._alive) if a in self._up else known
            for a, known in self._peers.items()
        }

    def load(self) -> None:
        """Take what the file says. Raises StateError where it is unreadable or corrupt; then nobody is known."""
        self._peers = {known.address: known for known in _read(self.file)}
        self._up, self._changed = frozenset(), False

    def fresh(self, now: float, within: float) -> dict[Address, Known]:
        """The peers that were up less than `within` seconds ago, and so may still forward by what they heard."""
        return {a: known for a, known in self.peers.items() if -_SKEW <= now - known.seen <= within}

    def see(self, up: frozenset[Address], now: float, awaited: Set[Address] = frozenset()) -> None:
        """Take note of who is up now; whoever is not is forgotten, unless it is still awaited after a restart."""
        if up != self._up or not self._peers.keys() <= up | awaited:
            peers = self.peers
            self._peers = {a: peers[a] for a in awaited if a in peers}
            self._peers |= {a: peers.get(a) or Known(a, now) for a in up}
            self._up, self._changed = up, True
        self._alive = now

    def learn(self, address: Address, families: tuple[str, ...], graceful: tuple[str, ...]) -> None:
        """Take note of what a peer's session can do."""
        known = self._peers.get(address)
        if known and (known.families, known.graceful) != (families, graceful):
            self._peers[address] = replace(known, families=families, graceful=graceful)
            self._changed = True

    def due(self, every: float) -> bool:
        """Say whether the file lacks something: who is up and what they can do, or when they last were."""
        return self._changed or (bool(self._up) and self._alive - self._written >= every)

    def save(self) -> None:
        """Replace the file. Raises StateError, and then the old one is still whole."""
        peers, alive, changed = self.peers, self._alive, self._changed
        self._changed = False  # what changes while it is written is written the next time
        try:
            files.save(self.file, _VERSION, {"peers": [_entry(known) for known in peers.values()]})
        except OSError as error:
            self._changed = changed
            wrong = f"the roster cannot be written to {self.file} ({error.strerror})"
            right = "make room and see that state_dir is writable; until then a restart of the host is a cold start"
            raise StateError(wrong, right) from error
        self._written = alive

    def forget(self) -> None:
        """Nobody is to be taken back: the engine was ended in order, so its peers have dropped its routes."""
        self._peers, self._up, self._changed = {}, frozenset(), False
        try:
            self.file.unlink(missing_ok=True)
        except OSError as error:
            wrong = f"the roster {self.file} cannot be removed ({error.strerror})"
            raise StateError(wrong, "remove it, or peers are awaited in vain at the next start") from error


def _entry(known: Known) -> dict[str, Any]:
    graceful = None if known.graceful is None else list(known.graceful)
    return {
        "address": str(known.address),
        "seen": round(known.seen, 3),
        "families": list(known.families),
        "graceful": graceful,
    }


def _read(file: Path) -> list[Known]:
    try:
        saved = files.load(file, _VERSION) or {"peers": []}
        return [_known(entry) for entry in saved["peers"]]
    except OSError as error:
        raise _unusable(file, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(file, "it is corrupt") from error


def _known(entry: Mapping[str, Any]) -> Known:
    graceful = entry["graceful"]
    return Known(
        ip_address(entry["address"]),
        float(entry["seen"]),
        tuple(map(str, entry["families"])),
        None if graceful is None else tuple(map(str, graceful)),
    )


def _unusable(file: Path, why: str) -> StateError:
    wrong = f"the roster {file} cannot be used ({why})"
    return StateError(wrong, "an engine that is not there any more is started cold; the file is written anew")
