"""Arista EOS as ToR."""

from __future__ import annotations

from collections.abc import Iterator

from rr.farside.comment import WITH_SECRETS, comment, of_tor, unquoted, where
from rr.farside.facts import BGP_PORT, FAMILY, Neighbor, TorSide
from rr.farside.frr import WORD, accepting

WIDEST = 128


def tor(side: TorSide) -> str:
    """Write EOS's configuration for a ToR."""
    sessions = side.sessions
    lines = [
        *comment(
            "!",
            f"{of_tor(side)}: Arista EOS 4.26 or newer, multi-agent routing model.",
            "Paste it after `configure`; what the switch has is kept, but for `maximum-paths`: keep a larger one.",
            f"Unless {side.address} is the address of the interface towards the appliance, add for each neighbor "
            "`neighbor ADDRESS update-source INTERFACE` with the interface that has it.",
            *_explained(side),
            *sessions.notes,
        ),
        "!",
    ]
    for version in sessions.versions:
        lines += _lists(side, version)
    lines.append(f"router bgp {sessions.asn}")
    if side.paths:
        width = min(side.paths, WIDEST)
        lines.append(f"   maximum-paths {width} ecmp {width}")
    lines.append("   graceful-restart-helper")
    for neighbor in sessions.neighbors:
        lines += _neighbor(side, neighbor)
    for version in (4, 6):
        lines += _family(side, version)
    return "\n".join([*lines, "!", ""])


def _explained(side: TorSide) -> Iterator[str]:
    password = side.sessions.password
    if password and password.text is None:
        yield (
            f"{where(password)}: put it at the end of the lines that end in `password 0` ({WITH_SECRETS}). EOS refuses "
            "them as they are, and no session comes up without it."
        )
    if side.port != BGP_PORT:
        yield f"The appliance dials port {side.port}, and EOS listens on 179: set `port: 179` for this ToR in rr.yaml."


def _lists(side: TorSide, version: int) -> Iterator[str]:
    word, name = WORD[version], _name(side, version)
    yield f"{word} prefix-list {name}-IN"
    yield from (line.replace("LIST", "  ", 1) for line in accepting(side.accept, "LIST", version))
    yield "!"
    yield f"{word} prefix-list {name}-OUT"
    offered = [n for n in side.sessions.from_tors if n.version == version]
    for number, network in enumerate(offered, 1):
        yield f"   seq {5 * number} permit {network}"
    if not offered:
        yield f"   seq 5 deny {'0.0.0.0/0 le 32' if version == 4 else '::/0 le 128'}"
    yield "!"


def _neighbor(side: TorSide, neighbor: Neighbor) -> Iterator[str]:
    sessions, start = side.sessions, f"   neighbor {neighbor.address}"
    yield f"{start} remote-as {sessions.asn}"
    yield f"{start} description {neighbor.appliance} {sessions.instance}"
    if sessions.port != BGP_PORT:
        yield f"{start} transport remote-port {sessions.port}"
    yield f"{start} timers {sessions.keepalive} {sessions.hold_time}"
    if sessions.password:
        yield f"{start} password 0 {unquoted(sessions.password)}".rstrip()
    if sessions.bfd:
        yield f"{start} bfd"
        yield f"{start} bfd interval 300 min-rx 300 multiplier 3"
    if side.paths:
        yield f"{start} additional-paths receive"


def _family(side: TorSide, version: int) -> Iterator[str]:
    sessions, name = side.sessions, _name(side, version)
    if FAMILY[version] not in sessions.families and version == 6:
        return
    yield "   !"
    yield f"   address-family {FAMILY[version]}"
    for neighbor in sessions.neighbors:
        start = f"neighbor {neighbor.address}"
        if FAMILY[version] not in neighbor.families:
            yield f"      no {start} activate"
            continue
        yield f"      {start} activate"
        yield f"      {start} prefix-list {name}-IN in"
        yield f"      {start} prefix-list {name}-OUT out"
        if any(n.version == version for n in sessions.from_tors):
            yield f"      {start} next-hop-self"


def _name(side: TorSide, version: int) -> str:
    return side.sessions.title if version == 4 else f"{side.sessions.title}-6"
