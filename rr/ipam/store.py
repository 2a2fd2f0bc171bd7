"""The last known good allocations on disk: one JSON file, replaced as a whole or not at all.

It says what each source last said that was good, and when; and whatever is not as the sources say it: what is refused
since somebody else had it, what has its grace, what was rejected by hand. So a restart does not change who has what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rr import files
from rr.addresses import read_address, read_prefix
from rr.errors import RRError, StateError
from rr.ipam import document
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.ipam.claims import Claim, Kind, Lingering
from rr.net import Address, Network

FILE = "allocations.json"
_VERSION = 3
_BEFORE = 2
"""The version before: a document for each source, and nothing else."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one source last said that was good, and when (seconds since the epoch)."""

    allocations: Allocations
    time: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """A snapshot that somebody rejected by hand: by what it is known again, why it was held, and since when."""

    digest: str
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class State:
    """All that is kept."""

    parts: Mapping[str, Part] = field(default_factory=dict)
    refused: Sequence[tuple[str, Claim]] = ()
    lingering: Mapping[Claim, Lingering] = field(default_factory=dict)
    rejected: Mapping[str, Rejected] = field(default_factory=dict)


def save(path: Path, state: State) -> None:
    """Replace the file atomically, mode 0600; raises StateError, and then the old one is still whole."""
    body = {
        "sources": {
            name: {"time": part.time, **_written(part.allocations)} for name, part in state.parts.items()
        },
        "refused": [[source, *_claim(claim)] for source, claim in state.refused],
        "lingering": [
            [*_claim(claim), entry.until, entry.source] for claim, entry in state.lingering.items()
        ],
        "rejected": {n: [r.digest, r.reason, r.since] for n, r in state.rejected.items()},
    }
    try:
        files.save(path, _VERSION, body)
    except OSError as error:
        wrong = f"the last good allocations cannot be written to {path} ({error.strerror})"
        right = "make room and see that state_dir is writable; until then a restart begins without them"
        raise StateError(wrong, right) from error


def load(path: Path) -> State:
    """What was saved, nothing when nothing was; raises StateError when the file is unreadable or corrupt."""
    try:
        return _load(path)
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RRError) as error:
        raise _unusable(path, "it is corrupt") from error


def _load(path: Path) -> State:
    try:
        saved = files.load(path, _VERSION)
    except files.Corrupt:
        before = files.load(path, _BEFORE) or {}
        return State(
            {
                name: Part(document.parse(entry["document"], name), float(entry["time"]))
                for name, entry in before.items()
            }
        )
    if saved is None:
        return State()
    return State(
        {name: Part(_read(entry), float(entry["time"])) for name, entry in saved["sources"].items()},
        [(str(source), _read_claim(claim)) for source, *claim in saved["refused"]],
        {
            _read_claim(claim): Lingering(float(until), str(source))
            for *claim, until, source in saved["lingering"]
        },
        {
            name: Rejected(str(digest), str(reason), float(since))
            for name, (digest, reason, since) in saved["rejected"].items()
        },
    )


# A node is one text, since thousands of lists in lists take JSON and us ten times as long.


def _written(allocations: Allocations) -> dict[str, Any]:
    return {
        "nodes": {name: _node(node) for name, node in allocations.nodes.items()},
        "vips": [
            [_list(pool.prefixes), None if pool.nodes is None else sorted(pool.nodes)]
            for pool in allocations.vips
        ],
    }


def _node(node: NodeAllocation) -> str:
    return f"{_list(node.addresses)}|{_list(node.prefixes)}|{_list(node.borrowed)}"


def _list(values: Sequence[Address] | Sequence[Network]) -> str:
    return " ".join(map(_text, values))


@lru_cache(maxsize=131072)
def _text(value: Address | Network) -> str:
    return str(value)


def _read(entry: Mapping[str, Any]) -> Allocations:
    nodes = {name: _read_node(name, text) for name, text in entry["nodes"].items()}
    vips = tuple(
        VipPool(tuple(_networks(text)), None if names is None else frozenset(map(str, names)))
        for text, names in entry["vips"]
    )
    return Allocations(nodes, vips)


def _read_node(name: str, text: str) -> NodeAllocation:
    addresses, prefixes, borrowed = text.split("|")
    hosts = tuple(map(read_address, addresses.split()))
    return NodeAllocation(name, hosts, tuple(_networks(prefixes)), tuple(_networks(borrowed)))


def _networks(text: str) -> Iterator[Network]:
    return map(read_prefix, text.split())


def _claim(claim: Claim) -> list[str | None]:
    return [claim.node, str(claim.kind), str(claim.network)]


def _read_claim(saved: Sequence[Any]) -> Claim:
    node, kind, network = saved
    return Claim(None if node is None else str(node), Kind(kind), read_prefix(network))


def _unusable(path: Path, why: str) -> StateError:
    wrong = f"the last good allocations in {path} cannot be used ({why})"
    return StateError(wrong, "nothing to do: the next good reading of the source replaces them")
