"""What one half says of itself to the other: plain data, written as JSON and read with care."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from rr.net import Address


class NotUnderstood(ValueError):
    """What came is no word of the other half."""


@dataclass(frozen=True, slots=True)
class InstanceWord:
    """How one instance is."""

    settings: Mapping[str, str]
    """A digest of each part of the configuration that both halves share."""
    policy: str | None
    """A digest of what is enforced; None: nothing yet."""
    serving: bool
    """The engine runs, and its policy is in force."""
    restarting: bool
    """Peers of before a restart are awaited."""
    drained: bool
    """Traffic is led away from it on purpose."""
    nodes: frozenset[Address]
    """Addresses of nodes with a session."""
    tors: frozenset[Address]
    """ToRs with a session."""


@dataclass(frozen=True, slots=True)
class Word:
    """How one half is."""

    name: str
    version: str
    time: float
    """Unix time by its clock."""
    allocations: str
    """A digest of who owns what."""
    instances: Mapping[str, InstanceWord]


def write(word: Word) -> dict[str, Any]:
    """A word as JSON."""
    return {
        "name": word.name,
        "version": word.version,
        "time": word.time,
        "allocations": word.allocations,
        "instances": {name: _write_instance(said) for name, said in word.instances.items()},
    }


def _write_instance(said: InstanceWord) -> dict[str, Any]:
    return {
        "settings": dict(said.settings),
        "policy": said.policy,
        "serving": said.serving,
        "restarting": said.restarting,
        "drained": said.drained,
        "nodes": sorted(map(str, said.nodes)),
        "tors": sorted(map(str, said.tors)),
    }


def read(data: Any) -> Word:
    """A word from JSON; keys that a newer version added are passed over. Raises NotUnderstood."""
    try:
        return Word(
            name=str(data["name"]),
            version=str(data["version"]),
            time=float(data["time"]),
            allocations=str(data["allocations"]),
            instances={str(name): _read_instance(said) for name, said in data["instances"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotUnderstood(f"what it answers is not understood ({error!r})") from error


def _read_instance(said: Mapping[str, Any]) -> InstanceWord:
    policy = said["policy"]
    return InstanceWord(
        settings={str(part): str(digest) for part, digest in said["settings"].items()},
        policy=None if policy is None else str(policy),
        serving=bool(said["serving"]),
        restarting=bool(said["restarting"]),
        drained=bool(said["drained"]),
        nodes=frozenset(map(ip_address, said["nodes"])),
        tors=frozenset(map(ip_address, said["tors"])),
    )
