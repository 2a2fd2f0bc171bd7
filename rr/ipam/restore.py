"""From what stands on disk back to what was in force, so that a restart changes nothing about who has what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rr.ipam.allocations import EMPTY, Allocations, NodeAllocation, VipPool
from rr.ipam.claims import Claim, Kind
from rr.ipam.settle import NOTHING, Settled, settle
from rr.ipam.store import State
from rr.net import Network


def restore(state: State, now: float) -> Settled:
    """What was in force when `state` was saved, less what has had its grace since.

    First what each source has is settled, without what it was refused and with what lingers of it: that contradicts
    nothing. Then what the sources really say is settled after that.
    """
    parts = {source: part.allocations for source, part in state.parts.items()}
    if not parts:
        return NOTHING
    had = dict(parts)
    for source, claim in state.refused:
        for name in (source,) if claim.kind is Kind.VIP else parts:
            if name in had:
                had[name] = _without(had[name], claim)
    lingering = {}
    for claim, entry in state.lingering.items():
        source = next((name for name in parts if name in entry.source), next(iter(parts)))
        if claim.kind is Kind.VIP:
            source = entry.source  # it alone can have it, also where it is no longer configured
        had[source] = _with(had.get(source, EMPTY), claim)
        lingering[claim] = entry
    held = settle(NOTHING, had)
    return settle(replace(held, lingering=lingering), parts, now=now)


def _without(part: Allocations, claim: Claim) -> Allocations:
    if claim.kind is Kind.VIP:
        vips = (replace(pool, prefixes=_less(pool.prefixes, claim.network)) for pool in part.vips)
        return Allocations(part.nodes, tuple(pool for pool in vips if pool.prefixes))
    node = part.nodes.get(claim.node or "")
    if node is None:
        return part
    address = claim.network.network_address
    if claim.kind is Kind.ADDRESS:
        node = replace(node, addresses=tuple(a for a in node.addresses if a != address))
    elif claim.kind is Kind.PREFIX:
        node = replace(node, prefixes=_less(node.prefixes, claim.network))
    else:
        node = replace(node, borrowed=_less(node.borrowed, claim.network))
    return Allocations({**part.nodes, node.name: node}, part.vips)


def _less(networks: tuple[Network, ...], network: Network) -> tuple[Network, ...]:
    return tuple(one for one in networks if one != network)


def _with(part: Allocations, claim: Claim) -> Allocations:
    if claim.kind is Kind.VIP:
        known = any(claim.network in pool.prefixes for pool in part.vips)
        pool = VipPool((claim.network,), frozenset())
        return part if known else Allocations(part.nodes, (*part.vips, pool))
    name = claim.node or ""
    node = part.nodes.get(name, NodeAllocation(name, ()))
    if claim.kind is Kind.ADDRESS:
        node = replace(node, addresses=(*node.addresses, claim.network.network_address))
    elif claim.kind is Kind.PREFIX:
        node = replace(node, prefixes=(*node.prefixes, claim.network))
    else:
        node = replace(node, borrowed=(*node.borrowed, claim.network))
    nodes: Mapping[str, NodeAllocation] = {**part.nodes, name: node}
    return Allocations(nodes, part.vips)
