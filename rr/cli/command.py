"""What all commands share: the way to rrd, the output, and `--socket` and `--output` in either place."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from rr.cli.client import Client
from rr.cli.output import Output

DEFAULT_SOCKET = "/run/rr/rrd.sock"
FORMATS = ("table", "json")

Function = TypeVar("Function", bound=Callable[..., Any])


class Session(NamedTuple):
    """What every command gets: the way to rrd and the way to write."""

    client: Client
    output: Output


def command(group: click.Group | None = None, name: str | None = None) -> Callable[[Function], click.Command]:
    """Make a command that also takes the global options behind its name (`rrctl peers --output json`)."""
    make = group.command if group is not None else click.command

    def decorate(function: Function) -> click.Command:
        return make(name)(_socket(_output(function)))

    return decorate


def _change_socket(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None and isinstance(ctx.obj, Session):
        ctx.obj = ctx.obj._replace(client=Client(value))


def _change_output(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None and isinstance(ctx.obj, Session):
        ctx.obj = ctx.obj._replace(output=Output(value == "json"))


_socket = click.option(
    "--socket", metavar="PATH", expose_value=False, callback=_change_socket, help="As before the command."
)
_output = click.option(
    "--output",
    "-o",
    type=click.Choice(FORMATS),
    expose_value=False,
    callback=_change_output,
    help="As before the command.",
)
