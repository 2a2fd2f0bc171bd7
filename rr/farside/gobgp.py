"""GoBGP as a node's agent: a whole gobgpd.toml, and the commands that announce."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rr.errors import FarSideError
from rr.farside.comment import WITH_SECRETS, comment, of_node, remarks, where
from rr.farside.facts import DEFAULT, FAMILY, Neighbor, NodeSide
from rr.net import Network

ADDRESS, PREFIX = "ADDRESS-OF-THE-NODE", "PREFIX-OF-THE-NODE"


def node(side: NodeSide) -> str:
    """Write gobgpd.toml for a node."""
    head = comment(
        "#",
        f"{of_node(side)}: GoBGP 3.0 or newer, as gobgpd.toml (gobgpd -f).",
        *_explained(side),
        *remarks(side),
        "",
        "gobgpd's file holds no routes: announce them when it runs, each with the node itself as next hop:",
    )
    head += [f"#   {line}" for line in announcements(side)]
    tables = [_global(side), *_sets(side), *_policies(side)]
    tables += [line for neighbor in side.sessions.neighbors for line in _neighbor(side, neighbor)]
    return "\n".join([*head, "", *tables, ""])


def announcements(side: NodeSide) -> Iterator[str]:
    """Write the commands that announce the node's prefixes, and one for a VIP of each pool."""
    for version in side.sessions.versions:
        own = [str(n) for n in side.owned.prefixes if n.version == version] if side.owned else [PREFIX]
        pools = [f"VIP-OF-{n}" for n in side.vips if n.version == version]
        hop = (side.source(version) or side.owned.address(version)) if side.owned else ADDRESS
        if hop is None and own:
            raise FarSideError(
                f"{of_node(side)} has no IPv{version} address to be the next hop of {own[0]}",
                "give it one in the IPAM",
            )
        if hop is None:
            continue
        for prefix in own + pools:
            yield f"gobgp global rib add -a {FAMILY[version]} {prefix} origin igp nexthop {hop}"


def _explained(side: NodeSide) -> Iterator[str]:
    password = side.sessions.password
    if side.owned is None:
        yield (
            f"Replace {ADDRESS} and {PREFIX} (gobgpd refuses them as they are) by the node's address and by the "
            "prefixes that the IPAM gave to it; `--node NAME` fills them in."
        )
    elif not side.owned.prefixes:
        yield "The IPAM gives this node no prefix yet: run this again when it has one."
    if password and password.text is None:
        yield (
            f"{where(password)}: put it behind `auth-password =`, in quotation marks ({WITH_SECRETS}). gobgpd refuses "
            "the file as it is."
        )


def _global(side: NodeSide) -> str:
    router_id = (side.router_id or "ROUTER-ID-OF-THE-NODE") if side.owned else ADDRESS
    return _table(
        "[global.config]",
        f"as = {side.sessions.asn}",
        f'router-id = "{router_id}"',
        "",
        "[global.apply-policy.config]",
        'import-policy-list = ["rr-in"]',
        'default-import-policy = "accept-route"',
        'export-policy-list = ["rr-out"]',
        'default-export-policy = "reject-route"',
    )


def _sets(side: NodeSide) -> Iterator[str]:
    for version in side.sessions.versions:
        if not side.default_allowed(version):
            default, longest = DEFAULT[version]
            yield _set(f"rr-default-{FAMILY[version]}", [(default, f"0..{longest}")])
        if own := _own(side, version):
            yield _set(f"rr-own-{FAMILY[version]}", own)


def _own(side: NodeSide, version: int) -> list[tuple[str, str]]:
    """What the node may announce, as prefixes with their lengths."""
    hosts = [(str(n), _length(n)) for n in side.vips if n.version == version]
    if side.owned is None:
        return [(PREFIX, ""), *hosts]
    return [(str(n), "") for n in side.owned.prefixes if n.version == version] + hosts


def _length(pool: Network) -> str:
    return f"{pool.max_prefixlen}..{pool.max_prefixlen}"


def _set(name: str, prefixes: list[tuple[str, str]]) -> str:
    lines = ["[[defined-sets.prefix-sets]]", f'prefix-set-name = "{name}"']
    for prefix, lengths in prefixes:
        lines += ["[[defined-sets.prefix-sets.prefix-list]]", f'ip-prefix = "{prefix}"']
        lines += [f'masklength-range = "{lengths}"'] if lengths else []
    return _table(*lines)


def _policies(side: NodeSide) -> Iterator[str]:
    versions = side.sessions.versions
    refused = [f"rr-default-{FAMILY[v]}" for v in versions if not side.default_allowed(v)]
    yield _policy("rr-in", refused, "reject-route")
    yield _policy("rr-out", [f"rr-own-{FAMILY[v]}" for v in versions if _own(side, v)], "accept-route")


def _policy(name: str, sets: list[str], verdict: str) -> str:
    lines = ["[[policy-definitions]]", f'name = "{name}"']
    for one in sets:
        lines += [
            "[[policy-definitions.statements]]",
            f'name = "{name}-{one}"',
            "[policy-definitions.statements.conditions.match-prefix-set]",
            f'prefix-set = "{one}"',
            "[policy-definitions.statements.actions]",
            f'route-disposition = "{verdict}"',
        ]
    return _table(*lines)


def _neighbor(side: NodeSide, neighbor: Neighbor) -> Iterator[str]:
    sessions = side.sessions
    own = side.source(neighbor.address.version) or ADDRESS
    yield "[[neighbors]]"
    yield "[neighbors.config]"
    yield f'neighbor-address = "{neighbor.address}"'
    yield f"peer-as = {sessions.asn}"
    yield f'description = "{neighbor.appliance} {sessions.instance}"'
    if sessions.password:
        yield f"auth-password = {'' if sessions.password.text is None else json.dumps(sessions.password.text)}".rstrip()
    yield "[neighbors.transport.config]"
    yield f'local-address = "{own}"'
    yield f"remote-port = {sessions.port}"
    yield "[neighbors.timers.config]"
    yield f"hold-time = {sessions.hold_time}"
    yield f"keepalive-interval = {sessions.keepalive}"
    yield "connect-retry = 5"
    yield "idle-hold-time-after-reset = 5"
    yield "[neighbors.graceful-restart.config]"
    yield "enabled = true"
    yield f"restart-time = {side.restart_time}"
    if side.ttl_security:
        yield "[neighbors.ttl-security.config]"
        yield "enabled = true"
        yield "ttl-min = 255"
    if sessions.bfd:
        yield "[neighbors.bfd.config]"
        yield "enabled = true"
        yield "desired-minimum-tx-interval = 300000"
        yield "required-minimum-receive = 300000"
        yield "detection-multiplier = 3"
    for family in neighbor.families:
        yield "[[neighbors.afi-safis]]"
        yield "[neighbors.afi-safis.config]"
        yield f'afi-safi-name = "{family}-unicast"'
        yield "[neighbors.afi-safis.mp-graceful-restart.config]"
        yield "enabled = true"
    yield ""


def _table(*lines: str) -> str:
    return "\n".join([*lines, ""])
