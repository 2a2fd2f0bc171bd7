"""What a reader of a snippet is told, as comments of the target's language."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rr.errors import FarSideError
from rr.farside.facts import FAMILY, NodeSide, Password, Sessions, TorSide

WIDTH = 100
WITH_SECRETS = "`--with-secrets` writes it here"


def comment(mark: str, *sentences: str) -> list[str]:
    """Write sentences as comment lines, each wrapped by itself; an empty one is an empty comment."""
    lines: list[str] = []
    for sentence in sentences:
        lines += [f"{mark} {line}" for line in textwrap.wrap(sentence, WIDTH - len(mark) - 1)] or [mark]
    return lines


def of_tor(side: TorSide) -> str:
    """Say which ToR a snippet is for."""
    return f"ToR {side.address} of {side.sessions.rack}, instance {side.sessions.instance}"


def of_node(side: NodeSide) -> str:
    """Say which node, or whose nodes, a snippet is for."""
    who = f"Node {side.owned.name}" if side.owned else "A node"
    return f"{who} of {side.sessions.rack}, instance {side.sessions.instance}"


def remarks(side: NodeSide) -> Iterable[str]:
    """Say what holds for a node whatever agent it has."""
    yield f"More than {side.max_prefixes} announced prefixes get a node quarantined."
    if side.ttl_security and any(n.address.version == 6 for n in side.sessions.neighbors):
        yield (
            "GTSM over IPv6 takes `sysctl net.ipv6.conf.INTERFACE.hop_limit=255` on the appliance: its engine answers "
            "a connection with the host's hop limit, and whoever dials drops what comes with less."
        )
    if side.without_router_id:
        yield (
            "The node has no IPv4 address: replace what stands for its router id, which is refused as it is, by "
            "four octets that no other speaker has."
        )
    yield from side.sessions.notes


def left_out(side: NodeSide, carried: tuple[int, ...], what: str) -> Iterable[str]:
    """Say which address families an agent cannot have here, and what it would take."""
    for version in side.sessions.versions:
        if version not in carried:
            yield (
                f"Left out: {FAMILY[version]}. {what} over a session of the same IP version alone, which takes a range "
                "of the rack and an address in `listen`."
            )


def pools(side: NodeSide) -> Iterable[str]:
    """Say which VIPs an agent announces that looks for them on the node itself."""
    if side.vips:
        yield "VIPs of these pools are announced while they are on an interface of the node (lo, say)."
    else:
        yield "No VIP pool is known here; run this again when the IPAM has one."


def where(password: Password) -> str:
    """Say where the password is."""
    return f"The TCP-MD5 password is the one in {password.file} on the appliance"


def unquoted(password: Password) -> str:
    """A password that stands bare in a line; refuses one that the target would cut in two."""
    text = password.text or ""
    if any(letter.isspace() for letter in text):
        raise FarSideError(
            f"the password in {password.file} has a blank, which cannot be written for this system",
            "choose one without",
        )
    return text


def quoted(password: Password) -> str:
    """A password between quotation marks; refuses one that the target could not read back."""
    text = password.text or ""
    if '"' in text or "\\" in text:
        raise FarSideError(
            f'the password in {password.file} has a " or \\, which cannot be written for this system',
            "choose one without",
        )
    return f'"{text}"'


def names(sessions: Sessions) -> list[str]:
    """A name for each neighbor, unique among them: rr-main-rr-a, and with two IP versions rr-main-rr-a-4."""
    several = len({n.address.version for n in sessions.neighbors}) > 1
    return [
        f"rr-{sessions.instance}-{n.appliance}" + (f"-{n.address.version}" if several else "")
        for n in sessions.neighbors
    ]
