"""Juniper Junos as ToR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rr.errors import FarSideError
from rr.farside.comment import WITH_SECRETS, comment, of_tor, quoted, where
from rr.farside.facts import BGP_PORT, DEFAULT, TorSide
from rr.net import Network

WIDTHS = (16, 32, 64, 128)
"""What `maximum-ecmp` takes; 16 is its default."""
INET = {"ipv4": "inet", "ipv6": "inet6"}


def tor(side: TorSide) -> str:
    """Write Junos' configuration for a ToR."""
    sessions = side.sessions
    if side.dials and sessions.port != BGP_PORT:
        raise FarSideError(
            f"Junos dials port 179 alone, and {of_tor(side)} must dial port {sessions.port}",
            "set `passive: false` for this ToR, or `port: 179` for the instance",
        )
    head = comment(
        "#",
        f"{of_tor(side)}: Juniper Junos 20.4 or newer.",
        "Take it over with `load merge terminal` in configuration mode, look at it with `show | compare`, then commit.",
        f"The router's own `autonomous-system` is {sessions.asn}, or the commit fails.",
        "Helping a restarting peer is on by default. Where the forwarding table has an export policy already, add its "
        "`load-balance per-packet` there and leave ours out.",
        *_explained(side),
        *sessions.notes,
    )
    lines = [
        *_chassis(side),
        *(_block("routing-options", _routing_options(side)) if side.paths else []),
        *_block("policy-options", _policies(side)),
        *_block("protocols", _block("bgp", _block(f"group {sessions.title}", _group(side)))),
    ]
    return "\n".join([*head, *lines, ""])


def _explained(side: TorSide) -> Iterator[str]:
    password = side.sessions.password
    if password and password.text is None:
        yield (
            f"{where(password)}: put it between `authentication-key` and the semicolon, in quotation marks "
            f"({WITH_SECRETS}). Junos refuses the whole as it is."
        )
    if side.port != BGP_PORT:
        yield f"The appliance dials port {side.port}, Junos listens on 179: set `port: 179` for this ToR in rr.yaml."


def _chassis(side: TorSide) -> list[str]:
    if side.paths <= WIDTHS[0]:
        return []
    width = next((w for w in WIDTHS if w >= side.paths), WIDTHS[-1])
    return _block("chassis", [f"maximum-ecmp {width};"])


def _routing_options(side: TorSide) -> Iterator[str]:
    yield from _block("forwarding-table", [f"export {side.sessions.title}-ECMP;"])


def _policies(side: TorSide) -> Iterator[str]:
    title = side.sessions.title
    if side.paths:
        yield from _block(f"policy-statement {title}-ECMP", _block("then", ["load-balance per-packet;"]))
    yield from _block(f"policy-statement {title}-IN", _import(side))
    yield from _block(f"policy-statement {title}-OUT", _export(side))


def _import(side: TorSide) -> Iterator[str]:
    defaults = (f"route-filter {DEFAULT[v][0]} upto /{DEFAULT[v][1]};" for v in side.sessions.versions)
    yield from _term("no-default-route", defaults, "reject;")
    if side.accept:
        within = (f"route-filter {n} orlonger;" for n in _carried(side, side.accept))
        yield from _term("what-may-come", within, "accept;")
        yield from _block("term nothing-else", ["then reject;"])
    else:
        yield from _block("term what-may-come", ["then accept;"])


def _export(side: TorSide) -> Iterator[str]:
    offered = list(_carried(side, side.sessions.from_tors))
    if offered:
        yield from _term(
            "from-tors", (f"route-filter {n} exact;" for n in offered), "next-hop self;", "accept;"
        )
    yield from _block("term nothing-else", ["then reject;"])


def _carried(side: TorSide, networks: Iterable[Network]) -> Iterator[Network]:
    return (n for n in networks if n.version in side.sessions.versions)


def _term(name: str, filters: Iterable[str], *actions: str) -> list[str]:
    return _block(f"term {name}", [*_block("from", filters), *_block("then", actions)])


def _group(side: TorSide) -> Iterator[str]:
    sessions = side.sessions
    yield "type internal;"
    yield f"peer-as {sessions.asn};"
    yield f"local-address {side.address};"
    yield f"hold-time {sessions.hold_time};"
    if sessions.password:
        given = "" if sessions.password.text is None else f" {quoted(sessions.password)}"
        yield f"authentication-key{given};"
    if sessions.port != BGP_PORT:
        # It cannot dial another port; the appliance dials.
        yield "passive;"
    if sessions.bfd:
        # By itself Junos takes an iBGP session for one over several hops, and BFD's other port (RFC 5883).
        timing = ["minimum-interval 300;", "multiplier 3;", "session-mode single-hop;"]
        yield from _block("bfd-liveness-detection", timing)
    yield f"import {sessions.title}-IN;"
    yield f"export {sessions.title}-OUT;"
    for family in sessions.families:
        inner = _block("unicast", _block("add-path", ["receive;"])) if side.paths else ["unicast;"]
        yield from _block(f"family {INET[family]}", inner)
    if side.paths:
        yield "multipath;"
    for neighbor in sessions.neighbors:
        described = [f'description "{neighbor.appliance} {sessions.instance}";']
        yield from _block(f"neighbor {neighbor.address}", described)


def _block(name: str, inner: Iterable[str]) -> list[str]:
    return [f"{name} {{", *(f"    {line}" for line in inner), "}"]
