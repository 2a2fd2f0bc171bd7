import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rr.demo import guardian

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


class Demo:
    """The demo's end of the socket to a real guardian."""

    def __init__(self) -> None:
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        with other:
            command = [sys.executable, "-I", guardian.__file__, str(other.fileno())]
            self.guardian = subprocess.Popen(command, pass_fds=[other.fileno()], start_new_session=True)
        self.folder = Path(self.hear()["folder"])

    def hear(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.socket.recv(guardian.PACKET_BYTES))
        return answer

    def start(self, *argv: str) -> dict[str, Any]:
        log = str(self.folder / "log")
        request = {"start": "it", "argv": argv, "log": log, "env": dict(os.environ)}
        self.socket.send(json.dumps(request).encode())
        return self.hear()

    def end(self) -> float:
        """Go away as a killed demo does; the seconds that the guardian then took."""
        start = time.monotonic()
        self.socket.close()
        assert self.guardian.wait(10) == 0
        return time.monotonic() - start


@pytest.fixture
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    demo.end()


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_for_pid(file: Path) -> int:
    for _ in range(200):
        if file.exists() and (text := file.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"{file} was not written")


def test_when_the_demo_is_gone_its_processes_and_its_folder_are_too(demo: Demo) -> None:
    pid = demo.start("sleep", "60")["pid"]
    assert alive(pid)
    assert demo.end() < 2
    assert not alive(pid)
    assert not demo.folder.exists()


def test_a_grandchild_in_a_session_of_its_own_whose_parent_died_is_ended_too(demo: Demo) -> None:
    file = demo.folder / "pid"
    demo.start("sh", "-c", f"setsid sh -c 'echo $$ >{file}; exec sleep 60' &")
    pid = wait_for_pid(file)
    assert demo.hear()["ended"] == "it"
    demo.end()
    assert not alive(pid)


def test_a_process_that_ignores_sigterm_is_killed(demo: Demo) -> None:
    pid = demo.start(sys.executable, "-c", STUBBORN)["pid"]
    time.sleep(0.3)
    assert guardian.GRACE_SECONDS - 0.5 < demo.end() < guardian.GRACE_SECONDS + 3
    assert not alive(pid)


def test_a_process_that_ends_by_itself_is_told_with_its_status(demo: Demo) -> None:
    demo.start("sh", "-c", "exit 3")
    assert demo.hear() == {"ended": "it", "status": 3}


def test_a_process_is_killed_when_asked_for_by_name(demo: Demo) -> None:
    pid = demo.start(sys.executable, "-c", STUBBORN)["pid"]
    demo.socket.send(b'{"kill": "another"}')
    demo.socket.send(b'{"kill": "it"}')
    assert demo.hear() == {"ended": "it", "status": -signal.SIGKILL}
    assert not alive(pid)


def test_a_program_that_is_not_there_is_told(demo: Demo) -> None:
    assert demo.start("/no/such/program")["error"] == "No such file or directory: /no/such/program"


def test_the_folder_stays_when_asked_for(demo: Demo) -> None:
    demo.socket.send(b'{"keep": true}')
    demo.end()
    assert demo.folder.exists()
    demo.folder.rmdir()


def test_children_die_with_a_guardian_that_is_killed(demo: Demo) -> None:
    pid = demo.start("sleep", "60")["pid"]
    demo.guardian.kill()
    demo.guardian.wait(5)
    demo.guardian.returncode = 0
    for _ in range(100):
        if not alive(pid):
            break
        time.sleep(0.02)
    assert not alive(pid)
    shutil.rmtree(demo.folder)
