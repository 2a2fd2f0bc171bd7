"""URLs in rr.yaml, and the sentences about those that cannot be used."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from rr.addresses import shown
from rr.config.scalars import refusal, scalar

_RIGHT = "write one such as https://ipam.example.net/allocations.yaml"
_SECRETS = frozenset({"access_token", "api_key", "apikey", "password", "private_token", "secret", "token"})


def web_url(value: Any) -> str:
    """An absolute http or https URL without secrets in it."""
    text = str(scalar(value, _RIGHT))
    parts = _split(text)
    if parts is None:
        raise refusal(f"{shown(text)} is not a URL", _RIGHT)
    _without_secrets(parts)
    if parts.fragment:
        raise refusal(f"#{shown(parts.fragment)} is never sent to a server", "leave it out")
    return text


def _split(text: str) -> SplitResult | None:
    """The parts of a URL that can be asked; None where it is none, or its host has no possible name."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        if parts.hostname and ":" not in parts.hostname:
            parts.hostname.encode("idna")
    except ValueError:
        return None
    return parts if usable and text.isascii() and text.isprintable() and " " not in text else None


def _without_secrets(parts: SplitResult) -> None:
    """The sentences do not repeat the secret."""
    if "@" in parts.netloc:
        right = "put a token in a file of mode 0600, name it with `token_file:`, and leave out what stands before the @"
        raise refusal("a user or password never stands in this file", right)
    for key, _ in parse_qsl(parts.query, keep_blank_values=True):
        if key.lower() in _SECRETS:
            right = "put it in a file of mode 0600, and name it with `token_file:`"
            raise refusal(f"a secret never stands in this file, and `{key}=` is one", right)


def leaves_host(url: str) -> bool:
    """Whether a connection to the URL goes over a network."""
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
