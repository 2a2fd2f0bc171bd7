"""What lies between two policies: the edits that lead from one to the other, and whose routes to judge again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rr.net import Network
from rr.policy.model import PolicySet, PrefixMatch, Statement
from rr.policy.rules import MARKS


@dataclass(frozen=True, slots=True)
class Edit:
    """Members to take from and to add to one prefix set."""

    name: str
    removed: frozenset[PrefixMatch]
    added: frozenset[PrefixMatch]


@dataclass(frozen=True, slots=True)
class Change:
    """The way from one policy to another."""

    edits: tuple[Edit, ...]
    """Enough by themselves where `structural` is false."""
    structural: bool
    """Statements or other sets differ too: the whole policy is replaced."""
    senders: frozenset[Network] | None
    """Peers whose announcements are to be judged again; None: everybody's."""
    receivers: frozenset[Network] | None
    """Peers for which it is to be decided again what they are sent; None: everybody."""

    def __bool__(self) -> bool:
        return self.structural or bool(self.edits)


def between(held: PolicySet, wanted: PolicySet) -> Change:
    """Find the change that leads from `held` to `wanted`."""
    edits = tuple(_edits(held.prefix_sets, wanted.prefix_sets))
    return Change(
        edits=edits,
        structural=held.structure() != wanted.structure(),
        senders=_affected(held, wanted, held.imports, wanted.imports),
        receivers=_affected(held, wanted, held.exports, wanted.exports),
    )


def _edits(
    held: Mapping[str, frozenset[PrefixMatch]], wanted: Mapping[str, frozenset[PrefixMatch]]
) -> Iterable[Edit]:
    for name, members in wanted.items():
        before = held.get(name, frozenset())
        if before != members:
            yield Edit(name, before - members, members - before)


def _affected(
    held: PolicySet, wanted: PolicySet, before: Iterable[Statement], after: Iterable[Statement]
) -> frozenset[Network] | None:
    old, new = _by_name(before), _by_name(after)
    found: set[Network] = set()
    for name in old.keys() | new.keys():
        if old.get(name) == new.get(name) and not _sets_differ(held, wanted, new[name]):
            continue
        if name.startswith(MARKS):
            found.update(_marked(held, wanted, name))
            continue
        for policy, statement in ((held, old.get(name)), (wanted, new.get(name))):
            if statement is None:
                continue
            if statement.neighbors is None:
                return None
            found |= policy.neighbor_sets.get(statement.neighbors, frozenset())
    return frozenset(found)


def _by_name(statements: Iterable[Statement]) -> dict[str, Statement]:
    return {statement.name: statement for statement in statements}


def _sets_differ(held: PolicySet, wanted: PolicySet, statement: Statement) -> bool:
    return any(
        name is not None and before.get(name) != after.get(name)
        for name, before, after in (
            (statement.prefixes, held.prefix_sets, wanted.prefix_sets),
            (statement.neighbors, held.neighbor_sets, wanted.neighbor_sets),
            (statement.communities, held.community_sets, wanted.community_sets),
        )
    )


def _marked(held: PolicySet, wanted: PolicySet, mark: str) -> Iterator[Network]:
    """Whoever may announce what a VIP mark matches now and did not before, or the other way round.

    Mostly that is who may announce something else now anyway. But a pool of one address may have been a node's prefix:
    the node may announce it as before, and only the mark is new.
    """
    moved = _prefixes(held, mark) ^ _prefixes(wanted, mark)
    for policy in (held, wanted):
        for statement in policy.imports:
            if statement.neighbors and statement.prefixes and policy.prefix_sets[statement.prefixes] & moved:
                yield from policy.neighbor_sets[statement.neighbors]


def _prefixes(policy: PolicySet, mark: str) -> frozenset[PrefixMatch]:
    statement = next((s for s in policy.imports if s.name == mark), None)
    return policy.prefix_sets[statement.prefixes] if statement and statement.prefixes else frozenset()
