"""Programs started inside a namespace, followed by pid, ended by pid, with their output in a file."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandFailed(AssertionError):
    """A command that had to succeed did not; the message has its output."""


class ProgramEnded(Exception):
    """A program that had to keep running ended; waiting on makes no sense. The message has its output."""


def run(command: Sequence[str | Path], *, stdin: str | None = None, timeout: float = 20.0) -> str:
    """Run a short command to its end and return its standard output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()
        raise CommandFailed(f"{' '.join(words)}: exit {done.returncode}: {said}")
    return done.stdout


class Process:
    """One running program. `stop()` asks with SIGTERM first, `kill()` does not ask."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        namespace: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        words = [str(word) for word in command]
        if namespace is not None:  # nsenter executes in place, so the pid is the program's own
            words = ["nsenter", f"--net=/run/netns/{namespace}", "--", *words]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def must_run(self) -> None:
        """Raise ProgramEnded, with the end of its output, unless it runs."""
        if not self.running:
            said = self.log.read_text(errors="replace")[-2000:]
            raise ProgramEnded(f"{self.name} ended with {self.exit_code}: {said}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.running:
            self._popen.send_signal(number)

    def stop(self, patience: float = 5.0) -> None:
        """SIGTERM, then SIGKILL after `patience` seconds."""
        self.signal(signal.SIGTERM)
        try:
            self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._popen.wait(5)

    def wait(self, timeout: float) -> int:
        """Wait for it to end by itself; return its exit code."""
        return self._popen.wait(timeout)


def end(pids: Sequence[int], patience: float = 2.0) -> None:
    """End processes that are not our children (a daemon's own children): TERM, then KILL."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 2.0)):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(alive(pid) for pid in pids):
            time.sleep(0.02)


def alive(pid: int) -> bool:
    """Tell whether a process exists and is more than a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
