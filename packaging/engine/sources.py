"""Where this machine gets Debian packages from, read from its own apt sources.

No mirror is named in the project: the machine knows the one that it may use.
Both formats of sources.list(5) are read, one-line and deb822.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

APT_DIRECTORY = Path("/etc/apt")
SUITE = re.compile(
    r"(stable|oldstable|oldoldstable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)"
    r"(-updates|-backports|-proposed-updates)?/?"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One enabled entry for binary packages."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def is_debian_archive(self) -> bool:
        """Whether this is Debian's main archive: not its security archive, not somebody else's."""
        return (
            any(SUITE.fullmatch(suite) for suite in self.suites)
            and "main" in self.components
            and (not self.signed_by or "debian-archive" in self.signed_by)
        )


def debian_mirrors(directory: Path = APT_DIRECTORY) -> list[str]:
    """URIs of Debian's main archive in apt's own order, each once."""
    uris = [
        uri
        for source in read_all(directory)
        if source.is_debian_archive
        for uri in source.uris
        if not uri.startswith("cdrom:") and not uri.rstrip("/").endswith("debian-security")
    ]
    return list(dict.fromkeys(uris))


def read_all(directory: Path) -> Iterator[Source]:
    """Every entry below an /etc/apt: sources.list first, then sources.list.d by name, as apt does."""
    for file in [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]:
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(file.suffix)
        if parse is None:
            continue
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:  # a file that only root may read, or none
            continue
        yield from parse(text)


def parse_one_line(text: str) -> Iterator[Source]:
    """Entries of the form ``deb [option=value ...] URI SUITE COMPONENT...``."""
    entry = re.compile(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)")
    for line in text.splitlines():
        found = entry.fullmatch(line.partition("#")[0].strip())
        if found:
            options, uri, suite, components = found.groups()
            signed_by = dict(o.split("=", 1) for o in (options or "").split() if "=" in o).get(
                "signed-by", ""
            )
            yield Source((uri,), (suite,), tuple(components.split()), signed_by)


def parse_deb822(text: str) -> Iterator[Source]:
    """Stanzas of ``Field: value`` lines, with continuation lines and comments."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        types = fields.get("types", "").split()
        if "deb" in types and fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off"):
            yield Source(
                tuple(fields.get("uris", "").split()),
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", ""),
            )


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
