"""Take back from peers what the engine left them with, and forgot.

A path whose CLUSTER_LIST has our own cluster id is kept from clients (RFC 4456, section 8), but the engine does not
withdraw the earlier path in whose place it came, and its own withdrawal is kept from them too: they would hold the
earlier one for as long as their session lasts. For a path that is there and that a peer may not have, a soft reset
outwards withdraws what that peer was sent under the same path identifier (RFC 7911). So while the looped path is there,
a soft reset is enough; when it has gone, paths of our own, which nobody may have, take its place for a moment.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable

from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.speaker import FAMILIES
from rr.net import Address, Network

IDENTIFIERS = 16
"""Paths of our own of one prefix: so many identifiers, from the lowest free one on, are taken back."""
_NO_NEXT_HOP = {4: "0.0.0.0", 6: "::"}

Refresh = Callable[[Iterable[Address]], Awaitable[None]]
"""Decides again what peers are sent (a soft reset outwards)."""


async def take_back(
    engine: Engine, prefixes: Collection[Network], receivers: Iterable[Address], refresh: Refresh
) -> None:
    """Have `receivers` told that what they were sent of `prefixes`, and is no more, is gone."""
    try:
        for prefix in prefixes:
            for identifier in range(1, IDENTIFIERS + 1):
                await engine.add_own_path(_path(prefix, identifier))
        await refresh(receivers)
    finally:
        await clear(engine)


async def clear(engine: Engine) -> None:
    """Remove all paths of our own; an rrd that was killed may have left some."""
    for family in FAMILIES.values():
        await engine.delete_own_paths(family)


def _path(prefix: Network, identifier: int) -> pb.Path:
    """A path that is never the best where there is another."""
    family = FAMILIES[f"ipv{prefix.version}"]
    nlri = pb.NLRI(prefix=pb.IPAddressPrefix(prefix=str(prefix.network_address), prefix_len=prefix.prefixlen))
    next_hop = _NO_NEXT_HOP[prefix.version]
    if prefix.version == 4:
        where = pb.Attribute(next_hop=pb.NextHopAttribute(next_hop=next_hop))
    else:
        where = pb.Attribute(
            mp_reach=pb.MpReachNLRIAttribute(family=family, next_hops=[next_hop], nlris=[nlri])
        )
    attributes = [
        pb.Attribute(origin=pb.OriginAttribute(origin=2)),
        where,
        pb.Attribute(local_pref=pb.LocalPrefAttribute(local_pref=1)),
    ]
    return pb.Path(family=family, nlri=nlri, pattrs=attributes, identifier=identifier)
