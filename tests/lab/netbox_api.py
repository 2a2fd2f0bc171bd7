"""A NetBox of the tests: the part of its REST API (4.x) that is read, with its paging, filters, tokens and change log.

Objects have the documented form of NetBox's own. As in NetBox a filter that it does not know is ignored, a role that is
not there is a 400, a wrong token is a 403, text fields are found by a part of their value, and `next` is a URL.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.lab.web import WebServer

Item = dict[str, Any]
DEVICES, MACHINES = "dcim/devices", "virtualization/virtual-machines"
PREFIXES, RANGES, ADDRESSES = "ipam/prefixes", "ipam/ip-ranges", "ipam/ip-addresses"
CHANGES = "core/object-changes"
_TYPES = {
    DEVICES: "dcim.device",
    MACHINES: "virtualization.virtualmachine",
    PREFIXES: "ipam.prefix",
    RANGES: "ipam.iprange",
    ADDRESSES: "ipam.ipaddress",
}


@dataclass
class Netbox(WebServer):
    """Add objects with `device`, `machine`, `prefix`, `range`; change them with `change`, take them with `delete`."""

    unauthorized: int = 403
    max_page_size: int = 1000
    log_readable: bool = True
    roles: set[str] = field(default_factory=lambda: {"k8s-node", "pod-cidr", "vip"})
    tags: set[str] = field(default_factory=lambda: {"k8s"})
    custom_fields: dict[str, Item] = field(
        default_factory=lambda: {PREFIXES: {"k8s_node": None, "k8s_nodes": None}, RANGES: {"k8s_nodes": None}}
    )
    """The custom fields of each type, with their defaults; NetBox names all of them in every object."""

    def __post_init__(self) -> None:
        self.objects: dict[str, dict[int, Item]] = {kind: {} for kind in _TYPES}
        self.changes: list[Item] = []
        self.between_pages: Callable[[], None] | None = None
        """Called once after a page that is not the last."""
        self._ids = itertools.count(1)
        super().__post_init__()

    # Objects

    def device(
        self, name: str | None, *addresses: str, role: str = "k8s-node", kind: str = DEVICES, **more: Any
    ) -> Item:
        """A device with primary addresses, given with their lengths."""
        primary = {f"primary_ip{6 if ':' in text else 4}": self._address(text) for text in addresses}
        site = {"id": 1, "url": self._url("dcim/sites", 1), "display": "AMS1", "name": "AMS1", "slug": "ams1"}
        base = {"name": name, "role": self._role("dcim/device-roles", role), "site": site}
        return self.add(kind, {"primary_ip4": None, "primary_ip6": None, **base, **primary, **more})

    def machine(self, name: str, *addresses: str, **more: Any) -> Item:
        """A virtual machine with primary addresses."""
        return self.device(name, *addresses, kind=MACHINES, **more)

    def prefix(self, prefix: str, role: str = "pod-cidr", **more: Any) -> Item:
        """A prefix. Keys that are custom fields of prefixes go there: `k8s_node=node`."""
        base = {
            "prefix": prefix,
            "family": _family(prefix),
            "is_pool": False,
            "scope_type": None,
            "scope": None,
        }
        return self.add(PREFIXES, {**base, "role": self._role("ipam/roles", role), "vrf": None, **more})

    def range(self, start: str, end: str, role: str = "vip", **more: Any) -> Item:
        """An IP range, its ends with the length of their network."""
        base = {
            "start_address": start,
            "end_address": end,
            "family": _family(start),
            "display": f"{start}-{end}",
        }
        return self.add(RANGES, {**base, "role": self._role("ipam/roles", role), "vrf": None, **more})

    def add(self, kind: str, values: Item) -> Item:
        """Any object; what every object has is filled in."""
        number = next(self._ids)
        given = {key: values.pop(key) for key in list(values) if key in self.custom_fields.get(kind, {})}
        status = values.pop("status", "active")
        item = {
            "id": number,
            "url": self._url(kind, number),
            "display": str(values.get("name") or values.get("prefix") or number),
            "description": "",
            "status": {"value": status, "label": str(status).title()},
            "tags": [self._tag(slug) for slug in values.pop("tags", [])],
            "custom_fields": {
                **self.custom_fields.get(kind, {}),
                **{k: self.nested(v) for k, v in given.items()},
            },
            "created": "2026-11-01T08:00:00Z",
            "last_updated": "2026-11-01T08:00:00Z",
            **values,
        }
        self.objects[kind][number] = item
        self._log("create", kind, number)
        return item

    def nested(self, value: Any) -> Any:
        """An object as a custom field of type object shows it, or several; text stays what it is."""
        if isinstance(value, list):
            return [self.nested(part) for part in value]
        if isinstance(value, dict) and "url" in value:
            return {key: value.get(key) for key in ("id", "url", "display", "name", "description")}
        return value

    def change(self, item: Item, **values: Any) -> None:
        """Change an object; custom fields by their names."""
        kind = self._kind(item)
        fields = {
            k: self.nested(values.pop(k)) for k in list(values) if k in self.custom_fields.get(kind, {})
        }
        if "status" in values:
            values["status"] = {"value": values["status"], "label": values["status"].title()}
        new = {**item, **values, "custom_fields": {**item["custom_fields"], **fields}}
        item.update(new)
        self._log("update", kind, item["id"])

    def delete(self, item: Item) -> None:
        """Take an object away. Custom fields that name it are empty then, as in NetBox."""
        kind = self._kind(item)
        del self.objects[kind][item["id"]]
        for other in itertools.chain.from_iterable(known.values() for known in self.objects.values()):
            named = other["custom_fields"]
            for key, value in named.items():
                if isinstance(value, dict) and value.get("url") == item["url"]:
                    named[key] = None
        self._log("delete", kind, item["id"])

    def _kind(self, item: Item) -> str:
        return next(kind for kind in _TYPES if f"/api/{kind}/" in item["url"])

    def _log(self, action: str, kind: str, number: int) -> None:
        entry = {
            "action": {"value": action},
            "changed_object_type": _TYPES[kind],
            "changed_object_id": number,
        }
        self.changes.append({"id": len(self.changes) + 1, "time": "2026-11-01T08:00:00Z", **entry})

    def _url(self, kind: str, number: int) -> str:
        return f"{self.url()}/api/{kind}/{number}/"

    def _role(self, kind: str, slug: str) -> Item:
        return {"id": 7, "url": self._url(kind, 7), "display": slug, "name": slug, "slug": slug}

    def _tag(self, slug: str) -> Item:
        return {"id": 9, "url": self._url("extras/tags", 9), "display": slug, "name": slug, "slug": slug}

    def _address(self, text: str) -> Item:
        number = next(self._ids)
        return {"id": number, "url": self._url(ADDRESSES, number), "display": text, "address": text}

    # Answers

    def refusal(self) -> web.Response:
        """A token that NetBox does not know."""
        return web.json_response({"detail": "Invalid v1 token"}, status=self.unauthorized)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A page of a list, or what is wrong with the question."""
        kind = request.path.removeprefix("/api/").strip("/")
        if kind == CHANGES and not self.log_readable:
            return web.json_response(
                {"detail": "You do not have permission to perform this action."}, status=403
            )
        known = self.changes if kind == CHANGES else self.objects.get(kind)
        if known is None:
            return web.json_response({"detail": "Not found."}, status=404)
        if wrong := self._unknown(request):
            return web.json_response(wrong, status=400)
        items = list(known.values()) if isinstance(known, dict) else known
        return self._page(request, [item for item in items if _fits(item, request)])

    def _unknown(self, request: web.Request) -> Item:
        """Slugs that are not there, as NetBox complains about them."""
        known = {"role": self.roles, "tag": self.tags, "site": {"ams1", "fra1"}}
        says = "Select a valid choice. {} is not one of the available choices."
        return {
            key: [says.format(value) for value in request.query.getall(key) if value not in allowed]
            for key, allowed in known.items()
            if any(value not in allowed for value in request.query.getall(key, []))
        }

    def _page(self, request: web.Request, items: list[Item]) -> web.Response:
        ordering = request.query.get("ordering", "id")
        items = sorted(items, key=lambda item: item[ordering.lstrip("-")], reverse=ordering.startswith("-"))
        limit = min(int(request.query.get("limit", 50)) or self.max_page_size, self.max_page_size)
        offset = int(request.query.get("offset", 0))
        end = offset + limit
        following = None
        if end < len(items):
            following = f"{self.url(request.path)}?{urlencode({**request.query, 'offset': end})}"
        fields = request.query["fields"].split(",") if "fields" in request.query else None
        page = {
            "count": len(items),
            "next": following,
            "previous": None,
            "results": [_only(item, fields) for item in items[offset:end]],
        }
        response = web.json_response(page)
        if following and self.between_pages:
            happens, self.between_pages = self.between_pages, None
            happens()
        return response


def _only(item: Item, fields: Iterable[str] | None) -> Item:
    return item if fields is None else {key: item[key] for key in fields if key in item}


def _family(text: str) -> Item:
    return {"value": 6, "label": "IPv6"} if ":" in text else {"value": 4, "label": "IPv4"}


def _fits(item: Item, request: web.Request) -> bool:
    query = request.query
    checks = [
        "status" not in query or item["status"]["value"] in query.getall("status"),
        "role" not in query or item["role"]["slug"] in query.getall("role"),
        "tag" not in query or set(query.getall("tag")) <= {tag["slug"] for tag in item["tags"]},
        "site" not in query or "site" not in item or item["site"]["slug"] in query.getall("site"),
        "id__gt" not in query or item["id"] > int(query["id__gt"]),
    ]
    for key in query:
        name = key.removeprefix("cf_")
        if key.startswith("cf_") and name in item["custom_fields"]:
            checks.append(query[key].lower() in str(item["custom_fields"][name]).lower())
    return all(checks)
