"""`rrctl drain` and `rrctl undrain`: take instances out of use so that nobody loses a packet, and put them back."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from rr.api.keys import CLOSING, DRAIN_LONGEST, DRAINED, SERVING
from rr.cli.client import Client
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Output, count, one_line
from rr.errors import ControllerUnavailable, RRError

LOOK_EVERY = 0.25
ABSENCE = 60.0
"""Seconds for which rrd may be away while a drain is followed: it goes on when rrd is back."""
Row = Mapping[str, Any]

_instance = click.argument("instance", required=False, shell_complete=names("peers", "instance"))


class NotDrained(RRError):
    """Somebody put an instance back into use while it was drained."""


@command()
@_instance
@click.option(
    "--wait",
    type=click.FloatRange(0, DRAIN_LONGEST),
    metavar="SECONDS",
    help="Time for ToRs to move to other paths before sessions end.  [default: 10]",
)
@click.option("--force", is_flag=True, help="Also while the other half of a pair cannot take over.")
@click.option("--background", is_flag=True, help="Return at once; rrd goes on with it.")
@click.pass_obj
def drain(session: Session, instance: str | None, wait: float | None, force: bool, background: bool) -> None:
    """Take INSTANCE, or the whole appliance, out of use.

    First every route that it sends is marked as a last resort (GRACEFUL_SHUTDOWN, RFC 8326, and the lowest
    LOCAL_PREF), so that whoever has another path takes that one. After the wait all sessions are ended with a message
    (RFC 9003), and nobody is let in again before `rrctl undrain`, whatever is restarted meanwhile. Ctrl-C ends the
    watching only. To drain what is drained already changes nothing. Half of a pair is drained only while the other half
    has a session with everybody that this one has a session with.

    \b
    Examples:
      rrctl drain
      rrctl drain main --wait 30
      rrctl drain --background
    """
    output = session.output
    told = session.client.post("drain", instance=instance, wait=wait, force="true" if force else None)
    if not output.as_json:
        _tell(output, told)
    if not background:
        try:
            told = _follow(session, told)
        except KeyboardInterrupt:
            click.echo("rrctl: the drain goes on; `rrctl undrain` takes it back", err=True)
            raise
    if output.as_json:
        output.json(told)


@command()
@_instance
@click.pass_obj
def undrain(session: Session, instance: str | None) -> None:
    """Put INSTANCE, or the whole appliance, into use again, also while it is still being drained.

    It returns when peers are let in; they come back as fast as they try. To undrain what is not drained changes
    nothing.

    \b
    Examples:
      rrctl undrain
      rrctl undrain main
    """
    told = session.client.post("undrain", instance=instance)
    if session.output.as_json:
        session.output.json(told)
    else:
        _tell(session.output, told)


def _tell(output: Output, rows: Sequence[Row]) -> None:
    for row in rows:
        output.line(one_line(str(row["text"])) + ".")
    output.flush()


def _follow(session: Session, told: Sequence[Row]) -> list[Row]:
    """Show how far each instance is until all are drained; answer how they are then."""
    wanted = {row["instance"]: row for row in told}
    shown = {name: _progress(row) for name, row in wanted.items() if row["state"] == DRAINED}
    for rows in _looks(session.client, wanted.keys()):
        for name, row in rows.items():
            if row["state"] == SERVING:
                raise NotDrained(
                    f"{name} serves again: somebody undrained it", "drain it again if it is to go"
                )
            said = _progress(row)
            if shown.get(name) != said and not session.output.as_json:
                session.output.line(f"{name}: {said}.")
                session.output.flush()
            shown[name] = said
        if all(row["state"] == DRAINED for row in rows.values()):
            return [{**row, "text": f"{name} is drained"} for name, row in rows.items()]
    raise AssertionError("unreachable: looks end only with an error")


def _looks(client: Client, wanted: Any) -> Iterator[dict[str, Row]]:
    """Ask again and again how far they are; rrd may be restarted meanwhile."""
    seen = time.monotonic()
    while True:
        try:
            instances = client.get("status")["instances"]
        except ControllerUnavailable:
            if time.monotonic() - seen > ABSENCE:
                raise
        else:
            found = {row["instance"]: row["drain"] for row in instances if row["instance"] in wanted}
            if len(found) == len(wanted):
                seen = time.monotonic()
                yield found
        time.sleep(LOOK_EVERY)


def _progress(row: Row) -> str:
    up = count(row["sessions"], "session")
    if row["state"] == DRAINED:
        return "drained, no session is up and nobody is let in"
    if row["state"] == CLOSING:
        return f"sessions are being ended, {up} still up"
    if row["seconds_left"] is None:
        return f"routes are being marked, {up} up"
    return f"routes are marked, {up} up, they end in {row['seconds_left']:.0f} s"
