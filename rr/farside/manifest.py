"""Kubernetes manifests as text: YAML documents with comments before them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import yaml

Object: TypeAlias = Mapping[str, Any]


def manifest(head: list[str], *documents: tuple[list[str], Any]) -> str:
    """Write a YAML file: comments, then documents, each with comments of its own."""
    parts = ["\n".join(head)] if head else []
    for comments, document in documents:
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=120)
        parts.append("\n".join(["---", *comments, text.rstrip()]))
    return "\n".join(parts) + "\n"


def kubernetes_name(*parts: str) -> str:
    """A name that Kubernetes takes (RFC 1123), of words that rr.yaml takes: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
