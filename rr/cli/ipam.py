"""`rrctl ipam`: who owns what, and letting held allocations through."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Column, column, count, plain

NODE_COLUMNS = (column("node"), column("addresses"), column("prefixes", gives=True))
BORROWED = column("borrowed", gives=True)


def _who(row: Mapping[str, Any]) -> str:
    return "every node" if row["nodes"] is None else plain(row["nodes"])


VIP_COLUMNS = (column("prefixes", "VIP POOL"), Column("NODES", _who, gives=True))
SOURCE = column("source")


@click.group()
def ipam() -> None:
    """Show the allocations in force, or accept held ones.

    \b
    Examples:
      rrctl ipam show
      rrctl ipam accept
    """


@command(ipam)
@click.option(
    "--node", help="Only this node, and the VIP pools open to it.", shell_complete=names("peers", "node")
)
@click.pass_obj
def show(session: Session, node: str | None) -> None:
    """Show the allocations in force: what each node owns, and the VIP pools.

    \b
    Examples:
      rrctl ipam show
      rrctl ipam show --node node-1
      rrctl --output json ipam show
    """
    answer = session.client.get("allocations")
    nodes = [row for row in answer["nodes"] if node in (None, row["node"])]
    vips = [row for row in answer["vips"] if node is None or row["nodes"] is None or node in row["nodes"]]
    output = session.output
    if output.as_json:
        output.json(_rows(nodes, vips))
        return
    sources = {row["source"] for row in (*nodes, *vips)}
    more = (SOURCE,) if len(sources) > 1 else ()
    borrowed = (BORROWED,) if any(row["borrowed"] for row in nodes) else ()
    output.table(nodes, (*NODE_COLUMNS, *borrowed, *more), "No node has an allocation.")
    if vips:
        output.line()
        output.table(vips, (*VIP_COLUMNS, *more), "")


def _rows(nodes: Sequence[dict[str, Any]], vips: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"vip": False, **row, "nodes": None} for row in nodes] + [
        {"vip": True, "node": None, "addresses": [], "borrowed": [], **row} for row in vips
    ]


@command(ipam)
@click.pass_obj
def accept(session: Session) -> None:
    """Put allocations in force that the guard holds back because they remove too much.

    Look at them first: `rrctl status` and `rrctl check` say what they remove.

    \b
    Example:
      rrctl ipam accept
    """
    answer = session.client.post("ipam/accept")
    if session.output.as_json:
        session.output.json(answer)
        return
    session.output.line(f"Accepted: {count(len(answer['changed']), 'change')}.")
    for sentence in answer["changed"]:
        session.output.line(f"  {sentence}")
