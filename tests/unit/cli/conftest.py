"""rrctl as its users run it: a process, against a real server or something that only looks like one."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from rr.api.appliance import Row
from rr.api.server import Api
from tests.unit.api.memory import MemoryAppliance

COMMAND = [sys.executable, "-m", "rr.cli"]


class Ran(NamedTuple):
    """What a run of rrctl left."""

    code: int
    out: str
    err: str
    seconds: float


Rrctl = Callable[..., Ran]


def environment(**more: str) -> dict[str, str]:
    """The environment of a quiet machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RR_", "COV_"))}
    return {**kept, "LC_ALL": "C.UTF-8", **more}


@pytest.fixture
def rrctl(tmp_path: Path) -> Rrctl:
    """Run rrctl on the socket of this test."""

    def run(*arguments: str, **variables: str) -> Ran:
        started = time.monotonic()
        done = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True, encoding="utf-8", timeout=30, stdin=subprocess.DEVNULL,
            env=environment(**{"RR_SOCKET": str(tmp_path / "rrd.sock"), **variables}),
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    return run


class Background:
    """A served appliance in a thread of its own, so that the test can wait for a process."""

    def __init__(self, path: Path) -> None:
        self.appliance = MemoryAppliance()
        self.path = path
        self._loop = asyncio.new_event_loop()
        self._api = Api(self.appliance)
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._api.start(self.path, None), self._loop).result(5)

    def stop_serving(self) -> None:
        asyncio.run_coroutine_threadsafe(self._api.stop(), self._loop).result(5)

    def stop(self) -> None:
        self.stop_serving()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def restart(self, pause: float = 0.0) -> None:
        """Go away for a while, as a restarted rrd does."""
        self.stop_serving()
        time.sleep(pause)
        asyncio.run_coroutine_threadsafe(self._api.start(self.path, None), self._loop).result(5)

    def wait_for_a_reader(self) -> None:
        """Wait until somebody follows the events."""
        for _ in range(500):
            if self.appliance.subscribers:
                return
            time.sleep(0.01)
        raise AssertionError("nobody follows the events")

    def happen(self, row: Row) -> None:
        self._loop.call_soon_threadsafe(self.appliance.happen, row)


@pytest.fixture
def rrd(tmp_path: Path) -> Iterator[Background]:
    """A server at the socket of this test."""
    background = Background(tmp_path / "rrd.sock")
    background.start()
    try:
        yield background
    finally:
        background.stop()


@contextmanager
def answering(path: Path, answer: bytes | None) -> Iterator[None]:
    """Listen at `path` and answer every connection with some bytes; None answers nothing, and keeps it open."""
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()
