"""Which allocations are in force: the guard, the last good ones, and what stands on disk."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from pathlib import Path

import pytest

from rr.config.model import Guard
from rr.errors import AllocationsError, RRError
from rr.ipam import store
from rr.ipam.allocations import EMPTY, Allocations
from rr.ipam.document import parse
from rr.ipam.keeper import Keeper
from rr.ipam.reading import Reading

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
    assert keeper.status()["known"] is False


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
    assert keeper.status()["error"] == "it is broken; mend it"
    assert keeper.status()["age_seconds"] == 500
    keeper.consider(bad(at=1900.0))
    assert keeper.status()["age_seconds"] == 500
    keeper.consider(good(nodes(3), at=1950.0))
    assert (keeper.status()["age_seconds"], keeper.status()["error"]) == (0, None)


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


@pytest.mark.parametrize(("had", "left", "held"), [(10, 0, False), (24, 5, False), (25, 5, True), (200, 160, False),
                                                   (200, 159, True)])  # fmt: skip
def test_without_a_guard_a_fifth_may_go_and_always_nineteen(
    keeper: Keeper, had: int, left: int, held: bool
) -> None:
    keeper.consider(good(nodes(had)))
    assert keeper.consider(good(nodes(left) if left else EMPTY)).held is held


def test_what_is_held_back_says_so_and_waits_for_a_person(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(nodes(4)))
    decision = keeper.consider(good(nodes(2)))
    assert decision.reason == (
        f"held back: {FILE} removes 2 of 4 prefixes (50 %), and 20 % are allowed: "
        "10.100.2.0/24 of node-2, 10.100.3.0/24 of node-3; `rrctl ipam accept` brings it into force"
    )
    assert decision.allocations == nodes(4)
    assert keeper.status()["held"][0]["prefixes"] == 2
    accepted = keeper.accept()
    assert (accepted.changed, accepted.held, accepted.allocations) == (True, False, nodes(2))
    assert keeper.status()["held"] is None
    assert keeper.accept().reason == "nothing is held back"


def test_of_many_prefixes_that_would_go_the_first_few_are_named(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(nodes(100)))
    assert (
        "are allowed: 10.100.1.0/24 of node-1, 10.100.2.0/24 of node-2, 10.100.3.0/24 of node-3, "
        "10.100.4.0/24 of node-4, 10.100.5.0/24 of node-5 and 94 more; "
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
    assert "removes 1 of 2 nodes (50 %), and 20 % are allowed: b; " in decision.reason


def test_a_vip_pool_that_goes_is_counted(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0.2)
    keeper.consider(good(parse("nodes: {}\nvips: [{prefixes: [10.100.0.0/24]}]")))
    decision = keeper.consider(good(EMPTY))
    assert decision.held
    assert "are allowed: VIP pool 10.100.0.0/24; " in decision.reason


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

    def test_two_owners_of_one_prefix_are_refused(self, keeper: Keeper) -> None:
        keeper.consider(good(nodes(1), "a"))
        other = parse("nodes: {thief: {addresses: [10.2.9.9], prefixes: [10.100.0.0/25]}}")
        decision = keeper.consider(good(other, "b"))
        assert not decision.changed
        assert decision.reason == (
            "the last good allocations stay in force: b: nodes.thief.prefixes: 10.100.0.0/25 overlaps "
            "10.100.0.0/24 of node-0 in a; keep it in one of the two sources"
        )

    def test_one_that_is_held_does_not_hold_the_other(self, tmp_path: Path) -> None:
        keeper = guarded(tmp_path, 0.2)
        keeper.consider(good(nodes(4), "a"))
        assert keeper.consider(good(EMPTY, "a")).held
        decision = keeper.consider(good(nodes(2, first=4), "b"))
        assert (decision.changed, decision.held, len(decision.allocations.nodes)) == (True, True, 6)


class TestOnDisk:
    """The last good allocations survive a restart."""

    async def test_they_are_in_force_after_a_restart_with_a_broken_source(self, tmp_path: Path) -> None:
        before = Keeper(tmp_path)
        before.consider(good(nodes(3)))
        assert await before.save()
        after = Keeper(tmp_path, sources=[FILE], clock=lambda: 5000.0)
        assert after.allocations == nodes(3)
        after.consider(bad(at=4000.0))
        assert after.allocations == nodes(3)
        assert after.status()["age_seconds"] == 4000
        assert after.status()["state_error"] is None

    async def test_the_guard_compares_with_them(self, tmp_path: Path) -> None:
        before = Keeper(tmp_path)
        before.consider(good(nodes(4)))
        await before.save()
        assert guarded(tmp_path, 0.2).consider(good(EMPTY)).held

    async def test_a_source_that_is_no_longer_configured_is_forgotten(self, tmp_path: Path) -> None:
        before = Keeper(tmp_path)
        before.consider(good(nodes(3)))
        await before.save()
        assert Keeper(tmp_path, sources=["file:/other"]).allocations is EMPTY

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
        assert keeper.status()["state_error"] == (
            f"the last good allocations cannot be written to {keeper.path} (No space left on device); "
            "make room and see that state_dir is writable; until then a restart begins without them"
        )
        assert keeper.path.read_bytes() == old
        assert os.listdir(tmp_path) == ["allocations.json"]
        monkeypatch.undo()
        assert await keeper.save()
        assert keeper.status()["state_error"] is None
        assert Keeper(tmp_path).allocations == nodes(2)

    async def test_many_changes_at_once_become_few_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper, writes = Keeper(tmp_path), 0
        real = store.save

        def counted(path: Path, parts: dict[str, store.Part]) -> None:
            nonlocal writes
            writes += 1
            time.sleep(0.02)
            real(path, parts)

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
        assert parse(json.loads(keeper.path.read_text())["content"][FILE]["document"]) == nodes(1)


async def test_accepting_what_now_contradicts_another_source_is_refused(tmp_path: Path) -> None:
    keeper = guarded(tmp_path, 0)
    keeper.consider(good(nodes(2), "a"))
    moved = parse("nodes: {node-9: {addresses: [10.2.9.9], prefixes: [10.150.0.0/24]}}")
    assert keeper.consider(good(moved, "a")).held
    keeper.consider(good(parse("nodes: {node-8: {addresses: [10.2.8.8], prefixes: [10.150.0.0/25]}}"), "b"))
    with pytest.raises(AllocationsError):
        keeper.accept()
