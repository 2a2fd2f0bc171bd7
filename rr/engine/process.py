"""gobgpd as a process: find it, check its version, start it, find it again, end it.

An engine outlives the controller that started it: it runs in a session of its own, and whoever comes next finds it by
its socket, never by a file that could be out of date.
"""

import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from rr.errors import EngineError, EngineMissing, EngineTooOld

NEEDED, BELOW = (4, 8), (5, 0)
GARBAGE = "200"
"""How much the engine's heap may grow before garbage is collected, in percent (Go's GOGC, there 100).

A start of many nodes is mostly allocation: twice the room takes about a sixth of the CPU off it, for a third more
memory; four times the room gained nothing more (docs/bench.md). An operator's own GOGC wins.
"""
NICENESS = 5
"""How much the controller steps back behind its engines."""
TRY_PATIENCE = 10.0
"""Seconds that a new gobgpd has to answer before it is called unusable."""
STOP_PATIENCE = 10.0
"""Seconds between asking an engine to end and making it."""
_log = structlog.get_logger(__name__)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Program:
    """A gobgpd that this controller can drive."""

    path: Path
    version: str


def find_program() -> Program:
    """Find gobgpd: $GOBGPD, then the copy that `make engine` fetched, then PATH.

    Raises EngineMissing, or EngineTooOld when the only ones found are of a version that is not driven.
    """
    refused: list[str] = []
    for candidate in _candidates():
        version = version_of(candidate)
        numbers = tuple(map(int, version.split(".")[:2])) if version else ()
        if version and NEEDED <= numbers < BELOW:
            return Program(candidate, version)
        refused.append(f"{candidate} is {version or 'of no known version'}")
    needed = "gobgpd 4.8 or newer, below 5, is needed"
    way_out = "run `make engine`, install the package gobgpd from Debian sid, or set GOBGPD to its path"
    if refused:
        raise EngineTooOld(f"{'; '.join(refused)}; {needed}", way_out)
    raise EngineMissing(f"no gobgpd was found; {needed}", way_out)


def _candidates() -> list[Path]:
    if named := os.environ.get("GOBGPD"):
        return [Path(named)]
    places = [
        Path(sys.prefix).parent / ".engine" / "bin" / "gobgpd",
        Path(shutil.which("gobgpd") or "/usr/bin/gobgpd"),
    ]
    return [place for place in dict.fromkeys(places) if os.access(place, os.X_OK)]


def version_of(program: Path) -> str | None:
    """Ask a gobgpd for its version; None where it does not say."""
    try:
        answer = subprocess.run(
            [program, "--version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stdout)
    return found.group(0) if found else None


def try_out(program: Program, directory: Path) -> None:
    """Start a gobgpd in a corner, and end it once it answers; raises EngineError where it does not."""
    with tempfile.TemporaryDirectory(prefix="try-", dir=directory) as corner:
        engine = EngineProcess(Path(corner))
        engine.start(program)
        try:
            deadline = time.monotonic() + TRY_PATIENCE
            while engine.pid() is None:
                if engine.failed() is not None or time.monotonic() > deadline:
                    wrong = (
                        f"{program.path} (gobgpd {program.version}) does not start: {_last_line(engine.log)}"
                    )
                    raise EngineError(wrong, "the engines run on as they are; install another one")
                time.sleep(0.02)
        finally:
            engine.discard()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it says nothing"


# A thread of its own starts engines: a priority belongs to a thread, and children inherit it from the one that forks.
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")


def step_back() -> None:
    """Let the engines go before this controller where there is not enough CPU for all: they carry the network."""
    _launcher.submit(os.getpid).result()  # from now on the thread exists, with the priority of before
    os.nice(NICENESS)  # never refused, also where it is at the end of the scale already


class EngineProcess:
    """The gobgpd of one instance, behind `directory`/gobgpd.sock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "gobgpd.sock"
        self.log = directory / "gobgpd.log"
        self._child: subprocess.Popen[bytes] | None = None

    def pid(self) -> int | None:
        """The process that listens on the socket, asked of the kernel; None where nobody does."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(os.fspath(self.socket))
            except OSError:
                return None
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def runs(self, program: Path) -> bool:
        """Say whether the engine that listens was started from this file as it is now, and not from one before it."""
        pid = self.pid()
        try:
            return pid is not None and os.path.samestat(os.stat(f"/proc/{pid}/exe"), program.stat())
        except OSError:
            return False

    def replaced_program(self) -> Program | None:
        """What now stands where the running engine's program stood, if that is another one."""
        try:
            place = Path(os.readlink(f"/proc/{self.pid()}/exe").removesuffix(" (deleted)"))
        except OSError:
            return None
        return None if self.runs(place) else Program(place, version_of(place) or "")

    def memory(self) -> int:
        """How many bytes of memory the engine occupies; 0 where none listens."""
        pid = self.pid()
        try:
            pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def start(self, program: Program) -> int:
        """Start gobgpd without any configuration, reachable only by this user; return its process id."""
        self.discard()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        # A socket that SIGKILL left behind would make gobgpd run without its API.
        self.socket.unlink(missing_ok=True)
        self._child = _launcher.submit(self._launch, program).result()
        return self._child.pid

    def _launch(self, program: Program) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [
                    program.path,
                    f"--api-hosts=unix://{self.socket}",
                    "--pprof-disable",
                    # Each scrape of the engine's own metrics would recompute every peer's table under its lock.
                    "--metrics-path=",
                    "--log-level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"GOGC": GARBAGE, **os.environ},
                start_new_session=True,
                umask=0o077,
            )

    def discard(self) -> None:
        """One that we started and that does not serve would keep the BGP port; one that has ended is a zombie."""
        if self._child and self._child.poll() is None:
            self._child.kill()
            self._child.wait(STOP_PATIENCE)

    def failed(self) -> int | None:
        """The exit status of the engine that we started, once it has ended."""
        return self._child.poll() if self._child else None

    async def stop(self) -> None:
        """End the engine in order: sessions get a NOTIFICATION, and peers withdraw its routes."""
        await self._end(signal.SIGTERM, STOP_PATIENCE)

    async def kill(self) -> None:
        """End the engine at once, the only way that graceful restart survives (docs/engine.md)."""
        await self._end(signal.SIGKILL, 0.0)

    async def _end(self, first: signal.Signals, patience: float) -> None:
        pid = self.pid() or (self._child.pid if self._child and self._child.poll() is None else None)
        if pid is None:
            return
        _signal(pid, first)
        if not await self._gone(pid, patience):
            _signal(pid, signal.SIGKILL)
            if not await self._gone(pid, STOP_PATIENCE):
                raise EngineError(f"gobgpd (pid {pid}) does not end", "look at what the kernel says of it")

    async def _gone(self, pid: int, patience: float) -> bool:
        """Wait for the end of a process, whoever's child it is: of all its threads, so that its port is free too."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        deadline = asyncio.get_running_loop().time() + patience
        try:
            while not select.select([handle], [], [], 0)[0]:
                if asyncio.get_running_loop().time() >= deadline:
                    return False
                await asyncio.sleep(0.02)
        finally:
            os.close(handle)
        if self._child and self._child.pid == pid:
            self._child.wait()
        return True


def strays(run_dir: Path, instances: Collection[str]) -> list[EngineProcess]:
    """The engines that run below `run_dir` and belong to none of these instances."""
    found = [EngineProcess(path.parent) for path in sorted(run_dir.glob("*/gobgpd.sock"))]
    return [e for e in found if e.directory.name not in instances and e.pid() is not None]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
