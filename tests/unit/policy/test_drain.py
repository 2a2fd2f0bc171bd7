"""A speaker that is about to go says so with every route, and sends the same routes to the same peers."""

from dataclasses import replace
from itertools import product

from hypothesis import given

from rr.policy.changes import between
from rr.policy.drain import GRACEFUL_SHUTDOWN, LAST, MARK, draining, is_draining
from rr.policy.model import NOTHING
from tests.unit.policy.interpreter import Route, exported, imported
from tests.unit.policy.worlds import EXAMPLES, World, worlds


@given(worlds())
@EXAMPLES
def test_everything_that_is_sent_is_marked_and_nothing_more_or_less_is_sent(world: World) -> None:
    serving, leaving = (world.rules.build(world.allocations, leaving=on) for on in (False, True))
    for sender, prefix in product(world.peers(), world.prefixes()):
        route = Route(prefix, world.hop(sender, prefix), communities=frozenset({"65001:7"}))
        held = imported(serving, route, sender)
        assert imported(leaving, route, sender) == held
        if held is None:
            continue
        for receiver in world.peers():
            sent = exported(serving, held, receiver)
            marked = sent and replace(
                sent, communities=sent.communities | {GRACEFUL_SHUTDOWN}, local_pref=LAST
            )
            assert exported(leaving, held, receiver) == marked


@given(worlds())
@EXAMPLES
def test_marks_come_and_go_and_leave_nothing_behind(world: World) -> None:
    serving, leaving = (world.rules.build(world.allocations, leaving=on) for on in (False, True))
    assert draining(serving, True) == draining(leaving, True) == leaving
    assert draining(leaving, False) == draining(serving, False) == serving
    assert is_draining(leaving)
    assert not is_draining(serving)


@given(worlds())
@EXAMPLES
def test_nobody_is_judged_again_and_everybody_is_sent_everything_again(world: World) -> None:
    serving, leaving = (world.rules.build(world.allocations, leaving=on) for on in (False, True))
    for change in (between(serving, leaving), between(leaving, serving)):
        assert change.edits == ()
        assert change.senders == frozenset()
        assert change.receivers is None


def test_a_policy_that_sends_nothing_sends_nothing_while_it_leaves() -> None:
    assert draining(NOTHING, True).exports == (MARK,)
