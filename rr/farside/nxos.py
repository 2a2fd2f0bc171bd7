"""Cisco NX-OS as ToR."""

from __future__ import annotations

from collections.abc import Iterator

from rr.errors import FarSideError
from rr.farside.comment import WITH_SECRETS, comment, of_tor, unquoted, where
from rr.farside.facts import BGP_PORT, FAMILY, Neighbor, TorSide
from rr.farside.frr import WORD, accepting

WIDEST = 64


def tor(side: TorSide) -> str:
    """Write NX-OS's configuration for a ToR."""
    sessions = side.sessions
    if side.dials and sessions.port != BGP_PORT:
        raise FarSideError(
            f"NX-OS dials port 179 alone, and {of_tor(side)} must dial port {sessions.port}",
            "set `passive: false` for this ToR, or `port: 179` for the instance",
        )
    lines = [
        *comment(
            "!",
            f"{of_tor(side)}: Cisco NX-OS 9.3 or newer (Nexus 3000 and 9000).",
            "Paste it after `configure terminal`; what the switch has is kept, but for `maximum-paths ibgp`: keep a "
            "larger one. Graceful restart is on by default, helping included.",
            f"Unless {side.address} is the address of the interface towards the appliance, add to each neighbor "
            "`update-source INTERFACE` with the interface that has it.",
            *_explained(side),
            *sessions.notes,
        ),
        "!",
        "feature bgp",
        *(["feature bfd"] if sessions.bfd else []),
    ]
    for version in sessions.versions:
        lines += _lists(side, version)
    lines.append(f"router bgp {sessions.asn}")
    for version in sessions.versions:
        lines.append(f"  address-family {FAMILY[version]} unicast")
        if side.paths:
            lines.append(f"    maximum-paths ibgp {min(side.paths, WIDEST)}")
    for neighbor in sessions.neighbors:
        lines += _neighbor(side, neighbor)
    return "\n".join([*lines, "!", ""])


def _explained(side: TorSide) -> Iterator[str]:
    password = side.sessions.password
    if password and password.text is None:
        yield (
            f"{where(password)}: put it at the end of the lines that end in `password 0` ({WITH_SECRETS}). NX-OS "
            "refuses them as they are, and no session comes up without it."
        )
    if side.port != BGP_PORT:
        yield f"The appliance dials port {side.port}, NX-OS listens on 179: set `port: 179` for this ToR in rr.yaml."


def _lists(side: TorSide, version: int) -> Iterator[str]:
    word, name = WORD[version], _name(side, version)
    yield from accepting(side.accept, f"{word} prefix-list {name}-IN", version)
    offered = [n for n in side.sessions.from_tors if n.version == version]
    for number, network in enumerate(offered, 1):
        yield f"{word} prefix-list {name}-OUT seq {5 * number} permit {network}"
    if not offered:
        everything = "0.0.0.0/0 le 32" if version == 4 else "::/0 le 128"
        yield f"{word} prefix-list {name}-OUT seq 5 deny {everything}"


def _neighbor(side: TorSide, neighbor: Neighbor) -> Iterator[str]:
    sessions = side.sessions
    yield f"  neighbor {neighbor.address}"
    yield f"    remote-as {sessions.asn}"
    yield f"    description {neighbor.appliance} {sessions.instance}"
    yield f"    timers {sessions.keepalive} {sessions.hold_time}"
    if sessions.password:
        yield f"    password 0 {unquoted(sessions.password)}".rstrip()
    if sessions.bfd:
        yield "    bfd"
    if sessions.port != BGP_PORT:
        # It cannot dial another port; the appliance dials.
        yield "    transport connection-mode passive"
    for version in sessions.versions:
        if FAMILY[version] not in neighbor.families:
            continue
        name = _name(side, version)
        yield f"    address-family {FAMILY[version]} unicast"
        if side.paths:
            yield "      capability additional-paths receive"
        if any(n.version == version for n in sessions.from_tors):
            yield "      next-hop-self"
        yield f"      prefix-list {name}-IN in"
        yield f"      prefix-list {name}-OUT out"


def _name(side: TorSide, version: int) -> str:
    return side.sessions.title if version == 4 else f"{side.sessions.title}-6"
