"""Each system's text at its fullest, against what was written down for it (expected/)."""

import pytest

from tests.unit.farside.snippets import EXPECTED, snippets


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPECTED.glob("*.txt")))
def test_the_text_is_what_was_written_down(name: str) -> None:
    assert snippets()[name] == (EXPECTED / f"{name}.txt").read_text()


def test_every_system_has_an_expectation() -> None:
    assert {path.stem for path in EXPECTED.glob("*.txt")} == set(snippets())
