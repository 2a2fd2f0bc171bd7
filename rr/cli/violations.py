"""`rrctl violations`: what was announced against the rules, why, and whether it was rejected."""

from collections.abc import Mapping
from typing import Any

import click

from rr.api.keys import REASONS
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Column, age, column, number


def _active(row: Mapping[str, Any]) -> str:
    return "yes" if row.get("active") else "over"


def _outcome(row: Mapping[str, Any]) -> str:
    return "rejected" if row["enforced"] else "passes"


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


OUTCOME = Column("OUTCOME", _outcome)


@command()
@click.option("--instance", help="Only this instance's.", shell_complete=names("peers", "instance"))
@click.option("--node", help="Only announcements of this node.", shell_complete=names("peers", "node"))
@click.option("--reason", type=click.Choice(tuple(REASONS)), help="Only those rejected for this.")
@click.option(
    "--passing/--rejected",
    default=None,
    help="Only those that pass since their rack is observed, or only those that are rejected.",
)
@click.pass_obj
def violations(
    session: Session, instance: str | None, node: str | None, reason: str | None, passing: bool | None
) -> None:
    """List the announcements that were rejected, each with its reason; `rrctl explain` tells the whole story.

    Where a rack is only observed (`enforce: observe`), what passes there and would be rejected is listed too, with an
    OUTCOME: `--passing` lists what turning the filter on would take away.

    \b
    Examples:
      rrctl violations
      rrctl violations --node node-3
      rrctl violations --passing
      rrctl --output json violations --reason foreign-prefix
    """
    enforced = None if passing is None else str(not passing).lower()
    rows = session.client.get("violations", instance=instance, node=node, reason=reason, enforced=enforced)
    if session.output.as_json:
        session.output.json(rows)
    else:
        observed = any(not row["enforced"] for row in rows)
        columns = (*COLUMNS, OUTCOME) if observed else COLUMNS
        session.output.table(
            rows, columns, "Nothing passes that would be rejected." if passing else "Nothing was rejected."
        )
