"""`rrctl pair`: how the pair is doing, and the certificates by which its halves know each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rr.cli.command import Session, command
from rr.cli.output import Column, Output, ago, column, count, number, one_line, plain

DAYS = 825
LONGEST = 3650


def _redundancy(key: str, who: str) -> Column:
    return Column(key.upper(), lambda row: plain(row[who][key]), right=True)


INSTANCES = (
    column("instance"),
    column("address"),
    column("session"),
    Column("SERVING", lambda row: {True: "yes", False: "no", None: "-"}[row["serving"]]),
    _redundancy("both", "nodes"),
    _redundancy("one", "nodes"),
    _redundancy("none", "nodes"),
    Column("TORS", lambda row: f"{row['tors']['both']}/{sum(row['tors'].values())}", right=True),
    number("lent"),
)


def _with(row: Mapping[str, Any]) -> str:
    return "this half" if row["here"] else "the other half" if row["there"] else "none"


NODES = (column("instance"), column("node"), Column("SESSION WITH", _with))


@click.group(invoke_without_command=True)
@click.pass_context
def pair(ctx: click.Context) -> None:
    """Show how the pair is doing, or make the certificates of its halves.

    \b
    Examples:
      rrctl pair
      rrctl pair status --output json
      rrctl pair certificates --names rr-a,rr-b /etc/rr/pair
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(status)


@command(pair)
@click.pass_obj
def status(session: Session) -> None:
    """Show the other half: whether it answers, whether both enforce the same, and which nodes have one session only.

    BOTH, ONE and NONE are nodes by the number of halves that they have a session with, TORS those with both; LENT are
    the prefixes that the other half is given because it lacks them.

    \b
    Examples:
      rrctl pair status
      rrctl pair status --output json
    """
    answer = session.client.get("pair")
    output = session.output
    if output.as_json:
        output.json(answer)
        return
    for line in lines(answer):
        output.line(line)
    _more(output, answer)
    output.line()
    output.table(answer["instances"], INSTANCES, "No instance is configured.")
    if answer["redundancy"]:
        output.line()
        output.table(answer["redundancy"], NODES, "")


def lines(answer: Mapping[str, Any]) -> list[str]:
    """The pair in a few lines, as `rrctl status` shows it too."""
    name = one_line(answer["name"])
    if not answer["reachable"]:
        return [f"pair           {name} cannot be reached: {one_line(plain(answer['problem']))}"]
    same = (
        "enforces the same" if not answer["differences"] else count(len(answer["differences"]), "difference")
    )
    totals = {key: sum(row["nodes"][key] for row in answer["instances"]) for key in ("both", "one", "none")}
    nodes = f"nodes with both {totals['both']}, one {totals['one']}, none {totals['none']}"
    return [f"pair           {name} answers, version {one_line(plain(answer['version']))}, {same}; {nodes}"]


def _more(output: Output, answer: Mapping[str, Any]) -> None:
    for difference in answer["differences"]:
        word = output.paint(f"{'warning':<13}", "warning")
        output.line(f"{word}  {one_line(difference['text'])}, for {ago(difference['since'])}")
    spare = f"no: {answer['refusal']}" if answer["refusal"] else "yes"
    output.line(f"to be spared   {one_line(spare)}")
    if answer["certificate_ends"]:
        output.line(f"certificate    until {answer['certificate_ends'][:10]}")


@command(pair)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--names", required=True, metavar="NAME,NAME", help="The names of both halves, as rr.yaml has them."
)
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST),
    default=DAYS,
    show_default=True,
    help="How long they are valid.",
)
@click.option(
    "--renew", is_flag=True, help="Replace the halves' certificates, by the CA that is in DIRECTORY."
)
@click.pass_obj
def certificates(session: Session, directory: Path, names: str, days: int, renew: bool) -> None:
    """Make a CA, and a certificate and key for each half, in DIRECTORY.

    Each half gets ca.crt, and its own NAME.crt and NAME.key; ca.key stays where it is safe, for renewals. Keys are
    written with mode 0600, and nothing that is there is overwritten, but by --renew. A running rrd takes exchanged
    files by itself.

    \b
    Examples:
      rrctl pair certificates --names rr-a,rr-b /etc/rr/pair
      rrctl pair certificates --names rr-a,rr-b --renew /etc/rr/pair
    """
    from rr.continuity.pair import certificates as maker

    chosen = [name.strip() for name in names.split(",")]
    if len(chosen) != 2 or len(set(chosen)) != 2 or not all(map(maker.is_name, chosen)):
        raise click.UsageError(f"--names {names!r} is not two different names; write --names rr-a,rr-b")
    made = (maker.renew if renew else maker.make)(directory, chosen, days)
    if session.output.as_json:
        session.output.json({"made": [str(path) for path in made]})
        return
    for path in made:
        session.output.line(str(path))
