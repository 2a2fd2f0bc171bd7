"""Node: addresses and PodCIDRs."""

from __future__ import annotations

from rr.ipam.sources.kubernetes.objects import Node, reader
from rr.ipam.sources.kubernetes.parts import Careful, Decoded, Share

INTERNAL = "InternalIP"

_read = reader(Node)


def decode(raw: bytes, *, addresses: bool, prefixes: bool) -> Decoded:
    """What a Node says of itself, as far as it is asked; raises NotThis."""
    node, careful = _read(raw), Careful()
    name = node.metadata.name
    if not careful.node(name, "metadata.name"):
        return careful.decoded(None)
    internal = [entry.address for entry in node.status.addresses or () if entry.type == INTERNAL]
    cidrs = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    share = Share(
        name,
        careful.addresses(internal, "status.addresses") if addresses else (),
        careful.prefixes(cidrs, "spec.podCIDRs") if prefixes else (),
    )
    return careful.decoded((share,))
