"""The pages in docs/ say what the code does."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rr.api import query
from rr.api.handlers import Handlers
from rr.api.markdown import filled
from rr.api.metrics import FAMILIES
from rr.api.reference import http_blocks, metrics_blocks
from rr.api.stream import Stream
from tests.unit.api.memory import MemoryAppliance

DOCS = Path(__file__).parents[3] / "docs"


def routes() -> list[web.RouteDef]:
    """Whatever can be asked over HTTP."""
    handlers = Handlers(MemoryAppliance())
    stream = web.get("/api/v1/stream", Stream(MemoryAppliance()).serve)
    return [*handlers.reading(), *handlers.writing(), stream]


class Enough(Exception):
    """A handler has said which parameters it knows."""


@pytest.mark.parametrize(("page", "blocks"), [("http.md", http_blocks()), ("metrics.md", metrics_blocks())])
def test_the_page_is_up_to_date(page: str, blocks: dict[str, str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert filled(text, blocks) == text, "run `make docs`"


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.path)
async def test_every_path_is_on_its_page_with_its_parameters(
    route: web.RouteDef, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters: set[str] = set()

    def read(_request: web.Request, **known: Any) -> None:
        parameters.update(name.rstrip("_") for name in known)
        raise Enough

    monkeypatch.setattr(query, "read", read)
    says = f"POST `{route.path}`" if route.method == "POST" else f"`{route.path}`"
    page = (DOCS / "http.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {re.escape(says)} \| (.+) \|$", page, re.MULTILINE)
    assert row, f"docs/http.md lacks {says}"
    with suppress(Enough):
        await route.handler(make_mocked_request(route.method, route.path))
    assert {name for name in parameters if not re.search(f"`{name}[`=]", row[1])} == set()
    assert ("unix socket only" in row[1]) == (route.method == "POST")


def test_every_link_within_the_page_leads_somewhere() -> None:
    page = (DOCS / "http.md").read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\(#(.+?)\)", page)) <= anchors


def test_every_metric_is_on_its_page() -> None:
    page = metrics_blocks()["metrics"]
    for name in [*FAMILIES, "rr_grant_seconds", "rr_policy_repairs_total", "rr_engine_restarts_total"]:
        assert f"`{name}`" in page


def test_only_the_blocks_are_replaced() -> None:
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nz\n"
    assert filled(page, {"x": r"new \1"}) == page.replace("old", r"new \1")
    with pytest.raises(KeyError):
        filled(page, {"y": ""})
