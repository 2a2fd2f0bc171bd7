"""Markdown pages that are written by hand, but for marked blocks which come from the code."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rr.api.keys import EXPLAINED, Key


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, for each block."""
    page.write_text(filled(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Answer the text with its blocks replaced; raises KeyError for a block that is not marked in it."""
    for name, content in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise KeyError(name)
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}{content}\n{end}{rest.split(end, 1)[1]}"
    return text


def key_table(keys: Iterable[Key]) -> str:
    """Write JSON keys as a table."""
    rows = [f"| `{key.name}` | {_type(key)} | {key.meaning} |" for key in keys]
    return "\n".join(["| key | type | what it says |", "|---|---|---|", *rows])


def _type(key: Key) -> str:
    return key.type + " or null" * key.nullable + ", not always there" * key.optional


def reason_table() -> str:
    """Write the closed list of reasons as a table."""
    rows = [f"| `{reason}` | {meaning} |" for reason, meaning in EXPLAINED.items()]
    return "\n".join(["| reason | what it means |", "|---|---|", *rows])
