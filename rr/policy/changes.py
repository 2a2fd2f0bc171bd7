"""What lies between two policies: the edits that lead from one to the other, and whose routes to judge again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from rr.addresses import overlap
from rr.net import Network
from rr.policy.model import Action, PolicySet, PrefixMatch, Statement
from rr.policy.observing import OBSERVE
from rr.policy.rules import MARKS, TORS


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
    marked = frozenset(_marked(held, wanted))
    senders = _affected(held, wanted, held.imports, wanted.imports)
    receivers = _affected(held, wanted, held.exports, wanted.exports)
    if marked and receivers is not None:
        # A path that its new mark keeps from a peer with add-path is not withdrawn there by itself (docs/engine.md).
        receivers |= wanted.neighbor_sets.get(TORS, frozenset())
    return Change(
        edits=tuple(_edits(held.prefix_sets, wanted.prefix_sets)),
        structural=held.structure() != wanted.structure(),
        senders=None if senders is None else senders | marked,
        receivers=receivers,
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
            continue  # see _marked
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


def _marked(held: PolicySet, wanted: PolicySet) -> Iterator[Network]:
    """Whoever may announce, now as before, what a VIP mark matches only now or only before.

    That takes a pool of one address that was a node's prefix, or becomes one; else what a node may announce changes
    with the pool. In an observed rack anything may have been announced.
    """
    moved = _marks(held) ^ _marks(wanted)
    if not moved:
        return
    for statement in wanted.imports:
        if statement.neighbors and statement.prefixes and statement.action is Action.ACCEPT:
            name = statement.prefixes
            both = held.prefix_sets.get(name, frozenset()) & wanted.prefix_sets[name]
            wide = name.startswith(OBSERVE)
            if _touch(both, moved) if wide else not moved.isdisjoint(both):
                yield from wanted.neighbor_sets[statement.neighbors]


def _touch(some: Iterable[PrefixMatch], others: Iterable[PrefixMatch]) -> bool:
    return any(overlap(one.network, other.network) for one, other in product(some, others))


def _marks(policy: PolicySet) -> frozenset[PrefixMatch]:
    marks = (s.prefixes for s in policy.imports if s.prefixes and s.name.startswith(MARKS))
    return frozenset[PrefixMatch]().union(*(policy.prefix_sets[name] for name in marks))
