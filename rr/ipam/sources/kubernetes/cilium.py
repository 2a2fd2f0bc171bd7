"""Cilium: CiliumNode, and the pools that it gives VIPs out of."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import collapse_addresses, summarize_address_range

from rr.addresses import NotValid, read_address
from rr.ipam.sources.kubernetes.nodes import INTERNAL
from rr.ipam.sources.kubernetes.objects import CiliumBlock, CiliumIpam, CiliumNode, CiliumPool, reader
from rr.ipam.sources.kubernetes.parts import Careful, Decoded, OpenPool, Share
from rr.net import Network

_read_node = reader(CiliumNode)
_read_pool = reader(CiliumPool)


def decode_node(raw: bytes, *, addresses: bool, prefixes: bool) -> Decoded:
    """What a CiliumNode says of its node, as far as it is asked; raises NotThis."""
    node, careful = _read_node(raw), Careful()
    name = node.metadata.name
    if not careful.node(name, "metadata.name"):
        return careful.decoded(None)
    internal = [entry.ip for entry in node.spec.addresses or () if entry.type == INTERNAL]
    share = Share(
        name,
        careful.addresses(internal, "spec.addresses") if addresses else (),
        careful.prefixes(_cidrs(node.spec.ipam), "spec.ipam") if prefixes and node.spec.ipam else (),
    )
    return careful.decoded((share,))


def _cidrs(ipam: CiliumIpam) -> Iterator[str]:
    yield from ipam.pod_cidrs or ()
    for pool in (ipam.pools and ipam.pools.allocated) or ():
        yield from pool.cidrs or ()


def decode_pool(raw: bytes) -> Decoded:
    """The VIPs of a CiliumLoadBalancerIPPool, unless it is disabled; raises NotThis."""
    pool, careful = _read_pool(raw), Careful()
    if pool.spec.disabled:
        return careful.decoded(None)
    found: list[Network] = []
    for block in [*(pool.spec.blocks or ()), *(pool.spec.cidrs or ())]:
        found += _block(block, careful)
    return careful.decoded(OpenPool(joined(found)) if found else None)


def _block(block: CiliumBlock, careful: Careful) -> list[Network]:
    if block.cidr:
        return list(careful.prefixes([block.cidr], "spec.blocks"))
    try:
        start = read_address(block.start)
        stop = read_address(block.stop) if block.stop else start
        networks: list[Network] = list(summarize_address_range(start, stop))
    except NotValid as error:
        careful.troubles.append(f"spec.blocks: {error.wrong}")
        return []
    except (ValueError, TypeError):
        careful.troubles.append(f"spec.blocks: {block.start} to {block.stop} is not a range")
        return []
    return [network for network in networks if careful.routed(network, "spec.blocks")]


def joined(networks: list[Network]) -> tuple[Network, ...]:
    """The same addresses in as few prefixes as there can be, sorted."""
    four = [network for network in networks if network.version == 4]
    six = [network for network in networks if network.version == 6]
    return (*collapse_addresses(four), *collapse_addresses(six))
