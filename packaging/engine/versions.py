"""Versions of the engine: reading them, and which ones will do."""

from __future__ import annotations

import re
from typing import NamedTuple

NEEDED = "4.8 or newer, below 5"


class Version(NamedTuple):
    """An upstream version; a pre-release sorts before its release."""

    major: int
    minor: int
    patch: int
    released: bool = True

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + ("" if self.released else "~pre")

    @property
    def supported(self) -> bool:
        """Whether the appliance can drive an engine of this version."""
        return Version(4, 8, 0) <= self < Version(5, 0, 0, released=False)


def from_program(output: str) -> Version | None:
    """The version in what ``gobgpd --version`` prints; None if there is none."""
    found = re.search(r"\bversion v?(\d+)\.(\d+)(?:\.(\d+))?(~|-rc|-alpha|-beta)?", output)
    return _version(*found.groups()) if found else None


def from_package(version: str) -> Version | None:
    """The upstream part of a Debian package version, [epoch:]upstream[-revision]."""
    upstream = version.partition(":")[2] or version
    upstream = upstream.rpartition("-")[0] or upstream
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(~)?", upstream)
    return _version(*found.groups()) if found else None


def best(offered: list[str], like: Version | None = None) -> str | None:
    """The Debian version to take: supported, if possible the same release as ``like``, else the newest.

    Of several builds of one release the one that comes first wins: apt lists the newest first.
    """
    supported = [(parsed, text) for text in offered if (parsed := from_package(text)) and parsed.supported]
    same = [text for parsed, text in supported if parsed == like]
    if same:
        return same[0]
    return max(supported, key=lambda pair: pair[0])[1] if supported else None


def _version(major: str, minor: str, patch: str | None, pre: str | None) -> Version:
    return Version(int(major), int(minor), int(patch or 0), released=not pre)
