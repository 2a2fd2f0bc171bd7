"""docs/scenarios.md says what the scenarios are."""

from pathlib import Path

import pytest

from rr.api.markdown import filled
from tests.scenarios.reference import blocks, sentence

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_up_to_date() -> None:
    text = (DOCS / "scenarios.md").read_text(encoding="utf-8")
    assert filled(text, blocks()) == text, "run `make docs`"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test_next_hops_are_unchanged", "Next hops are unchanged"),
        ("test_an_ipv6_vip_at_the_frr_tor", "An IPv6 VIP at the FRR ToR"),
    ],
)
def test_a_name_is_a_sentence(name: str, text: str) -> None:
    assert sentence(name) == text


def test_every_case_of_a_scenario_is_named() -> None:
    page = blocks()["scenarios"]
    assert "a prefix around another node's; " in page
    assert "(reflect, 9: nodes=rack vips=rack tors=rack tor_vips=all; " in page
