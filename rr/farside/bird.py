"""BIRD 2 as a node's agent: a whole bird.conf."""

from __future__ import annotations

from collections.abc import Iterator

from rr.farside.comment import WITH_SECRETS, comment, names, of_node, pools, quoted, remarks, where
from rr.farside.facts import DEFAULT, FAMILY, Neighbor, NodeSide
from rr.net import Network


def node(side: NodeSide) -> str:
    """Write bird.conf for a node."""
    sessions = side.sessions
    lines = comment(
        "#",
        f"{of_node(side)}: BIRD 2.0.8 or newer, as /etc/bird/bird.conf.",
        *_explained(side),
        *pools(side),
        *remarks(side),
    )
    if side.owned:
        lines.append(f"router id {side.router_id or 'ROUTER_ID_OF_THE_NODE'};")
    lines += [
        "protocol device { }",
        "protocol direct { ipv4; ipv6; }  # the node's own segment, where the next hops are, and VIPs",
    ]
    if sessions.bfd:
        lines.append("protocol bfd { }")
    for version in sessions.versions:
        lines += ["", *_family(side, version)]
    for name, neighbor in zip(names(sessions), sessions.neighbors, strict=True):
        lines += ["", *_session(side, name.replace("-", "_"), neighbor)]
    return "\n".join([*lines, ""])


def _explained(side: NodeSide) -> Iterator[str]:
    password = side.sessions.password
    if side.owned is None:
        yield (
            "Replace each PREFIX_OF_THE_NODE (BIRD refuses it as it is) by a prefix that the IPAM gave to the node; "
            "`--node NAME` fills it in."
        )
    elif not side.owned.prefixes:
        yield "The IPAM gives this node no prefix yet: run this again when it has one."
    if side.sessions.bfd or side.ttl_security:
        yield "`direct`: for BFD and GTSM the appliance must be on the node's own segment."
    if password and password.text is None:
        yield (
            f"{where(password)}: put it between `password` and the semicolon, in quotation marks ({WITH_SECRETS}). "
            "BIRD refuses the file as it is."
        )


def _own(side: NodeSide, version: int) -> list[str]:
    if side.owned is None:
        return ["PREFIX_OF_THE_NODE"]
    return [str(n) for n in side.owned.prefixes if n.version == version]


def _family(side: NodeSide, version: int) -> Iterator[str]:
    family, own = FAMILY[version], _own(side, version)
    vips = [_hosts(n) for n in side.vips if n.version == version]
    yield f"protocol static rr_own_{family} {{"
    yield f"  {family};"
    yield from (f"  route {prefix} blackhole;" for prefix in own)
    yield "}"
    yield f"protocol kernel {{ {family} {{ import none; export where source = RTS_BGP; }}; }}"
    yield f"filter rr_in_{family} {{"
    if not side.default_allowed(version):
        default, longest = DEFAULT[version]
        yield f"  if net ~ [ {default}{{0,{longest}}} ] then reject;"
    yield "  accept;"
    yield "}"
    yield f"filter rr_out_{family} {{"
    if own:
        yield f"  if source ~ [ RTS_STATIC, RTS_DEVICE ] && net ~ [ {', '.join(own)} ] then accept;"
    if vips:
        yield f"  if source = RTS_DEVICE && net ~ [ {', '.join(vips)} ] then accept;"
    yield "  reject;"
    yield "}"


def _hosts(pool: Network) -> str:
    return f"{pool}{{{pool.max_prefixlen},{pool.max_prefixlen}}}"


def _session(side: NodeSide, name: str, neighbor: Neighbor) -> Iterator[str]:
    sessions = side.sessions
    own = side.source(neighbor.address.version)
    yield f"protocol bgp {name} {{"
    yield f"  local {f'{own} ' if own else ''}as {sessions.asn};"
    yield f"  neighbor {neighbor.address} port {sessions.port} as {sessions.asn};"
    yield f"  hold time {sessions.hold_time};"
    yield f"  keepalive time {sessions.keepalive};"
    yield "  connect retry time 5;"
    yield "  graceful restart on;"
    yield f"  graceful restart time {side.restart_time};"
    if sessions.password:
        given = "" if sessions.password.text is None else f"{quoted(sessions.password)}"
        yield f"  password {given};"
    if side.ttl_security or sessions.bfd:
        # Otherwise an iBGP session counts as one over several hops, and BFD takes another port (RFC 5883).
        yield "  direct;"
    if side.ttl_security:
        yield "  ttl security on;"
    if sessions.bfd:
        yield "  bfd { interval 300 ms; multiplier 3; };"
    for family in neighbor.families:
        yield f"  {family} {{"
        yield f"    import filter rr_in_{family};"
        yield f"    export filter rr_out_{family};"
        yield "    next hop self;"
        yield "  };"
    yield "}"
