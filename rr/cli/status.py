"""`rrctl status`: how the appliance is doing, on one screen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from rr.api.keys import SERVING
from rr.cli.command import Session, command
from rr.cli.output import Column, Output, ago, column, count, number, one_line, plain
from rr.cli.pair import lines as pair_lines
from rr.text import FEW, duration


def _sessions(role: str) -> Column:
    def text(row: Mapping[str, Any]) -> str:
        sessions = row["sessions"][role]
        return f"{sessions['up']}/{sessions['expected']}"

    return Column({"nodes": "NODES", "tors": "TORS"}[role], text, right=True)


COLUMNS = (
    column("instance"),
    number("asn", "AS"),
    column("router_id", "ROUTER ID"),
    Column("ENGINE", lambda row: plain(row["engine"]["state"])),
    Column("VERSION", lambda row: plain(row["engine"].get("version"))),
    Column("POLICY", lambda row: "in force" if row["policy"]["in_force"] else "not in force"),
    _sessions("nodes"),
    _sessions("tors"),
    Column("ACCEPTED", lambda row: plain(row["routes"]["accepted"]), right=True),
    Column("REJECTED", lambda row: plain(row["routes"]["rejected"]), right=True),
    Column("RESTARTS", lambda row: plain(row["engine"].get("restarts")), right=True),
)


DRAIN = Column("DRAIN", lambda row: plain(row["drain"]["state"]))


@command()
@click.pass_obj
def status(session: Session) -> None:
    """Show how the appliance is doing: engines, policy, sessions, allocations, problems.

    \b
    Examples:
      rrctl status
      rrctl --output json status
    """
    answer = session.client.get("status")
    output = session.output
    if output.as_json:
        output.json(answer)
        return
    word = "ready" if answer["ready"] else "not ready"
    output.line(
        f"{output.bold(one_line(answer['name']))} is {output.paint(word)}, "
        f"version {one_line(answer['version'])}, up {ago(answer['started'])}"
    )
    output.line(f"configuration  {_config(answer['config'])}")
    output.line(f"allocations    {_allocations(answer['ipam'])}")
    if answer["pair"]:
        output.line(*pair_lines(answer["pair"]))
    _problems(output, answer["problems"])
    for text in (*_missing(answer["instances"]), *_observed(answer["instances"])):
        output.line(one_line(text))
    output.line()
    drained = any(row["drain"]["state"] != SERVING for row in answer["instances"])
    columns = (*COLUMNS, DRAIN) if drained else COLUMNS
    output.table(answer["instances"], columns, "No instance is configured.")


def _config(config: Mapping[str, Any]) -> str:
    return one_line(f"{plain(config.get('file'))}, read {ago(config.get('loaded'))} ago")


def _allocations(ipam: Mapping[str, Any]) -> str:
    parts = [
        f"{count(ipam.get('nodes') or 0, 'node')}, {count(ipam.get('prefixes') or 0, 'prefix', 'prefixes')}"
    ]
    if ipam["source"]:
        parts.append(f"from {ipam['source']}")
    if ipam["age_seconds"]:
        parts.append(f"{duration(ipam['age_seconds'])} old")
    return one_line(", ".join(parts))


def _missing(instances: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for instance in instances:
        restart = instance["restart"]
        if shown := restart.get("missing_peers", [])[:FEW]:
            more = restart["missing"] - len(shown)
            named = ", ".join(shown) + (f" and {more} more" if more else "")
            yield f"not back       since the restart of the engine of {instance['instance']}: {named}"


def _observed(instances: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for instance in instances:
        for rack in instance["observed"]:
            what = f"{rack['rack']} of {instance['instance']} is not enforced"
            yield f"observed       {what}, would be rejected: {count(rack['routes'], 'route')}"


def _problems(output: Output, problems: Sequence[Mapping[str, str]]) -> None:
    for problem in problems:
        word = output.paint(f"{problem['severity']:<13}", problem["severity"])
        output.line(f"{word}  {one_line(problem['text'])}")
