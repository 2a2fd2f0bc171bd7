"""`rrctl ipam`: who owns what by which source, how sources are, and what to do with held allocations."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from rr.api.keys import DIFF_STATES
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Column, column, count, number, plain, until
from rr.text import duration

_NAMED = 20
"""Things left out of a source that are named one by one."""
NODE_COLUMNS = (column("node"), column("addresses"), column("prefixes", gives=True))
BORROWED = column("borrowed", gives=True)


def _who(row: Mapping[str, Any]) -> str:
    return "every node" if row["nodes"] is None else plain(row["nodes"])


def _until(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{value} in {until(time)}" for value, time in row["until"].items()) or "-"


def _node(row: Mapping[str, Any]) -> str:
    return "every node" if row["node"] is None else str(row["node"])


VIP_COLUMNS = (column("prefixes", "VIP POOL"), Column("NODES", _who, gives=True))
SOURCE = column("source")
UNTIL = Column("GOES", _until)
SOURCE_COLUMNS = (
    column("source"),
    column("type"),
    column("state"),
    Column("AGE", lambda row: duration(row["age_seconds"]) if row["age_seconds"] else "-", right=True),
    number("nodes"),
    number("prefixes"),
    number("vip_prefixes", "VIPS"),
    number("conflicts"),
    number("left_out", "LEFT OUT"),
    column("error", gives=True),
)
DIFF_COLUMNS = (
    column("change"),
    column("kind"),
    column("value"),
    Column("NODE", _node),
    column("source"),
    column("state"),
    Column("IN", lambda row: until(row["until"]), right=True),
    column("text", "WHY", gives=True),
)


@click.group()
def ipam() -> None:
    """Show allocations and where they come from; accept or reject what is held back.

    \b
    Examples:
      rrctl ipam show
      rrctl ipam sources
      rrctl ipam diff
      rrctl ipam accept
    """


@command(ipam)
@click.option(
    "--node", help="Only this node, and the VIP pools open to it.", shell_complete=names("peers", "node")
)
@click.option("--source", help="Only what this source says.", shell_complete=names("ipam/sources", "source"))
@click.pass_obj
def show(session: Session, node: str | None, source: str | None) -> None:
    """Show the allocations in force: what each node owns, and the VIP pools.

    GOES names what no source says any more, and when its grace is over.

    \b
    Examples:
      rrctl ipam show
      rrctl ipam show --node node-1
      rrctl --output json ipam show --source file:/etc/rr/allocations.yaml
    """
    answer = session.client.get("allocations")
    nodes = [row for row in answer["nodes"] if node in (None, row["node"])]
    vips = [row for row in answer["vips"] if node is None or row["nodes"] is None or node in row["nodes"]]
    nodes, vips = ([row for row in rows if _is_by(row, source)] for rows in (nodes, vips))
    output = session.output
    if output.as_json:
        output.json(_rows(nodes, vips))
        return
    sources = {row["source"] for row in (*nodes, *vips)}
    more = (SOURCE,) if len(sources) > 1 else ()
    borrowed = (BORROWED,) if any(row["borrowed"] for row in nodes) else ()
    leaving = (UNTIL,) if any(row["until"] for row in nodes) else ()
    output.table(nodes, (*NODE_COLUMNS, *borrowed, *more, *leaving), "No node has an allocation.")
    if vips:
        output.line()
        output.table(vips, (*VIP_COLUMNS, *more), "")


def _is_by(row: Mapping[str, Any], source: str | None) -> bool:
    return source is None or source in str(row["source"] or "").split(", ")


def _rows(nodes: Sequence[dict[str, Any]], vips: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"vip": False, **row, "nodes": None} for row in nodes] + [
        {"vip": True, "node": None, "addresses": [], "borrowed": [], "until": {}, **row} for row in vips
    ]


@command(ipam)
@click.pass_obj
def sources(session: Session) -> None:
    """List the sources in the order of their precedence: whether each can be read, and what it says.

    State: good; failing (it cannot be read); silent (it said nothing yet); held (the guard holds back
    what it says); rejected (it still says what was rejected); removed (it is no longer configured, and what
    it said stays in force until who is configured instead has said something). AGE is since when it is not
    good. LEFT OUT counts what it says and nothing can be made of, which grants nothing; it is named below the table.

    \b
    Examples:
      rrctl ipam sources
      rrctl --output json ipam sources
    """
    rows = session.client.get("ipam/sources")
    if session.output.as_json:
        session.output.json(rows)
    else:
        session.output.table(rows, SOURCE_COLUMNS, "No source is configured.")
        _name_left_out(session, rows)


def _name_left_out(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        if not row["left_out"]:
            continue
        session.output.line()
        session.output.line(f"Left out of {row['source']}:")
        named = row["left_out_named"][:_NAMED]
        for sentence in named:
            session.output.line(f"  {sentence}")
        if more := row["left_out"] - len(named):
            session.output.line(f"  and {more} more")


@command(ipam)
@click.option("--source", help="Only this source's.", shell_complete=names("ipam/sources", "source"))
@click.option("--node", help="Only this node's.", shell_complete=names("peers", "node"))
@click.option("--state", type=click.Choice(DIFF_STATES), help="Only what waits for this reason.")
@click.pass_obj
def diff(session: Session, source: str | None, node: str | None, state: str | None) -> None:
    """Show what is not as the sources say: held back, rejected, refused for a conflict, or in its grace.

    What is held is what `rrctl ipam accept` would grant and revoke.

    \b
    Examples:
      rrctl ipam diff
      rrctl ipam diff --state held
      rrctl --output json ipam diff --node node-1
    """
    rows = session.client.get("ipam/diff", source=source, node=node, state=state)
    if session.output.as_json:
        session.output.json(rows)
    else:
        session.output.table(rows, DIFF_COLUMNS, "Everything is as the sources say.")


@command(ipam)
@click.argument("source", required=False, shell_complete=names("ipam/sources", "source"))
@click.option("--digest", help="Only what this names; something else that is held by now is refused.")
@click.pass_obj
def accept(session: Session, source: str | None, digest: str | None) -> None:
    """Put allocations in force that the guard holds back because they remove too much.

    Look at them first: `rrctl ipam diff` says what they grant and revoke. What they remove goes at once,
    also where rr.yaml sets a grace. Without SOURCE it is what all sources say that are held.

    `rrctl check`, `ipam sources` and `ipam diff` name what is held with a digest: with it nothing else is accepted,
    also if the source says something else meanwhile.

    \b
    Examples:
      rrctl ipam accept
      rrctl ipam accept file:/etc/rr/allocations.yaml
      rrctl ipam accept --digest 3f9c2a1b
    """
    answer = session.client.post("ipam/accept", source=source, digest=digest)
    if session.output.as_json:
        session.output.json(answer)
        return
    session.output.line(f"Accepted: {count(len(answer['changed']), 'change')}.")
    for sentence in answer["changed"]:
        session.output.line(f"  {sentence}")


@command(ipam)
@click.argument("source", required=False, shell_complete=names("ipam/sources", "source"))
@click.pass_obj
def reject(session: Session, source: str | None) -> None:
    """Forget allocations that the guard holds back: what is in force stays.

    While the source says just the same, `rrctl check` warns of it and is no longer critical. As soon as it
    says something else, that is considered anew.

    \b
    Examples:
      rrctl ipam reject
      rrctl ipam reject file:/etc/rr/allocations.yaml
    """
    answer = session.client.post("ipam/reject", source=source)
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"Rejected what {', '.join(answer['rejected'])} says; what was in force stays.")
