"""`rrctl events`: what happened, and what happens."""

import time
from collections.abc import Iterator
from typing import Any

import click

from rr.cli.client import Client
from rr.cli.command import Session, command
from rr.cli.output import Column, Output, column, local, one_line
from rr.errors import ControllerUnavailable

COLUMNS = (
    Column("TIME (UTC)", lambda row: local(row["time"])),
    column("kind"),
    column("subject"),
    column("text"),
)
SHOWN_FIRST = 10
WAITS = (0.5, 1.0, 2.0, 4.0)


@command()
@click.option("--follow", "-f", is_flag=True, help="Go on and show events as they happen, until Ctrl-C.")
@click.option(
    "--since", type=click.IntRange(min=0), metavar="ID", help="Only events after the one with this id."
)
@click.option("--kind", help="Only events of this kind.")
@click.option("--subject", help="Only events about this instance, peer, node or prefix.")
@click.pass_obj
def events(session: Session, follow: bool, since: int | None, kind: str | None, subject: str | None) -> None:
    """Show what happened, oldest first; with --follow the last ten and then what happens.

    --follow outlasts a restart of rrd; with --output json it prints one object a line.

    \b
    Examples:
      rrctl events
      rrctl events --follow
      rrctl --output json events --follow --kind violation
    """
    client, output = session
    rows = client.get("events", since=since)
    last = max((row["id"] for row in rows), default=since)
    wanted = {key: value for key, value in (("kind", kind), ("subject", subject)) if value is not None}
    rows = [row for row in rows if _fits(row, wanted)]
    if not follow:
        _list(output, rows)
        return
    for row in rows if since is not None else rows[-SHOWN_FIRST:]:
        _one(output, row)
    for row in _following(client, last):
        if _fits(row, wanted):
            _one(output, row)


def _fits(row: Any, wanted: dict[str, str]) -> bool:
    return all(row[key] == value for key, value in wanted.items())


def _list(output: Output, rows: list[Any]) -> None:
    if output.as_json:
        output.json(rows)
    else:
        output.table(rows, COLUMNS, "No event matches.")


def _one(output: Output, row: Any) -> None:
    if output.as_json:
        output.json_line(row)
        return
    output.line(one_line(f"{local(row['time'])}  {row['kind']:<12}  {row['subject']:<18}  {row['text']}"))
    output.flush()


def _following(client: Client, last: int | None) -> Iterator[Any]:
    """Yield events for ever, coming back with the last id whenever the stream ends."""
    tries, said = 0, False
    while True:
        try:
            for row in client.stream(last):
                last, tries, said = row["id"], 0, False
                yield row
        except ControllerUnavailable as fault:
            if not said:
                click.echo(f"rrctl: {fault}; trying again", err=True)
            said = True
        time.sleep(WAITS[min(tries, len(WAITS) - 1)])
        tries += 1
