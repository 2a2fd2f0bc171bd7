"""Every way in which rr.yaml can be wrong, and the exact sentences that a person reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from rr.config.load import load, parse
from rr.errors import ConfigError
from tests.unit.broken import Case, cases

HERE = Path(__file__).parent
GOOD = (HERE / "good.yaml").read_text()
BROKEN = cases(HERE / "broken.txt", GOOD)


def sentences(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_good_configuration_is_good() -> None:
    assert parse(GOOD).name == "rr-a"


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_configuration_is_refused_with(case: Case) -> None:
    assert sentences(case.text) == list(case.sentences)


def test_there_are_many_cases_and_each_breaks_it_differently() -> None:
    assert len(BROKEN) > 100
    assert len({case.text for case in BROKEN}) == len(BROKEN)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "rr.yaml: is empty; see that it is the right file"),
        ("# later\n", "rr.yaml: is empty; see that it is the right file"),
        ("a: " + "[" * 200_000, "rr.yaml: is nested deeper than 32 levels; see that it is the right file"),
        ("- " * 20_000, "rr.yaml: is nested deeper than 32 levels; see that it is the right file"),
        ("name: rr\x07a", "rr.yaml:1:9: character U+0007 is not allowed in YAML; delete it"),
        ("a: &a [x]\nb: &b [*a, *a]\n", ("rr.yaml:2:8: *a is an alias, which is not supported here; write the value "
         "itself, or put it in quotes")),
    ],
)  # fmt: skip
def test_input_that_is_no_configuration_at_all_is_bounded(text: str, sentence: str) -> None:
    assert sentences(text) == [sentence]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace("name: rr-a", "name: rr a")
        .replace("asn: 64513", "asn: 0")
        .replace("10.3.0.0", "10.2.0.0")
    )
    keys = ["name", "instances.other.asn", "instances.other.racks.rack-2.nodes.ranges[0]"]
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert [problem.key for problem in caught.value.problems] == keys
    assert str(caught.value).count("\n") == 2


def test_a_misspelt_key_does_not_hide_an_overlap() -> None:
    text = GOOD.replace("asn: 64513", "asm: 64513").replace("10.3.0.0/24", "10.2.0.0/25")
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert any("overlaps 10.2.0.0/24" in problem.wrong for problem in caught.value.problems)


class TestFiles:
    """What can be wrong with the file itself."""

    def refused(self, path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load(path)
        return str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rr.yaml"
        assert self.refused(path) == f"{path}: there is no such file; create it, or name the right one"

    def test_a_directory(self, tmp_path: Path) -> None:
        assert self.refused(tmp_path) == f"{tmp_path}: is a directory; name the file in it"

    def test_a_file_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "rr.yaml"
        path.write_bytes(b"name: rr-a\n# caf\xe9\n")
        assert self.refused(path) == f"{path}:2:6: byte 0xe9 is not UTF-8; save the file as UTF-8"

    def test_a_file_that_is_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "rr.yaml"
        with path.open("wb") as file:
            file.truncate(5 << 20)
        assert self.refused(path) == f"{path}: is larger than 4 MiB; see that it is the right file"

    def test_a_byte_order_mark_is_no_mistake(self, tmp_path: Path) -> None:
        path = tmp_path / "rr.yaml"
        path.write_text(GOOD, encoding="utf-8-sig")
        assert load(path).name == "rr-a"

    def test_windows_line_ends_are_no_mistake(self, tmp_path: Path) -> None:
        path = tmp_path / "rr.yaml"
        path.write_text(GOOD.replace("\n", "\r\n"), newline="")
        assert load(path) == parse(GOOD)
