"""`rrctl node`: what an administrator knows of a node and the appliance cannot."""

from urllib.parse import quote

import click

from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import count


@click.group()
def node() -> None:
    """Say that a node is dead.

    \b
    Example:
      rrctl node down node-3
    """


@command(node)
@click.argument("name", metavar="NODE|ADDRESS", shell_complete=names("peers", "node"))
@click.pass_obj
def down(session: Session, name: str) -> None:
    """Close a dead node's sessions and drop all its routes at once, also those that are kept while it restarts.

    A node that is alive dials in again by itself. With a pair, say it to both appliances.

    \b
    Examples:
      rrctl node down node-3
      rrctl node down 10.2.0.13
    """
    answer = session.client.post(f"node/down?node={quote(name, safe='')}")
    output = session.output
    if output.as_json:
        output.json(answer)
        return
    for row in answer["closed"]:
        where = f"{row['address']} of {row['instance']}"
        output.line(f"{answer['node']}: {where} is closed, {count(row['routes'], 'route')} dropped.")
    if not answer["closed"]:
        output.line(f"{answer['node']} has no session and no routes; it is not waited for.")
