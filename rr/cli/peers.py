"""`rrctl peers`: the sessions."""

import click

from rr.api.keys import ROLES, SERVING, STATES
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import age, column, number

COLUMNS = (
    column("instance"),
    column("address"),
    column("node", gives=True),
    column("rack"),
    column("role"),
    column("state"),
    age("since", "SINCE"),
    number("received", "RECV"),
    number("accepted", "ACC"),
    number("rejected", "REJ"),
    number("advertised", "ADV"),
)


@command()
@click.option("--instance", help="Only this instance's.", shell_complete=names("status", "instance"))
@click.option("--rack", help="Only this rack's.", shell_complete=names("peers", "rack"))
@click.option("--role", type=click.Choice(ROLES), help="Only nodes, ToRs, or the pair's other half.")
@click.option("--state", type=click.Choice(STATES), help="Only sessions in this state.")
@click.pass_obj
def peers(
    session: Session, instance: str | None, rack: str | None, role: str | None, state: str | None
) -> None:
    """List the sessions with nodes, ToRs and the pair's other half: state, since when, and how many routes.

    RECV, ACC and REJ are prefixes that the peer announces, those accepted and those rejected; ADV are those
    announced to it. OBS, where a rack is only observed, are those of ACC that would be rejected.

    \b
    Examples:
      rrctl peers
      rrctl peers --rack rack-1 --role tor
      rrctl --output json peers --state idle
    """
    rows = session.client.get("peers", instance=instance, rack=rack, role=role, state=state)
    if session.output.as_json:
        session.output.json(rows)
    else:
        columns = list(COLUMNS)
        if any(row.get("observed") for row in rows):
            columns.append(number("observed", "OBS"))
        if any(row.get("drain", SERVING) != SERVING for row in rows):
            columns.append(column("drain"))
        session.output.table(rows, columns, "No session matches.")
