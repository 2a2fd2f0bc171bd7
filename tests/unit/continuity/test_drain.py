"""What is decided about serving: kept on disk before it is done, carried out step by step, taken back at any step."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rr import files
from rr.continuity import drain as drains
from rr.continuity.drain import Drain, Drains, Phase, phase, seconds_left

SINCE = 1_764_000_000.0
ORDERED = Drain(SINCE, 10.0)
CLOSED = replace(ORDERED, closed=True)
ENDED = replace(ORDERED, ended=True)


class Instance:
    """An instance that does nothing by itself."""

    def __init__(self) -> None:
        self.drain: Drain | None = None
        self.resent: float | None = None
        self.emptied = False
        self.told: list[Drain | None] = []

    def maintain(self, drain: Drain | None) -> None:
        self.drain, self.resent, self.emptied = drain, None, False
        self.told.append(drain)


class Book:
    """Drains on disk, one instance, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "drain.json"
        self.said: list[str] = []
        self.main = Instance()
        self.drains = Drains(self.file, lambda _kind, _subject, text: self.said.append(text))

    async def start(self) -> None:
        await self.drains.recall({})
        self.drains.take_over("main", self.main)

    def written(self) -> dict[str, tuple[bool, bool]]:
        """By instance, whether it is closed and whether that was ended, as the file says."""
        return {n: (entry["closed"], entry["ended"]) for n, entry in (files.load(self.file, 1) or {}).items()}


@pytest.fixture
async def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setattr(drains, "LOOK_EVERY", 0.001)
    found = Book(tmp_path)
    await found.start()
    return found


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while True:
            if check():
                return
            await asyncio.sleep(0.001)


async def stays(check: Callable[[], object]) -> None:
    """Look again and again, for ten times as long as anything here takes."""
    for _ in range(50):
        assert check()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("drain", "emptied", "expected"),
    [
        (None, False, Phase.SERVING),
        (ORDERED, False, Phase.DRAINING),
        (CLOSED, False, Phase.CLOSING),
        (CLOSED, True, Phase.DRAINED),
        (ENDED, False, Phase.SERVING),
    ],
)
def test_the_phase_follows_from_the_decision_and_the_engine(
    drain: Drain | None, emptied: bool, expected: Phase
) -> None:
    instance = Instance()
    instance.drain, instance.emptied = drain, emptied
    assert phase(instance) is expected


@pytest.mark.parametrize(
    ("drain", "resent", "expected"),
    [
        (None, 5.0, None),
        (ORDERED, None, None),
        (ORDERED, 95.0, 5.0),
        (ORDERED, 20.0, 0.0),
        (CLOSED, 95.0, None),
        (ENDED, 95.0, None),
    ],
)
def test_the_wait_counts_from_when_everybody_was_sent_the_marks(
    drain: Drain | None, resent: float | None, expected: float | None
) -> None:
    instance = Instance()
    instance.drain, instance.resent = drain, resent
    assert seconds_left(instance, 100.0) == expected


async def test_each_step_is_on_disk_before_the_instance_hears_of_it(book: Book) -> None:
    seen: list[dict[str, tuple[bool, bool]]] = []
    maintain = book.main.maintain

    def told(drain: Drain | None) -> None:
        seen.append(book.written())
        maintain(drain)

    book.main.maintain = told  # type: ignore[method-assign]
    await book.drains.begin("main", 0.0)
    book.main.resent = 0.0
    await until(lambda: book.main.drain and book.main.drain.closed)
    book.main.emptied = True
    await until(lambda: "main is drained: it has no session and lets nobody in" in book.said)
    await book.drains.end("main")
    book.main.resent = 0.0
    await until(lambda: book.main.drain is None)
    assert seen == [{"main": (False, False)}, {"main": (True, False)}, {"main": (False, True)}, {}]


async def test_sessions_do_not_end_before_the_marks_are_out(book: Book) -> None:
    await book.drains.begin("main", 0.0)
    await stays(lambda: phase(book.main) is Phase.DRAINING)
    book.main.resent = 0.0
    await until(lambda: phase(book.main) is Phase.CLOSING)


async def test_an_engine_that_is_lost_during_the_wait_makes_it_begin_anew(book: Book) -> None:
    await book.drains.begin("main", 0.03)
    book.main.resent = time.monotonic()
    await asyncio.sleep(0)
    book.main.resent = None
    await stays(lambda: phase(book.main) is Phase.DRAINING)
    book.main.resent = time.monotonic()
    await until(lambda: phase(book.main) is Phase.CLOSING)
    assert time.monotonic() - (book.main.resent or 0.0) > 0.03


async def test_an_undrain_is_remembered_until_the_marks_are_off(book: Book, tmp_path: Path) -> None:
    await book.drains.begin("main", 60.0)
    assert await book.drains.end("main") == "main serves again; no session was closed"
    assert book.written() == {"main": (False, True)}
    later = Book(tmp_path)
    await later.start()
    assert phase(later.main) is Phase.SERVING
    assert later.main.drain
    assert later.main.drain.ended
    later.main.resent = 0.0
    await until(lambda: later.written() == {})


@pytest.mark.parametrize("closed", [False, True])
async def test_a_drain_goes_on_in_the_next_life(book: Book, tmp_path: Path, closed: bool) -> None:
    await book.drains.begin("main", 0.0)
    if closed:
        book.main.resent = 0.0
        await until(lambda: phase(book.main) is Phase.CLOSING)
        assert book.written() == {"main": (True, False)}
    later = Book(tmp_path)
    await later.start()
    assert later.main.drain == book.main.drain
    later.main.resent = 0.0
    await until(lambda: phase(later.main) is Phase.CLOSING)
    later.main.emptied = True
    await until(lambda: later.said and "it has no session" in later.said[-1])


async def test_what_is_said_already_changes_nothing(book: Book) -> None:
    assert await book.drains.end("main") == "main is not drained"
    await book.drains.begin("main", 0.0)
    assert await book.drains.begin("main", 5.0) == "main is being drained already"
    book.main.resent = 0.0
    await until(lambda: phase(book.main) is Phase.CLOSING)
    assert (
        await book.drains.begin("main", 5.0) == "main is drained already, its last sessions are being closed"
    )
    book.main.emptied = True
    assert await book.drains.begin("main", 5.0) == "main is drained already"
    assert [d.wait for d in book.main.told if d] == [0.0, 0.0]


async def test_an_undrain_that_is_not_finished_can_be_drained_again(book: Book) -> None:
    await book.drains.begin("main", 60.0)
    await book.drains.end("main")
    await book.drains.begin("main", 60.0)
    assert phase(book.main) is Phase.DRAINING
    assert book.written() == {"main": (False, False)}


async def test_orders_at_the_same_time_are_done_one_after_the_other(book: Book) -> None:
    for _ in range(20):
        book.main.resent = 0.0
        await asyncio.gather(
            book.drains.begin("main", 0.0), book.drains.end("main"), book.drains.begin("main", 0.0)
        )
        await book.drains.end("main")
        assert book.main.drain
        assert book.written() == {"main": (False, True)}
        book.main.resent = 0.0
        await until(lambda: book.main.drain is None)
        assert book.written() == {}


async def test_an_instance_that_is_removed_is_forgotten(book: Book) -> None:
    await book.drains.begin("main", 60.0)
    await book.drains.forget("main")
    assert book.written() == {}
    again = Instance()
    book.drains.take_over("main", again)
    assert phase(again) is Phase.SERVING


async def test_a_full_disk_is_said_and_the_drain_goes_on(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        await book.drains.begin("main", 60.0)
    assert phase(book.main) is Phase.DRAINING
    assert book.drains.problem
    assert "No space left on device" in book.drains.problem
    assert book.drains.problem in book.said
    await book.drains.end("main")
    assert book.drains.problem is None


@pytest.mark.parametrize("garbage", [b"", b"[]", b'{"main": 1}', b"\xff"])
async def test_a_file_that_says_nothing_is_said_and_written_anew(tmp_path: Path, garbage: bytes) -> None:
    book = Book(tmp_path)
    book.file.write_bytes(garbage)
    await book.start()
    assert phase(book.main) is Phase.SERVING
    assert "cannot be read" in book.said[0]
    assert "instances are taken to be as their engines are" in book.said[0]
    assert book.written() == {}


async def test_an_entry_that_lacks_something_is_corrupt(book: Book) -> None:
    files.save(book.file, 1, {"main": {"since": SINCE}})
    later = Book(book.file.parent)
    await later.start()
    assert "it is corrupt" in later.said[0]


async def test_an_engine_that_does_not_answer_is_taken_to_serve(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.file.write_bytes(b"{")
    await book.drains.recall({"main": tmp_path / "nobody.sock"})
    book.drains.take_over("main", book.main)
    assert phase(book.main) is Phase.SERVING
