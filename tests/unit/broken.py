"""Reads tables of broken documents: what is changed in a good one, and every sentence that must come of it.

== a name that is a sentence
- asn: 64512          what is replaced in the good document (several lines stand for themselves)
+ asn: 0              with what; without a `- ` line, `+ ` is the whole document
rr.yaml:5:10: ...     the exact sentences, in order
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One broken document, and what a person should read about it."""

    name: str
    text: str
    sentences: tuple[str, ...]


def cases(table: Path, good: str) -> list[Case]:
    """All cases of a table."""
    return [_case(block, good) for block in table.read_text().split("\n== ")[1:]]


def _case(block: str, good: str) -> Case:
    name, *lines = block.rstrip("\n").split("\n")
    old = "\n".join(line[2:] for line in lines if line.startswith("- "))
    new = "\n".join(line[2:] for line in lines if line.startswith("+ "))
    sentences = tuple(line for line in lines if line and line[:2] not in ("- ", "+ "))
    assert not old or good.count(old), f"{name}: {old!r} is not in the good document"
    return Case(name, good.replace(old, new, 1) if old else f"{new}\n", sentences)
