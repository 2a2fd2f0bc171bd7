"""`rrctl routes`: the accepted routes."""

from collections.abc import Mapping
from typing import Any

import click

from rr.api.keys import KINDS
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Column, age, column


def _flags(row: Mapping[str, Any]) -> str:
    flags = (("best", row.get("best")), ("stale", row.get("stale")), ("observed", row.get("observed")))
    return ",".join(flag for flag, is_set in flags if is_set) or "-"


COLUMNS = (
    column("instance"),
    column("prefix"),
    column("node", gives=True),
    column("rack"),
    column("next_hop", "NEXT HOP"),
    column("kind"),
    Column("PATH", _flags),
    age("since", "SINCE"),
)


@command()
@click.argument("prefix", required=False)
@click.option("--instance", help="Only this instance's.", shell_complete=names("peers", "instance"))
@click.option("--rack", help="Only routes from this rack.", shell_complete=names("peers", "rack"))
@click.option("--node", help="Only routes of this node.", shell_complete=names("peers", "node"))
@click.option("--kind", type=click.Choice(KINDS), help="Only pod prefixes, or only VIPs.")
@click.pass_obj
def routes(
    session: Session,
    prefix: str | None,
    instance: str | None,
    rack: str | None,
    node: str | None,
    kind: str | None,
) -> None:
    """List the accepted routes, every path of each.

    PREFIX lists exactly that prefix; an address lists the routes that hold it, the most specific first.

    \b
    Examples:
      rrctl routes
      rrctl routes 10.100.0.5/32
      rrctl routes 10.244.1.17
      rrctl --output json routes --node node-1
    """
    rows = session.client.get("routes", prefix=prefix, instance=instance, rack=rack, node=node, kind=kind)
    if session.output.as_json:
        session.output.json(rows)
    else:
        session.output.table(rows, COLUMNS, "No route matches.")
