"""Walk the schema: which model stands at a route, which keys it has, and where a key would belong."""

from __future__ import annotations

import types
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from rr.config.model import Config
from rr.config.scalars import Kind
from rr.config.types import HostPort, Model

NAME = "NAME"
"""Stands for any name in the route of a mapping by name."""


def inner(annotation: Any) -> tuple[Any, str]:
    """What a type holds, and how: `one`, `list` or `names`."""
    if hasattr(annotation, "__metadata__"):
        return inner(annotation.__origin__)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return inner(next(arg for arg in args if arg is not type(None)))
    if origin is tuple:
        return args[0], "list"
    return (args[1], "names") if origin is dict else (annotation, "one")


def model_in(annotation: Any) -> type[Model] | None:
    """The model that a field holds, whether one, a list, or by name; None for scalars, and for a choice of models."""
    held, shape = inner(annotation)
    if shape != "one":
        return model_in(held)
    if choices(annotation):
        return None
    return held if isinstance(held, type) and issubclass(held, Model) and held is not HostPort else None


def choices(annotation: Any) -> dict[str, type[Model]]:
    """The models between which `type` chooses, in a field that holds one of several or a list of them."""
    if hasattr(annotation, "__metadata__"):
        return choices(annotation.__origin__)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return choices(args[0])
    found = [arg for arg in args if isinstance(arg, type) and issubclass(arg, Model)]
    if origin not in (Union, types.UnionType) or len(found) < 2:
        return {}
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in found}


def model_at(route: tuple[str | int, ...], data: Any = None) -> type[Model] | None:
    """The model whose keys stand at a route; None when no model does. Where there is a choice, `data` makes it."""
    model: type[Model] | None = Config
    steps = list(route)
    while steps and model:
        key = steps.pop(0)
        field = model.model_fields.get(str(key))
        if not field:
            return None
        data = _at(data, key)
        if inner(field.annotation)[1] != "one" and steps:
            data = _at(data, steps.pop(0))
        options = choices(field.annotation)
        model = options.get(str(_at(data, "type"))) if options else model_in(field.annotation)
    return model


def _at(data: Any, step: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(step)
    return data[step] if isinstance(data, list) and isinstance(step, int) and step < len(data) else None


def untagged(route: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A route without the choices that the schema's complaints name in it."""
    tags = {
        tag
        for _, model in models()
        for field in model.model_fields.values()
        for tag in choices(field.annotation)
    }
    return tuple(
        step
        for place, step in enumerate(route)
        if not (step in tags and place and isinstance(route[place - 1], int))
    )


def kind_of(field: FieldInfo) -> str:
    """What a field holds, in words."""
    _, shape = inner(field.annotation)
    own = next((item.text for item in field.metadata if isinstance(item, Kind)), None)
    if shape == "one":
        return own or _kind_in(field.annotation) or "a mapping"
    held, _ = inner(field.annotation)
    what = _kind_in(held)
    if shape == "list":
        return f"a list: {what} each" if what else "a list of mappings"
    return "mappings by name"


def _kind_in(annotation: Any) -> str | None:
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, Kind):
            return item.text
    options = [arg for arg in get_args(annotation) if arg is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType) and len(options) == 1:
        return _kind_in(options[0])
    return None


def models(
    model: type[Model] = Config, route: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], type[Model]]]:
    """Every model with its route, in the order of the file; names are NAME, members of lists `[]`, choices `{type}`."""
    yield route, model
    for name, field in model.model_fields.items():
        step = {"one": (), "list": ("[]",), "names": (NAME,)}[inner(field.annotation)[1]]
        if child := model_in(field.annotation):
            yield from models(child, (*route, name, *step))
        for tag, chosen in choices(field.annotation).items():
            yield from models(chosen, (*route, name, *step, f"{{type: {tag}}}"))


def spelled(route: tuple[str, ...]) -> str:
    """A route of `models` as text."""
    return ".".join(route).replace(".[]", "[]").replace(".{", " {")


SECRETS = frozenset(
    {
        "password",
        "passwords",
        "secret",
        "passwd",
        "md5",
        "md5_password",
        "auth_password",
        "token",
        "api_token",
    }
)


def unknown(key: str, model: type[Model]) -> tuple[str, str]:
    """What is wrong with a key that the model does not know, and what to write instead."""
    if key in SECRETS:
        files = ("token_file", "kubeconfig", "password_file")
        file = next((known for known in files if known in model.model_fields), files[-1])
        right = f"put the secret in a file of mode 0600 and name it with `{file}:`"
        return "secrets never stand in this file", right
    wrong = "is not a known key here"
    if near := get_close_matches(key, model.model_fields, n=1, cutoff=0.6):
        return wrong, f"did you mean `{near[0]}`?"
    homes = [spelled(route) or "the top level" for route, other in models() if key in other.model_fields]
    if homes:
        return wrong, f"it belongs in {' or '.join(homes)}"
    return wrong, f"the keys here are {', '.join(model.model_fields)}"


def to_add(key: str, field: FieldInfo) -> str:
    """A line that adds a missing key."""
    example = field.examples[0] if field.examples else "..."
    return f"add it, such as `{key}: {example}`"
