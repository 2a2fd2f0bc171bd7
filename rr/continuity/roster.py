"""Who was up: what an engine that comes up empty must know to take its peers back without losing a route.

A restarted speaker waits for the End-of-RIB of its peers before it sends any route (RFC 4724, section 4.1), and stock
GoBGP waits only for peers that it knows. Peers that dial in from a range are known to nobody but this roster.
"""

from collections.abc import Iterable, Mapping
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
        self.peers: dict[Address, Known] = {}
        self._written: dict[Address, Known] = {}

    def load(self) -> None:
        """Take what the file says. Raises StateError where it is unreadable or corrupt; then nobody is known."""
        self.peers = {known.address: known for known in _read(self.file)}
        self._written = dict(self.peers)

    def fresh(self, now: float, within: float) -> dict[Address, Known]:
        """The peers that were up less than `within` seconds ago, and so may still forward by what they heard."""
        return {a: known for a, known in self.peers.items() if -_SKEW <= now - known.seen <= within}

    def see(self, up: Iterable[Address], now: float, awaited: Iterable[Address] = ()) -> None:
        """Take note of who is up now; whoever is not is forgotten, unless it is still awaited after a restart."""
        kept = {a: self.peers[a] for a in awaited if a in self.peers}
        current = {a: replace(self.peers.get(a) or Known(a, now), seen=now) for a in up}
        self.peers = kept | current

    def learn(self, address: Address, families: tuple[str, ...], graceful: tuple[str, ...]) -> None:
        """Take note of what a peer's session can do."""
        if known := self.peers.get(address):
            self.peers[address] = replace(known, families=families, graceful=graceful)

    def due(self, every: float) -> bool:
        """Say whether the file lacks something: who is up and what they can do, or when they last were."""
        if self.peers.keys() != self._written.keys():
            return True
        return any(
            (known.families, known.graceful) != (old.families, old.graceful) or known.seen - old.seen >= every
            for old, known in ((self._written[a], known) for a, known in self.peers.items())
        )

    def save(self) -> None:
        """Replace the file. Raises StateError, and then the old one is still whole."""
        peers = dict(self.peers)
        try:
            files.save(self.file, _VERSION, {"peers": [_entry(known) for known in peers.values()]})
        except OSError as error:
            wrong = f"the roster cannot be written to {self.file} ({error.strerror})"
            right = "make room and see that state_dir is writable; until then a restart of the host is a cold start"
            raise StateError(wrong, right) from error
        self._written = peers

    def forget(self) -> None:
        """Nobody is to be taken back: the engine was ended in order, so its peers have dropped its routes."""
        self.peers, self._written = {}, {}
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
