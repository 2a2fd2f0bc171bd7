"""gobgpd as a process: the right version, found again by its socket, ended when asked."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rr.engine import process
from rr.engine.process import EngineProcess, Program, find_program
from rr.errors import EngineMissing, EngineTooOld
from tests.engine.conftest import end, serving
from tests.engine.speaker import eventually


def fake(folder: Path, prints: str, name: str = "gobgpd") -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{prints}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("prints", "said"),
    [
        ("echo gobgpd version 4.7.9", "is 4.7.9"),
        ("echo gobgpd version 3.36.0", "is 3.36.0"),
        ("echo gobgpd version 5.0.0", "is 5.0.0"),
        ("echo it is a teapot", "is of no known version"),
        ("exit 1", "is of no known version"),
        ("printf '\\377\\376'", "is of no known version"),
    ],
)
def test_another_version_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str, said: str
) -> None:
    program = fake(tmp_path, prints)
    monkeypatch.setenv("GOBGPD", str(program))
    with pytest.raises(EngineTooOld) as refused:
        find_program()
    assert refused.value.wrong == f"{program} {said}; gobgpd 4.8 or newer, below 5, is needed"
    assert "run `make engine`" in refused.value.right


@pytest.mark.parametrize("version", ["4.8.0", "4.8.1", "4.10.0", "4.99.3"])
def test_4_8_and_newer_below_5_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    program = fake(tmp_path, f"echo gobgpd version {version}")
    monkeypatch.setenv("GOBGPD", str(program))
    assert find_program() == Program(program, version)


def test_a_program_that_cannot_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOBGPD", str(tmp_path / "gone"))
    with pytest.raises(EngineTooOld, match="of no known version"):
        find_program()


def test_no_gobgpd_anywhere_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOBGPD", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    if os.access("/usr/bin/gobgpd", os.X_OK):
        pytest.skip("this host has a gobgpd in /usr/bin")
    with pytest.raises(EngineMissing, match="no gobgpd was found"):
        find_program()


def test_an_old_one_on_path_does_not_hide_the_one_that_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = tmp_path / ".engine" / "bin"
    fetched.mkdir(parents=True)
    fake(fetched, "echo 4.8.0")
    old = tmp_path / "old"
    old.mkdir()
    fake(old, "echo 3.10.0")
    monkeypatch.delenv("GOBGPD", raising=False)
    monkeypatch.setenv("PATH", f"{old}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv"))
    assert find_program() == Program(fetched / "gobgpd", "4.8.0")


async def test_whoever_comes_next_finds_the_engine_by_its_socket(engine_process: EngineProcess) -> None:
    client = await serving(engine_process)
    await client.close()
    found = EngineProcess(engine_process.directory)
    assert found.pid() == engine_process._child.pid  # type: ignore[union-attr]
    assert found.failed() is None


async def test_only_its_user_can_reach_an_engine(engine_process: EngineProcess) -> None:
    client = await serving(engine_process)
    await client.close()
    assert engine_process.directory.stat().st_mode & 0o777 == 0o700
    assert engine_process.socket.stat().st_mode & 0o077 == 0


async def test_an_engine_is_in_a_session_of_its_own(engine_process: EngineProcess) -> None:
    """So that a signal to the controller's terminal does not end it."""
    client = await serving(engine_process)
    await client.close()
    pid = engine_process.pid()
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_a_socket_that_sigkill_left_does_not_keep_the_next_engine_from_serving(
    engine_process: EngineProcess, program: Program
) -> None:
    await (await serving(engine_process)).close()
    await engine_process.kill()
    assert engine_process.socket.exists()
    assert engine_process.pid() is None
    engine_process.start(program)
    client = await serving(engine_process)
    await client.close()


async def test_kill_is_over_at_once_and_stop_too_when_there_is_nobody(engine_process: EngineProcess) -> None:
    await (await serving(engine_process)).close()
    await asyncio.wait_for(engine_process.kill(), 2)
    assert engine_process.failed() == -signal.SIGKILL
    await engine_process.kill()
    await engine_process.stop()


async def test_stop_ends_an_engine_in_order(engine_process: EngineProcess) -> None:
    await (await serving(engine_process)).close()
    await asyncio.wait_for(engine_process.stop(), process.STOP_PATIENCE)
    assert engine_process.failed() == 0


async def test_an_adopted_engine_can_be_stopped_as_well(engine_process: EngineProcess) -> None:
    await (await serving(engine_process)).close()
    await asyncio.wait_for(EngineProcess(engine_process.directory).stop(), process.STOP_PATIENCE)
    assert engine_process.failed() == 0


async def test_a_hung_engine_that_ignores_stop_is_killed(
    engine_process: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await serving(engine_process)).close()
    pid = engine_process.pid()
    assert pid is not None
    monkeypatch.setattr(process, "STOP_PATIENCE", 0.5)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.wait_for(engine_process.stop(), 5)
    assert engine_process.failed() == -signal.SIGKILL


@pytest.fixture
def squatter(short_dir: Path) -> Path:
    """A socket file that nobody serves any more."""
    folder = short_dir / "main"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "gobgpd.sock"))
    return folder


async def test_a_stale_socket_is_nobody(squatter: Path, program: Program) -> None:
    found = EngineProcess(squatter)
    assert found.pid() is None
    found.start(program)
    try:
        await eventually(lambda: found.pid() is not None, "the new engine serves at the old name")
    finally:
        end(found)


async def test_one_that_runs_without_serving_gives_way_to_the_next(
    engine_process: EngineProcess, program: Program
) -> None:
    """Its socket is gone, so nobody can adopt it, and it would keep the BGP port."""
    await (await serving(engine_process)).close()
    first = engine_process._child
    assert first is not None
    engine_process.socket.unlink()
    assert engine_process.pid() is None
    engine_process.start(program)
    assert first.poll() == -signal.SIGKILL
    await (await serving(engine_process)).close()


async def test_an_engine_that_ends_at_once_says_so(short_dir: Path, tmp_path: Path) -> None:
    found = EngineProcess(short_dir / "main")
    found.start(Program(fake(tmp_path, "echo no such flag >&2; exit 3"), "4.8.0"))
    assert await eventually(found.failed, "it has ended") == 3
    assert "no such flag" in (found.directory / "gobgpd.log").read_text()


def test_the_real_one_is_found(program: Program) -> None:
    answer = subprocess.run([program.path, "--version"], capture_output=True, text=True, check=True)
    assert program.version in answer.stdout


@pytest.mark.parametrize(("before", "after"), [("0", "5"), ("10", "15"), ("19", "19")])
def test_the_controller_steps_back_from_wherever_it_was_started(before: str, after: str) -> None:
    """As any user, to whom nobody gives a priority back."""
    code = (
        "import os\n"
        "from rr.engine.process import step_back\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "step_back()\n"
        "print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    words = ["nice", "-n", before, sys.executable, "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == after
