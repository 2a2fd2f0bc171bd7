"""What the service manager hears: READY, RELOADING, STATUS, WATCHDOG, and when."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from rr.instance.health import Health
from rr.service.notify import Notifier
from rr.service.report import tell


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(5)

    def heard(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def silent(self) -> bool:
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(5)


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        str(tmp_path / "notify") if request.param == "path" else f"@rr-test-{tmp_path.name}-{time.time_ns()}"
    )


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    listening = Manager(address)
    yield listening
    listening.socket.close()


def test_a_status_is_one_line(manager: Manager, address: str) -> None:
    Notifier(address).ready("RR OK\nREADY=0 nodes")
    assert manager.heard() == {"READY": "1", "STATUS": "RR OK READY=0 nodes"}


def test_a_reload_says_when_it_began(manager: Manager, address: str) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(address).reloading()
    heard = manager.heard()
    assert heard["RELOADING"] == "1"
    assert before <= int(heard["MONOTONIC_USEC"]) <= before + 5_000_000


def test_an_end_is_said(manager: Manager, address: str) -> None:
    Notifier(address).stopping()
    assert manager.heard()["STOPPING"] == "1"


def test_without_a_service_manager_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    Notifier(None).ready("all is well")
    Notifier(str(tmp_path / "nobody")).ready("all is well")


def test_what_the_service_manager_left_is_taken_so_that_no_child_gets_it() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "20000000", "PATH": "/usr/bin"}
    notifier = Notifier.take(environment)
    assert (notifier.address, notifier.watchdog) == ("@x", 20.0)
    assert environment == {"PATH": "/usr/bin"}


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "often"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
def test_a_watchdog_that_does_not_mean_us_is_none(environment: dict[str, str]) -> None:
    assert Notifier.take(environment).watchdog is None


async def test_ready_is_said_only_when_each_instance_is_in_force_or_says_why_not(
    manager: Manager, address: str
) -> None:
    healths, serving = [Health(), Health()], asyncio.Event()
    telling = asyncio.create_task(tell(Notifier(address), lambda: healths, lambda: "as it is", serving))
    try:
        healths[0].in_force = True
        healths[1].problem = "nobody listens"
        await asyncio.sleep(0)
        assert manager.silent(), "rrctl is not answered yet"
        healths[1].problem = None
        serving.set()
        await asyncio.sleep(0.15)
        assert manager.silent(), "it is not known how the second is"
        healths[1].problem = "nobody listens"
        heard = await asyncio.to_thread(manager.heard)
        assert heard == {"READY": "1", "STATUS": "as it is"}
    finally:
        telling.cancel()


async def test_where_nobody_asks_nothing_is_worked_out() -> None:
    serving, asked = asyncio.Event(), Mock(return_value="well")
    serving.set()
    telling = asyncio.create_task(tell(Notifier(None), list, asked, serving))
    await asyncio.sleep(0.2)
    assert not telling.done(), "rrd would take that for a fault"
    asked.assert_not_called()
    telling.cancel()


async def test_the_watchdog_hears_from_the_loop_thrice_within_its_time_and_nothing_while_it_hangs(
    manager: Manager, address: str
) -> None:
    serving = asyncio.Event()
    serving.set()
    telling = asyncio.create_task(tell(Notifier(address, 0.6), list, lambda: "well", serving))
    try:
        assert "READY" in await asyncio.to_thread(manager.heard)
        began = time.monotonic()
        for _ in range(4):
            assert (await asyncio.to_thread(manager.heard))["WATCHDOG"] == "1"
        assert 0.5 < time.monotonic() - began < 3
        while not manager.silent():
            pass
        time.sleep(0.5)  # noqa: ASYNC251 (the loop hangs)
        assert manager.silent()
    finally:
        telling.cancel()
