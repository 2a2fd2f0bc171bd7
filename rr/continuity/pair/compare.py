"""Two halves beside each other: where they differ, who has a session with both, and whether one can be spared. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rr.continuity.pair.word import InstanceWord, Word
from rr.net import Address

_NAMED = 3
"""Nodes or ToRs that are named in a sentence; of the others only the number is."""


def named(names: Iterable[str]) -> str:
    """A few names, and how many there are besides."""
    every = sorted(names)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def differences(own: Word, other: Word) -> Iterator[str]:
    """Where the halves do not do the same, in sentences that stay the same while the difference does."""
    if own.allocations != other.allocations:
        yield "the halves hold different allocations"
    for name, here in own.instances.items():
        there = other.instances.get(name)
        if there is None:
            yield f"the other half has no instance {name}"
            continue
        parts = [
            part
            for part in here.settings
            if there.settings.get(part, here.settings[part]) != here.settings[part]
        ]
        if parts:
            yield f"the halves are configured differently: {', '.join(parts)} of instance {name}"
        # Other versions may write the same rules in another way.
        comparable = own.version == other.version and here.serving and there.serving
        if comparable and here.policy != there.policy:
            yield f"the halves enforce different rules in instance {name}"
    yield from (f"this half has no instance {name}" for name in other.instances if name not in own.instances)


@dataclass(frozen=True, slots=True)
class Redundancy:
    """The nodes of one instance, by the halves that they have a session with."""

    both: frozenset[str]
    here: frozenset[str]
    """Only with this half."""
    there: frozenset[str]
    """Only with the other half."""
    none: frozenset[str]

    @property
    def one(self) -> frozenset[str]:
        """With one half, whichever."""
        return self.here | self.there


def redundancy(
    nodes: Mapping[str, Iterable[Address]], here: frozenset[Address], there: frozenset[Address]
) -> Redundancy:
    """Sort an instance's nodes (or ToRs), given as names with addresses, by who has a session with them."""
    ours = frozenset(name for name, own in nodes.items() if not here.isdisjoint(own))
    theirs = frozenset(name for name, own in nodes.items() if not there.isdisjoint(own))
    return Redundancy(ours & theirs, ours - theirs, theirs - ours, frozenset(nodes) - ours - theirs)


def refusal(instance: str, carried: Redundancy, tors: Redundancy, there: InstanceWord | None) -> str | None:
    """Why this half cannot be spared in an instance; None where the other half carries all that it does."""
    if there is None:
        return f"the other half has no instance {instance}"
    if not there.serving:
        return f"{instance} does not serve at the other half"
    if there.drained:
        return f"{instance} is drained at the other half"
    if there.restarting:
        return f"{instance} has just restarted at the other half, which still waits for its peers"
    for who, missing in (("node", carried.here), ("ToR", tors.here)):
        if missing:
            many = f"{len(missing)} {who}s" if len(missing) > 1 else who
            return f"the other half has no session with the {many} {named(missing)} of {instance}"
    return None
