"""Other sources in rr.yaml: what the old ones said stays until the new ones have spoken, and then the guard judges."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from rr.config.model import Guard
from rr.ipam.allocations import EMPTY, Allocations
from rr.ipam.document import parse
from rr.ipam.keeper import Decision, Keeper
from rr.ipam.rows import differences, source_names, sources, state_of
from tests.unit.ipam.test_keeper import bad, good, nodes

GUARD = Guard(max_removed=0.2)
WITH_VIPS = parse(
    "nodes: {node-1: {addresses: [10.2.0.1], prefixes: [10.9.1.0/24]}}\n"
    "vips: [{prefixes: [10.100.0.0/24], nodes: [node-1]}, {prefixes: [10.101.0.0/24]}]"
)


def reading(path: Path, *names: str, grace: float = 0.0, now: list[float] | None = None) -> Keeper:
    times = now or [2000.0]
    return Keeper(path, GUARD, names, clock=lambda: times[0], grace=grace)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """One that has read `old`, fifty nodes."""
    keeper = reading(tmp_path, "old")
    keeper.consider(good(nodes(50), "old"))
    return keeper


def error_of(keeper: Keeper, name: str) -> str:
    return next(str(row["error"]) for row in sources(keeper, {}, {}) if row["source"] == name)


class TestReplaced:
    """A source is called something else, or another takes its place."""

    @pytest.mark.parametrize("grace", [0.0, 60.0])
    @pytest.mark.parametrize("said", [nodes(50), WITH_VIPS])
    def test_by_one_that_says_the_same_changes_nothing(
        self, tmp_path: Path, said: Allocations, grace: float
    ) -> None:
        keeper = reading(tmp_path, "old", grace=grace)
        keeper.consider(good(said, "old"))
        for decision in (keeper.configure(GUARD, ["new"], grace), keeper.consider(good(said, "new"))):
            assert (decision.changed, decision.held) == (False, False)
            assert keeper.allocations == said
        assert source_names(keeper) == ["new"]
        assert set(keeper.parts) == {"new"}

    def test_what_it_said_stays_until_the_new_one_speaks(self, keeper: Keeper) -> None:
        assert not keeper.configure(GUARD, ["new"], 0).changed
        assert keeper.allocations == nodes(50)
        assert state_of(keeper, "old") == ("removed", 2000.0)
        assert error_of(keeper, "old") == (
            "old is no longer configured; what it said stays in force until new has said something"
        )

    def test_a_new_one_that_fails_takes_nothing(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        for _ in range(3):
            assert not keeper.consider(bad("new")).changed
        assert keeper.allocations == nodes(50)
        assert state_of(keeper, "old")[0] == "removed"

    def test_one_that_says_far_less_is_held_and_accepted_as_a_whole(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        decision = keeper.consider(good(nodes(10), "new"))
        assert decision.reason.startswith("held back: new instead of old removes 40 of 50 prefixes")
        assert keeper.allocations == nodes(50)
        assert error_of(keeper, "old").endswith("stays in force until what new said is judged")
        assert len([row for row in differences(keeper) if row["state"] == "held"]) == 80
        assert keeper.accept(digest=keeper.held["new"].digest).changed
        assert keeper.allocations == nodes(10)
        assert source_names(keeper) == ["new"]

    def test_what_is_another_clusters_is_held_whatever_it_adds(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        assert keeper.consider(good(nodes(195, first=60), "new")).held
        assert keeper.allocations == nodes(50)

    def test_one_that_was_held_and_says_the_same_then_is_good(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        assert keeper.consider(good(EMPTY, "new")).held
        decision = keeper.consider(good(nodes(50), "new"))
        assert (decision.changed, decision.held) == (False, False)
        assert source_names(keeper) == ["new"]

    def test_one_that_is_rejected_leaves_all_as_it_was(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        keeper.consider(good(EMPTY, "new"))
        assert keeper.reject() == ["new"]
        assert not keeper.consider(good(EMPTY, "new")).held
        assert keeper.allocations == nodes(50)
        assert keeper.consider(good(nodes(10), "new")).held

    def test_a_little_less_goes_when_it_speaks(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        assert len(keeper.consider(good(nodes(45), "new")).changes.revoked) == 5

    def test_what_goes_with_it_has_its_grace(self, tmp_path: Path) -> None:
        now = [1000.0]
        keeper = reading(tmp_path, "old", grace=60, now=now)
        keeper.consider(good(nodes(50), "old"))
        keeper.configure(GUARD, ["new"], 60)
        assert not keeper.consider(good(nodes(45), "new")).changes.revoked
        now[0] += 60
        assert len(keeper.sweep().changes.revoked) == 5

    def test_a_prefix_that_is_another_nodes_there_moves_in_one_step(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        other = parse("nodes: {other: {addresses: [10.3.0.1], prefixes: [10.100.0.0/24]}}")
        said = Allocations(
            {**{n: node for n, node in nodes(50).nodes.items() if n != "node-0"}, **other.nodes}
        )
        decision = keeper.consider(good(said, "new"))
        assert (len(decision.changes.granted), len(decision.changes.revoked)) == (1, 1)
        assert decision.changes.nodes_removed == ("node-0",)
        assert not decision.moves.begun

    @pytest.mark.parametrize("order", [*permutations(("b", "c", "d"))])
    def test_every_new_one_is_waited_for(self, keeper: Keeper, order: tuple[str, ...]) -> None:
        keeper.configure(GUARD, ["b", "c", "d"], 0)
        says = {"b": nodes(20), "c": nodes(20, first=20), "d": nodes(10, first=40)}
        for name in order:
            assert keeper.leaving == ("old",)
            assert not keeper.consider(good(says[name], name)).changed
        assert keeper.leaving == ()
        assert keeper.allocations == nodes(50)

    def test_the_old_name_again_is_as_if_nothing_had_been(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        keeper.consider(bad("new"))
        keeper.configure(GUARD, ["old"], 0)
        assert not keeper.consider(good(nodes(50), "old")).changed
        assert source_names(keeper) == ["old"]

    def test_it_may_be_renamed_twice_before_anybody_speaks(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        keeper.consider(good(EMPTY, "new"))
        keeper.configure(GUARD, ["newer"], 0)
        assert not keeper.held
        assert not keeper.consider(good(nodes(50), "newer")).changed
        assert source_names(keeper) == ["newer"]


class TestRemoved:
    """A source is taken out, and none is new."""

    @pytest.fixture
    def two(self, tmp_path: Path) -> Keeper:
        keeper = reading(tmp_path, "a", "b")
        keeper.consider(good(nodes(40), "a"))
        keeper.consider(good(nodes(5, first=60), "b"))
        return keeper

    def test_a_large_one_is_held_until_it_is_accepted(self, two: Keeper) -> None:
        decision = two.configure(GUARD, ["b"], 0)
        assert (decision.changed, decision.held) == (False, True)
        assert decision.reason.startswith("held back: the configuration without a removes 40 of 45 prefixes")
        assert state_of(two, "a")[0] == "held"
        assert not two.consider(good(nodes(6, first=60), "b")).changes.revoked
        assert {row["change"] for row in differences(two)} == {"revoke"}
        assert len(two.accept("a").changes.revoked) == 40
        assert source_names(two) == ["b"]
        assert two.allocations == nodes(6, first=60)

    def test_a_small_one_goes_at_once(self, two: Keeper) -> None:
        assert len(two.configure(GUARD, ["a"], 0).changes.revoked) == 5
        assert source_names(two) == ["a"]

    def test_a_small_one_has_its_grace(self, two: Keeper) -> None:
        assert not two.configure(GUARD, ["a"], 60).changes.revoked
        assert len(two.settled.lingering) == 10

    def test_a_rejected_removal_ends_when_it_is_named_again(self, two: Keeper) -> None:
        two.configure(GUARD, ["b"], 0)
        assert two.reject() == ["a"]
        assert not two.dismiss().held
        assert state_of(two, "a")[0] == "rejected"
        assert "its removal was rejected" in error_of(two, "a")
        two.configure(GUARD, ["a", "b"], 0)
        two.consider(good(nodes(40), "a"))
        assert state_of(two, "a")[0] == "good"

    def test_of_two_that_are_held_one_is_accepted(self, two: Keeper) -> None:
        two.configure(GUARD, ["c", "a", "b"], 0)
        two.consider(good(nodes(2, first=80), "c"))
        assert two.configure(Guard(max_removed=0), ["c"], 0).held
        assert set(two.held) == {"a", "b"}
        two.accept(digest=two.held["a"].digest)
        assert source_names(two) == ["c", "b"]
        assert two.allocations.size == 7

    def test_order_alone_changes_nothing(self, two: Keeper) -> None:
        assert not two.configure(GUARD, ["b", "a"], 0).changed
        assert list(two.settled.parts) == ["b", "a"]


class TestRestart:
    """The same when rrd starts again meanwhile, also where rr.yaml was changed while it was away."""

    async def again(self, keeper: Keeper, *names: str, grace: float = 0.0) -> Keeper:
        await keeper.save(at_once=True)
        found = reading(keeper.path.parent, *names, grace=grace)
        found.start()
        return found

    async def begun(self, keeper: Keeper, *names: str, grace: float = 0.0) -> tuple[Keeper, Decision]:
        found = await self.again(keeper, *names, grace=grace)
        found.begin()
        return found, found.dismiss()

    async def test_with_another_name_nothing_moves(self, keeper: Keeper) -> None:
        after, decision = await self.begun(keeper, "new")
        assert (decision.changed, after.allocations) == (False, nodes(50))
        assert state_of(after, "old") == ("removed", 2000.0)
        assert not after.consider(good(nodes(50), "new")).changed
        assert source_names(after) == ["new"]

    async def test_the_new_one_may_speak_before_it_begins(self, keeper: Keeper) -> None:
        after = await self.again(keeper, "new")
        assert not after.consider(good(nodes(50), "new")).changed
        after.begin()
        assert (after.allocations, source_names(after)) == (nodes(50), ["new"])

    async def test_what_stays_is_still_there_after_another_start(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        keeper.consider(bad("new"))
        after, _ = await self.begun(keeper, "new")
        assert after.allocations == nodes(50)
        assert after.consider(good(EMPTY, "new")).held

    async def test_what_is_gone_does_not_come_back(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        keeper.consider(good(nodes(45), "new"))
        after, _ = await self.begun(keeper, "new")
        assert (after.allocations, source_names(after)) == (nodes(45), ["new"])

    async def test_a_rejected_successor_is_still_rejected(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["new"], 0)
        keeper.consider(good(EMPTY, "new"))
        keeper.reject()
        after, _ = await self.begun(keeper, "new")
        assert not after.consider(good(EMPTY, "new")).held
        assert (state_of(after, "new")[0], after.allocations) == ("rejected", nodes(50))

    async def test_without_a_large_one_it_is_held(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["old", "b"], 0)
        keeper.consider(good(nodes(2, first=60), "b"))
        after, decision = await self.begun(keeper, "b")
        assert (decision.held, after.allocations.size) == (True, 52)

    async def test_a_rejected_removal_is_still_rejected(self, keeper: Keeper) -> None:
        keeper.configure(GUARD, ["old", "b"], 0)
        keeper.consider(good(nodes(2, first=60), "b"))
        keeper.configure(GUARD, ["b"], 0)
        keeper.reject()
        after, decision = await self.begun(keeper, "b")
        assert (decision.held, after.allocations.size) == (False, 52)
        assert state_of(after, "old")[0] == "rejected"

    async def test_vips_of_one_that_is_gone_keep_their_grace(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, None, ["old"], clock=lambda: 2000.0, grace=60)
        keeper.consider(good(WITH_VIPS, "old"))
        keeper.configure(None, ["new"], 60)
        keeper.consider(good(nodes(1), "new"))
        assert len(keeper.allocations.index.pools) == 2
        after, _ = await self.begun(keeper, "new", grace=60)
        assert after.allocations == keeper.allocations
