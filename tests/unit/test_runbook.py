"""The runbook knows every sentence that `rrctl check` can say, and none that it cannot."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from rr import report
from rr.api import health
from rr.api.server import Api
from rr.cli import check
from rr.cli.client import Client
from rr.continuity.pair import compare
from rr.continuity.pair.watch import PairWatch
from rr.guard import warden
from rr.ipam import rows
from rr.view.live import LiveView

ROOT = Path(__file__).parents[2]
ELSEWHERE: dict[str, tuple[Callable[..., Any], ...]] = {
    "_drain_problem(runner)": (report._drain_problem,),
    "rows.staying(keeper, source)": (rows.staying,),
    "self._pair.problems()": (PairWatch.problems, PairWatch._thin_sentences, compare.differences),
    "self.http_problem()": (Api._try_tcp,),
    "suspension(step)": (warden.suspension,),
    "view.excesses()": (LiveView.excesses,),
}
"""Who makes the sentence where `critical` or `warning` is given one that is not written there."""
BESIDES: dict[Callable[..., Any], str] = {
    health.reasons_not_ready: "critical",
    health._instance_reasons: "critical",
    health._observed: "ok",
    Client._unavailable: "critical, unknown",
    check._keep: "unknown",
    check._ask: "unknown",
    check._understood: "unknown",
}
"""Who adds to the line without `critical` or `warning`."""


class Said(NamedTuple):
    """A sentence, with … for what is known only when it is said."""

    severity: str
    text: str


class Entry(NamedTuple):
    """A row of the runbook: how its sentences begin."""

    beginnings: tuple[str, ...]
    severities: frozenset[str]


class Function:
    """What the names of a function stand for: what they were last given above."""

    def __init__(self, tree: ast.AST) -> None:
        self.tree = tree
        self.given = [
            (node.targets[0].id, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        ]

    def value(self, name: ast.Name) -> ast.expr | None:
        above = [v for n, v in self.given if n == name.id and (v.end_lineno or 0) < name.lineno]
        return max(above, key=lambda value: value.lineno, default=None)

    def origin(self, node: ast.expr) -> str:
        """The code that a sentence comes from which is not written here."""
        if isinstance(node, ast.Name):
            for bound in ast.walk(self.tree):
                if isinstance(bound, ast.comprehension | ast.For) and ast.unparse(bound.target) == node.id:
                    return ast.unparse(bound.iter)
                if isinstance(bound, ast.NamedExpr) and bound.target.id == node.id:
                    return ast.unparse(bound.value)
        return ast.unparse(node)

    def texts(self, node: ast.expr | None) -> frozenset[str]:
        match node:
            case ast.Constant(value=str() as text):
                return frozenset({text})
            case ast.JoinedStr(values=parts):
                every = product(*map(self.texts, parts))
                return frozenset(re.sub("…+", "…", "".join(one)) for one in every)
            case ast.FormattedValue(value=value):
                return self.texts(value)
            case ast.IfExp(body=one, orelse=other):
                return self.texts(one) | self.texts(other)
            case ast.Name():
                return self.texts(self.value(node))
        return frozenset({"…"})

    def severities(self, called: ast.expr) -> set[str]:
        match called:
            case ast.Name(id="critical" | "warning" as severity):
                return {severity}
            case ast.Attribute(value=ast.Name(id="report"), attr="critical" | "warning" as severity):
                return {severity}
            case ast.Name() if isinstance(value := self.value(called), ast.IfExp):
                return self.severities(value.body) | self.severities(value.orelse)
        return set()

    def sentences(self) -> frozenset[str]:
        """Whatever is text of several words here, and not a part of such."""
        parts: set[ast.AST] = set()
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                parts.add(node)  # the docstring
            if node in parts or (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                parts.update(ast.iter_child_nodes(node))
            elif isinstance(node, ast.For):
                parts.add(node.iter)
            elif isinstance(node, ast.JoinedStr | ast.Constant):
                parts.update(ast.iter_child_nodes(node))
                found |= self.texts(node)
        sentences = frozenset(text for text in found if " " in text)
        assert sentences, "nothing is said here any more"
        return sentences


def of(function: Callable[..., Any]) -> Function:
    return Function(ast.parse(textwrap.dedent(inspect.getsource(function))))


def problems(source: str) -> Iterator[Said]:
    """What `critical` and `warning` are called with in a module."""
    module = ast.parse(source)
    for tree in ast.walk(module):
        if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        function = Function(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for call in calls:
            for severity in function.severities(call.func):
                texts = function.texts(call.args[0])
                if texts == {"…"}:
                    origin = function.origin(call.args[0])
                    assert origin in ELSEWHERE, f"say in ELSEWHERE who makes the sentences of {origin}"
                    texts = frozenset().union(*(of(maker).sentences() for maker in ELSEWHERE[origin]))
                yield from (Said(severity, text) for text in texts)


@cache
def everything() -> set[Said]:
    files = [file for file in (ROOT / "rr").rglob("*.py") if "pb" not in file.parts]
    sources = [file.read_text(encoding="utf-8") for file in files]
    said = {one for text in sources if re.search("critical|warning", text) for one in problems(text)}
    return said | {
        Said(severity, text)
        for maker, severities in BESIDES.items()
        for severity in severities.split(", ")
        for text in of(maker).sentences()
    }


def entries() -> list[Entry]:
    """The rows of the table, `SAYS` | SEVERITY | WHAT TO DO."""
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \| ([a-z, ]+) \| .+ \|$", text, re.MULTILINE)
    return [
        Entry(tuple(re.findall("`(.+?)`", says)), frozenset(severity.split(", "))) for says, severity in rows
    ]


def begins(said: Said, entry: Entry) -> bool:
    return any(said.text.casefold().startswith(b.rstrip("… ").casefold()) for b in entry.beginnings)


def test_every_sentence_of_the_check_is_in_the_runbook_once_and_with_its_severity() -> None:
    known = entries()
    for said in sorted(everything()):
        found = [entry for entry in known if begins(said, entry)]
        assert len(found) == 1, f"docs/runbook.md, 'By sentence', has {len(found)} entries for: {said.text}"
        assert said.severity in found[0].severities, f"docs/runbook.md says otherwise: {said}"


def test_the_runbook_has_no_sentence_that_is_never_said() -> None:
    said = everything()
    for entry in entries():
        for beginning in entry.beginnings:
            of_it = {one.severity for one in said if begins(one, Entry((beginning,), frozenset()))}
            assert of_it, f"nobody says: {beginning}"
        assert {one.severity for one in said if begins(one, entry)} == entry.severities, entry


def test_sentences_are_found_wherever_they_are_put_together() -> None:
    source = """
def one(a, b):
    text = f"{a} is gone"
    yield critical(f"Rack {b}: {text}")
    text = "it burns"
    say = critical if a else warning
    yield say(f"Rack {b}: {text if a else 'it rains'}")
    found = [report.warning(sentence) for sentence in view.excesses()]
    _log.warning("not a problem")
"""
    assert {said for said in problems(source) if "announces" not in said.text} == {
        Said("critical", "Rack …: … is gone"),
        Said("critical", "Rack …: it burns"),
        Said("critical", "Rack …: it rains"),
        Said("warning", "Rack …: it burns"),
        Said("warning", "Rack …: it rains"),
    }
    assert Said("warning", "… announces … prefixes, … allows …") in set(problems(source))
