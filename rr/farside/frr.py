"""FRR, as ToR and as node: a configuration that stands by itself, or is added to one that exists."""

from __future__ import annotations

from collections.abc import Iterator

from rr.farside.comment import WITH_SECRETS, comment, of_node, of_tor, pools, remarks, unquoted, where
from rr.farside.facts import BGP_PORT, DEFAULT, FAMILY, Neighbor, NodeSide, Sessions, TorSide
from rr.net import Network

WIDEST = 256
"""`maximum-paths` of FRR as Debian builds it."""
WORD = {4: "ip", 6: "ipv6"}
BITS = {4: 32, 6: 128}


def tor(side: TorSide) -> str:
    """FRR's configuration for a ToR."""
    head = comment(
        "!",
        f"{of_tor(side)}: FRR 8.4 or newer.",
        "Append it to /etc/frr/frr.conf, or paste it into vtysh after `configure terminal`.",
        *side.sessions.notes,
    )
    return _joined(head, tor_body(side))


def tor_body(side: TorSide) -> list[str]:
    """The configuration itself, as every system takes it whose routing is FRR's."""
    sessions = side.sessions
    lines = [line for version in sessions.versions for line in _tor_lists(side, version)]
    lines += ["!", *_password_comment(sessions)]
    if side.port != BGP_PORT:
        lines += comment(
            "!", f"The appliance dials port {side.port}: bgpd must listen there (-p {side.port})."
        )
    lines.append(f"router bgp {sessions.asn}")
    for neighbor in sessions.neighbors:
        lines += _neighbor(sessions, neighbor, str(side.address))
        lines.append(f" neighbor {neighbor.address} graceful-restart-helper")
    for version in (4, 6):
        lines += _tor_family(side, version)
    return lines


def _tor_lists(side: TorSide, version: int) -> Iterator[str]:
    name, word = _list_name(side.sessions, version), WORD[version]
    yield from accepting(side.accept, f"{word} prefix-list {name}-IN", version)
    offered = [n for n in side.sessions.from_tors if n.version == version]
    for number, network in enumerate(offered, 1):
        yield f"{word} prefix-list {name}-OUT seq {5 * number} permit {network}"
    if not offered:
        yield f"{word} prefix-list {name}-OUT seq 5 deny any"


def accepting(accept: tuple[Network, ...], start: str, version: int) -> Iterator[str]:
    """Prefix-list lines of FRR, and of those who spell them the same: no default route, and what may come."""
    default, longest = DEFAULT[version]
    yield f"{start} seq 5 deny {default} le {longest}"
    within = [str(n) for n in accept if n.version == version] if accept else [default]
    for number, network in enumerate(within, 2):
        longer = "" if network.endswith(f"/{BITS[version]}") else f" le {BITS[version]}"
        yield f"{start} seq {5 * number} permit {network}{longer}"


def _neighbor(sessions: Sessions, neighbor: Neighbor, source: str | None) -> Iterator[str]:
    start = f" neighbor {neighbor.address}"
    yield f"{start} remote-as {sessions.asn}"
    yield f"{start} description {neighbor.appliance} {sessions.instance}"
    if source:
        yield f"{start} update-source {source}"
    if sessions.port != BGP_PORT:
        yield f"{start} port {sessions.port}"
    yield f"{start} timers {sessions.keepalive} {sessions.hold_time}"
    yield f"{start} timers connect 5"
    if sessions.password:
        yield f"{start} password {unquoted(sessions.password)}".rstrip()
    if sessions.bfd:
        yield f"{start} bfd 3 300 300"


def _password_comment(sessions: Sessions) -> list[str]:
    if sessions.password is None or sessions.password.text is not None:
        return []
    return comment(
        "!",
        f"{where(sessions.password)}: put it at the end of the lines that end in `password` ({WITH_SECRETS}). "
        "FRR refuses them as they are, and no session comes up without it.",
    )


def _tor_family(side: TorSide, version: int) -> Iterator[str]:
    family = FAMILY[version]
    mine = [n for n in side.sessions.neighbors if family in n.families]
    if not mine:
        # FRR activates this family by itself, unless `no bgp default ipv4-unicast` is set.
        if version == 4:
            yield " address-family ipv4 unicast"
            yield from (f"  no neighbor {n.address} activate" for n in side.sessions.neighbors)
            yield " exit-address-family"
        return
    yield f" address-family {family} unicast"
    if side.paths:
        yield f"  maximum-paths ibgp {min(side.paths, WIDEST)}"
    name = _list_name(side.sessions, version)
    for neighbor in mine:
        start = f"  neighbor {neighbor.address}"
        yield f"{start} activate"
        if not side.paths:
            yield f"{start} disable-addpath-rx"
        if any(n.version == version for n in side.sessions.from_tors):
            yield f"{start} next-hop-self"
        yield f"{start} prefix-list {name}-IN in"
        yield f"{start} prefix-list {name}-OUT out"
    yield " exit-address-family"


def node(side: NodeSide) -> str:
    """FRR's configuration for a node."""
    sessions = side.sessions
    head = comment(
        "!",
        f"{of_node(side)}: FRR 8.4 or newer, as /etc/frr/frr.conf.",
        *_explained(side),
        *pools(side),
        *remarks(side),
    )
    lines = [line for version in sessions.versions for line in _node_lists(side, version)]
    lines += ["!", *_password_comment(sessions), f"router bgp {sessions.asn}"]
    if side.owned:
        lines.append(f" bgp router-id {side.router_id or 'ROUTER-ID-OF-THE-NODE'}")
    # An owned prefix is announced whether or not a pod runs in it yet.
    lines += [
        " no bgp network import-check",
        f" bgp graceful-restart restart-time {side.restart_time}",
        " bgp graceful-restart preserve-fw-state",
    ]
    for neighbor in sessions.neighbors:
        source = side.source(neighbor.address.version)
        lines += _neighbor(sessions, neighbor, str(source) if source else None)
        if side.ttl_security:
            lines.append(f" neighbor {neighbor.address} ttl-security hops 1")
        helps = "graceful-restart-disable" if neighbor.floating else "graceful-restart"
        lines.append(f" neighbor {neighbor.address} {helps}")
    for version in (4, 6):
        lines += _node_family(side, version)
    return _joined(head, lines)


def _explained(side: NodeSide) -> Iterator[str]:
    if side.owned is None:
        yield (
            "Replace every PREFIX-OF-THE-NODE (FRR refuses it as it is) by a prefix that the IPAM gave to the node, "
            "one line each; `--node NAME` fills it in."
        )
    elif not side.owned.prefixes:
        yield "The IPAM gives this node no prefix yet: run this again when it has one."


def _node_lists(side: NodeSide, version: int) -> Iterator[str]:
    name, word = _list_name(side.sessions, version), WORD[version]
    start = f"{word} prefix-list {name}"
    if side.default_allowed(version):
        yield f"{start}-IN seq 5 permit any"
    else:
        yield from accepting((), f"{start}-IN", version)
    own = _own(side, version)
    vips = [n for n in side.vips if n.version == version]
    for number, network in enumerate(own, 1):
        yield f"{start}-OUT seq {5 * number} permit {network}"
    for number, pool in enumerate(vips, len(own) + 1):
        yield f"{start}-OUT seq {5 * number} permit {_hosts(pool)}"
    if not own and not vips:
        yield f"{start}-OUT seq 5 deny any"
    for number, pool in enumerate(vips, 1):
        yield f"{start}-VIPS seq {5 * number} permit {_hosts(pool)}"
    if vips:
        yield f"route-map {name}-VIPS permit 10"
        yield f" match {word} address prefix-list {name}-VIPS"
        yield "exit"


def _own(side: NodeSide, version: int) -> list[str]:
    if side.owned is None:
        return ["PREFIX-OF-THE-NODE"]
    return [str(n) for n in side.owned.prefixes if n.version == version]


def _hosts(pool: Network) -> str:
    return f"{pool} ge {pool.max_prefixlen}" if pool.prefixlen < pool.max_prefixlen else str(pool)


def _node_family(side: NodeSide, version: int) -> Iterator[str]:
    family, name = FAMILY[version], _list_name(side.sessions, version)
    mine = [n for n in side.sessions.neighbors if family in n.families]
    others = [n for n in side.sessions.neighbors if family not in n.families]
    if not mine and version == 6:
        return
    yield f" address-family {family} unicast"
    if mine:
        yield from (f"  network {prefix}" for prefix in _own(side, version))
        if any(n.version == version for n in side.vips):
            yield f"  redistribute connected route-map {name}-VIPS"
    for neighbor in mine:
        start = f"  neighbor {neighbor.address}"
        yield f"{start} activate"
        yield f"{start} prefix-list {name}-IN in"
        yield f"{start} prefix-list {name}-OUT out"
    if version == 4:
        yield from (f"  no neighbor {n.address} activate" for n in others)
    yield " exit-address-family"


def _list_name(sessions: Sessions, version: int) -> str:
    return sessions.title if version == 4 else f"{sessions.title}-6"


def _joined(head: list[str], lines: list[str]) -> str:
    return "\n".join([*head, "!", *lines, "!", ""])
