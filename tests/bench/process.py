"""Child processes: start and stop them, and read their CPU time and memory from /proc."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (10^6 bytes) resident, and resident with shared pages divided among those who share them."""

    rss: float
    pss: float


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes, all threads (resolution 10 ms)."""
    return sum(_cpu_of(pid) for pid in pids)


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pids: Sequence[int]) -> Memory:
    """Memory of processes together."""
    each = [_memory_of(pid) for pid in pids]
    return Memory(sum(m.rss for m in each), sum(m.pss for m in each))


def _memory_of(pid: int) -> Memory:
    found = {"Rss:": 0.0, "Pss:": 0.0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            words = line.split()
            if words and words[0] in found:
                found[words[0]] = int(words[1]) * 1024 / 1e6
    return Memory(found["Rss:"], found["Pss:"])


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, for ourselves and for whatever we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a daemon with its output in a file, in a session of its own.

    Linux shares CPU time between sessions first: a daemon in the speakers' session has another share than one that
    started a session of its own, as the appliance's engine does.
    """
    with log.open("ab") as out:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchError(f"cannot start {command[0]}: {error.strerror}") from error


def listening(port: int) -> bool:
    """Whether some IPv4 socket of this network namespace listens on the port."""
    wanted = f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)


def wait_until_free(port: int) -> None:
    """Wait until nobody listens: the threads of a killed process may outlive it by a moment."""
    wait_for(lambda: not listening(port), 10.0, f"port {port} is still in use", every=0.01)


def wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a daemon listens; BenchError if it ends, or does not listen within 20 seconds."""

    def ready() -> bool:
        if process.poll() is not None:
            raise BenchError(
                f"{log.stem} ended with exit code {process.returncode}: {log.read_text()[-300:]}"
            )
        return listening(port)

    wait_for(ready, 20.0, f"{log.stem} does not listen", every=0.01)


def stop(
    process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, patience: float = 10.0
) -> None:
    """End a child; by SIGKILL if it has not ended after `patience` seconds."""
    process.send_signal(how)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end(pid: int) -> None:
    """Kill a process that is not ours to wait for, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), 5.0, f"process {pid} did not end")


def alive(pid: int) -> bool:
    """Whether the process runs; reaps it if it is an orphan that fell to us."""
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(ready: Callable[[], bool], timeout: float, otherwise: str, every: float = 0.05) -> None:
    """Ask again and again until `ready()`; BenchError(`otherwise`) after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() >= deadline:
            raise BenchError(otherwise)
        time.sleep(every)
