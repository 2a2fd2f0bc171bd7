"""Calico: the blocks that nodes have, and the addresses that they borrow from other nodes' blocks."""

from __future__ import annotations

from rr.addresses import NotValid, network_of, read_prefix
from rr.ipam.sources.kubernetes.objects import BlockAffinity, BlockSpec, IpamBlock, reader
from rr.ipam.sources.kubernetes.parts import Careful, Decoded, Share
from rr.net import Network

CONFIRMED = "confirmed"
_HOST = "host:"
_VIRTUAL = "virtual"
"""The type of blocks that are no host's: Calico gives load balancers their addresses out of such."""

_read_affinity = reader(BlockAffinity)
_read_block = reader(IpamBlock)


def decode_affinity(raw: bytes) -> Decoded:
    """The block that a node has. A claim that is pending or given up is none; raises NotThis."""
    spec, careful = _read_affinity(raw).spec, Careful()
    deleted = str(spec.deleted).lower() == "true"
    if spec.state != CONFIRMED or deleted or spec.type == _VIRTUAL:
        return careful.decoded(None)
    prefixes = careful.prefixes([spec.cidr], "spec.cidr")
    if not careful.node(spec.node, "spec.node") or not prefixes:
        return careful.decoded(None)
    return careful.decoded((Share(spec.node, prefixes=prefixes),))


def decode_block(raw: bytes) -> Decoded:
    """The addresses of a block that are used on other nodes than the one that has the block; raises NotThis."""
    spec, careful = _read_block(raw).spec, Careful()
    users = _borrowers(spec)
    if spec.deleted or not users:
        return careful.decoded(None)
    try:
        block = read_prefix(spec.cidr)
    except NotValid as error:
        careful.troubles.append(f"spec.cidr: {error.wrong}")
        return careful.decoded(None)
    if not careful.routed(block, "spec.cidr"):
        return careful.decoded(None)
    shares = tuple(
        Share(node, borrowed=_hosts(block, users[node], careful))
        for node in sorted(users)
        if careful.node(node, "spec.attributes")
    )
    return careful.decoded(tuple(share for share in shares if share.borrowed) or None)


def _borrowers(spec: BlockSpec) -> dict[str, list[int]]:
    """The places in the block that each borrowing node uses."""
    affinity = spec.affinity or ""
    owner = affinity.removeprefix(_HOST) if affinity.startswith(_HOST) else None
    if affinity.startswith(f"{_VIRTUAL}:"):
        return {}
    nodes = [(attribute.secondary or {}).get("node") for attribute in spec.attributes or ()]
    if not any(node and node != owner for node in nodes):
        return {}
    found: dict[str, list[int]] = {}
    for place, index in enumerate(spec.allocations or ()):
        node = nodes[index] if index is not None and 0 <= index < len(nodes) else None
        if node and node != owner:
            found.setdefault(node, []).append(place)
    return found


def _hosts(block: Network, places: list[int], careful: Careful) -> tuple[Network, ...]:
    inside = [place for place in places if place < block.num_addresses]
    if len(inside) < len(places):
        careful.troubles.append(f"spec.allocations: it has more entries than {block} has addresses")
    return tuple(network_of(block[place]) for place in inside)
