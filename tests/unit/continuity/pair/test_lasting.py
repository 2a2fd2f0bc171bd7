"""Facts count once they have lasted, and nodes are lent for once they have been missing for long enough."""

from rr.continuity.pair.lasting import Lasting
from rr.continuity.pair.lending import PATIENCE, Missing, lacking
from tests.unit.policy.worlds import networks


def test_a_fact_counts_once_it_has_lasted_and_no_longer_than_it_is_true() -> None:
    facts = Lasting(3.0)
    assert facts.see(["a"], 10.0) == ([], [])
    assert facts.see(["a"], 12.9) == ([], [])
    assert facts.see(["a", "b"], 13.0) == (["a"], [])
    assert facts.see(["a", "b"], 14.0) == ([], [])
    assert facts.counting() == {"a": 10.0}
    assert facts.see(["b"], 15.0) == ([], ["a"])
    assert facts.counting() == {}


def test_a_fact_that_flickers_never_counts() -> None:
    facts = Lasting(3.0)
    for second in range(20):
        assert facts.see(["a"] if second % 3 else [], float(second)) == ([], [])


def test_nobody_is_missing_before_anybody_can_have_been_for_long_enough() -> None:
    missing = Missing()
    assert missing.see(["node-1"], 100.0) is None
    assert missing.see(["node-1", "node-2"], 100.0 + PATIENCE - 0.1) is None
    assert missing.see(["node-1", "node-2"], 100.0 + PATIENCE) == frozenset({"node-1"})
    assert missing.see(["node-2"], 100.0 + 2 * PATIENCE) == frozenset({"node-2"})


def test_a_node_that_comes_back_is_not_missing_until_it_was_gone_for_long_again() -> None:
    missing = Missing()
    missing.see(["node-1"], 0.0)
    assert missing.see([], PATIENCE) == frozenset()
    assert missing.see(["node-1"], PATIENCE + 1) == frozenset()
    assert missing.see(["node-1"], 2 * PATIENCE + 1) == frozenset({"node-1"})


def test_a_prefix_lacks_where_all_who_announce_it_are_missing() -> None:
    pod, vip, other, nobody = networks("10.244.1.0/24", "10.100.0.1/32", "10.244.2.0/24", "10.9.0.0/24")
    announced = {
        pod: frozenset({"node-1"}),
        vip: frozenset({"node-1", "node-2"}),
        other: frozenset({"node-2"}),
        nobody: frozenset[str](),
    }
    assert lacking(frozenset({"node-1"}), announced) == {pod}
    assert lacking(frozenset({"node-1", "node-2"}), announced) == {pod, vip, other}
