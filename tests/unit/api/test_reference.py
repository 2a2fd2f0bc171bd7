"""The pages in docs/ say what the code does."""

from pathlib import Path

import pytest

from rr.api.markdown import filled
from rr.api.metrics import FAMILIES
from rr.api.reference import http_blocks, metrics_blocks

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(("page", "blocks"), [("http.md", http_blocks()), ("metrics.md", metrics_blocks())])
def test_the_page_is_up_to_date(page: str, blocks: dict[str, str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert filled(text, blocks) == text, "run `make docs`"


def test_every_metric_is_on_its_page() -> None:
    page = metrics_blocks()["metrics"]
    for name in [*FAMILIES, "rr_grant_seconds", "rr_policy_repairs_total", "rr_engine_restarts_total"]:
        assert f"`{name}`" in page


def test_only_the_blocks_are_replaced() -> None:
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nz\n"
    assert filled(page, {"x": r"new \1"}) == page.replace("old", r"new \1")
    with pytest.raises(KeyError):
        filled(page, {"y": ""})
