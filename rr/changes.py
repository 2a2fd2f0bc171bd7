"""What lies between two configurations, in sentences, and whose sessions it would reset. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rr.config.model import Config
from rr.engine.speaker import Plan, keeps_session

AT_START = ("name", "state_dir", "run_dir")
"""Keys that are read once, when rrd starts."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The way from one configuration to another."""

    changes: tuple[str, ...]
    resets: tuple[str, ...]


def between(
    old: Config, new: Config, old_plans: Mapping[str, Plan], new_plans: Mapping[str, Plan]
) -> Difference:
    """Compare two configurations, and the plans that follow from them and their secrets."""
    changes = [*_values("", old.model_dump(mode="json"), new.model_dump(mode="json"))]
    changes += _passwords(old_plans, new_plans)
    return Difference(tuple(changes), tuple(_resets(old_plans, new_plans)))


def _values(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{path}.{key}" if path else key
            if key not in new:
                yield f"{below} is removed"
            elif key not in old:
                yield f"{below} is added"
            else:
                yield from _values(below, old[key], new[key])
    elif old != new:
        when = ", when rrd starts again" if path in AT_START else ""
        yield f"{path} changes from {_shown(old)} to {_shown(new)}{when}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{key}: {_shown(inner)}' for key, inner in value.items() if inner is not None)}}}"
        )
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _passwords(old: Mapping[str, Plan], new: Mapping[str, Plan]) -> Iterator[str]:
    """A password's file may stay the same and what is in it change."""
    for name in old.keys() & new.keys():
        for group in old[name].groups.keys() & new[name].groups.keys():
            if old[name].groups[group].password != new[name].groups[group].password:
                yield f"the password of {group} of {name} changes, for sessions that start from now on"
        for tor in old[name].peers.keys() & new[name].peers.keys():
            if old[name].peers[tor].session.password != new[name].peers[tor].session.password:
                yield f"the password of ToR {tor} of {name} changes"


def _resets(old: Mapping[str, Plan], new: Mapping[str, Plan]) -> Iterator[str]:
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            yield f"every session of {name}: the instance is removed"
        elif before.identity != after.identity:
            yield f"every session of {name}: its AS, router id, port or addresses change, so its engine is restarted"
        else:
            yield from _peer_resets(name, before, after)


def _peer_resets(name: str, before: Plan, after: Plan) -> Iterator[str]:
    for address, peer in before.peers.items():
        if address not in after.peers:
            yield f"ToR {address} of {name}: it is removed"
        elif not keeps_session(peer, after.peers[address]):
            yield f"ToR {address} of {name}: its settings change"
    for prefix in before.ranges:
        if not any(prefix.version == kept.version and prefix.subnet_of(kept) for kept in after.ranges):  # type: ignore[arg-type]
            yield f"nodes of {name} that dialed from {prefix} and are in no other range"
