"""Which allocations are in force: the guard, the last good ones, and what stands on disk."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr import files
from rr.config.model import Guard
from rr.errors import RRError
from rr.ipam import store
from rr.ipam.allocations import EMPTY, Allocations
from rr.ipam.claims import Kind
from rr.ipam.document import parse, render
from rr.ipam.keeper import Keeper
from rr.ipam.moves import Move
from rr.ipam.reading import Reading
from rr.ipam.restore import restore
from rr.ipam.rows import allocations, differences, sources, state_of, status
from rr.ipam.store import Part, State
from tests.unit.ipam.test_settle import EXAMPLES, events, many, played, tokens

FILE = "file:/etc/rr/allocations.yaml"


def nodes(count: int, prefixes: int = 1, first: int = 0) -> Allocations:
    """`count` nodes with `prefixes` prefixes each."""
    return parse(
        "nodes: {"
        + ", ".join(
            f"node-{n}: {{addresses: [10.2.{n // 200}.{n % 200 + 1}], "
            f"prefixes: [{', '.join(f'10.{100 + p}.{n}.0/24' for p in range(prefixes))}]}}"
            for n in range(first, first + count)
        )
        + "}"
    )


def good(allocations: Allocations, source: str = FILE, at: float = 1000.0) -> Reading:
    return Reading(source, allocations, None, at)


def bad(source: str = FILE, at: float = 1000.0) -> Reading:
    return Reading(source, None, RRError("it is broken", "mend it"), at)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path, clock=lambda: 2000.0)


def guarded(path: Path, share: float) -> Keeper:
    return Keeper(path, Guard(max_removed=share))


def test_before_the_first_reading_nothing_is_allocated(keeper: Keeper) -> None:
    assert keeper.allocations is EMPTY
    assert not keeper.known
    assert status(keeper)["known"] is False


def test_the_first_good_reading_is_in_force_at_once(keeper: Keeper) -> None:
    decision = keeper.consider(good(nodes(3)))
    assert (decision.changed, decision.held) == (True, False)
    assert keeper.allocations is decision.allocations
    assert (
        decision.reason == f"3 nodes own 3 prefixes ({FILE}); 3 granted, 0 revoked; 3 nodes added, 0 removed"
    )


def test_the_same_again_changes_nothing(keeper: Keeper) -> None:
    keeper.consider(good(nodes(3)))
    decision = keeper.consider(good(nodes(3)))
    assert not decision.changed
    assert decision.reason == f"{FILE} says nothing new"


def test_an_empty_document_is_known_and_allocates_nothing(keeper: Keeper) -> None:
    assert keeper.consider(good(EMPTY)).changed
    assert keeper.known


def test_a_broken_source_leaves_the_last_good_in_force(keeper: Keeper) -> None:
    keeper.consider(good(nodes(3)))
    decision = keeper.consider(bad(at=1500.0))
    assert decision.allocations == nodes(3)
    assert not decision.changed
    assert decision.reason == "the last good allocations stay in force: it is broken; mend it"
    assert status(keeper)["error"] == "it is broken; mend it"
    assert status(keeper)["age_seconds"] == 500
    keeper.consider(bad(at=1900.0))
    assert status(keeper)["age_seconds"] == 500
    keeper.consider(good(nodes(3), at=1950.0))
    assert (status(keeper)["age_seconds"], status(keeper)["error"]) == (0, None)


def test_a_source_that_is_broken_from_the_start_allocates_nothing(keeper: Keeper) -> None:
    decision = keeper.consider(bad())
    assert decision.allocations is EMPTY
    assert decision.reason == "no allocations yet, so no route is accepted: it is broken; mend it"


@pytest.mark.parametrize(
    ("share", "left", "held"),
    [(0.2, 8, False), (0.2, 7, True), (0.29, 71, False), (0.29, 70, True), (0, 9, True), (1, 0, False)],
)
def test_a_configured_guard_is_enforced_to_the_single_prefix(
    tmp_path: Path, share: float, left: int, held: bool
) -> None:
    keeper = guarded(tmp_path, share)
    keeper.consider(good(nodes(100 if left > 10 else 10)))
    assert keeper.consider(good(nodes(left) if left else EMPTY)).held is held


@pytest.mark.parametrize(("had", "left", "held"), [(10, 1, False), (24, 5, False), (25, 5, True), (200, 160, False),
                                                   (200, 159, True)])  # fmt: skip
def test_without_a_guard_a_fifth_may_go_and_always_nineteen(
    keeper: Keeper, had: int, left: int, held: bool
) -> None:
    keeper.consider(good(nodes(had)))
    assert keeper.consider(good(nodes(left))).held is held


@pytest.mark.parametrize(("had", "held"), [(1, False), (2, True), (19, True)])
def test_without_a_guard_an_empty_document_is_held_where_there_were_several_nodes(
    keeper: Keeper, had: int, held: bool
) -> None:
    keeper.consider(good(nodes(had)))
    decision = keeper.consider(good(EMPTY))
    assert decision.held is held
    assert len(decision.allocations.nodes) == (had if held else 0)


def test_what_is_held_back_says_so_and_waits_for_a_person(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(nodes(4)))
    decision = keeper.consider(good(nodes(2)))
    assert decision.reason == (
        f"held back: {FILE} removes 2 of 4 prefixes (50 %), and 20 % are allowed: "
        "10.100.2.0/24 of node-2, 10.100.3.0/24 of node-3"
    )
    assert decision.allocations == nodes(4)
    held = status(keeper)["held"][0]
    assert held["prefixes"] == 2
    assert held["reason"].endswith(
        f"node-3; `rrctl ipam accept --digest {held['digest']}` brings it into force"
    )
    accepted = keeper.accept()
    assert (accepted.changed, accepted.held, accepted.allocations) == (True, False, nodes(2))
    assert status(keeper)["held"] is None
    assert keeper.accept().reason == "nothing is held back"


def test_of_many_prefixes_that_would_go_the_first_few_are_named(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(nodes(100)))
    assert (
        "are allowed: 10.100.1.0/24 of node-1, 10.100.10.0/24 of node-10, 10.100.11.0/24 of node-11, "
        "10.100.12.0/24 of node-12, 10.100.13.0/24 of node-13 and 94 more"
    ) in keeper.consider(good(nodes(1))).reason


def test_a_source_that_recovers_releases_what_was_held(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(nodes(4)))
    assert keeper.consider(good(EMPTY)).held
    decision = keeper.consider(good(nodes(5)))
    assert (decision.changed, decision.held) == (True, False)


def test_a_prefix_that_moves_to_another_node_is_not_removed(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0)
    keeper.consider(good(parse("nodes: {a: {addresses: [10.2.0.1], prefixes: [10.9.0.0/24]}}")))
    renamed = parse("nodes: {b: {addresses: [10.2.0.1], prefixes: [10.9.0.0/24]}}")
    assert keeper.consider(good(renamed)).changed


def test_nodes_that_own_nothing_are_counted_too(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    pool = "\nvips: [{prefixes: [10.100.0.0/24]}]"
    keeper.consider(good(parse("nodes: {a: {addresses: [10.2.0.1]}, b: {addresses: [10.2.0.2]}}" + pool)))
    decision = keeper.consider(good(parse("nodes: {a: {addresses: [10.2.0.1]}}" + pool)))
    assert decision.held
    assert "removes 1 of 2 nodes (50 %), and 20 % are allowed: b" in decision.reason


def test_a_vip_pool_that_goes_is_counted(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(parse("nodes: {}\nvips: [{prefixes: [10.100.0.0/24]}]")))
    decision = keeper.consider(good(EMPTY))
    assert decision.held
    assert "are allowed: VIP pool 10.100.0.0/24" in decision.reason


class TestSeveralSources:
    """Sources are merged; what contradicts is refused and the rest stays."""

    def test_what_each_says_is_in_force(self, keeper: Keeper) -> None:
        keeper.consider(good(nodes(2), "a"))
        keeper.consider(good(nodes(2, first=2), "b"))
        assert keeper.allocations.nodes.keys() == nodes(4).nodes.keys()

    def test_a_node_may_stand_in_both(self, keeper: Keeper) -> None:
        keeper.consider(good(nodes(1), "a"))
        other = parse("nodes: {node-0: {addresses: [10.2.0.1], prefixes: [10.200.0.0/24]}}")
        keeper.consider(good(other, "b"))
        assert keeper.allocations.size == 2
        assert len(keeper.allocations.nodes["node-0"].addresses) == 1

    def test_of_two_owners_the_newcomer_is_refused_and_nothing_else_of_it(self, keeper: Keeper) -> None:
        keeper.consider(good(nodes(1), "a"))
        other = parse("nodes: {thief: {addresses: [10.2.9.9], prefixes: [10.100.0.0/25, 10.200.0.0/24]}}")
        decision = keeper.consider(good(other, "b"))
        assert decision.changed
        assert [str(p) for p in keeper.allocations.nodes["thief"].prefixes] == ["10.200.0.0/24"]
        (conflict,) = decision.moves.begun
        assert conflict.text == "10.100.0.0/25 of thief (b) overlaps 10.100.0.0/24 of node-0 (a)"
        assert status(keeper)["conflicts"] == 1

    def test_a_conflict_ends_when_the_holder_gives_up(self, keeper: Keeper) -> None:
        keeper.consider(good(nodes(1), "a"))
        keeper.consider(
            good(parse("nodes: {thief: {addresses: [10.2.9.9], prefixes: [10.100.0.0/24]}}"), "b")
        )
        decision = keeper.consider(good(parse("nodes: {node-0: {addresses: [10.2.0.1]}}"), "a"))
        assert decision.moves.granted == (Move("thief", ip_network("10.100.0.0/24"), "b"),)
        assert decision.moves.revoked == (Move("node-0", ip_network("10.100.0.0/24"), "a"),)
        assert [conflict.source for conflict in decision.moves.ended] == ["b"]

    def test_the_source_named_first_goes_first(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, sources=["b", "a"])
        both = [
            parse(f"nodes: {{node-{n}: {{addresses: [10.2.0.{n}], prefixes: [10.9.0.0/24]}}}}")
            for n in (1, 2)
        ]
        keeper.consider(good(EMPTY, "b"))
        keeper.consider(good(EMPTY, "a"))
        keeper.consider(good(both[0], "a"))
        keeper.consider(good(both[1], "b"))
        assert keeper.allocations.owner_of(ip_network("10.9.0.0/24")) == "node-1", "who has it keeps it"
        keeper.configure(None, ["b"], 0)
        assert keeper.allocations.owner_of(ip_network("10.9.0.0/24")) == "node-2"

    def test_at_a_start_it_does_not_matter_who_speaks_first(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, sources=["a", "b"])
        keeper.start()
        for name, number in (("b", 2), ("a", 1)):
            node = f"node-{number}: {{addresses: [10.2.0.{number}], prefixes: [10.9.0.0/24]}}"
            keeper.consider(good(parse(f"nodes: {{{node}}}"), name))
        keeper.begin()
        assert keeper.allocations.owner_of(ip_network("10.9.0.0/24")) == "node-1"
        keeper.configure(None, ["b", "a"], 0)
        assert keeper.allocations.owner_of(ip_network("10.9.0.0/24")) == "node-1"

    def test_one_that_is_held_does_not_hold_the_other(self, tmp_path: Path) -> None:
        keeper = guarded(tmp_path, 0.2)
        keeper.consider(good(nodes(4), "a"))
        assert keeper.consider(good(EMPTY, "a")).held
        decision = keeper.consider(good(nodes(2, first=4), "b"))
        assert (decision.changed, decision.held, len(decision.allocations.nodes)) == (True, True, 6)


class TestOnDisk:
    """The last good allocations survive a restart."""

    async def test_they_are_in_force_after_a_restart_with_a_broken_source(self, tmp_path: Path) -> None:
        before = Keeper(tmp_path, clock=lambda: 1000.0)
        before.consider(good(nodes(3)))
        assert await before.save()
        after = Keeper(tmp_path, sources=[FILE], clock=lambda: 5000.0)
        assert after.allocations == nodes(3)
        after.consider(bad(at=4000.0))
        assert after.allocations == nodes(3)
        assert status(after)["age_seconds"] == 4000
        assert status(after)["state_error"] is None

    async def test_the_guard_compares_with_them(self, tmp_path: Path) -> None:
        before = Keeper(tmp_path)
        before.consider(good(nodes(4)))
        await before.save()
        assert guarded(tmp_path, 0.2).consider(good(EMPTY)).held

    async def test_the_file_is_for_the_owner_alone_and_nothing_else_is_left(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path)
        keeper.consider(good(nodes(3)))
        await keeper.save()
        assert stat.S_IMODE(keeper.path.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["allocations.json"]

    @pytest.mark.parametrize(
        "damage", [b"", b"{", b"[]", b"null", b'{"version": 1}', b"\xff\xfe", b"[" * 100_000]
    )
    def test_a_corrupt_file_is_said_and_ignored(self, tmp_path: Path, damage: bytes) -> None:
        (tmp_path / store.FILE).write_bytes(damage)
        keeper = Keeper(tmp_path)
        assert keeper.allocations is EMPTY
        assert keeper.state_error == (
            f"the last good allocations in {tmp_path}/allocations.json cannot be used (it is corrupt); "
            "nothing to do: the next good reading of the source replaces them"
        )

    async def test_a_changed_byte_is_noticed(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path)
        keeper.consider(good(nodes(3)))
        await keeper.save()
        keeper.path.write_text(keeper.path.read_text().replace("10.100.1.0", "10.100.9.0"))
        assert "it is corrupt" in str(Keeper(tmp_path).state_error)

    async def test_a_full_disk_is_said_and_the_old_file_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper = Keeper(tmp_path)
        keeper.consider(good(nodes(1)))
        await keeper.save()
        old = keeper.path.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        keeper.consider(good(nodes(2)))
        assert not await keeper.save()
        assert status(keeper)["state_error"] == (
            f"the last good allocations cannot be written to {keeper.path} (No space left on device); "
            "make room and see that state_dir is writable; until then a restart begins without them"
        )
        assert keeper.path.read_bytes() == old
        assert os.listdir(tmp_path) == ["allocations.json"]
        monkeypatch.undo()
        assert await keeper.save()
        assert status(keeper)["state_error"] is None
        assert Keeper(tmp_path).allocations == nodes(2)

    async def test_many_changes_at_once_become_few_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper, writes = Keeper(tmp_path), 0
        real = store.save

        def counted(path: Path, state: State) -> None:
            nonlocal writes
            writes += 1
            time.sleep(0.02)
            real(path, state)

        monkeypatch.setattr(store, "save", counted)
        saving = []
        for count in range(1, 20):
            keeper.consider(good(nodes(count)))
            saving.append(asyncio.create_task(keeper.save()))
            await asyncio.sleep(0)
        assert all(await asyncio.gather(*saving))
        assert writes == 2
        assert Keeper(tmp_path).allocations == nodes(19)

    async def test_nothing_is_written_when_nothing_changed(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path)
        keeper.consider(good(nodes(1)))
        await keeper.save()
        before = keeper.path.stat().st_mtime_ns
        keeper.consider(good(nodes(1)))
        await keeper.save()
        assert keeper.path.stat().st_mtime_ns == before

    async def test_the_file_is_plain_json(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path)
        keeper.consider(good(nodes(1)))
        await keeper.save()
        saved = json.loads(keeper.path.read_text())["content"]["sources"][FILE]
        assert saved["nodes"] == {"node-0": "10.2.0.1|10.100.0.0/24|"}


def owner(keeper: Keeper, prefix: str) -> str | None:
    return keeper.allocations.owner_of(ip_network(prefix))


class TestRejecting:
    """What is held back and wrong is forgotten by hand."""

    @pytest.fixture
    def holding(self, tmp_path: Path) -> Keeper:
        keeper = guarded(tmp_path, 0.2)
        keeper.consider(good(nodes(4)))
        assert keeper.consider(good(nodes(2))).held
        return keeper

    def test_what_is_in_force_stays_and_nothing_is_held(self, holding: Keeper) -> None:
        assert holding.reject() == [FILE]
        assert holding.allocations == nodes(4)
        assert status(holding)["held"] is None
        assert state_of(holding, FILE)[0] == "rejected"
        assert holding.reject() == []

    def test_the_same_again_is_not_held_again(self, holding: Keeper) -> None:
        holding.reject()
        assert not holding.consider(good(nodes(2))).held
        assert state_of(holding, FILE)[0] == "rejected"

    def test_something_else_is_considered_anew(self, holding: Keeper) -> None:
        holding.reject()
        assert holding.consider(good(nodes(1))).held
        assert state_of(holding, FILE)[0] == "held"

    def test_a_source_that_recovers_is_good(self, holding: Keeper) -> None:
        holding.reject()
        holding.consider(good(nodes(4)))
        assert state_of(holding, FILE)[0] == "good"
        assert holding.consider(good(nodes(2))).held, "the rejection is over"

    async def test_it_is_still_rejected_after_a_restart(self, holding: Keeper, tmp_path: Path) -> None:
        holding.reject()
        await holding.save()
        after = guarded(tmp_path, 0.2)
        assert state_of(after, FILE)[0] == "silent"
        assert not after.consider(good(nodes(2))).held
        assert state_of(after, FILE)[0] == "rejected"

    def test_one_source_is_accepted_and_another_rejected(self, tmp_path: Path) -> None:
        keeper = guarded(tmp_path, 0.2)
        for name, first in (("a", 0), ("b", 10)):
            keeper.consider(good(nodes(4, first=first), name))
        for name in ("a", "b"):
            keeper.consider(good(EMPTY, name))
        assert set(keeper.held) == {"a", "b"}
        assert {row["source"] for row in differences(keeper) if row["state"] == "held"} == {"a", "b"}
        assert keeper.accept("a").changed
        assert keeper.reject("b") == ["b"]
        assert keeper.allocations.nodes.keys() == nodes(4, first=10).nodes.keys()

    def test_with_a_digest_nothing_is_accepted_that_nobody_looked_at(self, holding: Keeper) -> None:
        looked_at = holding.held[FILE].digest
        holding.consider(good(EMPTY))
        assert holding.held[FILE].digest != looked_at
        assert not holding.accept(digest=looked_at).changed
        assert holding.allocations == nodes(4)
        holding.consider(good(nodes(2)))
        assert holding.held[FILE].digest == looked_at, "it says again what it said"
        assert holding.accept(digest=looked_at).changed
        assert holding.allocations == nodes(2)

    def test_of_two_that_are_held_a_digest_names_one(self, tmp_path: Path) -> None:
        keeper = guarded(tmp_path, 0.2)
        for name, first in (("a", 0), ("b", 10)):
            keeper.consider(good(nodes(4, first=first), name))
        for name in ("a", "b"):
            keeper.consider(good(EMPTY, name))
        keeper.accept(digest=keeper.held["b"].digest)
        assert set(keeper.held) == {"a"}
        assert keeper.allocations == nodes(4)


class TestGrace:
    """A revocation waits; the clock is a list with the time in it."""

    @pytest.fixture
    def now(self) -> list[float]:
        return [1000.0]

    def keeper(self, path: Path, now: list[float]) -> Keeper:
        return Keeper(path, Guard(max_removed=1), clock=lambda: now[0], grace=60)

    def test_what_flaps_within_it_never_moves(self, tmp_path: Path, now: list[float]) -> None:
        keeper = self.keeper(tmp_path, now)
        keeper.consider(good(nodes(3)))
        for _ in range(5):
            now[0] += 10
            assert not keeper.consider(good(nodes(1))).changed
            now[0] += 10
            assert not keeper.consider(good(nodes(3))).changed
        assert (keeper.allocations, keeper.settled.due) == (nodes(3), None)

    def test_it_ends_by_itself(self, tmp_path: Path, now: list[float]) -> None:
        keeper = self.keeper(tmp_path, now)
        keeper.consider(good(nodes(3)))
        keeper.consider(good(nodes(1)))
        assert keeper.settled.due == 1060
        now[0] = 1059.9
        assert not keeper.sweep().changed
        now[0] = 1060.0
        decision = keeper.sweep()
        assert (decision.changed, decision.allocations) == (True, nodes(1))
        assert {move.source for move in decision.moves.revoked} == {FILE}

    def test_it_is_told_what_goes_and_when(self, tmp_path: Path, now: list[float]) -> None:
        keeper = self.keeper(tmp_path, now)
        keeper.consider(good(nodes(2)))
        keeper.consider(good(nodes(1)))
        until = "1970-01-01T00:17:40Z"
        rows = {row["node"]: row["until"] for row in allocations(keeper)["nodes"]}
        assert rows == {"node-0": {}, "node-1": {"10.2.0.2": until, "10.100.1.0/24": until}}
        assert [(row["value"], row["state"], row["until"]) for row in differences(keeper)] == [
            ("10.2.0.2", "grace", until),
            ("10.100.1.0/24", "grace", until),
        ]

    async def test_it_survives_a_restart(self, tmp_path: Path, now: list[float]) -> None:
        before = self.keeper(tmp_path, now)
        before.consider(good(nodes(3)))
        before.consider(good(nodes(1)))
        await before.save()
        now[0] = 1030.0
        after = self.keeper(tmp_path, now)
        assert (after.allocations, after.settled.due) == (nodes(3), 1060)
        now[0] = 1100.0
        assert self.keeper(tmp_path, now).allocations == nodes(1)

    def test_the_guard_counts_it_as_gone(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, Guard(max_removed=0.2), grace=60)
        keeper.consider(good(nodes(4)))
        assert keeper.consider(good(nodes(2))).held

    def test_what_was_accepted_by_hand_goes_at_once(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, Guard(max_removed=0.2), grace=60)
        keeper.consider(good(nodes(4)))
        keeper.consider(good(nodes(2)))
        assert keeper.accept().allocations == nodes(2)

    def test_an_error_in_between_moves_nothing(self, tmp_path: Path, now: list[float]) -> None:
        keeper = self.keeper(tmp_path, now)
        keeper.consider(good(nodes(3)))
        now[0] += 10_000
        keeper.consider(bad(at=now[0]))
        assert not keeper.sweep().changed
        assert keeper.allocations == nodes(3)


class TestSources:
    """How each source is."""

    def row(self, keeper: Keeper, name: str) -> dict[str, Any]:
        return next(
            row for row in sources(keeper, {FILE: "file"}, {FILE: ("a thing",)}) if row["source"] == name
        )

    def test_one_that_said_nothing_yet_is_silent(self, tmp_path: Path) -> None:
        now = [1000.0]
        keeper = Keeper(tmp_path, sources=[FILE], clock=lambda: now[0])
        now[0] += 30
        row = self.row(keeper, FILE)
        assert (row["state"], row["age_seconds"], row["last_good"]) == ("silent", 30, None)

    def test_one_that_fails_has_the_age_of_its_last_good_word(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, sources=[FILE, "b"], clock=lambda: 2000.0)
        keeper.consider(good(nodes(3)))
        keeper.consider(good(nodes(1, first=7), "b"))
        assert self.row(keeper, FILE) == {
            "source": FILE,
            "type": "file",
            "state": "good",
            "last_good": "1970-01-01T00:33:20Z",
            "age_seconds": 0,
            "nodes": 3,
            "prefixes": 3,
            "vip_prefixes": 0,
            "conflicts": 0,
            "left_out": 1,
            "left_out_named": ["a thing"],
            "held_digest": None,
            "error": None,
        }
        keeper.consider(bad(at=1500.0))
        row = self.row(keeper, FILE)
        assert (row["state"], row["age_seconds"], row["error"]) == ("failing", 500, "it is broken; mend it")
        assert row["last_good"] == "1970-01-01T00:25:00Z"
        assert self.row(keeper, "b")["state"] == "good"

    def test_the_source_of_each_node_is_its_own(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path, sources=["a", "b"])
        keeper.consider(good(nodes(2), "a"))
        keeper.consider(good(nodes(2, first=1), "b"))
        found = {row["node"]: row["source"] for row in allocations(keeper)["nodes"]}
        assert found == {"node-0": "a", "node-1": "a, b", "node-2": "b"}


class TestWhoHadIt:
    """Who has what is the same after a restart."""

    async def test_the_state_on_disk_decides(self, tmp_path: Path) -> None:
        before = Keeper(tmp_path, sources=["a", "b"])
        late = parse("nodes: {late: {addresses: [10.2.9.9], prefixes: [10.100.0.0/24, 10.201.0.0/24]}}")
        before.consider(good(EMPTY, "a"))
        before.consider(good(nodes(1), "b"))
        before.consider(good(late, "a"))
        assert owner(before, "10.100.0.0/24") == "node-0"
        await before.save()
        after = Keeper(tmp_path, sources=["a", "b"])
        assert after.settled.allocations == before.settled.allocations
        assert [c.text for c in after.settled.conflicts] == [c.text for c in before.settled.conflicts]
        assert not after.consider(good(late, "a")).changed
        assert not after.consider(good(nodes(1), "b")).changed
        assert owner(after, "10.100.0.0/24") == "node-0"

    async def test_contradictions_within_one_source_are_kept_too(self, tmp_path: Path) -> None:
        first = parse("nodes: {node-2: {addresses: [10.2.0.2], prefixes: [10.9.0.0/24]}}")
        other = parse("nodes: {node-1: {addresses: [10.2.0.1], prefixes: [10.9.0.0/24]}}")
        both = Allocations({**first.nodes, **other.nodes})
        before = Keeper(tmp_path)
        before.consider(good(first))
        before.consider(good(both))
        await before.save()
        assert owner(Keeper(tmp_path), "10.9.0.0/24") == "node-2"

    async def test_a_file_of_the_version_before_is_read(self, tmp_path: Path) -> None:
        body = {FILE: {"time": 1000.0, "document": render(nodes(3))}}
        files.save(tmp_path / store.FILE, 2, body)
        keeper = Keeper(tmp_path)
        assert keeper.state_error is None
        assert keeper.allocations == nodes(3)

    @given(events, st.sampled_from((0.0, 30.0)))
    @EXAMPLES
    def test_what_is_in_force_is_the_same_after_a_restart(self, happened, grace) -> None:  # type: ignore[no-untyped-def]
        settled = played([(source, said or EMPTY, later) for source, said, later in happened], grace)[-1]
        state = State(
            {name: Part(part, 0.0) for name, part in settled.parts.items()},
            [
                (c.source, c.claim)
                for c in settled.conflicts
                if settled.ledger.vips.get(c.claim.network) != c.source or c.claim.kind is not Kind.VIP
            ],
            settled.lingering,
        )
        with tempfile.TemporaryDirectory() as folder:
            store.save(Path(folder) / store.FILE, state)
            again = restore(store.load(Path(folder) / store.FILE), 0.0)
        assert tokens(again.allocations) == tokens(settled.allocations)
        assert again.lingering == settled.lingering
        assert {c.key for c in again.conflicts} == {c.key for c in settled.conflicts}


def test_five_thousand_nodes_listed_again_cost_milliseconds(tmp_path: Path) -> None:
    keeper, took = Keeper(tmp_path), {}
    keeper.consider(good(many(5000)))
    for what, snapshot in (("nothing changed", many(5000)), ("one node changed", many(4999))):
        began = time.process_time()
        keeper.consider(good(snapshot))
        took[what] = time.process_time() - began
    print(f"\n{ {what: f'{seconds * 1000:.1f} ms' for what, seconds in took.items()} }")
    assert max(took.values()) < 0.2, "some 10 ms on an idle machine"
