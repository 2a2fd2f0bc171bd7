"""Keeps docs/commands.md true to the commands' own help: `python -m rr.cli.reference docs`."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rr.api.keys import OBJECTS, Key
from rr.api.markdown import fill, key_table, reason_table
from rr.cli.main import CONTEXT, cli

WIDTH = 100

IPAM_KEYS = (
    Key("vip", "true/false", "false: a node's allocation; true: a VIP pool"),
    Key("node", "text", "the node; null for a VIP pool", True),
    Key("addresses", "list", "the addresses that the node's BGP sessions come from; empty for a VIP pool"),
    Key("prefixes", "list", "the node's prefixes, or those of the pool"),
    Key(
        "nodes", "list", "the nodes that may announce from the pool; null is every node, and for a node", True
    ),
    Key(
        "borrowed",
        "list",
        "host routes out of other nodes' prefixes that the node uses; empty for a VIP pool",
    ),
    Key("source", "text", "the IPAM sources that say so, with a comma between several", True),
    Key("until", "object", "what is in its grace: by address or prefix, when it goes; empty for a VIP pool"),
)
VALIDATE_KEYS = (
    Key("file", "text", "the file"),
    Key("line", "number", "the line, from 1; 0 is the file as a whole"),
    Key("column", "number", "the column, from 1"),
    Key("key", "text", "the key, as in `instances.main.asn`"),
    Key("wrong", "text", "what is wrong"),
    Key("right", "text", "what would be right"),
    Key("text", "text", "all of it, as it is printed"),
)
ENGINE_KEYS = (
    *OBJECTS["engine.restart"],
    Key("seconds", "number", "until every peer was back; 0 where nothing was to be done"),
    Key("missing", "number", "peers that were not back then"),
)
FAR_SIDE_KEYS = (
    Key("instance", "text", "the instance that the sessions are with"),
    Key("rack", "text", "its rack"),
    Key("vendor", "text", "the system that the text is for"),
    Key("text", "text", "the configuration"),
)
ANSWERS = {
    "status": OBJECTS["status"],
    "check": OBJECTS["check"],
    "peers": OBJECTS["peers"],
    "routes": OBJECTS["routes"],
    "violations": OBJECTS["violations"],
    "explain": OBJECTS["explain"],
    "events": OBJECTS["events"],
    "config validate": VALIDATE_KEYS,
    "config show": OBJECTS["config"],
    "config diff": OBJECTS["config.diff"],
    "config reload": OBJECTS["config.reload"],
    "ipam show": IPAM_KEYS,
    "ipam sources": OBJECTS["ipam.sources"],
    "ipam diff": OBJECTS["ipam.diff"],
    "ipam accept": OBJECTS["ipam.accept"],
    "ipam reject": OBJECTS["ipam.reject"],
    "engine restart": ENGINE_KEYS,
    "engine upgrade": ENGINE_KEYS,
    "drain": OBJECTS["drain"],
    "undrain": OBJECTS["drain"],
    "quarantine list": OBJECTS["quarantine"],
    "quarantine release": OBJECTS["quarantine.release"],
    "node down": OBJECTS["node.down"],
    "pair status": OBJECTS["pair"],
    "tor-config": (*FAR_SIDE_KEYS[:2], Key("tor", "text", "the ToR's address"), *FAR_SIDE_KEYS[2:]),
    "node-config": (
        *FAR_SIDE_KEYS[:2],
        Key("node", "text", "the node that `--node` named", True),
        *FAR_SIDE_KEYS[2:],
    ),
    "pair certificates": (Key("made", "list", "the files that were written"),),
}


def blocks() -> dict[str, str]:
    """Write what docs/commands.md takes from the code."""
    return {"commands": "\n".join(_section(name, context) for name, context in commands())}


def commands() -> Iterator[tuple[str, click.Context]]:
    """Yield every command with its full name, in the order of the help; the first is rrctl itself."""
    root = click.Context(cli, info_name="rrctl", **_context())
    yield "rrctl", root
    yield from _below(root, cli, "")


def _below(parent: click.Context, group: click.Group, before: str) -> Iterator[tuple[str, click.Context]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, **_context())
        yield f"{before}{name}", context
        if isinstance(command, click.Group):
            yield from _below(context, command, f"{before}{name} ")


def _context() -> dict[str, Any]:
    return {**CONTEXT, "terminal_width": WIDTH}


def _section(name: str, context: click.Context) -> str:
    title = name if name == "rrctl" else f"rrctl {name}"
    lines = re.sub(r"[ \t]+$", "", context.get_help(), flags=re.MULTILINE)
    text = f"## {title}\n\n```text\n{lines}\n```\n"
    if name in ANSWERS:
        text += f"\n{key_table(ANSWERS[name])}\n"
    if name == "violations":
        text += f"\n{reason_table()}\n"
    return text


def main() -> None:
    """Bring the page up to date in the directory that is named."""
    os.environ.pop("RR_SOCKET", None)
    fill(Path(sys.argv[1]) / "commands.md", blocks())


if __name__ == "__main__":
    main()
