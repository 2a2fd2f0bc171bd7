"""Stop one engine as its unit is stopped: `stop.py INSTANCE PID`, started by systemd (ExecStop=).

    restart of the unit        end it, so that its peers keep its routes (docs/continuity.md)
    stop of the unit           drain it first; where that cannot be, close its sessions at once
    the host is switched off   the same
    the host reboots           the same in a pair whose other half takes over; else like a restart: peers keep their
                               routes for the restart time, and a host that is back by then costs no packet

systemd does not tell ExecStop= which of these it is, so it is asked for its jobs.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from rr.api.keys import DRAINED, SERVING
from rr.cli.client import Client
from rr.cli.command import DEFAULT_SOCKET
from rr.errors import ControllerUnavailable, RRError
from rr.service.instances import unit

DRAIN_PATIENCE = 45.0
"""Seconds that a drain may take; systemd gives the whole stop a minute (TimeoutStopSec)."""
END_PATIENCE = 8.0
"""Seconds that an engine has to close its sessions by itself."""
_REBOOTS = frozenset({"reboot.target", "kexec.target", "soft-reboot.target"})


class Way(StrEnum):
    """How an engine is ended."""

    KEEP = "keep"
    """At once, and peers keep its routes."""
    DRAIN = "drain"
    """Out of use first, in order, whatever that costs: it does not come back soon."""
    SPARE = "spare"
    """Drained if the other half of a pair takes over, else kept: it comes back soon."""


def way(jobs: Sequence[tuple[str, str]], unit: str) -> Way:
    """Choose by systemd's jobs, (unit, type) each."""
    if (unit, "restart") in jobs:
        return Way.KEEP
    rebooting = any(name in _REBOOTS and kind == "start" for name, kind in jobs)
    return Way.SPARE if rebooting else Way.DRAIN


def read_jobs(listing: str) -> list[tuple[str, str]]:
    """Read what `systemctl list-jobs` says: a job a line, its number, unit, type and state."""
    rows = (line.split() for line in listing.splitlines())
    return [(row[1], row[2]) for row in rows if len(row) == 4 and row[0].isdecimal()]


def main() -> None:
    """Stop the engine as what systemd is about asks for; its last end is systemd's SIGKILL in any case."""
    name, pid = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    if not pid.isdecimal():
        return  # It has ended by itself.
    client, chosen = Client(DEFAULT_SOCKET), way(_jobs(), unit(name))
    if chosen is Way.KEEP or (chosen is Way.SPARE and not spared(client)):
        print(f"{name}: it comes back soon, and its peers keep its routes until then")
        return
    stop(client, name, int(pid))


def spared(client: Client) -> bool:
    """Say whether the other half of a pair takes over; alone, or where nobody knows, it does not."""
    try:
        pair = client.get("status")["pair"]
    except RRError:
        return False
    return pair is not None and pair["refusal"] is None


def stop(client: Client, name: str, pid: int, patience: float = DRAIN_PATIENCE) -> None:
    """Drain an instance, and end its engine; the next one serves, unless it was drained before.

    Where it cannot be drained its sessions are closed at once: peers must not keep routes of what is gone for good.
    """
    ours = False
    try:
        ours = drain_state(client, name) == SERVING
        client.post("drain", instance=name, force="true")
        _until_drained(client, name, time.monotonic() + patience)
    except (RRError, TimeoutError) as error:
        print(f"{name}: not drained, its sessions are closed at once: {error}")
        end(pid, signal.SIGTERM)
    else:
        print(f"{name}: drained")
        end(pid, signal.SIGKILL)
    if ours:
        _undrain(client, name)


def drain_state(client: Client, name: str) -> str:
    """How far an instance is drained; raises RRError where there is no such instance."""
    rows: list[dict[str, Any]] = client.get("status")["instances"]
    for row in rows:
        if row["instance"] == name:
            return str(row["drain"]["state"])
    raise RRError(f"rrd knows no instance {name}")


def _until_drained(client: Client, name: str, deadline: float) -> None:
    while drain_state(client, name) != DRAINED:
        if time.monotonic() > deadline:
            raise TimeoutError("draining took too long")
        time.sleep(0.25)


def _undrain(client: Client, name: str) -> None:
    """Take back what was only meant for this stop. rrd would wait for an engine before it answers: that is no error."""
    try:
        with contextlib.suppress(ControllerUnavailable):
            client.post("undrain", timeout=1.0, instance=name)
        drained = drain_state(client, name) != SERVING
    except RRError:
        drained = True
    if drained:
        print(f"{name}: it stays drained; `rrctl undrain {name}` has it serve again")


def end(pid: int, number: signal.Signals) -> None:
    """Send a signal, and wait for the end a while."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, number)
            select.select([handle], [], [], END_PATIENCE)
        finally:
            os.close(handle)


def _jobs() -> list[tuple[str, str]]:
    listing = subprocess.run(
        ["/usr/bin/systemctl", "list-jobs", "--plain", "--no-legend", "--full"],
        check=False,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return read_jobs(listing.stdout)


if __name__ == "__main__":
    main()
