"""NetBox: which of its devices are nodes, which prefixes they own, and which hold VIPs (sources.md)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from rr.addresses import shown
from rr.config.scalars import Kind, refusal, scalar
from rr.config.sources.web import Interval, Patience, WebSettings
from rr.config.types import Model, word
from rr.config.urls import web_url

_SLUG = re.compile(r"[-a-zA-Z0-9_]{1,100}", re.ASCII)
_FIELD = re.compile(r"[a-zA-Z0-9_]{1,50}", re.ASCII)


def _base(value: Any) -> str:
    """Where NetBox is, without the path of its API."""
    url = web_url(value).rstrip("/")
    parts = urlsplit(url)
    if parts.query:
        raise refusal("has a query", f"write {url.partition('?')[0]}")
    if parts.path == "/api" or "/api/" in f"{parts.path}/":
        raise refusal("names NetBox's API", f"write {url[: url.index('/api')]}, where NetBox itself is")
    return url


def _slug(value: Any) -> str:
    right = "write the slug, as NetBox shows it, such as pod-cidr"
    text = scalar(value, right)
    if not _SLUG.fullmatch(text):
        raise refusal(f"{shown(text)} is not a slug", right)
    return str(text)


def _field(value: Any) -> str:
    right = "write the name of a custom field (not its label), such as k8s_node"
    text = scalar(value, right)
    if not _FIELD.fullmatch(text):
        raise refusal(f"{shown(text)} is not the name of a custom field", right)
    return str(text)


def _words(value: Any) -> str:
    right = "write text of one line"
    text = scalar(value, right)
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise refusal(f"{shown(text)} is not a text of one line", right)
    return str(text)


BaseUrl = Annotated[str, BeforeValidator(_base), Kind("a URL")]
Slug = Annotated[str, BeforeValidator(_slug), Kind("a slug")]
Announcers = Annotated[Literal["nobody", "all"], *word("nobody", "all")]
CustomField = Annotated[str, BeforeValidator(_field), Kind("the name of a custom field")]
Words = Annotated[str, BeforeValidator(_words), Kind("text")]


class Selection(Model):
    """Which objects of NetBox count: those to which all of it applies. Something other than `status` is needed."""

    role: Slug | None = Field(default=None, description="The slug of their role.")
    tag: Slug | None = Field(default=None, description="The slug of a tag that they have.")
    fields: dict[CustomField, Words] = Field(
        default={},
        description="By name, the value of a custom field (text, number, true or false, or selection) that they have.",
    )
    status: tuple[Slug, ...] = Field(
        default=("active",), min_length=1, description="Those with one of these statuses count."
    )


class NodeSelection(Selection):
    """Devices and virtual machines that are nodes. Their primary IPv4 and IPv6 addresses are the node's."""

    site: Slug | None = Field(default=None, description="The slug of the site where they are.")


class PrefixSelection(Selection):
    """Prefixes, and for VIPs also IP ranges."""

    vrf: Words | None = Field(
        default=None,
        description="The name or route distinguisher of the VRF that they are in.",
        json_schema_extra={"default": "only those in no VRF"},
    )


class NetboxSettings(WebSettings):
    """NetBox 4.1 or newer, over its REST API (sources.md)."""

    type: Annotated[Literal["netbox"], Kind("`netbox`")] = Field(examples=["netbox"], description="NetBox.")
    url: BaseUrl = Field(
        examples=["https://netbox.example.net"],
        description="Where NetBox is, without /api. Its token (v1 or v2) needs the permission to view devices, virtual "
        "machines, prefixes, IP ranges, IP addresses and object changes.",
    )
    nodes: NodeSelection = Field(
        examples=["{role: k8s-node}"],
        description="Which devices and virtual machines are nodes; by their names.",
    )
    prefixes: PrefixSelection = Field(
        examples=["{role: pod-cidr}"],
        description="Which prefixes belong to nodes.",
    )
    owner: CustomField = Field(
        examples=["k8s_node"],
        description="The custom field of a prefix that says which node owns it: of type object (device or virtual "
        "machine), or text (the node's name). Where it is empty, or names no node, nobody owns the prefix.",
    )
    vips: PrefixSelection | None = Field(
        default=None, description="Which prefixes and IP ranges are pools of VIPs. Without it, none."
    )
    announcers: CustomField | None = Field(
        default=None,
        description="The custom field of a pool that says which nodes may announce its VIPs: of type multiple objects, "
        "object, or text (names, with commas between them).",
        json_schema_extra={"default": "every node may announce every VIP"},
    )
    without_announcers: Announcers = Field(
        default="nobody",
        description="Who may announce the VIPs of a pool where that custom field is empty. It becomes empty by itself "
        "when the devices that it names are deleted, so with `all` a pool of a few could become everybody's.",
    )
    interval: Interval = Field(default=10, description="Time between an answer and the next question.")
    timeout: Patience = Field(
        default=30, description="How long one answer may take; everything together is several of them."
    )
    reread: Interval = Field(
        default=300,
        description="Everything is read anew at least this often, in seconds. In between NetBox is only asked whether "
        "its change log has anything new; what bypasses that log (permissions, changes in its database) is seen then.",
    )

    @property
    def place(self) -> str:
        """The type and the URL."""
        return f"{self.type}:{self.url}"
