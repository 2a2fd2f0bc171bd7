"""Who is kept out and for how long, as a function of what nodes did and of the time."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from rr.config.model import Quarantine
from rr.errors import StateError
from rr.guard import quarantine, store
from rr.guard.quarantine import Began, Blame, Book, Ended, Offence, Resumed, Step, Suspended
from rr.guard.warden import Warden

SETTINGS = Quarantine(session_losses=5, window=300, first=30, longest=240, max_share=0.25)
NOW = 1_000_000.0


def address(subject: str) -> str:
    return f"10.2.0.{10 + int(subject.rpartition('-')[2])}"


class Story:
    """A book, a clock, and nodes that misbehave."""

    def __init__(self, nodes: int = 20) -> None:
        self.book, self.now, self.nodes = Book(), NOW, nodes
        self.settings = SETTINGS

    def blame(self, subject: str, offence: Offence = Offence.FLAPPING, times: int = 1) -> None:
        addresses = frozenset({ip_address(address(subject))})
        blames = [Blame("main", subject, addresses, offence, "it did", self.now)] * times
        self.book = quarantine.blame(self.book, self.settings, blames)

    def decide(self, after: float = 0.0) -> list[Step]:
        self.now += after
        self.book, steps = quarantine.decide(self.book, self.settings, {"main": self.nodes}, self.now)
        return steps

    def out(self) -> set[str]:
        return {case.subject for case in self.book.kept_out("main")}


@pytest.fixture
def story() -> Story:
    return Story()


def test_too_many_prefixes_once_are_enough(story: Story) -> None:
    story.blame("node-1", Offence.MAX_PREFIXES)
    (step,) = story.decide()
    assert isinstance(step, Began)
    assert (step.case.subject, step.offence, step.term) == ("node-1", Offence.MAX_PREFIXES, 30.0)
    assert story.decide() == []


def test_a_session_is_lost_as_often_as_configured_within_the_window(story: Story) -> None:
    story.blame("node-1", times=4)
    assert story.decide() == []
    story.now += 299
    story.blame("node-1")
    assert [type(step) for step in story.decide()] == [Began]


def test_losses_that_are_further_apart_than_the_window_never_are_enough(story: Story) -> None:
    for _ in range(50):
        story.blame("node-1")
        assert story.decide(after=76.0) == []


def test_offences_of_different_kinds_do_not_add_up(story: Story) -> None:
    story.blame("node-1", times=4)
    story.blame("node-1", Offence.GARBAGE, times=2)
    assert story.decide() == []


def test_the_term_doubles_up_to_the_longest_and_ends_by_itself(story: Story) -> None:
    terms = []
    for _ in range(6):
        story.blame("node-1", Offence.MAX_PREFIXES)
        (began,) = story.decide()
        assert isinstance(began, Began)
        terms.append(began.term)
        assert story.decide(after=began.term - 1) == []
        (ended,) = story.decide(after=1)
        assert isinstance(ended, Ended)
        assert not story.out()
    assert terms == [30, 60, 120, 240, 240, 240]


def test_what_a_node_does_while_it_is_kept_out_does_not_count(story: Story) -> None:
    story.blame("node-1", Offence.MAX_PREFIXES)
    story.decide()
    story.blame("node-1", times=10)
    story.decide(after=30)
    assert story.decide(after=1) == []


def test_good_behaviour_makes_good_for_one_quarantine_at_a_time(story: Story) -> None:
    for _ in range(3):
        story.blame("node-1", Offence.MAX_PREFIXES)
        story.decide()
        story.decide(after=240)
    story.decide(after=241)
    story.blame("node-1", Offence.MAX_PREFIXES)
    (began,) = story.decide()
    assert isinstance(began, Began)
    assert began.case.strikes == 3
    story.decide(after=240)
    story.decide(after=3 * 240 + 1)
    assert not story.book.cases


def test_a_released_node_begins_anew(story: Story) -> None:
    story.blame("node-1", Offence.MAX_PREFIXES)
    story.decide()
    story.book = quarantine.release(story.book, [("main", "node-1")])
    assert not story.book.cases


def test_where_too_many_misbehave_nobody_is_kept_out(story: Story) -> None:
    """Five of twenty may be; the sixth means that it is not their fault, and lets the five in again."""
    for number in range(1, 6):
        story.blame(f"node-{number}", times=5)
    assert {type(step) for step in story.decide()} == {Began}
    assert len(story.out()) == 5
    story.blame("node-6", times=3)
    steps = story.decide(after=1)
    assert [step.lifted for step in steps if isinstance(step, Ended)] == [True] * 5
    assert [len(step.subjects) for step in steps if isinstance(step, Suspended)] == [6]
    assert not story.out()
    story.blame("node-7", times=5)
    assert story.decide(after=1) == []


def test_it_works_again_when_the_wave_is_over_and_nothing_is_left_of_it(story: Story) -> None:
    for number in range(1, 8):
        story.blame(f"node-{number}", times=5)
    story.decide()
    assert [type(step) for step in story.decide(after=301)] == [Resumed]
    assert not story.out()
    assert not story.book.cases


def test_who_was_kept_out_long_before_the_wave_stays_out(story: Story) -> None:
    story.settings = SETTINGS.model_copy(update={"longest": 100_000, "first": 10_000})
    story.blame("node-9", Offence.MAX_PREFIXES)
    story.decide()
    story.now += 500
    for number in range(1, 8):
        story.blame(f"node-{number}", times=5)
    story.decide()
    assert story.out() == {"node-9"}


def test_a_small_fabric_may_keep_one_node_out(story: Story) -> None:
    story.nodes = 2
    story.blame("node-1", times=5)
    story.decide()
    assert story.out() == {"node-1"}


def test_a_wave_in_one_instance_means_nothing_to_another(story: Story) -> None:
    for number in range(1, 8):
        story.blame(f"node-{number}", times=5)
    other = Blame("other", "node-30", frozenset(), Offence.GARBAGE, "it did", NOW)
    story.book = quarantine.blame(story.book, SETTINGS, [other] * 3)
    story.decide()
    assert [case.subject for case in story.book.kept_out()] == ["node-30"]


def test_strangers_are_no_nodes_and_neither_hide_nor_save_one(story: Story) -> None:
    """One host with many addresses cannot have quarantine suspended; and not more than 64 of them are kept out."""
    strangers = [
        Blame(
            "main",
            f"10.2.1.{n}",
            frozenset({ip_address(f"10.2.1.{n}")}),
            Offence.GARBAGE,
            "",
            NOW,
            known=False,
        )
        for n in range(1, 101)
    ]
    story.book = quarantine.blame(story.book, SETTINGS, strangers * 3)
    story.blame("node-1", times=5)
    story.decide()
    assert "node-1" in story.out()
    assert len(story.out()) == 1 + quarantine.STRANGERS
    story.decide(after=1)
    assert len(story.out()) == 1 + quarantine.STRANGERS


def test_disabled_it_keeps_nobody_out_and_lets_everybody_in(story: Story) -> None:
    story.blame("node-1", Offence.MAX_PREFIXES)
    story.decide()
    story.settings = SETTINGS.model_copy(update={"enabled": False})
    story.blame("node-2", Offence.MAX_PREFIXES)
    assert [type(step) for step in story.decide()] == [Ended]
    assert not story.out()


def test_a_clock_that_was_set_back_keeps_nobody_out_for_longer_than_the_longest(story: Story) -> None:
    story.blame("node-1", Offence.MAX_PREFIXES)
    story.decide()
    story.now -= 1_000_000
    story.decide()
    assert [type(step) for step in story.decide(after=241)] == [Ended]


# The warden, and what it keeps on disk


def warden(state: Path, said: list[str], settings: Quarantine = SETTINGS) -> Warden:
    return Warden(state, settings, lambda kind, subject, text: said.append(text), lambda: NOW)


GARBAGE = Blame(
    "main", "node-1", frozenset({ip_address("10.2.0.11")}), Offence.GARBAGE, "it sent messages", NOW
)


def test_who_is_kept_out_survives_a_restart(tmp_path: Path) -> None:
    said: list[str] = []
    first = warden(tmp_path, said)
    first.blame([GARBAGE] * 3)
    first.decide({"main": 10})
    first.save()
    assert said == ["node-1 is quarantined for 30 s: it sent messages"]
    second = warden(tmp_path, said)
    assert second.rows() == first.rows()
    assert [row["addresses"] for row in second.rows()] == [["10.2.0.11"]]


def test_a_corrupt_file_lets_everybody_in_and_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    first = warden(tmp_path, said)
    first.blame([GARBAGE] * 3)
    first.decide({"main": 10})
    first.save()
    file = tmp_path / store.FILE
    file.write_bytes(file.read_bytes().replace(b"node-1", b"node-2"))
    second = warden(tmp_path, said)
    assert second.rows() == []
    assert second.state_error is not None
    assert "so everybody is let in" in said[-1]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"version": 1}'])
def test_rubbish_in_the_file_is_an_error_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / store.FILE).write_bytes(content)
    with pytest.raises(StateError, match="everybody is let in"):
        store.load(tmp_path / store.FILE)


def test_a_full_disk_is_said_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    kept = warden(tmp_path / "state", [])
    kept.blame([GARBAGE] * 3)
    kept.decide({"main": 10})
    kept.save()
    assert kept.state_error is not None
    assert len(kept.rows()) == 1


def test_release_takes_a_name_or_any_address_of_the_node(tmp_path: Path) -> None:
    for wanted, of in (("node-1", None), ("10.2.0.11", ip_address("10.2.0.11"))):
        kept = warden(tmp_path, [])
        kept.blame([GARBAGE] * 3)
        kept.decide({"main": 10})
        assert [case.subject for case in kept.release(wanted, of)] == ["node-1"]
        assert kept.rows() == []
    assert warden(tmp_path, []).release("node-1", None) == []


def test_a_case_is_written_as_it_is_read(tmp_path: Path) -> None:
    kept = warden(tmp_path, [])
    kept.blame([GARBAGE] * 3)
    kept.decide({"main": 10})
    store.save(tmp_path / "book", kept.book)
    (case,) = store.load(tmp_path / "book").cases.values()
    (before,) = kept.book.cases.values()
    assert case == replace(before, seen={}, said={})
