"""The command itself: its global options, its commands (loaded when used), and how errors become exit codes.

    0  done
    1  what was asked for failed, or found problems
    2  the command line is wrong
    3  rrd cannot be reached
    130 interrupted (Ctrl-C), 141 whoever read the output stopped

`check` alone follows the monitoring-plugins convention instead.
"""

import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

import click

from rr import __version__
from rr.cli.client import Client, Rejected
from rr.cli.command import DEFAULT_SOCKET, FORMATS, Session
from rr.cli.output import Output, one_line
from rr.errors import ControllerUnavailable, RRError

FAILED, USAGE, UNREACHABLE, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141
CHECK_UNKNOWN = 3
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Lazy(NamedTuple):
    """Where a command lives, and its line in `rrctl --help`, which loads none of them."""

    module: str
    name: str
    help: str


COMMANDS = {
    "status": Lazy("rr.cli.status", "status", "Show how the appliance is doing."),
    "check": Lazy("rr.cli.check", "check", "Check health, as a monitoring plugin."),
    "peers": Lazy("rr.cli.peers", "peers", "List the sessions with nodes, ToRs and the other half."),
    "routes": Lazy("rr.cli.routes", "routes", "List the accepted routes."),
    "violations": Lazy("rr.cli.violations", "violations", "List the rejected announcements, with reasons."),
    "explain": Lazy("rr.cli.explain", "explain", "Say whether an announcement is accepted, and why not."),
    "events": Lazy("rr.cli.events", "events", "Show what happened, or follow it."),
    "config": Lazy("rr.cli.config", "config", "Validate, show, compare and reload the configuration."),
    "ipam": Lazy("rr.cli.ipam", "ipam", "Show allocations and their sources; accept or reject held ones."),
    "engine": Lazy("rr.cli.engine", "engine", "Restart or upgrade engines without losing a route."),
    "drain": Lazy("rr.cli.drain", "drain", "Take instances out of use without losing a packet."),
    "undrain": Lazy("rr.cli.drain", "undrain", "Put drained instances into use again."),
    "quarantine": Lazy("rr.cli.quarantine", "quarantine", "List the nodes that are kept out, or let one in."),
    "node": Lazy("rr.cli.node", "node", "Say that a node is dead."),
    "pair": Lazy("rr.cli.pair", "pair", "Show how the pair is doing; make its certificates."),
    "tor-config": Lazy("rr.cli.tor_config", "tor_config", "Print what to configure on ToRs."),
    "node-config": Lazy("rr.cli.node_config", "node_config", "Print what to configure on nodes."),
    "demo": Lazy("rr.cli.demo", "demo", "Show the appliance at work, on this machine alone."),
    "completion": Lazy("rr.cli.completion", "completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of their help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        lazy = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(lazy.module), lazy.name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it quietly, and so does a reader of its output that stops."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            ctx.exit(_silence())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings=CONTEXT, no_args_is_help=True)
@click.option(
    "--socket",
    envvar="RR_SOCKET",
    default=DEFAULT_SOCKET,
    show_default=True,
    show_envvar=True,
    metavar="PATH",
    help="The unix socket of rrd.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="A table to read, or JSON with documented keys.",
)
@click.version_option(__version__, "--version", prog_name="rrctl", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, socket: str, output: str) -> None:
    """Look at and steer the route-reflector appliance of this host.

    \b
    Examples:
      rrctl status
      rrctl peers --state idle
      rrctl --output json routes 10.100.0.5
      rrctl explain 10.244.1.0/24 --from node-1

    Exit codes: 0 done, 1 failed or problems found, 2 wrong usage, 3 rrd cannot be reached
    (`check`: 0 ok, 1 warning, 2 critical, 3 unknown).
    """
    ctx.obj = Session(Client(socket), Output(output == "json"))


def run() -> None:
    """Run rrctl and exit."""
    arguments = sys.argv[1:]
    code = guarded(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _silence()
    sys.exit(code)


def guarded(arguments: list[str]) -> int:
    """Run rrctl on `arguments`; every failure becomes one sentence on stderr and an exit code."""
    try:
        result: Any = cli.main(arguments, prog_name="rrctl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as no_arguments:
        click.echo(no_arguments.format_message(), err=True)
        return USAGE
    except click.UsageError as wrong:
        wrong.show()
        return CHECK_UNKNOWN if _is_check(wrong.ctx, arguments) else USAGE
    except click.ClickException as failed:
        return _fail(failed.format_message(), FAILED)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ControllerUnavailable as unavailable:
        return _fail(str(unavailable), UNREACHABLE)
    except Rejected as rejected:
        return _tell_problems(rejected)
    except RRError as failed:
        return _fail(str(failed), FAILED)
    return result if isinstance(result, int) else 0


def _is_check(wrong: click.Context | None, arguments: list[str]) -> bool:
    """Whether `check` was meant. Where a global option is wrong, click has not come to the command yet."""
    if wrong is not None and wrong.parent is not None:
        return wrong.info_name == "check" and wrong.parent.parent is None
    lenient = click.Context(cli, resilient_parsing=True, ignore_unknown_options=True)
    _, words, _ = cli.make_parser(lenient).parse_args(list(arguments))
    # What follows an unknown option may be its value.
    return "check" in (words if words[:1] and words[0].startswith("-") else words[:1])


def _tell_problems(rejected: Rejected) -> int:
    """Say rrd's refusal; problems of a file stand alone on their lines, as compilers write them."""
    if not rejected.problems:
        return _fail(str(rejected), FAILED)
    for problem in rejected.problems:
        click.echo(one_line(problem), err=True)
    return FAILED


def _fail(message: str, code: int) -> int:
    for line in message.splitlines():
        click.echo(f"rrctl: {one_line(line)}", err=True)
    return code


def _silence() -> int:
    """Point stdout nowhere, so that Python does not complain about the pipe when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
