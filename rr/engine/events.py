"""The engine's event stream as plain facts.

One stream carries each path as it left the import policy, and each End-of-RIB. A rejected path comes as a withdrawal
that still has its attributes; a real withdrawal has none. Session changes are not asked for: to tell them, the engine
holds up a session's coming up just where routes can get lost (docs/engine.md). A peer that sends a route or an
End-of-RIB is up; whoever is in doubt is asked about.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from rr.engine.pb import gobgp_pb2 as pb
from rr.net import Address, Network
from rr.policy.verdict import Announcement

STATES = {
    pb.PeerState.SESSION_STATE_IDLE: "idle",
    pb.PeerState.SESSION_STATE_CONNECT: "connect",
    pb.PeerState.SESSION_STATE_ACTIVE: "active",
    pb.PeerState.SESSION_STATE_OPENSENT: "opensent",
    pb.PeerState.SESSION_STATE_OPENCONFIRM: "openconfirm",
    pb.PeerState.SESSION_STATE_ESTABLISHED: "established",
}
_FAMILIES = {pb.Family.AFI_IP: "ipv4", pb.Family.AFI_IP6: "ipv6"}
BATCH = 500
"""Paths in one message at most."""


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """A session came into a state, or was in it when watching began."""

    peer: Address
    state: str
    router_id: str
    asn: int
    initial: bool
    since: float | None = None
    """Unix time at which an established session came up, in whole seconds; None where the engine does not say."""


@dataclass(frozen=True, slots=True)
class RouteSeen:
    """A peer's path, after the import policy had its say."""

    announcement: Announcement
    accepted: bool
    received: int
    """Unix time at which the engine got it; a path that is judged again keeps it."""
    stale: bool
    router_id: str = ""


@dataclass(frozen=True, slots=True)
class RouteGone:
    """A peer withdrew a prefix."""

    peer: Address
    prefix: Network


@dataclass(frozen=True, slots=True)
class EndOfRib:
    """A peer has sent all that it has: it is up."""

    peer: Address
    router_id: str
    family: str = ""
    """The address family, as the configuration calls it; empty for one that it does not know."""


Event = PeerChanged | RouteSeen | RouteGone | EndOfRib


def everything() -> pb.WatchEventRequest:
    """Ask for all paths and End-of-RIBs, beginning with the accepted paths that are there now."""
    kinds = pb.WatchEventRequest.Table.Filter
    filters = [kinds(type=kinds.TYPE_POST_POLICY, init=True), kinds(type=kinds.TYPE_EOR)]
    return pb.WatchEventRequest(table=pb.WatchEventRequest.Table(filters=filters), batch_size=BATCH)


def announced() -> pb.WatchEventRequest:
    """Ask for what peers announced before the policy, to learn of the rejected paths that were there before us."""
    filters = [
        pb.WatchEventRequest.Table.Filter(type=pb.WatchEventRequest.Table.Filter.TYPE_ADJIN, init=True)
    ]
    return pb.WatchEventRequest(table=pb.WatchEventRequest.Table(filters=filters), batch_size=BATCH)


def read(message: pb.WatchEventResponse) -> Iterator[Event]:
    """The facts in one message."""
    for path in message.table.paths:
        if not path.neighbor_ip:
            continue
        if path.nlri.HasField("prefix"):
            yield read_path(path)
        else:
            family = _FAMILIES.get(path.family.afi, "")
            yield EndOfRib(address(path.neighbor_ip), _router_id(path.source_id), family)


def read_peer(message: pb.Peer, *, initial: bool) -> PeerChanged:
    """A session as the engine lists it."""
    state = message.state
    return PeerChanged(
        address(state.neighbor_address),
        STATES.get(state.session_state, "idle"),
        _router_id(state.router_id),
        state.peer_asn,
        initial,
        float(message.timers.state.uptime.seconds) or None,
    )


def _router_id(text: str) -> str:
    return "" if text == "invalid IP" else text


def read_path(path: pb.Path) -> RouteSeen | RouteGone:
    """One path: what was announced and what became of it."""
    peer = address(path.neighbor_ip)
    prefix = network(path.nlri.prefix.prefix, path.nlri.prefix.prefix_len)
    if path.is_withdraw and not path.pattrs:
        return RouteGone(peer, prefix)
    next_hop: Address | None = None
    as_path, originator = "", None
    clusters: tuple[str, ...] = ()
    for attribute in path.pattrs:
        kind = attribute.WhichOneof("attr")
        if kind == "next_hop":
            next_hop = address(attribute.next_hop.next_hop)
        elif kind == "mp_reach":
            next_hop = address(attribute.mp_reach.next_hops[0]) if attribute.mp_reach.next_hops else None
        elif kind == "as_path":
            as_path = _as_text(attribute.as_path)
        elif kind == "originator_id":
            originator = attribute.originator_id.id
        elif kind == "cluster_list":
            clusters = tuple(attribute.cluster_list.ids)
    if prefix.version == 6 and isinstance(next_hop, IPv4Address):
        # The engine prints an IPv4-mapped next hop as if it were IPv4, but its policy does not take it for that.
        next_hop = IPv6Address(f"::ffff:{next_hop}")
    announcement = Announcement(peer, prefix, next_hop, as_path, originator, clusters)
    router_id = _router_id(path.source_id)
    return RouteSeen(announcement, not path.is_withdraw, path.age.seconds, path.stale, router_id)


address = lru_cache(maxsize=65536)(ip_address)


@lru_cache(maxsize=65536)
def network(start: str, length: int) -> Network:
    """A prefix as the engine tells it; bits after its length do not count."""
    return ip_network((start, length), strict=False)


_BRACKETS = {
    pb.AsSegment.TYPE_AS_SET: ("{", ",", "}"),
    pb.AsSegment.TYPE_AS_SEQUENCE: ("", " ", ""),
    pb.AsSegment.TYPE_AS_CONFED_SEQUENCE: ("(", " ", ")"),
    pb.AsSegment.TYPE_AS_CONFED_SET: ("[", ",", "]"),
}


def _as_text(path: pb.AsPathAttribute) -> str:
    if not path.segments:
        return ""
    words = []
    for segment in path.segments:
        left, between, right = _BRACKETS.get(segment.type, ("", " ", ""))
        words.append(left + between.join(map(str, segment.numbers)) + right)
    return " ".join(words)
