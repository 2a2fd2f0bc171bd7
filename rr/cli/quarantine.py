"""`rrctl quarantine`: who is kept out, why and for how long, and letting a node in before its time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import click

from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Column, age, column, number


def _left(row: Mapping[str, Any]) -> str:
    until = datetime.fromisoformat(row["until"])
    return f"{max(0, round((until - datetime.now(until.tzinfo)).total_seconds()))}s"


COLUMNS = (
    column("instance"),
    column("node"),
    column("addresses"),
    column("reason"),
    age("since", "SINCE"),
    Column("LEFT", _left, right=True),
    number("strikes"),
    column("text", "WHAT IT DID", gives=True),
)


@click.group()
def quarantine() -> None:
    """List the nodes that are kept out for the harm that they did, or let one in.

    \b
    Examples:
      rrctl quarantine list
      rrctl quarantine release node-3
    """


@command(quarantine, "list")
@click.option("--instance", help="Only this instance's.", shell_complete=names("peers", "instance"))
@click.pass_obj
def listing(session: Session, instance: str | None) -> None:
    """List the nodes that are kept out now, why, and for how long.

    \b
    Examples:
      rrctl quarantine list
      rrctl --output json quarantine list
    """
    rows = session.client.get("quarantine", instance=instance)
    if session.output.as_json:
        session.output.json(rows)
    else:
        session.output.table(rows, COLUMNS, "Nobody is quarantined.")


@command(quarantine)
@click.argument("node", metavar="ADDRESS|NODE", shell_complete=names("quarantine", "node"))
@click.pass_obj
def release(session: Session, node: str) -> None:
    """Let a node in again now, and forget what it did.

    \b
    Examples:
      rrctl quarantine release node-3
      rrctl quarantine release 10.2.0.13
    """
    answer = session.client.post(f"quarantine/release?node={quote(node, safe='')}")
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"{', '.join(answer['released'])} may dial in again.")
