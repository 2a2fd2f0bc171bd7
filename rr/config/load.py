"""Read rr.yaml: text to Config, or every mistake in it at once, by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rr.addresses import shown
from rr.config.checks import check
from rr.config.document import Document, Route, read
from rr.config.model import Config, Places
from rr.config.scalars import router_id
from rr.config.schema import model_at, to_add, unknown, untagged
from rr.config.secrets import check_secrets
from rr.errors import ConfigError, Problem
from rr.yamlfile import read_text

MAX_SIZE = 4 << 20


def load(path: Path) -> Config:
    """The configuration in a file, its password files looked at; raises ConfigError with all problems."""
    return _load(read_text(path, MAX_SIZE, ConfigError), str(path), secrets=True)


def parse(text: str, file: str = "rr.yaml") -> Config:
    """The configuration in `text`; pure: looks at no other file. Raises ConfigError with all problems."""
    return _load(text, file, secrets=False)


def _load(text: str, file: str, *, secrets: bool) -> Config:
    document = read(text, file)
    problems = list(document.problems) + list(_empty(document))
    config = None
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        problems += _problems(document, error)
    problems += check(document)
    if secrets:
        problems += check_secrets(document)
    if problems or config is None:
        raise ConfigError(problems)
    return config.located(Places(file, document.values))


def _empty(document: Document) -> Iterator[Problem]:
    """Keys without a value."""
    for route in document.empty:
        model = model_at(route[:-1], document.data) if isinstance(route[-1], str) else None
        field = model.model_fields.get(str(route[-1])) if model else None
        required = field is None or field.is_required()
        right = "write one" if required else "write one, or leave the key out for its default"
        yield document.problem(route, "has no value", right)


def _problems(document: Document, error: ValidationError) -> Iterator[Problem]:
    for details in error.errors(include_url=False):
        route: Route = untagged(tuple(details["loc"]))
        if not document.was_refused(route) and not _follows(document, route, details):
            yield _problem(document, route, details)


def _follows(document: Document, route: Route, details: ErrorDetails) -> bool:
    """Whether a complaint only follows from another: about a default, or about a list whose members are wrong."""
    if details["type"] == "too_short":
        return bool(details["input"])
    if route[2:] == ("cluster_id",) or route[2:3] == ("listen",):
        given = document.at(*route[:2], "router_id")
        return route not in document.values and (route[2] == "cluster_id" or _invalid_router_id(given))
    return False


def _invalid_router_id(value: object) -> bool:
    try:
        router_id(value)
    except ValueError:
        return True
    return False


def _problem(document: Document, route: Route, details: ErrorDetails) -> Problem:
    """One complaint of the schema as a sentence."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "rr":
        at_key = route[-1:] == ("[key]",)
        return document.problem(route[:-1] if at_key else route, context["wrong"], context["right"], at_key)
    if kind == "extra_forbidden":
        return _unknown(document, route)
    if kind == "missing":
        return _missing(document, route)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _choice(document, route, context)
    wrong, right = _shape(kind, route, details["input"], document.data)
    return document.problem(route, wrong, right)


def _choice(document: Document, route: Route, context: Mapping[str, Any]) -> Problem:
    """`type` says of which kind a member is, and does not, or names none."""
    if "tag" not in context:
        return document.problem((*route, "type"), "is missing", "add it, such as `type: file`")
    words = context["expected_tags"].replace("'", "").split(", ")
    right = f"write {', '.join(words[:-1])} or {words[-1]}"
    return document.problem((*route, "type"), f"{shown(str(context['tag']))} is not known here", right)


def _unknown(document: Document, route: Route) -> Problem:
    wrong, right = unknown(str(route[-1]), model_at(route[:-1], document.data) or Config)
    return document.problem(route, wrong, right, at_key=True)


def _missing(document: Document, route: Route) -> Problem:
    key = str(route[-1])
    model = model_at(route[:-1], document.data) or Config
    return document.problem(route, "is missing", to_add(key, model.model_fields[key]))


def _shape(kind: str, route: Route, given: Any, data: Any) -> tuple[str, str]:
    """A list where a mapping should be, and the like."""
    found = (
        "a mapping" if isinstance(given, dict) else "a list" if isinstance(given, list) else shown(str(given))
    )
    if kind == "too_short":
        return "is empty", "name at least one"
    if kind == "tuple_type":
        return f"is {found}, not a list", f"write [{found}]" if isinstance(
            given, str
        ) else "write a list: [{...}]"
    if kind in ("model_type", "model_attributes_type"):
        model = model_at(route, data)
        keys = f" with the keys {', '.join(model.model_fields)}" if model else ""
        return f"is {found}, not a mapping", f"write a mapping{keys}"
    if kind == "dict_type":
        return f"is {found}, not a mapping", "write NAME: and what it holds below"
    return f"{found} is not right here ({kind})", "see docs/configuration.md"
