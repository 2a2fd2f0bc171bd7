"""Allocations as a YAML document: text to snapshot, with every mistake at its place, and back to text."""

from __future__ import annotations

from collections.abc import Mapping

from yaml.nodes import Node

from rr.errors import AllocationsError, Problem
from rr.ipam.allocations import Allocations
from rr.ipam.reader import NODE_NAME, Reader
from rr.net import Address, Network
from rr.yamlfile import compose

__all__ = ["NODE_NAME", "parse", "parse_all", "render"]


def parse(text: str, file: str = "allocations.yaml") -> Allocations:
    """The snapshot in `text`; raises AllocationsError with every mistake, by position."""
    return parse_all({file: text})


def parse_all(texts: Mapping[str, str]) -> Allocations:
    """The snapshot that several files say together, by name of the file; raises AllocationsError.

    They count as one document: what contradicts itself between two of them is refused with both places named.
    """
    roots: dict[str, Node] = {}
    problems: list[Problem] = []
    for file, text in texts.items():
        try:
            roots[file] = compose(text, file, AllocationsError)
        except AllocationsError as error:
            problems += error.problems
    if problems:
        raise AllocationsError(problems)
    return Reader().read(roots)


def render(allocations: Allocations) -> str:
    """A document that `parse` reads back to an equal snapshot."""
    lines = ["nodes:" if allocations.nodes else "nodes: {}"]
    for node in allocations.nodes.values():
        lines += [
            f'  "{node.name}":',
            f"    addresses: {_listed(node.addresses)}",
            f"    prefixes: {_listed(node.prefixes)}",
        ]
        if node.borrowed:
            lines.append(f"    borrowed: {_listed(node.borrowed)}")
    if allocations.vips:
        lines.append("vips:")
    for pool in allocations.vips:
        names = "" if pool.nodes is None else f", nodes: {_listed(sorted(pool.nodes))}"
        lines.append(f"  - {{prefixes: {_listed(pool.prefixes)}{names}}}")
    return "\n".join(lines) + "\n"


def _listed(values: tuple[Address, ...] | tuple[Network, ...] | list[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
