"""`rrctl demo` as a person runs it: what it counts, and that nothing of it is left however it ends."""

import json
import os
import re
import shutil
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
ENGINE_KILLED, CONTROLLER_KILLED = "every session is down", "kill -9 to rrd"
KEYS = ["expected", "accepted", "rejected", "leaked", "vip_paths", "grant_ms", "revoke_ms"]
KEYS += ["restart_removed", "restart_seconds", "controller_removed"]
LONG = 90.0
"""Seconds in which a story is over: about twenty, more on a busy machine."""
TORS_THAT_DO_NOT_HELP = """
import sys
from rr.demo import network
from rr.demo.run import Options, run
whole = network.tor_toml
network.tor_toml = lambda plan, tor: whole(plan, tor).replace("enabled = true", "enabled = false")
sys.exit(run(Options(once=True, as_json=True)))
"""
"""A demo whose ToRs have no graceful restart."""


class Demo:
    """A running demo; the processes that it started are known by a mark in their environment."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        program: Sequence[str | Path] = (RRCTL, "demo"),
        **environment: str,
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.story, self.errors = folder / f"story-{self.mark}", folder / f"errors-{self.mark}"
        with self.story.open("wb") as story, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=story,
                stderr=errors,
                start_new_session=True,
                env=os.environ | {MARK: self.mark} | environment,
            )

    def said(self) -> str:
        """What it wrote so far."""
        return self.story.read_text() + self.errors.read_text()

    def until(self, text: str, seconds: float = LONG) -> None:
        """Wait until it says `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {text}\n{self.said()}"
            time.sleep(0.05)

    def ended(self, seconds: float = LONG) -> int:
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


def kill_guardian(demo: Demo) -> None:
    (guardian,) = [pid for pid, command in demo.processes().items() if "guardian.py" in command]
    os.kill(guardian, signal.SIGKILL)


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
    assert counts["restart_removed"] == counts["controller_removed"] == 0
    assert 5 < counts["restart_seconds"] < 30


def test_the_demo_counts_that_nothing_leaked_and_nothing_is_missing(
    tmp_path: Path, demos: list[Demo]
) -> None:
    """`--once --json`: exit 0, every route there, none leaked, none lost by a kill; nothing is left afterwards."""
    demo = Demo(tmp_path, ["--once", "--json"])
    demos.append(demo)
    assert demo.ended() == 0, demo.said()
    assert_all_is_well(counted(demo))
    demo.assert_gone(0.5)


def test_the_story_is_plain_text_and_shows_why_each_hijack_was_rejected(
    tmp_path: Path, demos: list[Demo]
) -> None:
    """No escape sequences; seven chapters, three explanations with their reasons, both kills told with figures."""
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
        "The engine is killed",
        "The controller is killed",
    ]
    for prefix in ("10.244.2.0/24", "10.244.2.0/25", "0.0.0.0/0"):
        assert f"explain {prefix} --from node-1" in story
    assert re.findall(r"rejected \(([a-z-]+)\)", story) == [
        "foreign-prefix",
        "foreign-prefix",
        "default-route",
    ]
    assert "both ToRs: 0 routes withdrawn or removed" in story
    assert "main is whole again: all 8 peers are back" in story
    assert re.search(r"rrd is started again and adopts the engine: tor-1 has it \d+ ms later", story)
    demo.assert_gone(0.5)


def test_two_demos_at_once_do_not_meet(tmp_path: Path, demos: list[Demo]) -> None:
    """Two demos side by side both end with exit 0 and the same counts."""
    demos += [Demo(tmp_path, ["--json"]), Demo(tmp_path, ["--json"])]
    for demo in demos:
        assert demo.ended() == 0, demo.said()
        assert_all_is_well(counted(demo))
        demo.assert_gone(0.5)


def test_tors_that_do_not_help_lose_every_route_with_the_engine_and_the_demo_fails(
    tmp_path: Path, demos: list[Demo]
) -> None:
    """ToRs without graceful restart: `restart_removed` is all 26, exit 1; so the count can fail."""
    demo = Demo(tmp_path, program=(sys.executable, "-c", TORS_THAT_DO_NOT_HELP))
    demos.append(demo)
    assert demo.ended() == 1
    counts = counted(demo)
    assert counts["accepted"] == counts["expected"] == counts["restart_removed"] == 26
    assert counts["controller_removed"] is None
    assert "26 routes were lost when the engine was killed" in demo.said()
    assert not demo.processes()
    shutil.rmtree(demo.folder())


def test_sigterm_while_it_stays_up_ends_everything(tmp_path: Path, demos: list[Demo]) -> None:
    """Exit 0, and no process and no folder is left."""
    demo = staying_up(tmp_path, demos)
    demo.process.send_signal(signal.SIGTERM)
    assert demo.ended(15) == 0
    demo.assert_gone(0.5)


@pytest.mark.parametrize("said", ["1. Sessions", ENGINE_KILLED, CONTROLLER_KILLED])
def test_ctrl_c_in_the_middle_of_the_story_ends_everything(
    said: str, tmp_path: Path, demos: list[Demo]
) -> None:
    """Exit 130, and no process and no folder is left; also while engine or controller are dead."""
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.until(said)
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.ended(15) == 128 + signal.SIGINT
    demo.assert_gone(0.5)


@pytest.mark.parametrize("said", [ENGINE_KILLED, CONTROLLER_KILLED])
def test_after_kill_9_of_the_demo_while_something_else_is_killed_nothing_is_left(
    said: str, tmp_path: Path, demos: list[Demo]
) -> None:
    """SIGKILL to the demo while the engine or `rrd` is dead: the guardian ends the rest, a lone engine too."""
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.until(said)
    demo.process.kill()
    demo.assert_gone()


def test_after_kill_9_of_its_guardian_while_there_is_no_controller_nothing_is_left(
    tmp_path: Path, demos: list[Demo]
) -> None:
    """SIGKILL to the guardian while `rrd` is dead: exit 1, the lone engine is ended too."""
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.until(CONTROLLER_KILLED)
    kill_guardian(demo)
    assert demo.ended(15) == 1
    demo.assert_gone(0.5)


def test_after_kill_9_of_the_demo_nothing_is_left(tmp_path: Path, demos: list[Demo]) -> None:
    """SIGKILL to the demo while it stays up: the guardian ends everything."""
    demo = staying_up(tmp_path, demos)
    demo.process.kill()
    demo.assert_gone()


def test_after_kill_9_of_its_guardian_nothing_is_left(tmp_path: Path, demos: list[Demo]) -> None:
    """SIGKILL to the guardian while it stays up: exit 1, the demo ends everything and says why."""
    demo = staying_up(tmp_path, demos)
    kill_guardian(demo)
    assert demo.ended(15) == 1
    assert "guardian process was killed" in demo.said()
    demo.assert_gone(0.5)


def test_an_edited_allocations_file_is_told_as_it_reaches_the_tor(tmp_path: Path, demos: list[Demo]) -> None:
    """While it stays up, a prefix that the file gives and takes away is told; Ctrl-C is exit 0 then."""
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
    """Exit 1 with a sentence and counts whose times are null."""
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
    """A ToR that is killed fails the demo, exit 1; the folder with the logs is kept and named."""
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.until("1. Sessions")
    (tor,) = [pid for pid, command in demo.processes().items() if "tor-2.sock" in command]
    os.kill(tor, signal.SIGKILL)
    assert demo.ended(15) == 1
    assert f"tor-2 ended with status -9; the logs are in {demo.folder()}" in demo.said()
    assert (demo.folder() / "tor-2.log").exists()
    assert not demo.processes()
    shutil.rmtree(demo.folder())
