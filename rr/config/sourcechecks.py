"""What spans several values of one source of allocations in rr.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rr.config.document import Document, Route
from rr.config.urls import leaves_host, web_url
from rr.errors import Problem


def _sources(document: Document, *kinds: str) -> Iterator[tuple[Route, Any]]:
    for route, _ in document.items("ipam", "sources"):
        if document.at(*route, "type") in kinds:
            yield route, document.at(*route)


def _given(document: Document, *route: str | int) -> bool:
    return route in document.values


def web_without_tls(document: Document) -> Iterator[Problem]:
    """Whoever is on the way to a source over http:// could say who owns what, so that must be asked for."""
    for source, _ in _sources(document, "http", "netbox"):
        value = document.at(*source, "url")
        try:
            url = web_url(value) if isinstance(value, str) else ""
        except ValueError:
            continue  # the schema says so
        plain = document.at(*source, "plain_http") == "true"
        if url.startswith("http:") and leaves_host(url) and not plain:
            wrong = "http:// leaves this host, and whoever is on the way could change who owns what"
            right = "write https://, or `plain_http: true` beside it if that network is trusted"
            yield document.problem((*source, "url"), wrong, right)


def certificate_with_key(document: Document) -> Iterator[Problem]:
    """A certificate is shown with its key, or not at all."""
    for source, _ in _sources(document, "http", "netbox"):
        for one, other in (("certificate", "key"), ("key", "certificate")):
            if _given(document, *source, one) and not _given(document, *source, other):
                right = f"add it, such as `{other}: /etc/rr/ipam.{'key' if other == 'key' else 'crt'}`"
                yield document.problem((*source, other), f"is missing beside `{one}`", right)


def selections_select(document: Document) -> Iterator[Problem]:
    """Nobody means all devices or all prefixes of NetBox."""
    for source, _ in _sources(document, "netbox"):
        for key, telling in _TELLING.items():
            found = document.at(*source, key)
            if isinstance(found, dict) and not any(found.get(word) for word in telling):
                wrong = f"selects everything in NetBox{_WHAT[key]}"
                words = f"{', '.join(telling[:-1])} or {telling[-1]}"
                yield document.problem((*source, key), wrong, f"narrow it with {words}")
        if _given(document, *source, "announcers") and not _given(document, *source, "vips"):
            wrong = "says who may announce VIPs, and no pool of VIPs is selected"
            right = "add a selection such as `vips: {role: vip}`, or leave this out"
            yield document.problem((*source, "announcers"), wrong, right)


_TELLING = {
    "nodes": ("role", "tag", "site", "fields"),
    "prefixes": ("role", "tag", "fields"),
    "vips": ("role", "tag", "fields"),
}
_WHAT = {
    "nodes": ", so every switch and server would be a node",
    "prefixes": "",
    "vips": ", so node prefixes would be VIPs too",
}

SOURCE_RULES = (web_without_tls, certificate_with_key, selections_select)
