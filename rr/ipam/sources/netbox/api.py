"""NetBox's REST API: lists read page by page, and its change log, which tells whether there is anything new."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from yarl import URL

from rr.addresses import shown
from rr.config.sources.netbox import NetboxSettings, NodeSelection, Selection
from rr.errors import SourceError
from rr.ipam.sources.netbox.compiling import PREFIXES, RANGES, Inventory
from rr.ipam.sources.netbox.objects import DEVICES, MACHINES, Json, at
from rr.ipam.sources.web.client import Answer, WebClient
from rr.ipam.sources.web.trouble import refused

Query: TypeAlias = list[tuple[str, str]]

PAGE = 1000
"""Objects asked for at once; NetBox gives fewer where its MAX_PAGE_SIZE says so."""
_OVERLAP = 200
"""Entries of the change log before the newest that are looked at again: transactions end in another order than they
took their numbers."""
_CHANGES = "core/object-changes"
_NODE_FIELDS = "id,name,status,role,site,tags,custom_fields,primary_ip4,primary_ip6"
_FIELDS = {
    DEVICES: _NODE_FIELDS,
    MACHINES: _NODE_FIELDS,
    PREFIXES: "id,prefix,vrf,status,role,tags,custom_fields",
    RANGES: "id,display,start_address,end_address,vrf,status,role,tags,custom_fields",
}
_TELLING = frozenset(
    {
        "dcim.device",
        "dcim.devicerole",
        "dcim.site",
        "extras.customfield",
        "extras.tag",
        "ipam.ipaddress",
        "ipam.iprange",
        "ipam.prefix",
        "ipam.role",
        "ipam.vrf",
        "virtualization.virtualmachine",
    }
)
"""The types whose changes can change allocations."""


def authorization(token: str) -> str:
    """The header for a token: those of version 2 (since NetBox 4.5) begin with nbt_ and are announced otherwise."""
    return f"Bearer {token}" if token.startswith("nbt_") else f"Token {token}"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the change log had got: the entries after `floor` that tell something."""

    floor: int
    entries: frozenset[int]


class NetboxApi:
    """Asks; each method raises SourceError or SecretError."""

    def __init__(self, settings: NetboxSettings, client: WebClient) -> None:
        self._settings = settings
        self._client = client
        self._base = URL(f"{settings.url}/api/")

    async def inventory(self) -> Inventory:
        """Everything that the settings select."""
        settings = self._settings
        nodes = {kind: await self.every(kind, query(settings.nodes)) for kind in (DEVICES, MACHINES)}
        prefixes = await self.every(PREFIXES, query(settings.prefixes))
        if settings.vips is None:
            return Inventory(nodes, prefixes)
        vips = {kind: await self.every(kind, query(settings.vips)) for kind in (PREFIXES, RANGES)}
        return Inventory(nodes, prefixes, vips)

    async def every(self, kind: str, selection: Query) -> list[Json]:
        """All objects of a kind that are selected.

        Each page begins after the last id of the one before, and not at an offset: what is deleted meanwhile then
        shifts nothing past us.
        """
        found: list[Json] = []
        last = 0
        while True:
            asked = [*selection, ("fields", _FIELDS[kind]), ("ordering", "id"), ("id__gt", str(last))]
            page = await self._page(kind, [*asked, ("limit", str(PAGE))])
            ids = [item["id"] for item in page.results]
            if ids != sorted(set(ids)) or (ids and ids[0] <= last):
                raise _not_netbox(page.url, "it does not list by id")
            found += page.results
            if page.complete:
                return found
            if not ids:
                raise _not_netbox(page.url, "a page of it is empty")
            last = ids[-1]

    async def mark(self, floor: int | None = None) -> Mark | None:
        """Where the change log is, looking back to `floor`, or some entries; None where it cannot tell."""
        limit = _OVERLAP if floor is None else PAGE
        since = [] if floor is None else [("id__gt", str(floor))]
        asked = [("fields", "id,changed_object_type"), ("ordering", "-id"), ("limit", str(limit)), *since]
        answer = await self._client.get(self._url(_CHANGES, asked))
        if answer.status in (403, 404):
            return None
        page = self._understood(answer)
        ids = [item["id"] for item in page.results]
        if floor is None:
            floor = 0 if page.complete else min(ids, default=1) - 1
        elif not page.complete or min(ids, default=floor + 1) <= floor:
            return None
        return Mark(
            floor, frozenset(i["id"] for i in page.results if i.get("changed_object_type") in _TELLING)
        )

    def _url(self, kind: str, asked: Query) -> URL:
        return self._base.join(URL(f"{kind}/")).with_query(asked)

    async def _page(self, kind: str, asked: Query) -> _Page:
        return self._understood(await self._client.get(self._url(kind, asked)))

    def _understood(self, answer: Answer) -> _Page:
        """The page in an answer; raises SourceError with what NetBox says of it."""
        url = answer.url.with_query(None)
        content = _json(answer)
        if answer.status == 400 and isinstance(content, dict):
            wrong = f"NetBox does not accept the selection for {url} ({_detail(content)})"
            raise SourceError(wrong, "create in NetBox what it names, or correct the selection")
        if answer.status == 403:
            wrong = f"{url} may not be read by us (403 Forbidden: {_detail(content)})"
            raise SourceError(
                wrong, "see that the token is right, and that its owner may view objects of that type"
            )
        if answer.status != 200:
            raise refused(url, answer.status, self._settings)
        if answer.is_page:
            raise _not_netbox(url, "it is a web page")
        results = content.get("results") if isinstance(content, dict) else None
        if not isinstance(results, list) or not all(type(at(item, "id")) is int for item in results):
            raise _not_netbox(url, "it is no list of objects")
        page = _Page(url, results, content.get("next") is None)
        if page.complete and content.get("count") not in (None, len(results)):
            raise _not_netbox(url, f"it counts {content.get('count')} and gives {len(results)}")
        return page


@dataclass(frozen=True, slots=True)
class _Page:
    url: URL
    results: list[dict[str, Any]]
    complete: bool


def query(selection: Selection) -> Query:
    """A selection as NetBox is asked for it. VRFs are looked at afterwards: by their names NetBox does not filter."""
    asked = [("status", status) for status in selection.status]
    asked += [("role", selection.role)] if selection.role else []
    asked += [("tag", selection.tag)] if selection.tag else []
    asked += [("site", selection.site)] if isinstance(selection, NodeSelection) and selection.site else []
    return asked + [(f"cf_{name}", value) for name, value in selection.fields.items()]


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _detail(content: Any) -> str:
    """What NetBox says is wrong: {"detail": …}, or texts by the name of a filter."""
    if not isinstance(content, dict) or not content:
        return "without a reason"
    if isinstance(content.get("detail"), str):
        return shown(content["detail"], 200)
    parts = [
        f"{key}: {' '.join(map(str, value))}" for key, value in content.items() if isinstance(value, list)
    ]
    return shown("; ".join(parts), 200)


def _not_netbox(url: URL, why: str) -> SourceError:
    return SourceError(f"{url} does not answer like NetBox: {why}", "see that `url` is where NetBox is")
