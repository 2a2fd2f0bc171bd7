"""The committed reference says what the schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rr.config.load import parse
from rr.config.reference import main, pages
from rr.config.schema import model_at, models
from rr.config.types import HostPort
from rr.errors import ConfigError

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", pages())
def test_the_committed_page_is_what_the_schema_says(name: str) -> None:
    stale = f"docs/{name} is stale: run `python -m rr.config.reference`"
    assert (DOCS / name).read_text() == pages()[name], stale


def test_every_key_is_described() -> None:
    for route, model in models():
        for name, field in model.model_fields.items():
            assert field.description, f"{route}.{name}"
            assert f"| `{name}` |" in pages()["configuration.md"]


def test_every_required_key_has_an_example_for_the_sentence_that_asks_for_it() -> None:
    for route, model in models():
        for name, field in model.model_fields.items():
            assert field.examples or not field.is_required(), f"{route}.{name}"


def test_the_sentence_in_the_page_is_the_one_that_is_said() -> None:
    text = (Path(__file__).parent / "good.yaml").read_text().replace("10.2.0.0/24", "10.2.0.5/24")
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) in pages()["configuration.md"]


def test_models_are_found_by_route() -> None:
    assert (
        model_at(("instances", "main", "racks", "rack-1", "tors", 0))
        is dict(models())[("instances", "NAME", "racks", "NAME", "tors", "[]")]
    )
    assert model_at(("instances", "main", "nonsense")) is None
    assert model_at(("http", "listen")) is None
    assert HostPort not in dict(models()).values()


def test_the_pages_are_written(tmp_path: Path) -> None:
    main([str(tmp_path / "docs")])
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == [
        "allocations.md",
        "configuration.md",
    ]
