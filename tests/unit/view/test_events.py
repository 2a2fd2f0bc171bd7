"""The event history: numbered, kept over a restart, and never a reason to stop."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rr.view import events
from rr.view.events import EventHistory


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = EventHistory(tmp_path / "events.jsonl")
    first.add("session", "node-1", "session with node-1 is up")
    second = EventHistory(tmp_path / "events.jsonl")
    second.add("session", "node-1", "session with node-1 is down")
    found = second.since(0)
    assert [event["id"] for event in found] == [1, 2]
    assert second.since(1) == found[1:]
    assert set(found[0]) == {"id", "time", "kind", "subject", "text"}
    assert found[0]["time"].endswith("Z")


def test_a_line_that_a_crash_cut_off_is_lost_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    history = EventHistory(file)
    history.add("ipam", "a", "one")
    history.add("ipam", "a", "two")
    file.write_text(file.read_text()[:-20])
    again = EventHistory(file)
    again.add("ipam", "a", "three")
    again.add("ipam", "a", "four")
    found = EventHistory(file).since(0)
    assert [event["text"] for event in found] == ["one", "three", "four"]
    assert [event["id"] for event in found] == [1, 2, 3]


@pytest.mark.parametrize("rubbish", [b"\xff\xfe\x00", b"[]\n{}\n1\n", b'{"id": "one"}\n', b"\n\n"])
def test_rubbish_in_the_file_is_passed_over(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "events.jsonl").write_bytes(rubbish)
    history = EventHistory(tmp_path / "events.jsonl")
    history.add("ipam", "a", "one")
    assert [event["id"] for event in history.since(0)] == [1]


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(events._log, "warning", lambda text, **_: said.append(text), raising=False)
    (tmp_path / "dir").write_text("not a directory")
    history = EventHistory(tmp_path / "dir" / "events.jsonl")
    for number in range(3):
        history.add("ipam", "a", f"event {number}")
    assert len(history.since(0)) == 3
    assert said.count("the event history is not written") == 1


def test_memory_and_file_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 10)
    monkeypatch.setattr(events, "_FILE_LIMIT", 2000)
    file = tmp_path / "events.jsonl"
    history = EventHistory(file)
    for number in range(100):
        history.add("ipam", "a", f"event {number}")
    assert [event["id"] for event in history.since(0)] == list(range(91, 101))
    assert file.stat().st_size < 4000
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()][-1] == 100
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


async def test_a_follower_is_told_what_happens_from_now_on() -> None:
    history = EventHistory()
    history.add("ipam", "a", "before")
    stream = history.follow()
    first: asyncio.Task[dict[str, Any]] = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    history.add("ipam", "a", "after")
    assert (await first)["text"] == "after"


async def test_a_follower_that_is_too_slow_is_let_go_after_what_it_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "_QUEUE", 3)
    history = EventHistory()
    got: list[int] = []

    async def read() -> None:
        got.extend([event["id"] async for event in history.follow()])

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    for number in range(6):
        history.add("ipam", "a", f"event {number}")
    await asyncio.wait_for(reader, 2)
    assert got == [1, 2, 3]
    assert not history._followers
