"""What a decision moved, with the source behind each move: for events and counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rr.ipam.allocations import Allocations, Changes
from rr.ipam.claims import Claim, Conflict, Kind, Nodes, Parts, said_by
from rr.ipam.settle import Settled
from rr.net import Network


class Move(NamedTuple):
    """A prefix that a node is given or loses."""

    node: str
    prefix: Network
    source: str


class Opening(NamedTuple):
    """A VIP prefix that is opened to nodes, or closed to them; None is every node, or every other one."""

    prefix: Network
    nodes: Nodes
    source: str


class Moves(NamedTuple):
    """All that a decision changed in what is in force, and in what is refused."""

    granted: tuple[Move, ...] = ()
    revoked: tuple[Move, ...] = ()
    opened: tuple[Opening, ...] = ()
    closed: tuple[Opening, ...] = ()
    begun: tuple[Conflict, ...] = ()
    ended: tuple[Conflict, ...] = ()


def moves(before: Settled, after: Settled, changes: Changes) -> Moves:
    """What changed from one to the other; `changes` is the difference of their allocations."""
    old = {conflict.key: conflict for conflict in before.conflicts}
    new = {conflict.key: conflict for conflict in after.conflicts}
    vips = changes.vips_changed
    return Moves(
        tuple(Move(node, prefix, _source(after, node, prefix)) for node, prefix in changes.granted),
        tuple(Move(node, prefix, _source(before, node, prefix)) for node, prefix in changes.revoked),
        tuple(_openings(before.allocations, after)) if vips else (),
        tuple(_openings(after.allocations, before)) if vips else (),
        tuple(conflict for key, conflict in new.items() if key not in old),
        tuple(conflict for key, conflict in old.items() if key not in new),
    )


def _source(settled: Settled, node: str, prefix: Network) -> str:
    """The sources that say that the node has a prefix, or said it last."""
    for kind in (Kind.PREFIX, Kind.BORROWED):
        claim = Claim(node, kind, prefix)
        if entry := settled.lingering.get(claim):
            return entry.source
        if sources := said_by(settled.parts, claim):
            return ", ".join(sources)
    return ""


def vip_nodes(allocations: Allocations) -> dict[Network, Nodes]:
    """Whom each VIP prefix is open to."""
    return {prefix: pool.nodes for pool in allocations.vips for prefix in pool.prefixes}


def _openings(before: Allocations, after: Settled) -> Iterator[Opening]:
    """VIP prefixes that are open to nodes after, and were not before."""
    old = vip_nodes(before)
    for prefix, nodes in vip_nodes(after.allocations).items():
        was: Nodes = old.get(prefix, frozenset())
        more = nodes if nodes is None or was is None else nodes - was
        if was is not None and (more is None or more):
            yield Opening(prefix, more, after.ledger.vips.get(prefix, ""))


def node_sources(parts: Parts, name: str) -> str:
    """The sources that know a node."""
    return ", ".join(source for source, part in parts.items() if name in part.nodes)
