"""The demo's guardian: it starts every process of the demo and ends them all when the demo is gone.

    guardian.py FD

A small process in a session of its own, made of this file and the standard library alone. It talks with the
demo over the socket FD, one JSON object per packet:

    demo -> guardian   {"start": NAME, "argv": [...], "log": FILE, "env": {...}}    {"kill": NAME}    {"keep": true}
    guardian -> demo   {"folder": FOLDER}    {"started": NAME, "pid": N}    {"ended": NAME, "status": N}

However the demo ends (a return, Ctrl-C, SIGTERM, kill -9), the kernel closes its end of the socket. The
guardian then ends all its descendants: as a "child subreaper" it is also the parent of those that went into
sessions of their own and whose parents died. Last it removes the demo's folder, unless it was asked to keep
it. Should the guardian itself be killed, the kernel kills what it started (PR_SET_PDEATHSIG), and the demo, a
subreaper too, ends the rest.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
GRACE_SECONDS = 4.0
PACKET_BYTES = 65536
LONGEST_FOLDER = 60  # a unix socket's path has at most 107 bytes, file name included


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, whatever session they are in."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _as_child() -> None:
    """In a new child, before its program runs: die with the guardian, and take signals the usual way."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)


def children_of(parent: int) -> list[int]:
    """The pids of the processes whose parent is `parent`."""
    return [pid for pid, its_parent in _processes() if its_parent == parent]


def descendants_of(ancestor: int) -> list[int]:
    """The pids of all processes below `ancestor`, zombies included."""
    parents = dict(_processes())
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {ancestor})


def _processes() -> Iterator[tuple[int, int]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            yield int(entry), int(stat.rpartition(")")[2].split()[1])


def sweep(grace: float = GRACE_SECONDS) -> None:
    """End every descendant: SIGTERM to this process's children, after `grace` s SIGKILL to what is left."""
    me = os.getpid()
    told: set[int] = set()
    deadline = time.monotonic() + grace
    while descendants_of(me):
        if time.monotonic() > deadline:
            _signal(descendants_of(me), signal.SIGKILL)
        else:
            new = set(children_of(me)) - told  # orphans become children while this goes on
            _signal(new, signal.SIGTERM)
            told |= new
        time.sleep(0.02)
        reap()


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def reap() -> list[tuple[int, int]]:
    """Collect the children that ended: (pid, exit status; a signal's number is negative)."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def make_folder() -> Path:
    """A new private folder, with a path short enough for the sockets inside."""
    roomy = len(tempfile.gettempdir()) < LONGEST_FOLDER
    return Path(tempfile.mkdtemp(prefix="rr-demo-", dir=None if roomy else "/tmp"))  # noqa: S108 - mkdtemp makes it private


class Guardian:
    """The guardian's loop: start what the demo asks for, tell it what ended, notice when it is gone."""

    def __init__(self, demo: socket.socket, folder: Path) -> None:
        self.demo = demo
        self.folder = folder
        self.keep = False
        self.started: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def run(self) -> None:
        """Serve until the demo is gone; then clean up."""
        wake, waker = socket.socketpair()
        wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._tell({"folder": str(self.folder)})
        while True:
            ready, _, _ = select.select([self.demo, wake], [], [])
            if wake in ready:
                wake.recv(PACKET_BYTES)
                self._tell_ended()
            if self.demo in ready and not self._obey():
                break
        sweep()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _obey(self) -> bool:
        try:
            packet = self.demo.recv(PACKET_BYTES)
        except ConnectionError:
            return False
        if not packet:
            return False
        request = json.loads(packet)
        if "keep" in request:
            self.keep = bool(request["keep"])
        if "start" in request:
            self._start(request)
        if "kill" in request:
            _signal(
                [pid for pid, (name, _) in self.started.items() if name == request["kill"]], signal.SIGKILL
            )
        return True

    def _start(self, request: dict[str, Any]) -> None:
        name = request["start"]
        try:
            with open(request["log"], "ab") as log:
                process = subprocess.Popen(
                    request["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=request["env"],
                    cwd=self.folder,
                    preexec_fn=_as_child,  # noqa: PLW1509 - this process has no threads
                )
        except OSError as error:
            self._tell({"started": name, "error": f"{error.strerror}: {request['argv'][0]}"})
            return
        self.started[process.pid] = name, process
        self._tell({"started": name, "pid": process.pid})

    def _tell_ended(self) -> None:
        for pid, status in reap():
            if pid in self.started:
                name, process = self.started.pop(pid)
                process.returncode = status  # reaped here: keep subprocess from waiting for it again
                self._tell({"ended": name, "status": status})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the demo is gone: the loop is about to notice
            self.demo.send(json.dumps(message).encode())


def main() -> None:
    """Run as the guardian of the demo at the other end of the socket given as a file descriptor."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    demo = socket.socket(fileno=int(sys.argv[1]))
    demo.set_inheritable(False)
    Guardian(demo, make_folder()).run()


if __name__ == "__main__":
    main()
