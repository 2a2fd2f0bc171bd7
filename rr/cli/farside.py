"""What `tor-config` and `node-config` share: the configuration to go by, secrets, and how snippets are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import click

from rr.cli.command import Session
from rr.config.load import MAX_SIZE, parse
from rr.config.model import Instance, Pair, Rack
from rr.config.secrets import read_secret
from rr.errors import ConfigError, FarSideError
from rr.farside.facts import Appliance, Secret, racks
from rr.net import Address, Network
from rr.yamlfile import read_text

RULER = "=" * 78

Function = TypeVar("Function", bound=Callable[..., Any])


class AddressType(click.ParamType[Address]):
    """An IP address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read an address, or say what is wrong with it."""
        try:
            return ip_address(value)
        except ValueError:
            self.fail(f"{value} is not an address; write one such as 10.0.0.11", param, ctx)


class PrefixType(click.ParamType[Network]):
    """A prefix."""

    name = "prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        """Read a prefix, or say what is wrong with it."""
        try:
            return ip_network(value)
        except ValueError:
            self.fail(f"{value} is not a prefix; write one such as 10.244.0.0/16", param, ctx)


def common(function: Function) -> Function:
    """Add the options that both commands have."""
    for option in reversed(
        (
            click.option(
                "--address",
                type=AddressType(),
                metavar="ADDRESS",
                help="The appliance's address to use, of those it listens on; also the floating one.",
            ),
            click.option(
                "--with-secrets",
                is_flag=True,
                help="Write the TCP-MD5 passwords into the snippet, from their files on this host.",
            ),
            click.option(
                "--config",
                "file",
                metavar="FILE",
                help="Go by this rr.yaml, without rrd, instead of by what is in force.",
            ),
        )
    ):
        function = option(function)
    return function


def appliance_of(session: Session, file: str | None) -> Appliance:
    """The configuration in a file, or the one that rrd has in force."""
    if file is not None:
        config = parse(read_text(Path(file), MAX_SIZE, ConfigError), file)
        return Appliance(config.name, config.instances, config.pair)
    held: Mapping[str, Any] = session.client.get("config")["config"]
    instances = {name: Instance.model_validate(row) for name, row in held["instances"].items()}
    pair = held.get("pair")
    return Appliance(held["name"], instances, Pair.model_validate(pair) if pair else None)


def secret(wanted: bool) -> Secret:
    """How to come by a password: read its file, or leave it out."""
    return read_secret if wanted else lambda _: None


def chosen(appliance: Appliance, instance: str | None, rack: str | None) -> list[tuple[str, str, Rack]]:
    """The racks that are asked for; a name that there is not is an error."""
    if instance is not None and instance not in appliance.instances:
        raise FarSideError(
            f"there is no instance {instance}", f"name one of {', '.join(appliance.instances)}"
        )
    found = [row for row in racks(appliance) if instance in (None, row[0])]
    if rack is not None and rack not in {name for _, name, _ in found}:
        raise FarSideError(f"there is no rack {rack}", f"name one of {', '.join(n for _, n, _ in found)}")
    return [row for row in found if rack in (None, row[1])]


def show(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print snippets: as they are, several of them under rulers that are comments too; or as JSON."""
    output = session.output
    if output.as_json:
        output.json(list(rows))
        return
    for number, row in enumerate(rows):
        text = str(row["text"])
        if len(rows) > 1:
            output.line(f"{chr(10) if number else ''}{text[0]} {RULER}")
        output.line(text.rstrip("\n"))
