"""`rrctl check`: one line for monitoring, quickly, also when rrd is dead, hangs or talks rubbish."""

import json
import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import click

from rr.cli.client import NotUnderstood, Rejected
from rr.cli.command import Session, command
from rr.errors import ControllerUnavailable

DEADLINE = 0.8
CRITICAL, UNKNOWN = 2, 3


@command()
@click.option(
    "--serving",
    is_flag=True,
    help="Only whether this half itself serves: for a floating address's track script.",
)
@click.option(
    "--write",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also keep the answer in FILE as JSON: time, exit, line and perfdata.",
)
@click.pass_context
def check(ctx: click.Context, serving: bool, file: Path | None) -> None:
    """Check health after the convention of monitoring plugins: one line, perfdata behind `|`.

    Exit codes: 0 ok, 1 warning, 2 critical (also when rrd does not answer), 3 unknown.
    It answers within a second.

    With --serving it is 0 where this half itself serves and 2 where it does not: an engine that does not run, a
    policy that is not in force, an instance that is closed by a drain, an address that this host has lost. What the
    IPAM, quarantine, peers or the other half say does not count, and of several instances only those with a
    floating address do where any has one.

    \b
    Examples:
      rrctl check
      rrctl check && echo healthy
      rrctl check --serving
      rrctl check --write /run/rr-check/check.json
    """
    session: Session = ctx.obj
    answer = _ask(session, serving)
    if file is not None:
        answer = _keep(file, answer)
    if session.output.as_json:
        session.output.json(answer)
    else:
        perfdata = answer["perfdata"]
        session.output.line(answer["line"] + (f" | {perfdata}" if perfdata else ""))
    ctx.exit(answer["exit"])


def _keep(file: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """Replace the file, for everybody to read; where that fails nobody knows how things are, and that is the answer."""
    told = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **answer}
    new = file.with_name(f".{file.name}.new")
    try:
        new.write_text(json.dumps(told) + "\n", encoding="utf-8")
        new.chmod(0o644)
        os.replace(new, file)
    except OSError as fault:
        return _verdict(
            UNKNOWN, f"{file} cannot be written: {fault.strerror}; the check said: {answer['line']}"
        )
    return answer


def _ask(session: Session, serving: bool) -> dict[str, Any]:
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        asked = session.client.get("check", DEADLINE, serving="true" if serving else None)
        return _understood(asked, session.client.path)
    except NotUnderstood as fault:
        return _verdict(UNKNOWN, str(fault))
    except ControllerUnavailable as fault:
        return _verdict(UNKNOWN if isinstance(fault.__cause__, PermissionError) else CRITICAL, str(fault))
    except Rejected as fault:
        return _verdict(UNKNOWN, f"rrd refused the check: {fault}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_late(_number: int, _frame: FrameType | None) -> None:
    """Make even an answer that drips in byte by byte end in time."""
    raise TimeoutError


def _understood(answer: Any, path: str) -> dict[str, Any]:
    fits = (
        isinstance(answer, dict)
        and type(answer.get("exit")) is int
        and 0 <= answer["exit"] <= UNKNOWN
        and isinstance(answer.get("line"), str)
        and isinstance(answer.get("perfdata"), str)
    )
    return answer if fits else _verdict(UNKNOWN, f"what answers on {path} is not rrd; is --socket right?")


def _verdict(code: int, text: str) -> dict[str, Any]:
    word = {CRITICAL: "CRITICAL", UNKNOWN: "UNKNOWN"}[code]
    return {"exit": code, "line": f"RR {word} - {' '.join(text.replace('|', '/').split())}", "perfdata": ""}
