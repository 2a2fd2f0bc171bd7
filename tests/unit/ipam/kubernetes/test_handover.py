"""A VIP that moves is both nodes' for a moment."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
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


def test_who_leaves_goes_at_once_where_somebody_who_remains_has_been_there_for_long() -> None:
    handover, after = Handover(), snapshot("b", "c")
    handover.of(snapshot("a", "b"), 0.0)
    assert handover.of(after, HANDOVER) is after
    assert handover.due is None


def test_a_rolling_update_whose_new_node_came_just_before_hands_over_too() -> None:
    handover, after = Handover(), snapshot("b")
    handover.of(snapshot("a"), 0.0)
    assert nodes(handover.of(snapshot("a", "b"), 10.0)) == {"a", "b"}
    assert nodes(handover.of(after, 10.02)) == {"a", "b"}
    assert handover.due == 10.0 + HANDOVER, "b was there since then"
    assert nodes(handover.of(after, 10.0 + HANDOVER - 0.01)) == {"a", "b"}
    assert handover.of(after, 10.0 + HANDOVER) is after
    assert handover.due is None


def test_it_does_not_matter_whether_steps_are_seen_one_by_one() -> None:
    stepwise, at_once = Handover(), Handover()
    for handover in (stepwise, at_once):
        handover.of(snapshot("a"), 0.0)
    stepwise.of(snapshot("a", "b"), 10.0)
    assert nodes(stepwise.of(snapshot("b"), 10.0)) == nodes(at_once.of(snapshot("b"), 10.0)) == {"a", "b"}
    assert stepwise.due == at_once.due


def test_who_comes_back_counts_from_then_on() -> None:
    """Its agent has taken the announcement back meanwhile, as far as anybody knows."""
    handover = Handover()
    handover.of(snapshot("a"), 0.0)
    handover.of(snapshot("b"), 10.0)
    assert nodes(handover.of(snapshot("a"), 10.5)) == {"a", "b"}
    assert handover.due == 10.5 + HANDOVER


def test_the_end_is_due_also_when_other_things_change_meanwhile() -> None:
    handover, after = Handover(), snapshot("b")
    handover.of(snapshot("a"), 0.0)
    handover.of(after, 10.0)
    grown = Allocations({"b": NodeAllocation("b", ())}, after.vips)
    shared = handover.of(grown, 10.5)
    assert (nodes(shared), shared.nodes) == ({"a", "b"}, grown.nodes)
    assert handover.due == 10.0 + HANDOVER
    assert handover.of(grown, 10.0 + HANDOVER) is grown


def test_a_vip_that_becomes_everybodys_is_handed_over_by_nobody() -> None:
    handover, everybody = Handover(), snapshot(everybody=True)
    handover.of(snapshot("a"), 0.0)
    handover.of(snapshot("b"), 10.0)
    assert handover.of(everybody, 10.1) is everybody
    assert handover.due is None


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


SIXTEENTHS = st.integers(0, 12).map(lambda number: number / 16)
"""Seconds that add up exactly."""
Story = list[tuple[set[str], bool, float]]
STORIES = st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.booleans(), SIXTEENTHS))


@given(story=STORIES)
def test_it_takes_nothing_away_and_all_ends_as_it_was_said(story: Story) -> None:
    handover, now, last = Handover(), 0.0, snapshot()
    for names, everybody, later in story:
        now, last = now + later, snapshot(*names, everybody=everybody)
        given, said = nodes(handover.of(last, now)), nodes(last)
        assert given == said or (given and said and given > said)
    assert handover.of(last, now + HANDOVER) is last


@given(story=STORIES)
def test_only_who_left_just_now_stays_and_somebody_who_may_could_long_enough(story: Story) -> None:
    """Read at each change and whenever it is due, of a VIP that is never everybody's."""
    handover, now, last = Handover(), 0.0, snapshot()
    said: set[str] = set()
    left: dict[str, float] = {}
    may: dict[str, float] = {}
    for names, _, later in story:
        change = now + later
        while True:
            now = change if handover.due is None else min(change, handover.due)
            if now == change:
                left |= dict.fromkeys(said - names, now)
                last, said = snapshot(*names), names
            given = nodes(handover.of(last, now)) or set()
            assert handover.due is None or handover.due > now
            assert all(now - left[name] < HANDOVER for name in given - said)
            began = min(may.values(), default=now)
            may = {name: may.get(name, now) for name in given}
            assert not may or min(may.values()) <= max(began, now - HANDOVER)
            if now == change:
                break
