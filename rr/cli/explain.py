"""`rrctl explain`: would this announcement be accepted, and if not, which rule stops it?"""

from collections.abc import Mapping
from typing import Any

import click

from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Output, one_line, plain

MARKS = {True: "✓", False: "✗", None: "·"}


@command()
@click.argument("prefix")
@click.option(
    "--from",
    "from_",
    required=True,
    metavar="ADDRESS|NODE",
    help="Who announces it: the address of its session, or a node's name.",
    shell_complete=names("peers", "node", "address"),
)
@click.option("--instance", help="The instance, where the peer could be in several.")
@click.pass_obj
def explain(session: Session, prefix: str, from_: str, instance: str | None) -> None:
    """Say whether an announcement is accepted, check by check, and where the route goes.

    The rules that answer are those that the engines enforce. PREFIX may also be an address: its host route.

    \b
    Examples:
      rrctl explain 10.244.1.0/24 --from node-1
      rrctl explain 10.100.0.5 --from 10.2.0.11
      rrctl --output json explain 0.0.0.0/0 --from node-2
    """
    verdict = session.client.get("explain", prefix=prefix, from_=from_, instance=instance)
    if session.output.as_json:
        session.output.json(verdict)
    else:
        _tell(session.output, verdict)


def _tell(output: Output, verdict: Mapping[str, Any]) -> None:
    word = "accepted" if verdict["accepted"] else "rejected"
    reason = "" if verdict["accepted"] else f" ({plain(verdict['reason'])})"
    observed = verdict.get("observed", False)
    if observed:
        reason = f" ({plain(verdict['objection'])}, but {verdict['rack']} is only observed)"
    who = f"{verdict['prefix']} from {_peer(verdict)}"
    output.line(f"{output.bold(one_line(who))}: {output.paint(word)}{one_line(reason)}")
    if observed or not verdict["accepted"]:
        output.line(one_line(verdict["text"]))
    checks = verdict["checks"]
    width = max((len(check["check"]) for check in checks), default=0)
    for check in checks:
        mark = MARKS[check["ok"]]
        output.line(
            f"  {output.paint(mark)} {one_line(check['check']):<{width}}  {one_line(plain(check['text']))}"
        )
    if verdict["accepted"]:
        sent = [_receiver(receiver) for receiver in verdict["sent_to"]]
        output.line("It goes to:" if sent else "It goes to nobody.")
        for text in sent:
            output.line(f"  {one_line(text)}")


def _peer(verdict: Mapping[str, Any]) -> str:
    known = [str(verdict[key]) for key in ("from", "rack") if verdict.get(key)]
    node = verdict.get("node")
    inside = [*known, f"instance {verdict['instance']}"]
    return f"{node} ({', '.join(inside)})" if node else f"{inside[0]} ({', '.join(inside[1:])})"


def _receiver(receiver: Any) -> str:
    return str(receiver["text"]) if isinstance(receiver, dict) else str(receiver)
