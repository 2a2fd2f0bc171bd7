"""rr.yaml as plain data for the schema: scalars as text, the place of every value, and mistakes of form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rr.addresses import shown
from rr.config.scalars import Text
from rr.errors import ConfigError, Problem
from rr.yamlfile import compose, described, is_nothing, is_plain, place_of

Route = tuple[str | int, ...]


class _Refused:
    """Stands for a value that was already reported: the schema's complaint about it is dropped."""

    def __repr__(self) -> str:
        return "REFUSED"


REFUSED = _Refused()


@dataclass(slots=True)
class Document:
    """Plain data, with the place of each value and of each key by its route from the top."""

    file: str
    data: Any = None
    values: dict[Route, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Route, tuple[int, int]] = field(default_factory=dict)
    refused: set[Route] = field(default_factory=set)
    empty: list[Route] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, route: Route, wrong: str, right: str, at_key: bool = False) -> Problem:
        """A problem at a value, or at its key; where neither is in the file, at what is around it."""
        return Problem(self.file, *self.place(route, at_key), dotted(route), wrong, right)

    def place(self, route: Route, at_key: bool = False) -> tuple[int, int]:
        """Line and column of a value or key; (1, 1) for the whole."""
        if at_key and route in self.keys:
            return self.keys[route]
        while route and route not in self.values:
            route = route[:-1]
        return self.values.get(route, (1, 1))

    def was_refused(self, route: Route) -> bool:
        """Whether the value at a route, or something around it, was already reported."""
        return any(route[:length] in self.refused for length in range(len(route) + 1))

    def at(self, *route: str | int) -> Any:
        """The data at a route, None when there is none."""
        found = self.data
        for step in route:
            if isinstance(found, Mapping) and isinstance(step, str):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def items(self, *route: str | int) -> Iterator[tuple[Route, Any]]:
        """Route and data of each member of a list or mapping; nothing when there is neither."""
        found = self.at(*route)
        steps = (
            found.keys()
            if isinstance(found, Mapping)
            else range(len(found))
            if isinstance(found, list)
            else ()
        )
        yield from ((((*route, step)), found[step]) for step in steps)


def dotted(route: Route) -> str:
    """A route as people write it: `instances.main.racks.rack-1.tors[0].address`."""
    text = ""
    for step in route:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if text else shown(step)
    return text


def read(text: str, file: str) -> Document:
    """Parse YAML; mistakes in single nodes are collected in `.problems`, broken YAML raises ConfigError."""
    document = Document(file)
    root = compose(text, file, ConfigError)
    if not isinstance(root, MappingNode):
        wrong = f"is {described(root)}, not a mapping"
        raise ConfigError([Problem(file, *place_of(root), "", wrong, "write keys such as `name: rr-a`")])
    document.values[()] = place_of(root)
    document.data = _value(document, root, ())
    return document


def _value(document: Document, node: Node, route: Route) -> Any:
    if node.tag:
        return _refuse(document, route, f"has the tag {shown(node.tag)}", "write the value without a tag")
    if is_nothing(node):
        document.refused.add(route)
        document.empty.append(route)
        return REFUSED
    if isinstance(node, MappingNode):
        return _mapping(document, node, route)
    if isinstance(node, SequenceNode):
        return [_child(document, item, None, (*route, index)) for index, item in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return Text.of(node.value, is_plain(node))


def _child(document: Document, node: Node, key: Node | None, route: Route) -> Any:
    document.values[route] = place_of(node, key)
    return _value(document, node, route)


def _mapping(document: Document, node: MappingNode, route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        place = place_of(key)
        if not isinstance(key, ScalarNode) or key.tag:
            wrong = f"{described(key)} stands where a key should be"
            right = "write KEY: VALUE; if this is {{ ... }} of a template, it was never filled in"
            document.problems.append(Problem(document.file, *place, dotted(route), wrong, right))
            document.refused.add(route)
            continue
        here = (*route, str(key.value))
        if key.value in found:
            wrong = f"is given twice, first in line {document.keys[here][0]}"
            document.problems.append(Problem(document.file, *place, dotted(here), wrong, "keep one of them"))
            continue
        document.keys[here] = place
        found[str(key.value)] = _child(document, value, key, here)
    return found


def _refuse(document: Document, route: Route, wrong: str, right: str) -> _Refused:
    document.refused.add(route)
    document.problems.append(document.problem(route, wrong, right))
    return REFUSED
