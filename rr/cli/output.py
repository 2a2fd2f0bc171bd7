"""How rrctl writes: aligned tables for people, JSON for programs, colour only where somebody sees it."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from rr.text import duration

GAP = "  "
NARROWEST = 12
_COLOURS = {
    "established": "green",
    "running": "green",
    "ready": "green",
    "in force": "green",
    "accepted": "green",
    "yes": "green",
    "✓": "green",
    "idle": "red",
    "down": "red",
    "not ready": "red",
    "not in force": "red",
    "rejected": "red",
    "critical": "red",
    "✗": "red",
    "connect": "yellow",
    "active": "yellow",
    "opensent": "yellow",
    "openconfirm": "yellow",
    "starting": "yellow",
    "warning": "yellow",
    "good": "green",
    "failing": "red",
    "silent": "yellow",
    "held": "yellow",
}


class Column(NamedTuple):
    """A column of a table: its title and how a row's text in it is made."""

    title: str
    text: Callable[[Mapping[str, Any]], str]
    right: bool = False
    gives: bool = False


def column(key: str, title: str | None = None, *, gives: bool = False) -> Column:
    """Show the key, a dash for null; a column that `gives` is cut when the terminal is narrow."""
    return Column(title or key.replace("_", " ").upper(), lambda row: plain(row.get(key)), gives=gives)


def number(key: str, title: str | None = None) -> Column:
    """Show a number, aligned to the right."""
    return Column(title or key.replace("_", " ").upper(), lambda row: plain(row.get(key)), right=True)


def age(key: str, title: str) -> Column:
    """Show how long ago a time was."""
    return Column(title, lambda row: ago(row.get(key)), right=True)


class Output:
    """Writes answers to stdout, as tables or as JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.terminal = sys.stdout.isatty()
        self.colour = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def json(self, value: Any) -> None:
        """Write JSON: indented on a terminal, on one line for programs."""
        if self.terminal:
            self.line(json.dumps(value, indent=2))
        else:
            self.json_line(value)

    def json_line(self, value: Any) -> None:
        """Write JSON on one line, at once."""
        self.line(json.dumps(value, separators=(",", ":")))
        self.flush()

    def line(self, text: str = "") -> None:
        """Write one line."""
        sys.stdout.write(text + "\n")

    def flush(self) -> None:
        """Let what was written be seen now."""
        sys.stdout.flush()

    def paint(self, text: str, word: str | None = None) -> str:
        """Colour text by what it means, if somebody sees it."""
        name = _COLOURS.get(word if word is not None else text)
        return click.style(text, fg=name) if name and self.colour else text

    def bold(self, text: str) -> str:
        """Make text stand out, if somebody sees it."""
        return click.style(text, bold=True) if self.colour else text

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], nothing: str) -> None:
        """Write a table, or on stderr the sentence that there is nothing to show."""
        if not rows:
            click.echo(nothing, err=True)
            return
        cells = [[one_line(part.text(row)) for part in columns] for row in rows]
        widths = [max(len(part.title), *(len(row[i]) for row in cells)) for i, part in enumerate(columns)]
        self._fit(widths, columns)
        self.line(self.bold(_aligned([part.title for part in columns], widths, columns)))
        for row in cells:
            painted = [
                self.paint(_placed(text, width, part), text)
                for text, width, part in _zip(row, widths, columns)
            ]
            self.line(GAP.join(painted).rstrip())

    def _fit(self, widths: list[int], columns: Sequence[Column]) -> None:
        if not self.terminal:
            return
        over = sum(widths) + len(GAP) * (len(widths) - 1) - shutil.get_terminal_size().columns
        for index, part in enumerate(columns):
            if part.gives and over > 0:
                widths[index], over = max(NARROWEST, widths[index] - over), 0


def _zip(
    row: Iterable[str], widths: Iterable[int], columns: Iterable[Column]
) -> Iterable[tuple[str, int, Column]]:
    return zip(row, widths, columns, strict=True)


def _aligned(row: Iterable[str], widths: Iterable[int], columns: Iterable[Column]) -> str:
    return GAP.join(_placed(*parts) for parts in _zip(row, widths, columns)).rstrip()


def _placed(text: str, width: int, part: Column) -> str:
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if part.right else text.ljust(width)


def plain(value: Any) -> str:
    """Write a value the way a table shows it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(plain, value)) or "-"
    return str(value)


def one_line(text: str) -> str:
    """Make text safe for a terminal: a node's name, say, must not move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def ago(time: str | None) -> str:
    """Write how long ago an RFC 3339 time was, in at most two units: 42s, 3m12s, 5h07m, 12d4h."""
    if not time:
        return "-"
    return duration((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())


def until(time: str | None) -> str:
    """Write how far an RFC 3339 time lies ahead, as `ago` does."""
    if not time:
        return "-"
    return duration((datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds())


def local(time: str) -> str:
    """Write an RFC 3339 time so that it lines up: UTC, to the second."""
    return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def count(number_of: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{number_of} {one if number_of == 1 else many or one + 's'}"
