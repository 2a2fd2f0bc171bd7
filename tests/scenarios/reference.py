"""Keeps docs/scenarios.md true to the scenarios themselves: `python -m tests.scenarios.reference docs`.

A scenario's name is the sentence, its docstring what is asserted, and a module's docstring the heading.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from _pytest.mark import ParameterSet

from rr.api.markdown import fill

HERE = Path(__file__).parent
_PROPER = {
    name.lower(): name
    for name in (
        *("ToR", "ToRs", "VIP", "VIPs", "FRR", "BIRD", "GoBGP", "ExaBGP", "IPv4", "IPv6", "HTTP"),
        *("IPAM", "MD5", "GTSM", "TTL", "ECMP", "NO_EXPORT"),
    )
}
"""Words that a function's name cannot spell."""


def blocks() -> dict[str, str]:
    """Write what docs/scenarios.md takes from the code."""
    return {"scenarios": "\n".join(map(_section, modules()))}


def modules() -> Iterator[ModuleType]:
    """Import every module of scenarios, by name."""
    for file in sorted(HERE.glob("test_*.py")):
        yield importlib.import_module(f"tests.scenarios.{file.stem}")


def scenarios(module: ModuleType) -> Iterator[tuple[str, Callable[..., object]]]:
    """The scenarios of a module, in the order in which they stand there."""
    own = [
        (n, f) for n, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__
    ]
    yield from sorted(
        (pair for pair in own if pair[0].startswith("test_")),
        key=lambda pair: inspect.getsourcelines(pair[1])[1],
    )


def _section(module: ModuleType) -> str:
    lines = [f"## {module.__name__.rpartition('.')[2]}", "", _line(module.__doc__ or ""), ""]
    for name, scenario in scenarios(module):
        asserted = _line(scenario.__doc__ or "")
        lines.append(f"- **{sentence(name)}**" + (f"  \n  {asserted}" if asserted else ""))
        lines += [f"  {cases}" for cases in _cases(scenario)]
    return "\n".join(lines) + "\n"


def sentence(name: str) -> str:
    """Turn a function's name into a sentence."""
    words = [_PROPER.get(word, word) for word in name.removeprefix("test_").split("_")]
    text = " ".join(words)
    return text[0].upper() + text[1:]


def _line(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def _cases(scenario: Callable[..., object]) -> Iterator[str]:
    """What a scenario is tried with, a line for each of its parameters."""
    for mark in reversed(getattr(scenario, "pytestmark", ())):
        if mark.name == "parametrize":
            names = mark.args[0] if isinstance(mark.args[0], str) else ", ".join(mark.args[0])
            values = list(_names(mark.args[1], mark.kwargs.get("ids")))
            yield f"({names}, {len(values)}: {'; '.join(values)})"


def _names(values: Iterable[Any], ids: Any) -> Iterator[str]:
    for number, value in enumerate(values):
        if callable(ids):
            yield str(ids(value))
        else:
            yield _name(value) if ids is None else str(ids[number])


def _name(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={said}" for key, said in value.items())
    if isinstance(value, ParameterSet):
        return str(value.id) if value.id is not None else _name(value.values)
    if isinstance(value, tuple):
        return " ".join(map(_name, value))
    return str(value) if str(value).isprintable() else repr(value)


def main() -> None:
    """Bring the page up to date in the directory that is named."""
    fill(Path(sys.argv[1]) / "scenarios.md", blocks())


if __name__ == "__main__":
    main()
