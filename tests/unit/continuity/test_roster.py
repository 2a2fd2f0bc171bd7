"""The roster: who counts as up, for how long, and what becomes of a file that is not what was written."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from rr.continuity.roster import Known, Roster
from rr.errors import StateError

ONE, TWO = ip_address("10.2.0.11"), ip_address("fd00:2::12")


@pytest.fixture
def roster(tmp_path: Path) -> Roster:
    return Roster(tmp_path / "roster" / "main.json")


def reread(roster: Roster) -> Roster:
    found = Roster(roster.file)
    found.load()
    return found


def test_what_was_saved_is_read_back(roster: Roster) -> None:
    roster.see(frozenset({ONE, TWO}), 1000.0)
    roster.learn(ONE, ("ipv4", "ipv6"), ("ipv4",))
    roster.save()
    assert reread(roster).peers == {
        ONE: Known(ONE, 1000.0, ("ipv4", "ipv6"), ("ipv4",)),
        TWO: Known(TWO, 1000.0, (), None),
    }


def test_a_missing_file_is_an_empty_roster(roster: Roster) -> None:
    roster.load()
    assert roster.peers == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("10.2.0.11", "10.2.0.12"),
        lambda text: text.replace('"version": 1', '"version": 9'),
        lambda text: "",
        lambda text: "[]",
    ],
    ids=["half", "edited", "of another version", "empty", "a list"],
)
def test_a_damaged_file_is_refused_and_nobody_is_known(roster: Roster, damage: "object") -> None:
    roster.see(frozenset({ONE}), 1000.0)
    roster.save()
    roster.file.write_text(damage(roster.file.read_text()))  # type: ignore[operator]
    found = Roster(roster.file)
    with pytest.raises(StateError, match=r"the roster .* cannot be used \(it is corrupt\)"):
        found.load()
    assert found.peers == {}


@pytest.mark.parametrize(
    ("now", "known"), [(1000.0, True), (1120.0, True), (1120.1, False), (998.5, True), (900.0, False)]
)
def test_a_peer_is_fresh_for_its_restart_time_and_never_from_the_future(
    roster: Roster, now: float, known: bool
) -> None:
    roster.see(frozenset({ONE}), 1000.0)
    assert (ONE in roster.fresh(now, 120)) is known


def test_who_is_down_is_forgotten_unless_awaited_and_keeps_its_time(roster: Roster) -> None:
    roster.see(frozenset({ONE, TWO}), 1000.0)
    roster.see(frozenset({TWO}), 1010.0, awaited={ONE})
    assert {a: known.seen for a, known in roster.peers.items()} == {ONE: 1000.0, TWO: 1010.0}
    roster.see(frozenset({TWO}), 1020.0)
    assert set(roster.peers) == {TWO}


def test_the_file_is_due_when_somebody_comes_or_goes_or_can_more_or_after_a_while(roster: Roster) -> None:
    assert not roster.due(15)
    roster.see(frozenset({ONE}), 1000.0)
    assert roster.due(15)
    roster.save()
    roster.see(frozenset({ONE}), 1014.9)
    assert not roster.due(15)
    roster.learn(ONE, ("ipv4",), ("ipv4",))
    assert roster.due(15)
    roster.save()
    roster.see(frozenset({ONE}), 1030.0)
    assert roster.due(15)
    roster.save()
    roster.see(frozenset(), 1031.0)
    assert roster.due(15)


def test_a_roster_that_was_forgotten_is_gone_from_disk_too(roster: Roster) -> None:
    roster.see(frozenset({ONE}), 1000.0)
    roster.save()
    roster.forget()
    assert not roster.file.exists()
    assert reread(roster).peers == {}


def test_a_folder_that_cannot_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "roster").write_text("a file where the folder should be")
    roster = Roster(tmp_path / "roster" / "main.json")
    roster.see(frozenset({ONE}), 1000.0)
    with pytest.raises(StateError, match="state_dir is writable"):
        roster.save()
