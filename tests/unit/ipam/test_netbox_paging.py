"""Reading page by page while NetBox changes: what was there all the time is read, and once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from rr.ipam.sources.netbox.api import NetboxApi
from rr.ipam.sources.netbox.objects import DEVICES
from rr.ipam.sources.web.client import Answer, WebClient
from tests.unit.ipam.test_netbox_objects import configured

Step = tuple[frozenset[int], frozenset[int]]
"""Ids that are deleted, and ids that are added, between two pages."""
ids = st.frozensets(st.integers(1, 40), max_size=25)
steps = st.lists(st.tuples(ids, ids), max_size=6)


class Changing:
    """Answers like a WebClient of a NetBox whose objects change after each page."""

    def __init__(self, present: frozenset[int], steps: list[Step], most: int) -> None:
        self.present, self.steps, self.most = set(present), list(steps), most
        self.always = set(present)

    async def get(self, url: URL, headers: Mapping[str, str] | None = None) -> Answer:
        after, limit = int(url.query["id__gt"]), min(int(url.query["limit"]), self.most)
        assert url.query["ordering"] == "id"
        found = sorted(number for number in self.present if number > after)
        more = "http://internal/?offset=1" if len(found) > limit else None
        page = {"count": len(found), "next": more, "results": [{"id": number} for number in found[:limit]]}
        if self.steps:
            gone, new = self.steps.pop(0)
            self.always -= gone
            self.present = (self.present - gone) | new
        return Answer(url, 200, {}, json.dumps(page).encode())


@given(ids, steps, st.integers(1, 10))
def test_whatever_comes_and_goes_between_pages_hides_nothing_that_stays(
    present: frozenset[int], steps: list[Step], most: int
) -> None:
    netbox = Changing(present, steps, most)
    read = asyncio.run(NetboxApi(configured(), cast("WebClient", netbox)).every(DEVICES, []))
    numbers = [item["id"] for item in read]
    assert numbers == sorted(set(numbers))
    assert set(numbers) >= netbox.always
