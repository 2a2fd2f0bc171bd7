"""A VIP that moves is both nodes' for a moment."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from rr.ipam.allocations import Allocations, VipPool
from rr.ipam.sources.kubernetes.handover import HANDOVER, Handover

VIP, OTHER = ip_network("10.100.0.1/32"), ip_network("10.100.0.2/32")


def snapshot(*nodes: str, everybody: bool = False) -> Allocations:
    return Allocations(
        {}, (VipPool((VIP,), None if everybody else frozenset(nodes)), VipPool((OTHER,), frozenset("x")))
    )


def nodes(found: Allocations) -> set[str] | None:
    pool = found.vip_pool_of(VIP)
    assert pool
    assert hash(pool) is not None, "what takes snapshots puts pools into sets"
    return None if pool.nodes is None else set(pool.nodes)


def test_a_vip_that_moves_is_both_nodes_for_a_moment() -> None:
    handover, before, after = Handover(), snapshot("a"), snapshot("b")
    assert handover.of(before, 10.0) is before
    shared = handover.of(after, 20.0)
    assert nodes(shared) == {"a", "b"}
    assert handover.due == 20.0 + HANDOVER
    assert handover.of(after, 20.5) is shared
    assert handover.of(after, 20.0 + HANDOVER) is after
    assert handover.due is None


def test_a_vip_that_keeps_a_node_is_not_handed_over() -> None:
    handover = Handover()
    handover.of(snapshot("a", "b"), 0.0)
    assert nodes(handover.of(snapshot("b", "c"), 1.0)) == {"b", "c"}


def test_a_vip_that_loses_its_last_node_is_nobodys_at_once() -> None:
    handover = Handover()
    handover.of(snapshot("a"), 0.0)
    assert nodes(handover.of(snapshot(), 1.0)) == set()
    assert nodes(handover.of(snapshot("b"), 1.1)) == {"b"}


def test_a_vip_that_goes_during_its_handover_is_nobodys_at_once() -> None:
    handover = Handover()
    handover.of(snapshot("a"), 0.0)
    handover.of(snapshot("b"), 1.0)
    assert nodes(handover.of(snapshot(), 1.1)) == set()


def test_a_vip_that_moves_on_takes_all_along_whose_moment_is_not_over() -> None:
    handover = Handover()
    handover.of(snapshot("a"), 0.0)
    handover.of(snapshot("b"), 1.0)
    assert nodes(handover.of(snapshot("c"), 1.5)) == {"a", "b", "c"}
    assert nodes(handover.of(snapshot("c"), 1.0 + HANDOVER)) == {"b", "c"}


@given(story=st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.booleans(), st.floats(0, 0.7))))
def test_it_takes_nothing_away_and_all_ends_as_it_was_said(story: list[tuple[set[str], bool, float]]) -> None:
    handover, now, last = Handover(), 0.0, snapshot()
    for names, everybody, later in story:
        now, last = now + later, snapshot(*names, everybody=everybody)
        given, said = nodes(handover.of(last, now)), nodes(last)
        assert given == said or (given and said and given > said)
    assert handover.of(last, now + HANDOVER) is last
