"""A real gobgpd on loopback for each test, and the product's own parts on top of it. No root."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rr.config.model import Instance
from rr.config.secrets import read_secret
from rr.continuity.roster import Roster
from rr.engine.client import Engine
from rr.engine.process import EngineProcess, Program, find_program
from rr.engine.speaker import Half, plan
from rr.instance.runner import InstanceRunner
from rr.instance.wants import Setting
from rr.ipam.allocations import Allocations
from rr.net import Address
from tests.engine.speaker import Speaker, eventually
from tests.unit.policy.worlds import instance

HOME = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOME, 0))
        return int(probe.getsockname()[1])


def setting_of(instance: Instance, half: Half | None = None) -> Setting:
    return Setting(instance, plan(instance, lambda file: read_secret(file) if file else "", half))


def loopback_instance(racks: dict[str, Any] | None = None, **settings: Any) -> Instance:
    """An instance on loopback: rack N has nodes in 127.2.N.0/24 and a ToR, which dials, at 127.3.N.1."""
    default = {
        f"rack-{number}": {
            "nodes": {"ranges": [f"127.2.{number}.0/24"]},
            "tors": [{"address": f"127.3.{number}.1", "passive": True}],
        }
        for number in (1, 2)
    }
    values = {"router_id": "10.0.0.11", "listen": [HOME], "port": free_port(), "families": ["ipv4", "ipv6"]}
    return instance(racks or default, **{**values, **settings})


@pytest.fixture(scope="session")
def program() -> Program:
    return find_program()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name (107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="rr-engine-"))
    yield folder
    shutil.rmtree(folder)


def end(process: EngineProcess) -> None:
    """End an engine by its pid, hung ones too."""
    pid = process.pid() or (process._child.pid if process._child else None)
    if pid is not None and process.failed() is None:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGKILL)
    if process._child is not None:
        process._child.wait(10)


@pytest.fixture
def engine_process(short_dir: Path, program: Program) -> Iterator[EngineProcess]:
    """A gobgpd that serves its API and knows nothing yet."""
    process = EngineProcess(short_dir / "main")
    process.start(program)
    try:
        yield process
    finally:
        end(process)


async def serving(process: EngineProcess) -> Engine:
    """A client of an engine that was just started."""
    await eventually(lambda: process.pid() is not None, "the engine listens on its socket")
    engine = Engine(process.socket)
    await engine.ping(deadline=5.0)
    return engine


@pytest.fixture
async def engine(engine_process: EngineProcess) -> AsyncIterator[Engine]:
    """A client of it."""
    client = await serving(engine_process)
    yield client
    await client.close()


class Reflector:
    """One instance as the product runs it, and peers that dial it."""

    def __init__(
        self, instance: Instance, run_dir: Path, program: Program, half: Address | None = None
    ) -> None:
        """`half` is where the other half of a pair dials from."""
        self.half = Half(half, dialed=False) if half else None
        self.said: list[tuple[str, str, str]] = []
        self.runner = InstanceRunner(
            "main",
            setting_of(instance, self.half),
            run_dir,
            program,
            self._say,
            Roster(run_dir / "roster.json"),
        )
        self.instance = instance
        self.speakers: list[Speaker] = []
        self.task = asyncio.create_task(self.runner.run())

    def _say(self, kind: str, subject: str, text: str) -> None:
        self.said.append((kind, subject, text))

    def sentences(self, kind: str) -> list[str]:
        return [text for k, _, text in self.said if k == kind]

    def allocate(self, allocations: Allocations) -> None:
        self.runner.allocate(allocations)

    def configure(self, **settings: Any) -> None:
        """Take the instance with other settings."""
        values = {**self.instance.model_dump(), **settings}
        self.instance = Instance.model_validate(values)
        self.runner.configure(setting_of(self.instance, self.half))

    async def applied(self) -> None:
        """Wait until the engine holds what is wanted; a runner that ended is a fault of its own."""
        waiting = asyncio.create_task(self.runner.applied.wait())
        done, _ = await asyncio.wait([waiting, self.task], timeout=15, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task in done:
            self.task.result()
        assert waiting in done, f"not applied; said: {self.said}; health: {self.runner.health}"

    async def dial(
        self, address: Address, *, add_paths: bool = False, restart_time: int = 0, password: str = ""
    ) -> Speaker:
        speaker = Speaker(address, asn=self.instance.asn, add_paths=add_paths, password=password)
        self.speakers.append(speaker)
        await speaker.dial(HOME, self.instance.port, restart_time=restart_time)
        return speaker


@asynccontextmanager
async def reflecting(
    instance: Instance,
    run_dir: Path,
    program: Program,
    allocations: Allocations | None = None,
    half: Address | None = None,
) -> AsyncIterator[Reflector]:
    """Run an instance; whatever it started is gone afterwards."""
    reflector = Reflector(instance, run_dir, program, half)
    if allocations is not None:
        reflector.allocate(allocations)
    try:
        await reflector.applied()
        yield reflector
    finally:
        reflector.task.cancel()
        await asyncio.gather(reflector.task, return_exceptions=True)
        for speaker in reflector.speakers:
            await speaker.close()
        end(reflector.runner.process)
