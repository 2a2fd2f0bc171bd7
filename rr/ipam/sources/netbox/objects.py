"""What NetBox's objects say, one by one: JSON as its REST API gives it, read without trust in its form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import summarize_address_range
from typing import Any, TypeAlias

from rr.addresses import NotValid, host_trouble, read_address, read_prefix, routed_trouble, shown
from rr.config.sources.netbox import NodeSelection, PrefixSelection, Selection
from rr.ipam.document import NODE_NAME
from rr.net import Address, Network

Json: TypeAlias = Mapping[str, Any]
DEVICES, MACHINES = "dcim/devices", "virtualization/virtual-machines"
_REFERENCE = re.compile(rf"/api/({DEVICES}|{MACHINES})/([0-9]{{1,18}})/$", re.ASCII)


class Unfit(ValueError):
    """An object that cannot be made use of; the text ends a sentence that begins with what it is."""


class Unfinished(Unfit):
    """One that is no mistake: what it needs may not be there yet, or may be gone on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A device or virtual machine: the path of its kind, and its id."""

    kind: str
    id: int


Named: TypeAlias = Reference | str
"""How a custom field names a node."""


def at(item: Any, *path: str) -> Any:
    """What stands at a path of keys; None where there is nothing, or something else on the way."""
    for key in path:
        item = item.get(key) if isinstance(item, Mapping) else None
    return item


def selected(item: Json, selection: Selection) -> bool:
    """Whether an object is one of those that are meant, VRF aside.

    NetBox was asked for these only, but it ignores a filter that it does not know, finds text that only contains
    what is looked for, and gives children of a role as well.
    """
    wanted = [
        (at(item, "status", "value"), selection.status),
        (at(item, "role", "slug"), (selection.role,) if selection.role else ()),
    ]
    if isinstance(selection, NodeSelection):
        wanted.append((at(item, "site", "slug"), (selection.site,) if selection.site else ()))
    tags = at(item, "tags")
    slugs = [at(tag, "slug") for tag in tags] if isinstance(tags, list) else []
    return (
        all(found in allowed for found, allowed in wanted if allowed)
        and (selection.tag is None or selection.tag in slugs)
        and all(_said(at(item, "custom_fields", key)) == value for key, value in selection.fields.items())
    )


def _said(value: Any) -> str | None:
    """A custom field's value as text: a selection may come as {value, label}."""
    value = value.get("value") if isinstance(value, Mapping) else value
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else None


def in_vrf(item: Json, selection: PrefixSelection) -> bool:
    """Whether a prefix or range is in the VRF that is meant; without one, in none."""
    vrf = item.get("vrf")
    if selection.vrf is None:
        return vrf is None
    return selection.vrf in (at(vrf, "name"), at(vrf, "rd"))


def name_of(item: Json) -> str:
    """The name of a device or virtual machine as a node's; raises Unfit."""
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise Unfinished("has no name; give it the name of its node")
    if not NODE_NAME.fullmatch(name):
        raise Unfit(f"is called {shown(name)}, and a node has a name without spaces; rename it")
    return name


def addresses_of(item: Json) -> tuple[Address, ...]:
    """The primary addresses of a device or virtual machine; raises Unfit where it has none."""
    texts = [at(item, key, "address") for key in ("primary_ip4", "primary_ip6")]
    found = tuple(_host(text) for text in texts if text is not None)
    if not found:
        raise Unfinished("has no primary address; set the one that its BGP session comes from")
    return found


def _host(text: Any) -> Address:
    """An address as NetBox writes it: with the length of its network behind."""
    try:
        address = read_address(str(text).partition("/")[0])
    except NotValid as error:
        raise Unfit(f"has the address {shown(str(text))}: {error}") from None
    if trouble := host_trouble(address):
        raise Unfit(f"has the primary address {address}, which {trouble}")
    return address


def networks_of(item: Json) -> tuple[Network, ...]:
    """What a prefix or an IP range covers, as prefixes; raises Unfit."""
    networks = (_prefix(item["prefix"]),) if "prefix" in item else tuple(_range(item))
    for network in networks:
        if trouble := routed_trouble(network):
            raise Unfit(f"{trouble}; it cannot be handed to nodes or services")
    return networks


def _prefix(text: Any) -> Network:
    try:
        return read_prefix(str(text))
    except NotValid as error:
        raise Unfit(f"cannot be read: {error}") from None


def _range(item: Json) -> Sequence[Network]:
    ends = []
    for key in ("start_address", "end_address"):
        try:
            ends.append(read_address(str(item.get(key)).partition("/")[0]))
        except NotValid as error:
            raise Unfit(f"cannot be read: {error}") from None
    try:
        return list(summarize_address_range(*ends))
    except (ValueError, TypeError):
        raise Unfit(f"does not reach from {ends[0]} to {ends[1]}; correct its ends") from None


def named_in(value: Any) -> tuple[Named, ...]:
    """The nodes that a custom field names: an object, several, or text with commas; raises Unfit."""
    if value is None or value == "":
        return ()
    if isinstance(value, list):
        return tuple(name for part in value for name in _names(part))
    return _names(value)


def _names(value: Any) -> tuple[Named, ...]:
    if isinstance(value, str):
        return tuple(name for part in value.split(",") if (name := part.strip()))
    if isinstance(value, Mapping):
        return (_reference(value),)
    raise Unfit(f"names its node by {shown(str(value))}; use a field of type object, or text")


def _reference(item: Json) -> Reference:
    found = _REFERENCE.search(str(item.get("url")))
    if not found:
        what = shown(str(item.get("display") or item.get("name") or item.get("id")))
        raise Unfit(
            f"names {what}, which is no device or virtual machine; let the field be of one of these types"
        )
    return Reference(found[1], int(found[2]))
