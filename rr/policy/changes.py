"""What lies between two policies: the edits that lead from one to the other, and whose routes to judge again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from rr.net import Network
from rr.policy.model import PolicySet, PrefixMatch, Statement
from rr.policy.rules import MARKS, OPEN, TORS

T = TypeVar("T")


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
    announced: frozenset[PrefixMatch] = frozenset()
    """What every node may announce from now on, or until now: whoever announces it is to be judged again too."""

    def __bool__(self) -> bool:
        return self.structural or bool(self.edits)


def between(held: PolicySet, wanted: PolicySet) -> Change:
    """Find the change that leads from `held` to `wanted`."""
    marked = frozenset(_marked(held, wanted))
    changed = _Changed(held, wanted)
    senders = _affected(held, wanted, changed, held.imports, wanted.imports)
    receivers = _affected(held, wanted, changed, held.exports, wanted.exports)
    if marked and receivers is not None:
        # A path that its new mark keeps from a peer with add-path is not withdrawn there by itself (docs/engine.md).
        receivers |= wanted.neighbor_sets.get(TORS, frozenset())
    return Change(
        edits=tuple(_edits(held.prefix_sets, wanted.prefix_sets)),
        structural=held.structure() != wanted.structure(),
        senders=None if senders is None else senders | marked,
        receivers=receivers,
        announced=_opened(held, wanted),
    )


def _edits(
    held: Mapping[str, frozenset[PrefixMatch]], wanted: Mapping[str, frozenset[PrefixMatch]]
) -> Iterable[Edit]:
    for name, members in wanted.items():
        before = held.get(name, frozenset())
        if before is not members and before != members:
            yield Edit(name, before - members, members - before)


def _affected(
    held: PolicySet,
    wanted: PolicySet,
    changed: "_Changed",
    before: tuple[Statement, ...],
    after: tuple[Statement, ...],
) -> frozenset[Network] | None:
    found: set[Network] = set()
    for was, now in _differing(changed, before, after):
        if any(one and one.name.startswith(MARKS) for one in (was, now)):
            continue  # see _marked
        for policy, statement in ((held, was), (wanted, now)):
            if statement is None:
                continue
            if statement.neighbors is None:
                return None
            found |= policy.neighbor_sets.get(statement.neighbors, frozenset())
    return frozenset(found)


def _differing(
    changed: "_Changed", before: tuple[Statement, ...], after: tuple[Statement, ...]
) -> Iterator[tuple[Statement | None, Statement | None]]:
    """Statements that are there only before or only after, or that judge otherwise than before."""
    if before == after:
        yield from ((one, one) for one in after if changed.for_(one))
        return
    old, new = _by_name(before), _by_name(after)
    for name in old.keys() | new.keys():
        was, now = old.get(name), new.get(name)
        if was != now or (now and changed.for_(now)):
            yield was, now


def _by_name(statements: Iterable[Statement]) -> dict[str, Statement]:
    return {statement.name: statement for statement in statements}


class _Changed:
    """Which sets have another content; most are the very same object in both policies."""

    def __init__(self, held: PolicySet, wanted: PolicySet) -> None:
        self.prefixes = _names(held.prefix_sets, wanted.prefix_sets)
        self.neighbors = _names(held.neighbor_sets, wanted.neighbor_sets)
        self.communities = _names(held.community_sets, wanted.community_sets)

    def for_(self, statement: Statement) -> bool:
        """Whether a statement judges otherwise than before. What nodes share is another matter: see _opened."""
        return (
            (statement.prefixes in self.prefixes and not statement.name.startswith(OPEN))
            or statement.neighbors in self.neighbors
            or statement.communities in self.communities
        )


def _names(before: Mapping[str, T], after: Mapping[str, T]) -> set[str]:
    found = {
        name for name, members in after.items() if (was := before.get(name)) is not members and was != members
    }
    return found | (before.keys() - after.keys())


def _opened(held: PolicySet, wanted: PolicySet) -> frozenset[PrefixMatch]:
    """What was added to or taken from the sets that all nodes share."""
    moved: frozenset[PrefixMatch] = frozenset()
    for version in (4, 6):
        name = f"{OPEN}{version}"
        if name in held.prefix_sets and name in wanted.prefix_sets:
            moved |= held.prefix_sets[name] ^ wanted.prefix_sets[name]
    return moved


def _marked(held: PolicySet, wanted: PolicySet) -> Iterator[Network]:
    """Whoever may announce, now as before, what a VIP mark matches only now or only before.

    That takes a pool of one address that was a node's prefix, or becomes one; else what a node may announce changes
    with the pool.
    """
    moved = _marks(held) ^ _marks(wanted)
    if not moved:
        return
    both = {
        name
        for name, members in wanted.prefix_sets.items()
        if any(match in members and match in held.prefix_sets.get(name, ()) for match in moved)
    }
    for statement in wanted.imports:
        if statement.neighbors and statement.prefixes in both:
            yield from wanted.neighbor_sets[statement.neighbors]


def _marks(policy: PolicySet) -> frozenset[PrefixMatch]:
    marks = (s.prefixes for s in policy.imports if s.prefixes and s.name.startswith(MARKS))
    return frozenset[PrefixMatch]().union(*(policy.prefix_sets[name] for name in marks))
