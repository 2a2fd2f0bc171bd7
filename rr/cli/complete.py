"""Completion of names that only rrd knows: racks, nodes, instances. Without rrd there are none."""

from collections.abc import Callable
from typing import Any

import click

from rr.cli.client import Client, Rejected
from rr.errors import ControllerUnavailable

TIMEOUT = 0.5

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def names(resource: str, *keys: str) -> Completer:
    """Complete with the values that the listed rows have under `keys`."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        socket = ctx.find_root().params.get("socket")
        try:
            rows = Client(str(socket)).get(resource, TIMEOUT)
        except (ControllerUnavailable, Rejected):
            return []
        return [name for name in _values(rows, keys) if name.startswith(incomplete)]

    return complete


def _values(rows: Any, keys: tuple[str, ...]) -> list[str]:
    if not isinstance(rows, list):
        return []
    return sorted({str(row[key]) for row in rows for key in keys if row.get(key)})
