"""YAML with what PyYAML throws away: the place of every value, and sentences for what is no YAML at all.

`compose` gives PyYAML's own node tree, in which every scalar is text: none of YAML 1.1's guesses are made.
Input is bounded: size, depth (libyaml's composer recurses on the C stack), no aliases and no tags.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rr.addresses import shown
from rr.errors import Problem, ProblemsError

MAX_DEPTH = 32
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


def read_text(path: Path, limit: int, error: type[ProblemsError]) -> str:
    """The text of a file of at most `limit` bytes; raises `error` with one problem when it cannot be had."""

    def problem(wrong: str, right: str, line: int = 0, column: int = 0) -> ProblemsError:
        return error([Problem(str(path), line, column, "", wrong, right)])

    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise problem("there is no such file", "create it, or name the right one") from None
    except PermissionError:
        raise problem("may not be read by this user", "allow it with chmod or chown") from None
    except IsADirectoryError:
        raise problem("is a directory", "name the file in it") from None
    except (OSError, ValueError) as trouble:
        reason = trouble.strerror if isinstance(trouble, OSError) else str(trouble)
        raise problem(f"cannot be read ({reason})", "see that the file system works") from None
    if len(data) > limit:
        raise problem(f"is larger than {limit >> 20} MiB", "see that it is the right file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as trouble:
        before = data[: trouble.start].decode("utf-8-sig", "replace")
        line, column = _position(before, len(before))
        wrong = f"byte 0x{data[trouble.start]:02x} is not UTF-8"
        raise problem(wrong, "save the file as UTF-8", line, column) from None


def _position(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class _TooDeep(Exception):
    pass


class _Loader(yaml.CSafeLoader):
    """The C parser, bounded in depth and without guesses: the tag of an untagged node is empty."""

    _depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


def compose(text: str, file: str, error: type[ProblemsError]) -> Node:
    """The one document in `text` as nodes with marks; raises `error` when there is none, or more than one."""

    def refuse(line: int, column: int, wrong: str, right: str) -> ProblemsError:
        return error([Problem(file, line, column, "", wrong, right)])

    if odd := _NOT_TEXT.search(text):
        wrong = f"character U+{ord(odd[0]):04X} is not allowed in YAML"
        raise refuse(*_position(text, odd.start()), wrong, "delete it")
    try:
        if "*" in text or "&" in text:
            _refuse_aliases(text, refuse)
        with _without_collection():
            root = _Loader(text).get_single_node()
    except _TooDeep:
        raise refuse(
            0, 0, f"is nested deeper than {MAX_DEPTH} levels", "see that it is the right file"
        ) from None
    except yaml.MarkedYAMLError as trouble:
        raise refuse(*_sentence(trouble, text)) from None
    except yaml.YAMLError as trouble:
        raise refuse(0, 0, f"is not YAML: {trouble}", "correct it") from None
    if root is None:
        raise refuse(0, 0, "is empty", "see that it is the right file")
    return root


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Collect no garbage while many nodes come up: none of them is, and looking doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refuse_aliases(text: str, refuse: Any) -> None:
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line, column = _at(event.start_mark) or (0, 0)
            wrong = f"*{event.anchor} is an alias, which is not supported here"
            raise refuse(line + 1, column + 1, wrong, "write the value itself, or put it in quotes")


def _sentence(trouble: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str, str]:
    place = _at(trouble.problem_mark) or (0, 0)
    opened = _at(trouble.context_mark) or place
    if isinstance(trouble, ComposerError):
        return (
            place[0] + 1,
            place[1] + 1,
            "a second document begins here",
            "keep one, and delete the line ---",
        )
    lines = text.splitlines()
    here = lines[place[0]] if place[0] < len(lines) else ""
    return _explain(str(trouble.problem), here, place, opened)


def _at(mark: Any) -> tuple[int, int] | None:
    return (mark.line, mark.column) if mark else None


_WORDS = (
    ("end of stream", True, "the quote that opens here is never closed", "close it"),
    (
        "',' or ']'",
        True,
        "the list that opens here is not closed",
        "close it with ], with commas between items",
    ),
    (
        "',' or '}'",
        True,
        "the mapping that opens here is not closed",
        "close it with }, with commas between keys",
    ),
    (
        "mapping values",
        False,
        "a key is not expected here",
        "correct the indentation, or put the value in quotes",
    ),
    (
        "expected ':'",
        True,
        "this is neither a key nor a value",
        "write KEY: VALUE, with a space after the colon",
    ),
    (
        "expected key",
        False,
        "this does not fit what stands before it",
        "correct the indentation or the brackets",
    ),
    ("node content", False, "a value is missing here", "write it, or take out the comma or bracket"),
    ("block sequence", False, "a list does not fit here", "begin it on a line of its own, below its key"),
)
"""A part of what libyaml says, whether the mistake is where the construct opened, and what to say instead."""


def _explain(
    problem: str, here: str, place: tuple[int, int], opened: tuple[int, int]
) -> tuple[int, int, str, str]:
    """What libyaml found, in words that say what to do; `opened` is where the construct began."""
    line, column = place[0] + 1, place[1] + 1
    at = here[place[1] : place[1] + 1]
    if at == "\t":
        return line, column, "a tab stands where only spaces may", "indent with spaces"
    if at == ":" and ("node content" in problem or "unexpected ':'" in problem or _colons(here, place[1])):
        return line, column, "an IPv6 address that begins or ends with : confuses YAML", "put it in quotes"
    if "cannot start any token" in problem:
        return line, column, f"a value cannot begin with {at}", "put it in quotes"
    if "node content" in problem and not at:
        return line, column, "the file ends in the middle of a value", "see that it is complete"
    for part, at_start, wrong, right in _WORDS:
        if part in problem:
            where = opened if at_start else place
            return where[0] + 1, where[1] + 1, wrong, right
    return line, column, f"is not YAML: {problem}", "correct the indentation, the quotes or the brackets"


def _colons(here: str, column: int) -> bool:
    return column > 0 and here[column - 1] == ":"


def is_plain(node: ScalarNode) -> bool:
    """Whether the scalar stands without quotes and is no block."""
    return not node.style


def is_nothing(node: Node) -> bool:
    """Whether there is no value: nothing at all, or one of YAML's words for it."""
    return isinstance(node, ScalarNode) and not node.style and node.value in _NULLS


def described(node: Node) -> str:
    """What a node is, for a sentence."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "empty" if is_nothing(node) else shown(str(node.value))


def place_of(node: Node, key: Node | None = None) -> tuple[int, int]:
    """Line and column of a value; of its key when the value is a block that only begins further down."""
    mark = node.start_mark
    if key is not None and (is_nothing(node) or mark.line != key.start_mark.line):
        mark = key.start_mark
    return mark.line + 1, mark.column + 1
