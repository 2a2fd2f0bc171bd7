"""A network and process namespace of our own: many addresses, no traffic outside, and nothing left behind.

The benchmark runs itself again as the first process of fresh namespaces. When that process ends, for whatever
reason, the kernel kills everything that was started inside and takes the addresses away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.process import BenchError
from tests.bench.topology import LOCAL_ROUTES, REFLECTOR, TORS

MARK = "RR_BENCH_FOLDER"
"""Environment variable that says: this is the inside, and here is the folder for files."""

KERNEL_LIMITS = {
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_max_syn_backlog": "8192",
    "net/ipv4/neigh/default/gc_thresh3": "8192",
}


def inside() -> Path | None:
    """The folder for files, if this process is inside the namespaces already."""
    folder = os.environ.get(MARK)
    return Path(folder) if folder else None


def run_inside(arguments: Sequence[str], folder: Path) -> int:
    """Run `python -m tests.bench` with these arguments in new namespaces; its exit code."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *user, "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    command = [*unshare, sys.executable, "-m", "tests.bench", *arguments]
    try:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], env={**os.environ, MARK: str(folder)}
        )
    except OSError as error:
        raise BenchError(f"cannot make a namespace: {error} (util-linux is needed)") from error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return child.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            return child.wait(15)
        return 130
    finally:
        child.kill()
        child.wait()


def prepare() -> None:
    """Inside: loopback up, and every address of the benchmark's networks bindable."""
    _ip("link", "set", "lo", "up")
    for network in LOCAL_ROUTES:
        _ip("route", "add", "local", str(network), "dev", "lo")
    for address in (REFLECTOR, *TORS):
        _ip("address", "add", f"{address}/32", "dev", "lo")
    for name, value in KERNEL_LIMITS.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys", name).write_text(value)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
