"""What docs/sources.md tells operators to write can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rr.config.load import parse as parse_config
from rr.config.sources import Source
from rr.ipam.document import parse as parse_allocations
from rr.ipam.sources import open_source
from rr.ipam.sources.http import HttpSource
from rr.ipam.sources.netbox import NetboxSource

PAGE = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
GOOD = (Path(__file__).parents[1] / "config" / "good.yaml").read_text()


WEB = {"http": HttpSource, "netbox": NetboxSource}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def sources(block: str) -> tuple[Source, ...]:
    """The sources of an example, in a configuration that is good."""
    before, _, after = GOOD.partition("ipam:\n")
    return parse_config(before + block + after[after.index("pair:") :]).ipam.sources


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_example_is_a_configuration(block: str) -> None:
    assert sources(block)


def test_the_sources_over_http_are_opened_as_what_they_are() -> None:
    found = {
        s.type: type(open_source(s)) for block in blocks("yaml") for s in sources(block) if s.type in WEB
    }
    assert found == WEB


def test_every_kind_but_kubernetes_has_an_example() -> None:
    kinds = {source.type for block in blocks("yaml") for source in sources(block)}
    assert kinds == {"file", "folder", "http", "netbox"}


def test_what_a_url_serves_in_the_page_is_a_document() -> None:
    [text] = blocks("json")
    assert parse_allocations(text).size == 2


def test_the_page_names_the_intervals_that_hold_by_default() -> None:
    for kind, interval in re.findall(r"\| `(http|netbox)` \|.*within `interval` \((\d+) s\)", PAGE):
        [example, *_] = [s for block in blocks("yaml") for s in sources(block) if s.type == kind]
        assert getattr(example, "interval") == int(interval)  # noqa: B009
