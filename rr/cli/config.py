"""`rrctl config`: validate a file, show what is in force, compare, reload."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rr.cli.client import Client, Rejected
from rr.cli.command import Session, command
from rr.cli.output import Output, count, one_line
from rr.errors import ControllerUnavailable, ProblemsError

if TYPE_CHECKING:
    from rr.config.model import Config
    from rr.errors import Problem

DEFAULT_FILE = "/etc/rr/rr.yaml"
QUICK = 0.8
FAILED = 1


@click.group()
def config() -> None:
    """Validate, show, compare and reload the configuration.

    \b
    Examples:
      rrctl config validate /etc/rr/rr.yaml
      rrctl config diff
      rrctl config reload
    """


@command(config)
@click.argument("file", default=DEFAULT_FILE)
@click.option(
    "--host-checks/--no-host-checks",
    default=True,
    show_default=True,
    help="Also try whether this host has the addresses and can bind the ports.",
)
@click.pass_context
def validate(ctx: click.Context, file: str, host_checks: bool) -> None:
    """Say everything that is wrong with a configuration file, one problem a line; rrd need not run.

    Exit codes: 0 nothing is wrong, 1 it has problems (on stderr; with --output json a list on stdout).

    \b
    Examples:
      rrctl config validate
      rrctl config validate new.yaml --no-host-checks
    """
    session: Session = ctx.obj
    problems, summary = _problems(session.client, Path(file), host_checks)
    if session.output.as_json:
        session.output.json([problem.as_dict() for problem in problems])
    elif problems:
        click.echo("\n".join(map(str, problems)), err=True)
    else:
        session.output.line(f"{file} is right: {summary}.")
    ctx.exit(FAILED if problems else 0)


def _problems(client: Client, file: Path, host_checks: bool) -> tuple[Sequence["Problem"], str]:
    from rr.config.load import load  # Only here: it brings pydantic and YAML with it.

    try:
        loaded = load(file)
    except ProblemsError as refused:
        return refused.problems, ""
    racks = sum(len(instance.racks) for instance in loaded.instances.values())
    summary = f"{count(len(loaded.instances), 'instance')}, {count(racks, 'rack')}"
    return _host_problems(client, loaded) if host_checks else (), summary


def _host_problems(client: Client, loaded: "Config") -> Sequence["Problem"]:
    """Try addresses and ports, leaving out what rrd and its engines hold here already, if they run."""
    from ipaddress import ip_address

    from rr.config.host import check_host

    try:
        instances = client.get("status", QUICK)["instances"]
        configured = client.get("config", QUICK)["config"]
        serving = configured["http"]["listen"]
    except (ControllerUnavailable, Rejected):
        instances, configured, serving = [], {}, None
    running = [row["instance"] for row in instances if row["engine"]["state"] == "running"]
    held = [configured["instances"][name] for name in running]
    listen = loaded.http.listen
    return check_host(
        loaded,
        own={
            (ip_address(address), speaker["port"])
            for speaker in held
            for address in (*speaker["listen"], *speaker.get("floating", ()))
        },
        serving=listen if serving in (str(listen), listen.model_dump()) else None,
        privileged=os.geteuid() != 0,
    )


@command(config)
@click.pass_obj
def show(session: Session) -> None:
    """Show the configuration in force, with all defaults; passwords are never shown.

    \b
    Examples:
      rrctl config show
      rrctl --output json config show
    """
    answer = session.client.get("config")
    if session.output.as_json:
        session.output.json(answer)
        return
    import yaml  # Only here: it takes a while to load.

    session.output.line(f"# {answer['file']}, read {answer['loaded']}, digest {answer['digest']}")
    session.output.line(
        yaml.safe_dump(_without_nulls(answer["config"]), sort_keys=False, allow_unicode=False).rstrip()
    )


def _without_nulls(value: Any) -> Any:
    """Leave out what is not set, so that the text is a configuration again."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


@command(config)
@click.argument("file", required=False)
@click.pass_obj
def diff(session: Session, file: str | None) -> None:
    """Say what a configuration file would change, and which sessions it would reset; nothing is applied.

    Without FILE it is the file that rrd reads. Every ToR, node range and other element that comes, goes or changes
    is a sentence of its own.

    \b
    Examples:
      rrctl config diff
      rrctl config diff new.yaml
    """
    path = file or session.client.get("config")["file"]
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise click.ClickException(f"{path} cannot be read: {reason}; name another FILE") from fault
    answer = session.client.post("config/diff", text)
    if session.output.as_json:
        session.output.json(answer)
    else:
        _tell(session.output, answer, "changes", "Nothing would change.", "Would reset")


@command(config)
@click.pass_obj
def reload(session: Session) -> None:
    """Have rrd read its configuration again and apply what differs; says what changed.

    A file with any problem changes nothing: every problem is said, and the exit code is 1.

    \b
    Examples:
      rrctl config diff && rrctl config reload
    """
    answer = session.client.post("config/reload")
    if session.output.as_json:
        session.output.json(answer)
    else:
        _tell(session.output, answer, "changed", "Nothing changed.", "Reset")


def _tell(output: Output, answer: dict[str, Any], key: str, nothing: str, reset: str) -> None:
    if not answer[key]:
        output.line(nothing)
    for sentence in answer[key]:
        output.line(one_line(sentence))
    for peer in answer.get("resets", ()):
        output.line(f"{output.paint(reset, 'warning')}: {one_line(peer)}")
