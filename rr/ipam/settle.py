"""From what the sources say, which may contradict, to what is in force, in which nothing does. A pure function.

The rule: **who has it keeps it**, for as long as it still claims it. Where nobody has it yet, the source that is named
first in the configuration gets it, and within one source the node whose name sorts first. Whoever comes second is
refused that one thing and nothing else, and gets it by itself when the first gives it up. With a grace, what no source
says any more stays in force until that is over, and nobody else gets it meanwhile.

Only what changed is looked at: one node of 5,000 costs a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from operator import itemgetter

from rr.ipam.allocations import EMPTY, Allocations, NodeAllocation, VipPool
from rr.ipam.claims import Claim, Conflict, Kind, Lingering, Parts, Wanted, claims_of, refusal, said_by
from rr.ipam.ledger import Ledger
from rr.ipam.vips import VipSettling
from rr.net import Network


@dataclass(frozen=True)
class Settled:
    """What is in force, and what was refused for it."""

    allocations: Allocations = EMPTY
    conflicts: tuple[Conflict, ...] = ()
    lingering: Mapping[Claim, Lingering] = field(default_factory=dict)
    """What no source says any more, and stays in force for its grace."""
    parts: Parts = field(default_factory=dict)
    """What it was settled from."""
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)

    @property
    def due(self) -> float | None:
        """When the next grace is over; None where there is none."""
        return min((entry.until for entry in self.lingering.values()), default=None)


NOTHING = Settled()


def settle(
    before: Settled, parts: Parts, *, now: float = 0.0, grace: float = 0.0, sweep: bool = True
) -> Settled:
    """What is in force when the sources say `parts`, after `before` was; `before` itself where they say the same.

    What is no longer said is gone at once, or with `grace` seconds later than `now`. Without `sweep`, what has had its
    grace by now stays for the moment.
    """
    until, now = now + grace if grace else None, now if sweep else -inf
    names, vips = set(_changed_nodes(before, parts, now)), _vips_changed(before, parts, now)
    if not (names or vips):
        return before if list(before.parts) == list(parts) else replace(before, parts=parts)
    return _Settling(before, parts, names, now, until).run(vips=vips)


def _changed_nodes(before: Settled, parts: Parts, now: float) -> Iterator[str]:
    """Nodes of which a source says something else, that were refused something, or whose grace is over."""
    for source in before.parts.keys() | parts.keys():
        old, new = before.parts.get(source, EMPTY).nodes, parts.get(source, EMPTY).nodes
        if old is not new:
            yield from (
                name for name, node in new.items() if (was := old.get(name)) is not node and was != node
            )
            yield from old.keys() - new.keys()
    yield from (c.claim.node for c in before.conflicts if c.claim.node is not None)
    yield from (claim.node for claim in _over(before, now) if claim.node is not None)


def _vips_changed(before: Settled, parts: Parts, now: float) -> bool:
    for source in before.parts.keys() | parts.keys():
        old, new = before.parts.get(source, EMPTY).vips, parts.get(source, EMPTY).vips
        if old is not new and old != new:
            return True
    refused = any(conflict.claim.kind is Kind.VIP for conflict in before.conflicts)
    return refused or any(claim.kind is Kind.VIP for claim in _over(before, now))


def _over(before: Settled, now: float) -> Iterator[Claim]:
    """What has had its grace."""
    return (claim for claim, entry in before.lingering.items() if entry.until <= now)


class _Settling:
    """One run: what is given up goes first, then whoever waited gets what has become free."""

    def __init__(
        self, before: Settled, parts: Parts, names: set[str], now: float, until: float | None
    ) -> None:
        self.before, self.parts = before, parts
        self.now, self.until = now, until
        self.ledger = before.ledger.copy()
        self.lingering = dict(before.lingering)
        self.refused: list[tuple[Wanted, Conflict]] = []
        self.vips = VipSettling(before.parts, parts, self.ledger, self.lingering)
        self.said = {name: self._said_of(name) for name in names}
        self.held = {name: self._had(name) for name in names}
        """What each of these nodes has in force."""

    def run(self, *, vips: bool) -> Settled:
        """Go through what changed."""
        self._give_up()
        wanted = list(self._wanted())
        if vips:
            self.vips.give_up(self.now, self.until)
            wanted += self.vips.wanted(self.before.ledger)
        for claim in sorted(wanted, key=itemgetter(0, 1, 2, 3, 4)):
            self._decide(claim)
        pools = self.vips.pools() if vips else self.before.allocations.vips
        return Settled(
            Allocations(self._nodes(), self._same(pools)),
            tuple(conflict for _, conflict in sorted(self.refused, key=_place)),
            self.lingering,
            self.parts,
            self.ledger,
        )

    def _had(self, name: str) -> set[Claim]:
        node = self.before.allocations.nodes.get(name)
        return set(claims_of(node)) if node else set()

    def _said_of(self, name: str) -> dict[Claim, tuple[int, str]]:
        """What is claimed for a node, with the first source that says so."""
        found: dict[Claim, tuple[int, str]] = {}
        for rank, (source, part) in enumerate(self.parts.items()):
            if node := part.nodes.get(name):
                for claim in claims_of(node):
                    found.setdefault(claim, (rank, source))
        return found

    def _give_up(self) -> None:
        """What nobody says any more of a node goes, or has its grace first."""
        for name, said in self.said.items():
            for claim in said.keys() & self.lingering.keys():
                del self.lingering[claim]
            for claim in [claim for claim in self.held[name] if claim not in said]:
                if self.until is not None and claim not in self.lingering:
                    sources = ", ".join(said_by(self.before.parts, claim))
                    self.lingering[claim] = Lingering(self.until, sources)
                if claim not in self.lingering or self.lingering[claim].until <= self.now:
                    self._take(claim)

    def _take(self, claim: Claim) -> None:
        self.lingering.pop(claim, None)
        self.ledger.remove(claim)
        self.held[claim.node or ""].discard(claim)

    def _wanted(self) -> Iterator[Wanted]:
        """What nodes want and have not."""
        for name, said in self.said.items():
            held = self.held[name]
            for place, (claim, (rank, source)) in enumerate(said.items()):
                if claim not in held:
                    yield Wanted(not self._resized(claim), rank, False, name, place, source, claim)

    def _resized(self, claim: Claim) -> bool:
        """Whether the node already had something that overlaps this."""
        blocks = self.before.ledger.overlapping(claim.network) if claim.kind is Kind.PREFIX else ()
        return any(block.node == claim.node for block in blocks)

    def _decide(self, wanted: Wanted) -> None:
        """Grant what stands against nobody; what the same owner has no more than a grace for gives way."""
        holders = self.ledger.against(wanted.claim)
        if wanted.vip and holders and all(self.vips.same(holder, wanted) for holder in holders):
            return  # another source says just the same
        against = [holder for holder in holders if not self._gives_way(holder, wanted)]
        if against:
            self.refused.append((wanted, self._conflict(wanted, against)))
            return
        for holder in holders:
            if holder.kind is Kind.VIP:
                self.vips.drop(holder.network)
            else:
                self._take(holder)
        if wanted.vip:
            self.ledger.open_vip(wanted.claim.network, wanted.source)
        else:
            self.ledger.add(wanted.name, wanted.claim)
            self.held[wanted.name].add(wanted.claim)

    def _gives_way(self, holder: Claim, wanted: Wanted) -> bool:
        if holder.kind is Kind.VIP:
            return self.vips.gives_way(holder, wanted)
        return holder in self.lingering and holder.node == wanted.claim.node

    def _conflict(self, wanted: Wanted, against: list[Claim]) -> Conflict:
        graces = [self._until(holder) for holder in against]
        ends = [grace for grace in graces if grace is not None]
        text = refusal(wanted, against[0], self._source_of(against[0]))
        return Conflict(wanted.source, wanted.claim, text, max(ends) if len(ends) == len(graces) else None)

    def _until(self, holder: Claim) -> float | None:
        """When what somebody has becomes free by itself."""
        if holder.kind is Kind.VIP:
            return self.vips.until(holder.network)
        return self.lingering[holder].until if holder in self.lingering else None

    def _source_of(self, holder: Claim) -> str:
        """Which source says what somebody has, or said it last."""
        if holder.kind is Kind.VIP:
            return self.ledger.vips[holder.network]
        entry = self.lingering.get(holder)
        return entry.source if entry else ", ".join(said_by(self.parts, holder))

    # The result

    def _nodes(self) -> dict[str, NodeAllocation]:
        """All nodes in the order of their names, so that it does not depend on the order of events."""
        nodes = dict(self.before.allocations.nodes)
        added = False
        for name, held in self.held.items():
            known = any(name in part.nodes for part in self.parts.values())
            if not (known or held):
                nodes.pop(name, None)
                continue
            added = added or name not in nodes
            nodes[name] = self._node(name, held)
        return dict(sorted(nodes.items())) if added else nodes

    def _node(self, name: str, held: set[Claim]) -> NodeAllocation:
        """What a node has; the very object that a source said, or that was in force, wherever it is equal."""
        said = self.said[name]
        order = [claim for claim in said if claim in held]
        order += sorted((claim for claim in held if claim not in said), key=_order)
        by_kind: dict[Kind, list[Network]] = {kind: [] for kind in Kind}
        for claim in order:
            by_kind[claim.kind].append(claim.network)
        node = NodeAllocation(
            name,
            tuple(network.network_address for network in by_kind[Kind.ADDRESS]),
            tuple(by_kind[Kind.PREFIX]),
            tuple(by_kind[Kind.BORROWED]),
        )
        known = (
            self.before.allocations.nodes.get(name),
            *(part.nodes.get(name) for part in self.parts.values()),
        )
        return next((one for one in known if one == node), node)

    def _same(self, pools: Iterable[VipPool]) -> tuple[VipPool, ...]:
        """The same object where nothing changed."""
        found, before = tuple(pools), self.before.allocations.vips
        return before if found == before else found


def _place(refused: tuple[Wanted, Conflict]) -> tuple[int, bool, str, int]:
    """In the order of the sources, and in each as it says it."""
    return refused[0][1:5]


def _order(claim: Claim) -> tuple[str, int, int, int]:
    network = claim.network
    return claim.kind, network.version, int(network.network_address), network.prefixlen
