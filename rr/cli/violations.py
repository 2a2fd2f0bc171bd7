"""`rrctl violations`: what was announced and rejected, and why."""

from collections.abc import Mapping
from typing import Any

import click

from rr.api.keys import REASONS
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Column, age, column, number


def _active(row: Mapping[str, Any]) -> str:
    return "yes" if row.get("active") else "over"


COLUMNS = (
    column("instance"),
    column("prefix"),
    column("peer"),
    column("node", gives=True),
    column("reason"),
    number("count"),
    Column("ACTIVE", _active),
    age("first_seen", "FIRST"),
    age("last_seen", "LAST"),
)


@command()
@click.option("--instance", help="Only this instance's.", shell_complete=names("peers", "instance"))
@click.option("--node", help="Only announcements of this node.", shell_complete=names("peers", "node"))
@click.option("--reason", type=click.Choice(tuple(REASONS)), help="Only those rejected for this.")
@click.pass_obj
def violations(session: Session, instance: str | None, node: str | None, reason: str | None) -> None:
    """List the announcements that were rejected, each with its reason; `rrctl explain` tells the whole story.

    \b
    Examples:
      rrctl violations
      rrctl violations --node node-3
      rrctl --output json violations --reason foreign-prefix
    """
    rows = session.client.get("violations", instance=instance, node=node, reason=reason)
    if session.output.as_json:
        session.output.json(rows)
    else:
        session.output.table(rows, COLUMNS, "Nothing was rejected.")
