"""What lies between two configurations, in sentences, and whose sessions it would reset. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import collapse_addresses
from typing import Any

from rr.config.model import Config, Rack, Tor
from rr.engine.speaker import Plan, keeps_session
from rr.net import Address, Network

AT_START = ("name", "state_dir", "run_dir")
"""Keys that are read once, when rrd starts."""
_TOLD_BY_ELEMENT: Any = {
    "instances": {"__all__": {"racks": {"__all__": {"nodes": {"ranges"}, "tors": True, "from_tors": True}}}}
}
"""Lists of a rack whose elements are told with what becomes of their sessions."""
NOBODY = "no session is reset"


@dataclass(frozen=True, slots=True)
class Difference:
    """The way from one configuration to another."""

    changes: tuple[str, ...]
    resets: tuple[str, ...]


def between(
    old: Config, new: Config, old_plans: Mapping[str, Plan], new_plans: Mapping[str, Plan]
) -> Difference:
    """Compare two configurations, and the plans that follow from them and their secrets."""
    before, after = (config.model_dump(mode="json", exclude=_TOLD_BY_ELEMENT) for config in (old, new))
    changes = [*_values("", before, after)]
    for name, instance in old.instances.items():
        if name in new.instances:
            racks = new.instances[name].racks
            changes += _racks(name, instance.racks, racks, old_plans[name], new_plans[name])
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
    elif isinstance(old, list) and isinstance(new, list):
        yield from (f"{path}: {_shown(element)} removed" for element in old if element not in new)
        yield from (f"{path}: {_shown(element)} added" for element in new if element not in old)
    elif old != new:
        when = ", when rrd starts again" if path in AT_START else ""
        yield f"{path} {_change(old, new)}{when}"


def _change(old: Any, new: Any) -> str:
    return f"changes from {_shown(old)} to {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{key}: {_shown(inner)}' for key, inner in value.items() if inner is not None)}}}"
        )
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _racks(
    name: str, old: Mapping[str, Rack], new: Mapping[str, Rack], before: Plan, after: Plan
) -> Iterator[str]:
    """The elements of racks that stay, each with what its change does to sessions."""
    # An engine that is restarted resets every session: that is said once, and not beside each element.
    restarted = before.identity != after.identity
    for rack in old:
        if rack not in new:
            continue
        told = (
            *_ranges(old[rack].nodes.ranges, new[rack].nodes.ranges, after),
            *_tors(old[rack].tors, new[rack].tors, before, after),
            *_from_tors(old[rack].from_tors, new[rack].from_tors),
        )
        for change, effect in told:
            yield f"{rack} of {name}: {change}" + ("" if restarted else f": {effect}")


def _ranges(old: Iterable[Network], new: Iterable[Network], after: Plan) -> Iterator[tuple[str, str]]:
    kept, had = set(new), set(old)
    for prefix in (prefix for prefix in old if prefix not in kept):
        yield f"node range {prefix} removed", _closed_range(prefix, after)
    for prefix in (prefix for prefix in new if prefix not in had):
        yield f"node range {prefix} added", NOBODY


def _closed_range(prefix: Network, after: Plan) -> str:
    if _may_still_dial(prefix, after):
        return NOBODY
    partly = any(prefix.version == kept.version and prefix.overlaps(kept) for kept in after.ranges)
    return "sessions from it are closed" + (", but for nodes in another range" if partly else "")


def _may_still_dial(prefix: Network, after: Plan) -> bool:
    """Whether all of a prefix is in ranges, be it in several."""
    same_family = [kept for kept in after.ranges if kept.version == prefix.version]
    return any(prefix.subnet_of(whole) for whole in collapse_addresses(same_family))  # type: ignore[arg-type, type-var]


def _tors(old: Iterable[Tor], new: Iterable[Tor], before: Plan, after: Plan) -> Iterator[tuple[str, str]]:
    had, kept = ({tor.address: tor for tor in tors} for tors in (old, new))
    for address in had:
        if address not in kept:
            yield f"ToR {address} removed", _tor_effect(address, before, after)
    for address, tor in kept.items():
        if address not in had:
            yield f"ToR {address} added", _tor_effect(address, before, after)
        elif changed := [*_settings(had[address], tor, before, after)]:
            yield f"ToR {address}: {', '.join(changed)}", _tor_effect(address, before, after)


def _settings(old: Tor, new: Tor, before: Plan, after: Plan) -> Iterator[str]:
    was, now = old.model_dump(mode="json"), new.model_dump(mode="json")
    yield from (f"{key} {_change(was[key], now[key])}" for key in now if was[key] != now[key])
    passwords = {plan.peers[new.address].session.password for plan in (before, after)}
    if len(passwords) > 1 and old.password_file == new.password_file:
        yield f"the password in {new.password_file} changes"


def _tor_effect(address: Address, before: Plan, after: Plan) -> str:
    if address in before.peers and address not in after.peers:
        return "its session is closed"
    return "its session is reset" if _resets_tor(address, before, after) else NOBODY


def _resets_tor(address: Address, before: Plan, after: Plan) -> bool:
    return address in before.peers and not keeps_session(before.peers[address], after.peers[address])


def _from_tors(old: Iterable[Network], new: Iterable[Network]) -> Iterator[tuple[str, str]]:
    kept, had = set(new), set(old)
    yield from ((f"ToRs may no longer send {prefix}", NOBODY) for prefix in old if prefix not in kept)
    yield from ((f"ToRs may send {prefix}", NOBODY) for prefix in new if prefix not in had)


def _passwords(old: Mapping[str, Plan], new: Mapping[str, Plan]) -> Iterator[str]:
    """A password's file may stay the same and what is in it change."""
    for name in (name for name in old if name in new):
        before, after = old[name].groups, new[name].groups
        for group in (group for group in before if group in after):
            if before[group].password != after[group].password:
                yield f"the password of {group} of {name} changes, for sessions that start from now on"


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
    for address in before.peers:
        called = f"the other half {address}" if address == before.pair else f"ToR {address}"
        if address not in after.peers:
            yield f"{called} of {name}: it is removed"
        elif _resets_tor(address, before, after):
            yield f"{called} of {name}: its settings change"
    for prefix in before.ranges:
        if not _may_still_dial(prefix, after):
            yield f"nodes of {name} that dialed from {prefix} and are in no other range"
