"""Who has it keeps it: what is in force when sources contradict themselves and each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from rr.addresses import overlap
from rr.ipam.allocations import EMPTY, Allocations, NodeAllocation, VipPool
from rr.ipam.claims import Kind
from rr.ipam.settle import NOTHING, Settled, settle
from rr.net import Network

Node = tuple[Sequence[str], Sequence[str]]


def part(
    nodes: Mapping[str, Sequence[Sequence[str]]], *vips: tuple[str, Sequence[str] | None]
) -> Allocations:
    """Nodes as `{name: (addresses, prefixes, borrowed)}`, pools as `(prefix, nodes)`."""
    return Allocations(
        {
            name: NodeAllocation(
                name,
                tuple(map(ip_address, given[0])),
                *(tuple(map(ip_network, networks)) for networks in given[1:]),
            )
            for name, given in nodes.items()
        },
        tuple(
            VipPool((ip_network(prefix),), None if names is None else frozenset(names))
            for prefix, names in vips
        ),
    )


def texts(settled: Settled) -> list[str]:
    return [conflict.text for conflict in settled.conflicts]


def prefixes(settled: Settled, node: str) -> list[str]:
    found = settled.allocations.nodes.get(node)
    return [str(p) for p in found.announces] if found else []


A1 = part({"node-1": (["10.2.0.11"], ["10.244.1.0/24"])})
B2 = part({"node-2": (["10.2.0.12"], ["10.244.1.0/24", "10.244.2.0/24"])})


class TestTheRule:
    """One thing at a time, and nothing else of the newcomer is touched."""

    def test_what_one_source_says_is_in_force_as_it_says_it(self) -> None:
        settled = settle(NOTHING, {"a": A1})
        assert settled.allocations == A1
        assert settled.allocations.nodes["node-1"] is A1.nodes["node-1"]

    def test_of_two_newcomers_the_source_named_first_gets_it(self) -> None:
        settled = settle(NOTHING, {"a": A1, "b": B2})
        assert prefixes(settled, "node-1") == ["10.244.1.0/24"]
        assert prefixes(settled, "node-2") == ["10.244.2.0/24"]
        assert texts(settled) == ["10.244.1.0/24 of node-2 (b) already belongs to node-1 (a)"]
        assert prefixes(settle(NOTHING, {"b": B2, "a": A1}), "node-2") == ["10.244.1.0/24", "10.244.2.0/24"]

    def test_within_one_source_the_node_whose_name_sorts_first_gets_it(self) -> None:
        both = Allocations({**B2.nodes, **A1.nodes})
        settled = settle(NOTHING, {"a": both})
        assert prefixes(settled, "node-1") == ["10.244.1.0/24"]
        assert texts(settled) == ["10.244.1.0/24 of node-2 (a) already belongs to node-1 (a)"]

    def test_who_has_it_keeps_it_whatever_the_order(self) -> None:
        held = settle(NOTHING, {"b": B2})
        settled = settle(held, {"a": A1, "b": B2})
        assert prefixes(settled, "node-2") == ["10.244.1.0/24", "10.244.2.0/24"]
        assert prefixes(settled, "node-1") == []
        assert texts(settled) == ["10.244.1.0/24 of node-1 (a) already belongs to node-2 (b)"]

    def test_the_newcomer_gets_it_when_the_holder_gives_it_up(self) -> None:
        settled = settle(settle(NOTHING, {"b": B2}), {"a": A1, "b": B2})
        given_up = replace(B2.nodes["node-2"], prefixes=(ip_network("10.244.2.0/24"),))
        settled = settle(settled, {"a": A1, "b": Allocations({"node-2": given_up})})
        assert prefixes(settled, "node-1") == ["10.244.1.0/24"]
        assert settled.conflicts == ()

    def test_a_prefix_that_moves_in_one_reading_moves(self) -> None:
        settled = settle(settle(NOTHING, {"a": A1}), {"a": Allocations(B2.nodes)})
        assert prefixes(settled, "node-2") == ["10.244.1.0/24", "10.244.2.0/24"]
        assert "node-1" not in settled.allocations.nodes

    def test_a_node_in_two_sources_has_what_both_say(self) -> None:
        more = part({"node-1": (["10.2.0.11", "10.2.0.99"], ["10.244.9.0/24"])})
        settled = settle(NOTHING, {"a": A1, "b": more})
        assert prefixes(settled, "node-1") == ["10.244.1.0/24", "10.244.9.0/24"]
        assert [str(a) for a in settled.allocations.nodes["node-1"].addresses] == ["10.2.0.11", "10.2.0.99"]

    def test_a_prefix_that_grows_goes_before_a_newcomer(self) -> None:
        held = settle(NOTHING, {"z": A1})
        grown = part({"node-1": (["10.2.0.11"], ["10.244.0.0/23"])})
        other = part({"node-0": (["10.2.0.10"], ["10.244.0.0/24"])})
        settled = settle(held, {"a": other, "z": grown})
        assert prefixes(settled, "node-1") == ["10.244.0.0/23"]
        assert texts(settled) == ["10.244.0.0/24 of node-0 (a) overlaps 10.244.0.0/23 of node-1 (z)"]

    def test_prefixes_of_one_node_that_overlap_are_a_conflict_too(self) -> None:
        more = part({"node-1": (["10.2.0.11"], ["10.244.1.0/25"])})
        settled = settle(NOTHING, {"a": A1, "b": more})
        assert prefixes(settled, "node-1") == ["10.244.1.0/24"]
        assert texts(settled) == ["10.244.1.0/25 of node-1 (b) overlaps 10.244.1.0/24 of the same node (a)"]

    def test_one_address_of_two_nodes_stays_with_the_first(self) -> None:
        other = part({"node-2": (["10.2.0.11", "10.2.0.12"], ["10.244.2.0/24"])})
        settled = settle(settle(NOTHING, {"a": A1}), {"b": other, "a": A1})
        assert settled.allocations.node_at(ip_address("10.2.0.11")) == A1.nodes["node-1"]
        assert [str(a) for a in settled.allocations.nodes["node-2"].addresses] == ["10.2.0.12"]
        assert texts(settled) == ["10.2.0.11 of node-2 (b) is already an address of node-1 (a)"]

    def test_a_source_that_is_no_longer_there_holds_nothing(self) -> None:
        settled = settle(settle(NOTHING, {"a": A1, "b": B2}), {"b": B2})
        assert settled.allocations == B2
        assert settled.conflicts == ()


class TestBorrowing:
    """Host routes inside a block of another node."""

    LENT = part(
        {"node-1": (["10.2.0.11"], ["10.244.1.0/24"]), "node-2": (["10.2.0.12"], [], ["10.244.1.5/32"])}
    )

    def test_it_is_in_force_beside_the_block(self) -> None:
        settled = settle(NOTHING, {"a": self.LENT})
        assert settled.allocations == self.LENT
        assert settled.conflicts == ()

    def test_two_borrowers_are_a_conflict(self) -> None:
        thief = part({"node-3": (["10.2.0.13"], [], ["10.244.1.5/32"])})
        settled = settle(settle(NOTHING, {"a": self.LENT}), {"0": thief, "a": self.LENT})
        assert prefixes(settled, "node-3") == []
        assert texts(settled) == ["10.244.1.5/32, borrowed by node-3 (0), is already borrowed by node-2 (a)"]

    def test_what_another_owns_exactly_cannot_be_borrowed_and_the_other_way_round(self) -> None:
        host = part({"node-3": (["10.2.0.13"], ["10.244.7.7/32"])})
        wants = part({"node-4": (["10.2.0.14"], [], ["10.244.7.7/32"])})
        assert texts(settle(NOTHING, {"a": host, "b": wants})) == [
            "10.244.7.7/32, borrowed by node-4 (b), already belongs to node-3 (a)"
        ]
        assert texts(settle(NOTHING, {"b": wants, "a": host})) == [
            "10.244.7.7/32 of node-3 (a) is already borrowed by node-4 (b)"
        ]

    def test_it_stays_when_the_block_moves_or_goes(self) -> None:
        settled = settle(NOTHING, {"a": self.LENT})
        moved = Allocations(
            {"node-2": replace(self.LENT.nodes["node-2"], prefixes=(ip_network("10.244.1.0/24"),))}
        )
        settled = settle(settled, {"a": moved})
        assert prefixes(settled, "node-2") == ["10.244.1.0/24", "10.244.1.5/32"]
        settled = settle(settled, {"a": Allocations({"node-2": self.LENT.nodes["node-2"]})})
        assert prefixes(settled, "node-2") == ["10.244.1.5/32"]


class TestVips:
    """VIP prefixes belong to the source that has them."""

    def test_a_pool_as_two_sources_say_it_is_one(self) -> None:
        pool = part({}, ("10.100.0.0/24", ["node-1"]))
        settled = settle(NOTHING, {"a": pool, "b": pool})
        assert settled.allocations.vips == pool.vips
        assert settled.conflicts == ()
        assert settle(settled, {"a": EMPTY, "b": pool}).allocations.vips == pool.vips

    def test_a_pool_open_to_other_nodes_is_a_conflict(self) -> None:
        one, other = part({}, ("10.100.0.0/24", ["node-1"])), part({}, ("10.100.0.0/24", ["node-2"]))
        settled = settle(settle(NOTHING, {"b": other}), {"a": one, "b": other})
        assert settled.allocations.vips == other.vips
        assert texts(settled) == ["the VIP prefix 10.100.0.0/24 (a) is already open to other nodes (b)"]
        assert settle(settled, {"a": one, "b": EMPTY}).allocations.vips == one.vips

    def test_who_has_a_pool_may_open_it_to_others(self) -> None:
        one, other = part({}, ("10.100.0.0/24", ["node-1"])), part({}, ("10.100.0.0/24", ["node-3"]))
        settled = settle(settle(NOTHING, {"b": other}), {"a": one, "b": other})
        moved = part({}, ("10.100.0.0/24", ["node-4"]))
        settled = settle(settled, {"a": one, "b": moved})
        assert settled.allocations.vips == moved.vips
        assert len(settled.conflicts) == 1

    def test_a_pool_that_overlaps_anything_else_is_a_conflict(self) -> None:
        base = part(
            {"node-1": (["10.2.0.11"], ["10.244.1.0/24"], ["10.249.0.5/32"])}, ("10.100.0.0/24", None)
        )
        new = part(
            {},
            ("10.244.1.7/32", None),
            ("10.100.0.0/25", None),
            ("10.2.0.0/28", None),
            ("10.249.0.0/24", None),
        )
        settled = settle(NOTHING, {"a": base, "b": new})
        assert settled.allocations == base
        assert texts(settled) == [
            "the VIP prefix 10.244.1.7/32 (b) overlaps 10.244.1.0/24 of node-1 (a)",
            "the VIP prefix 10.100.0.0/25 (b) overlaps the VIP prefix 10.100.0.0/24 (a)",
            "the VIP prefix 10.2.0.0/28 (b) holds 10.2.0.11, an address of node-1 (a)",
            "the VIP prefix 10.249.0.0/24 (b) holds 10.249.0.5/32, borrowed by node-1 (a)",
        ]

    def test_a_node_that_comes_into_a_pool_is_refused_that(self) -> None:
        pool = part({}, ("10.100.0.0/24", None))
        node = part(
            {"node-1": (["10.100.0.9", "10.2.0.11"], ["10.100.0.8/29", "10.244.1.0/24"], ["10.100.0.3/32"])}
        )
        settled = settle(settle(NOTHING, {"b": pool}), {"a": node, "b": pool})
        assert prefixes(settled, "node-1") == ["10.244.1.0/24"]
        assert texts(settled) == [
            "10.100.0.9 of node-1 (a) overlaps the VIP prefix 10.100.0.0/24 (b)",
            "10.100.0.8/29 of node-1 (a) overlaps the VIP prefix 10.100.0.0/24 (b)",
            "10.100.0.3/32, borrowed by node-1 (a), overlaps the VIP prefix 10.100.0.0/24 (b)",
        ]

    def test_a_pool_that_is_cut_anew_stays_with_its_source(self) -> None:
        whole = part({}, ("10.100.0.0/24", None))
        rival = part({}, ("10.100.0.0/26", ["node-9"]))
        settled = settle(settle(NOTHING, {"b": whole}), {"a": rival, "b": whole})
        halves = part({}, ("10.100.0.0/25", None), ("10.100.0.128/25", None))
        settled = settle(settled, {"a": rival, "b": halves})
        assert settled.allocations.vips == halves.vips


class TestGrace:
    """What no source says any more stays for a while."""

    GRACE = 60.0

    def after(self, *steps: tuple[float, Mapping[str, Allocations]]) -> Settled:
        settled = NOTHING
        for now, parts in steps:
            settled = settle(settled, parts, now=now, grace=self.GRACE)
        return settled

    def test_a_revoked_prefix_stays_until_its_grace_is_over(self) -> None:
        less = Allocations({"node-1": replace(A1.nodes["node-1"], prefixes=())})
        assert prefixes(self.after((0, {"a": A1}), (100, {"a": less})), "node-1") == ["10.244.1.0/24"]
        settled = self.after((0, {"a": A1}), (100, {"a": less}), (159, {"a": less}))
        assert settled.allocations == A1
        assert settled.due == 160
        assert prefixes(self.after((0, {"a": A1}), (100, {"a": less}), (160, {"a": less})), "node-1") == []

    def test_one_that_is_said_again_meanwhile_never_went_and_counts_anew_later(self) -> None:
        less = Allocations({"node-1": replace(A1.nodes["node-1"], prefixes=())})
        settled = self.after((0, {"a": A1}), (100, {"a": less}), (150, {"a": A1}), (170, {"a": A1}))
        assert (settled.allocations, settled.due) == (A1, None)
        assert settle(settled, {"a": less}, now=180, grace=self.GRACE).due == 240

    def test_a_node_that_is_deleted_stays_whole(self) -> None:
        assert self.after((0, {"a": A1}), (100, {"a": EMPTY})).allocations == A1
        assert self.after((0, {"a": A1}), (100, {"a": EMPTY}), (160, {"a": EMPTY})).allocations == EMPTY

    def test_nobody_else_gets_it_meanwhile_and_then_at_once(self) -> None:
        moved = Allocations(B2.nodes)
        settled = self.after((0, {"a": A1}), (100, {"a": moved}))
        assert prefixes(settled, "node-1") == ["10.244.1.0/24"]
        assert prefixes(settled, "node-2") == ["10.244.2.0/24"]
        assert [conflict.until for conflict in settled.conflicts] == [160]
        settled = settle(settled, {"a": moved}, now=160, grace=self.GRACE)
        assert prefixes(settled, "node-2") == ["10.244.1.0/24", "10.244.2.0/24"]
        assert settled.conflicts == ()

    def test_the_nodes_own_bigger_prefix_need_not_wait(self) -> None:
        grown = part({"node-1": (["10.2.0.11"], ["10.244.0.0/23"])})
        settled = self.after((0, {"a": A1}), (100, {"a": grown}))
        assert prefixes(settled, "node-1") == ["10.244.0.0/23"]
        assert settled.due is None

    def test_nodes_leave_a_pool_one_by_one(self) -> None:
        pool = [
            part({}, ("10.100.0.1/32", names)) for names in (["node-1", "node-2"], ["node-2"], ["node-3"])
        ]
        settled = self.after((0, {"a": pool[0]}), (10, {"a": pool[1]}), (30, {"a": pool[2]}))
        (found,) = settled.allocations.vips
        assert found.nodes == frozenset({"node-1", "node-2", "node-3"})
        (found,) = settle(settled, {"a": pool[2]}, now=70, grace=self.GRACE).allocations.vips
        assert found.nodes == frozenset({"node-2", "node-3"})
        settled = settle(settled, {"a": pool[2]}, now=90, grace=self.GRACE)
        assert settled.allocations.vips == pool[2].vips
        assert settled.due is None

    def test_a_pool_for_all_that_closes_stays_open_to_all(self) -> None:
        wide, narrow = part({}, ("10.100.0.0/24", None)), part({}, ("10.100.0.0/24", ["node-1"]))
        settled = self.after((0, {"a": wide}), (10, {"a": narrow}))
        assert settled.allocations.vips == wide.vips
        assert settle(settled, {"a": narrow}, now=70, grace=self.GRACE).allocations.vips == narrow.vips

    def test_a_pool_that_is_removed_stays_for_its_grace(self) -> None:
        wide = part({}, ("10.100.0.0/24", None))
        settled = self.after((0, {"a": wide}), (10, {"a": EMPTY}))
        assert settled.allocations.vips == wide.vips
        assert settle(settled, {"a": EMPTY}, now=70, grace=self.GRACE).allocations == EMPTY


# Any events at all

NAMES = ("n1", "n2", "n3")
SOURCES = ("a", "b", "c")
HOSTS = tuple(ip_address(f"10.2.0.{n}") for n in (1, 2, 3, 100))
BLOCKS = tuple(
    map(
        ip_network, ("10.4.0.0/22", "10.4.0.0/24", "10.4.1.0/24", "10.4.1.0/25", "10.4.2.7/32", "fd00:1::/64")
    )
)
ROUTES = tuple(map(ip_network, ("10.4.1.5/32", "10.4.2.7/32", "10.9.0.1/32")))
POOLS = tuple(map(ip_network, ("10.9.0.0/24", "10.9.0.0/25", "10.9.0.1/32", "10.2.0.96/28", "10.4.2.0/24")))


T = TypeVar("T")


def some(of: Sequence[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(st.sampled_from(of), unique=True, max_size=2).map(tuple)


@st.composite
def said(draw: st.DrawFn) -> Allocations:
    """What a source may say, contradictions included."""
    nodes = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        nodes[name] = NodeAllocation(name, draw(some(HOSTS)), draw(some(BLOCKS)), draw(some(ROUTES)))
    open_to = st.none() | st.frozensets(st.sampled_from(NAMES), max_size=2)
    vips = tuple(
        VipPool(
            tuple(draw(st.lists(st.sampled_from(POOLS), unique=True, min_size=1, max_size=2))), draw(open_to)
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    return Allocations(nodes, vips)


events = st.lists(
    st.tuples(st.sampled_from(SOURCES), said() | st.none(), st.floats(0, 40)), min_size=1, max_size=12
)
"""Which source says what (None: it is taken out of the configuration), and after how many seconds."""
EXAMPLES = settings(max_examples=100, deadline=None)


def played(happened: Sequence[tuple[str, Allocations | None, float]], grace: float) -> list[Settled]:
    now, parts, found = 0.0, dict[str, Allocations](), [NOTHING]
    for source, snapshot, later in happened:
        now += later
        parts = {name: parts[name] for name in SOURCES if name in parts and name != source}
        if snapshot is not None:
            parts[source] = snapshot
        found.append(settle(found[-1], {s: parts[s] for s in SOURCES if s in parts}, now=now, grace=grace))
    return found


def tokens(allocations: Allocations) -> set[tuple[Any, ...]]:
    """Everything that is in force, one by one."""
    found: set[tuple[Any, ...]] = set()
    for node in allocations.nodes.values():
        found |= {(node.name, Kind.ADDRESS, a) for a in node.addresses}
        found |= {(node.name, Kind.PREFIX, p) for p in node.prefixes}
        found |= {(node.name, Kind.BORROWED, p) for p in node.borrowed}
    for pool in allocations.vips:
        found |= {(name, Kind.VIP, p) for p in pool.prefixes for name in pool.nodes or (None,)}
    return found


def contradictions(allocations: Allocations) -> list[object]:
    """What overlaps and must not, found by trying all pairs."""
    nodes = allocations.nodes.values()
    blocks: list[tuple[object, Network]] = [(node.name, p) for node in nodes for p in node.prefixes]
    blocks += [("vip", p) for pool in allocations.vips for p in pool.prefixes]
    found: list[object] = [
        (one, other) for i, one in enumerate(blocks) for other in blocks[:i] if overlap(one[1], other[1])
    ]
    addresses = [a for node in nodes for a in node.addresses]
    found += [a for a in set(addresses) if addresses.count(a) > 1]
    borrowed = [p for node in nodes for p in node.borrowed]
    found += [p for p in set(borrowed) if borrowed.count(p) > 1]
    owned = {p: name for name, p in blocks}
    found += [(node.name, p) for node in nodes for p in node.borrowed if owned.get(p, node.name) != node.name]
    hosts = [ip_network(a) for a in addresses] + borrowed
    found += [(p, h) for pool in allocations.vips for p in pool.prefixes for h in hosts if overlap(p, h)]
    return found


@given(events, st.sampled_from((0.0, 30.0)))
@EXAMPLES
def test_what_is_in_force_never_contradicts_itself(happened, grace) -> None:  # type: ignore[no-untyped-def]
    for settled in played(happened, grace):
        assert contradictions(settled.allocations) == []


@given(events, st.sampled_from((0.0, 30.0)))
@EXAMPLES
def test_who_has_it_keeps_it_for_as_long_as_it_is_said(happened, grace) -> None:  # type: ignore[no-untyped-def]
    steps = played(happened, grace)
    for before, after in pairwise(steps):
        nodes = {
            token
            for part in after.parts.values()
            for token in tokens(Allocations(part.nodes))
            if token in tokens(Allocations(before.allocations.nodes))
        }
        assert nodes <= tokens(after.allocations)


@given(events, st.sampled_from((0.0, 30.0)))
@EXAMPLES
def test_nothing_is_in_force_that_nobody_says_or_that_has_no_grace(happened, grace) -> None:  # type: ignore[no-untyped-def]
    for settled in played(happened, grace):
        known = {token for part in settled.parts.values() for token in tokens(part)}
        for claim in settled.lingering:
            value = claim.network.network_address if claim.kind is Kind.ADDRESS else claim.network
            known.add((claim.node, claim.kind, value))
        assert tokens(settled.allocations) <= known | {(None, Kind.VIP, p) for p in POOLS if grace}


@given(events)
@EXAMPLES
def test_every_claim_is_in_force_or_refused(happened) -> None:  # type: ignore[no-untyped-def]
    for settled in played(happened, 0.0):
        refused = {(c.claim.node, c.claim.kind, c.claim.network) for c in settled.conflicts}
        for part in settled.parts.values():
            for node, kind, value in tokens(Allocations(part.nodes)) - tokens(settled.allocations):
                assert (node, kind, ip_network(value)) in refused


def one_of(**kinds: str) -> tuple[tuple[Kind, Any], ...]:
    """What one place may be, each thing with its kind."""
    found = [(Kind[kind.upper()], text) for kind, texts in kinds.items() for text in texts.split()]
    return tuple((kind, (ip_address if kind is Kind.ADDRESS else ip_network)(text)) for kind, text in found)


PLACES = (
    one_of(address="10.2.0.1"),
    one_of(address="10.2.0.2"),
    one_of(address="10.2.0.100", vip="10.2.0.96/28"),
    one_of(prefix="10.4.0.0/24"),
    one_of(prefix="10.4.1.0/24 10.4.1.0/25"),
    one_of(borrowed="10.4.1.5/32"),
    one_of(prefix="10.4.2.0/24", borrowed="10.4.2.7/32", vip="10.4.2.0/24"),
    one_of(prefix="fd00:1::/64"),
    one_of(prefix="10.9.0.0/25", vip="10.9.0.0/25"),
    one_of(vip="10.9.0.128/25"),
)
"""Nothing in one of them stands against anything in another, whoever has it."""
NAMED = st.none() | st.frozensets(st.sampled_from(NAMES), max_size=2)
HELD = [
    st.tuples(st.sampled_from((*SOURCES, None)), st.sampled_from(place), st.sampled_from(NAMES), NAMED)
    for place in PLACES
]
"""For each place: which source has it if any, as what, for which node, or for which nodes where it is a VIP prefix."""


def part_of(source: str, held: Sequence[Any]) -> Allocations:
    """What a source says of what it has."""
    nodes: dict[str, dict[Kind, list[Any]]] = {}
    vips: list[VipPool] = []
    for owner, (kind, value), name, names in held:
        if owner == source and kind is Kind.VIP:
            vips.append(VipPool((value,), names))
        elif owner == source:
            nodes.setdefault(name, {}).setdefault(kind, []).append(value)
    kinds = (Kind.ADDRESS, Kind.PREFIX, Kind.BORROWED)
    return Allocations(
        {
            name: NodeAllocation(name, *(tuple(has.get(kind, ())) for kind in kinds))
            for name, has in nodes.items()
        },
        tuple(vips),
    )


@st.composite
def handed_over(draw: st.DrawFn) -> list[tuple[str, Allocations | None, float]]:
    """After anything at all, each place is one source's; some change hands, and each source says so when it likes."""
    happened = draw(st.just([]) | events)
    held = draw(st.tuples(*HELD))
    for _ in range(draw(st.integers(2, 6))):
        moved = draw(st.sets(st.integers(0, len(PLACES) - 1), max_size=4))
        held = tuple(draw(HELD[n]) if n in moved else one for n, one in enumerate(held))
        for source in draw(st.permutations(SOURCES)):
            happened = [*happened, (source, part_of(source, held), draw(st.floats(0, 40)))]
    return happened


def test_events_end_where_one_list_of_the_final_state_does() -> None:
    # Of each example: whether several sources have something at the end, whether they share a node, whether there were
    # contradictions on the way.
    several, split, disputed = [], [], []

    @given(handed_over(), st.sampled_from((0.0, 30.0)))
    @EXAMPLES
    def each(happened: list[tuple[str, Allocations | None, float]], grace: float) -> None:
        steps = played(happened, grace)
        last = steps[-1]
        settled = settle(last, last.parts, now=10_000.0, grace=grace)
        fresh = settle(NOTHING, last.parts)
        listed = fresh.allocations
        assert fresh.conflicts == ()
        assert settled.allocations.digest() == listed.digest()
        assert settled.allocations.nodes == listed.nodes
        assert list(settled.allocations.nodes) == list(listed.nodes)
        assert settled.allocations.vips == listed.vips
        assert (settled.conflicts, settled.due) == ((), None)
        parts = last.parts.values()
        several.append(sum(bool(part.nodes or part.vips) for part in parts) > 1)
        split.append(any(sum(name in part.nodes for part in parts) > 1 for name in NAMES))
        disputed.append(any(step.conflicts for step in steps))

    each()
    for what in (several, split, disputed):
        assert sum(what) > len(what) / 3, "the examples are too tame to show anything"


@given(events, st.sampled_from((0.0, 30.0)))
@EXAMPLES
def test_saying_the_same_again_changes_nothing(happened, grace) -> None:  # type: ignore[no-untyped-def]
    last = played(happened, grace)[-1]
    again = settle(last, dict(last.parts), now=0.0, grace=grace)
    assert (again.allocations, again.lingering) == (last.allocations, last.lingering)
    # Where a claim contradicts several others, any of them may be the one that is named.
    assert [(c.source, c.claim) for c in again.conflicts] == [(c.source, c.claim) for c in last.conflicts]


def many(count: int) -> Allocations:
    """Nodes with an address and a prefix of each family and one more."""
    return part(
        {
            f"node-{n}": (
                [f"10.{n // 250}.{n % 250}.11", f"fd00:2::{n:x}"],
                [
                    f"10.{100 + n // 250}.{n % 250}.0/25",
                    f"10.{100 + n // 250}.{n % 250}.128/26",
                    f"fd00:10:{n:x}::/64",
                ],
            )
            for n in range(count)
        }
    )


def test_one_changed_node_of_five_thousand_takes_a_few_milliseconds() -> None:
    snapshot = many(5000)
    settled = settle(NOTHING, {"a": snapshot, "b": EMPTY})
    took = []
    for n in range(20):
        node = replace(snapshot.nodes[f"node-{n}"], prefixes=(ip_network(f"10.200.{n}.0/24"),))
        snapshot = Allocations({**snapshot.nodes, node.name: node})
        began = time.process_time()
        settled = settle(settled, {"a": snapshot, "b": EMPTY})
        took.append(time.process_time() - began)
    assert settled.allocations == snapshot
    print(f"\n{min(took) * 1000:.2f} ms")
    assert min(took) < 0.02, "a few milliseconds on an idle machine"


def test_five_thousand_new_nodes_are_settled_in_linear_time() -> None:
    snapshot = many(5000)
    began = time.process_time()
    settle(NOTHING, {"a": snapshot})
    took = time.process_time() - began
    print(f"\n{took * 1000:.0f} ms")
    assert took < 5, "a quarter of a second on an idle machine"
