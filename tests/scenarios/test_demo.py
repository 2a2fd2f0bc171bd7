"""`rrctl demo` as a person runs it: what it counts, and that nothing of it is left however it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

RRCTL = Path(sys.executable).with_name("rrctl")
MARK = "RR_DEMO_TEST"
TOLD = "Look around"
KEYS = ["expected", "accepted", "rejected", "leaked", "vip_paths", "grant_ms", "revoke_ms"]


class Demo:
    """A running demo; the processes that it started are known by a mark in their environment."""

    def __init__(self, folder: Path, arguments: Sequence[str] = (), **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        self.story, self.errors = folder / f"story-{self.mark}", folder / f"errors-{self.mark}"
        with self.story.open("wb") as story, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [RRCTL, "demo", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=story,
                stderr=errors,
                start_new_session=True,
                env=os.environ | {MARK: self.mark} | environment,
            )

    def said(self) -> str:
        """What it wrote so far."""
        return self.story.read_text() + self.errors.read_text()

    def until(self, text: str, seconds: float = 60.0) -> None:
        """Wait until it says `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {text}\n{self.said()}"
            time.sleep(0.05)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for its end: the exit status."""
        return self.process.wait(seconds)

    def folder(self) -> Path:
        """Its temporary folder, as the story names it."""
        found = re.search(r"their files are in (\S+)", self.said())
        assert found, self.said()
        return Path(found.group(1))

    def processes(self) -> dict[int, str]:
        """The pid and command line of each process that carries the mark."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                        found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
                except OSError:
                    continue
        return found

    def assert_gone(self, seconds: float = 10.0) -> None:
        """Within that time nothing of it is left: no process, no folder."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) or self.folder().exists():
            assert time.monotonic() < deadline, f"left: {left}, {list(self.folder().glob('*'))}"
            time.sleep(0.05)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    """The demos of the test, ended with it."""
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.wait()


def staying_up(folder: Path, demos: list[Demo]) -> Demo:
    demo = Demo(folder)
    demos.append(demo)
    demo.until(TOLD)
    names = " ".join(demo.processes().values())
    assert "rrd" in names
    assert names.count("--api-hosts") == 9, "the engine, six nodes and two ToRs"
    return demo


def counted(demo: Demo) -> dict[str, Any]:
    (line,) = demo.story.read_text().splitlines()
    counts: dict[str, Any] = json.loads(line)
    assert list(counts) == KEYS
    return counts


def assert_all_is_well(counts: dict[str, Any]) -> None:
    assert counts["expected"] == counts["accepted"] == 26
    assert counts["rejected"] == 3
    assert counts["leaked"] == 0
    assert counts["vip_paths"] == 6
    assert 0 < counts["grant_ms"] < 2000
    assert 0 < counts["revoke_ms"] < 2000


def test_the_demo_counts_that_nothing_leaked_and_nothing_is_missing(
    tmp_path: Path, demos: list[Demo]
) -> None:
    demo = Demo(tmp_path, ["--once", "--json"])
    demos.append(demo)
    assert demo.ended() == 0, demo.said()
    assert_all_is_well(counted(demo))
    demo.assert_gone(0.5)


def test_the_story_is_plain_text_and_shows_why_each_hijack_was_rejected(
    tmp_path: Path, demos: list[Demo]
) -> None:
    demo = Demo(tmp_path, ["--once"])
    demos.append(demo)
    assert demo.ended() == 0, demo.said()
    story = demo.story.read_text()
    assert "\x1b" not in story
    assert re.findall(r"^\d\. (.+)", story, re.MULTILINE) == [
        "Sessions come up by themselves",
        "ToRs hold every path of a VIP",
        "Reflection inside a rack, and not across",
        "A node announces what is not its own",
        "The IPAM gives a PodCIDR, and takes it away",
    ]
    for prefix in ("10.244.2.0/24", "10.244.2.0/25", "0.0.0.0/0"):
        assert f"explain {prefix} --from node-1" in story
    assert re.findall(r"rejected \(([a-z-]+)\)", story) == [
        "foreign-prefix",
        "foreign-prefix",
        "default-route",
    ]
    demo.assert_gone(0.5)


def test_two_demos_at_once_do_not_meet(tmp_path: Path, demos: list[Demo]) -> None:
    demos += [Demo(tmp_path, ["--json"]), Demo(tmp_path, ["--json"])]
    for demo in demos:
        assert demo.ended() == 0, demo.said()
        assert_all_is_well(counted(demo))
        demo.assert_gone(0.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_stays_up_ends_everything(
    number: signal.Signals, tmp_path: Path, demos: list[Demo]
) -> None:
    demo = staying_up(tmp_path, demos)
    demo.process.send_signal(number)
    assert demo.ended(15) == 0
    demo.assert_gone(0.5)


def test_ctrl_c_in_the_middle_of_the_story_ends_everything(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.until("1. Sessions")
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.ended(15) == 128 + signal.SIGINT
    demo.assert_gone(0.5)


def test_after_kill_9_of_the_demo_nothing_is_left(tmp_path: Path, demos: list[Demo]) -> None:
    demo = staying_up(tmp_path, demos)
    demo.process.kill()
    demo.assert_gone()


def test_after_kill_9_of_its_guardian_nothing_is_left(tmp_path: Path, demos: list[Demo]) -> None:
    demo = staying_up(tmp_path, demos)
    (guardian,) = [pid for pid, command in demo.processes().items() if "guardian.py" in command]
    os.kill(guardian, signal.SIGKILL)
    assert demo.ended(15) == 1
    assert "guardian process was killed" in demo.said()
    demo.assert_gone(0.5)


def test_an_edited_allocations_file_is_told_as_it_reaches_the_tor(tmp_path: Path, demos: list[Demo]) -> None:
    demo = staying_up(tmp_path, demos)
    allocations = demo.folder() / "allocations.yaml"
    text = allocations.read_text()
    assert '"10.244.3.0/24"' in text
    allocations.write_text(text.replace('"10.244.3.0/24"', '"10.244.3.0/24", "10.244.23.0/24"'))
    demo.until("tor-1 now has 10.244.23.0/24 via node-3", 10)
    allocations.write_text(text)
    demo.until("tor-1 has lost 10.244.23.0/24 via node-3", 10)
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended(15) == 0
    demo.assert_gone(0.5)


def test_without_an_engine_it_says_so_and_prints_its_counts(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, ["--json"], GOBGPD="/no/such/gobgpd")
    demos.append(demo)
    assert demo.ended() == 1
    counts = counted(demo)
    assert counts["accepted"] == 0
    assert counts["grant_ms"] is None
    assert "gobgpd 4.8 or newer" in demo.errors.read_text()
    assert not demo.processes()


def test_a_program_that_ends_during_the_story_is_named_and_its_log_kept(
    tmp_path: Path, demos: list[Demo]
) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.until("1. Sessions")
    (tor,) = [pid for pid, command in demo.processes().items() if "tor-2.sock" in command]
    os.kill(tor, signal.SIGKILL)
    assert demo.ended(15) == 1
    assert f"tor-2 ended with status -9; the logs are in {demo.folder()}" in demo.said()
    assert (demo.folder() / "tor-2.log").exists()
    assert not demo.processes()
    for file in sorted(demo.folder().rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    demo.folder().rmdir()
