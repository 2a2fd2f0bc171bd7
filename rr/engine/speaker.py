"""What a speaker is, besides its policy: its identity, the ranges that may dial in, and the peers it knows by address.

`plan` is a pure function of the configuration and its secrets. The plan is written as the engine's messages and read
back from them, so that the reconciler compares like with like.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeAlias

from rr.config.model import Config, Instance, Tor
from rr.engine.pb import gobgp_pb2 as pb
from rr.net import Address, Network

FAMILIES = {
    "ipv4": pb.Family(afi=pb.Family.AFI_IP, safi=pb.Family.SAFI_UNICAST),
    "ipv6": pb.Family(afi=pb.Family.AFI_IP6, safi=pb.Family.SAFI_UNICAST),
}
"""The address families by the names that the configuration has for them."""
_AFI = {family.afi: name for name, family in FAMILIES.items()}
_BFD_INTERVAL = 300_000
"""Microseconds between BFD packets; three lost ones are a failure."""
_BFD_MULTIPLIER = 3
_BGP_PORT = 179
_TOR_DEFERRAL, _NODE_DEFERRAL = 1, 5
"""Seconds after which a restarted engine sends a peer everything: ToRs come when the nodes' routes are in."""
NOBODY = ip_address("0.0.0.1")
"""The address of a peer that never comes: while it is awaited, nobody waits for all the others."""
_KEPT_OUT = "kept out"
_GTSM_TTL = 255
"""RFC 5082: a directly connected peer's packets arrive with the TTL they were sent with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What cannot change while the speaker runs."""

    asn: int
    router_id: str
    port: int
    listen: frozenset[str]


@dataclass(frozen=True, slots=True)
class Session:
    """How the speaker talks to a peer."""

    asn: int
    cluster_id: str
    families: frozenset[str]
    hold_time: int
    restart_time: int
    """0: without graceful restart."""
    deferral_time: int
    add_paths: int = 0
    passive: bool = True
    password: str = field(default="", repr=False)
    ttl_security: bool = False
    bfd: bool = False


@dataclass(frozen=True, slots=True)
class ExplicitPeer:
    """A peer that is known by its address: a ToR, or the other half."""

    session: Session
    port: int
    local_address: str
    shut: bool = False
    """Somebody keeps it from having a session; no plan says so."""


@dataclass(frozen=True, slots=True)
class Returning:
    """The peers of the engine before this one, which has come up empty (RFC 4724, section 4.1)."""

    nodes: Mapping[Address, ExplicitPeer]
    """To be known before ToRs and ranges are, so that their End-of-RIBs are waited for."""
    hold_tors: bool = False
    """Whether ToRs and ranges must wait; a later run lets them in."""
    awaited: frozenset[Address] = frozenset()
    """Nodes that are not to be handed back to their range yet."""
    under_way: bool = False
    """Whether anybody is still to come back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a speaker but its policy."""

    identity: Identity
    groups: Mapping[str, Session]
    ranges: Mapping[Network, str]
    """Which prefixes may dial in, and the group whose settings they get."""
    peers: Mapping[Address, ExplicitPeer]
    kept_out: frozenset[Address] = frozenset()
    """Addresses in ranges from which nobody may dial for now."""
    pair: Address | None = None
    """Which of the peers is the other half's speaker."""
    farewell: str = ""
    """Where nobody may have a session: what everybody is told who has one (RFC 9003)."""
    later: Mapping[Network, str] = field(default_factory=dict)
    """Where nobody may have a session: the ranges that will be open again."""


def closed(plan: Plan, farewell: str) -> Plan:
    """The same speaker, closed to everybody."""
    return replace(plan, ranges={}, later=plan.ranges, peers={}, kept_out=frozenset(), farewell=farewell)


def range_of(plan: Plan, address: Address) -> Network | None:
    """The range that an address may dial in from."""
    return next((r for r in plan.ranges if r.version == address.version and address in r), None)


def returning_nodes(plan: Plan, addresses: Iterable[Address]) -> dict[Address, ExplicitPeer]:
    """Those addresses that are nodes', as explicit peers with the settings of their range.

    They are dialed: FRR, helping a peer that restarts, waits for it to dial once its own try was refused.
    """
    found = {}
    for address in addresses:
        if address not in plan.peers and address not in plan.kept_out and (own := range_of(plan, address)):
            group = plan.groups[plan.ranges[own]]
            session = replace(group, passive=False, deferral_time=min(_NODE_DEFERRAL, group.deferral_time))
            found[address] = ExplicitPeer(session, _BGP_PORT, _source(plan.identity.listen, address))
    return found


def nobody(plan: Plan) -> pb.Peer:
    """The peer that never comes: it waits to be dialed, from an address that nobody has (RFC 1122, section 3.2.1.3)."""
    session = next(iter(plan.groups.values()))
    return peer_message(NOBODY, ExplicitPeer(replace(session, password=""), _BGP_PORT, ""))


def keeps_session(before: ExplicitPeer, after: ExplicitPeer) -> bool:
    """A change of the hold time alone reaches a running session without resetting it (docs/engine.md)."""
    return replace(before, session=replace(before.session, hold_time=after.session.hold_time)) == after


Secrets: TypeAlias = Callable[[Path | None], str]
"""Gives the password in a file, and an empty text for None."""


@dataclass(frozen=True, slots=True)
class Half:
    """The other half's speaker."""

    address: Address
    dialed: bool
    """We dial and it waits: GoBGP does not resolve a collision of two connections as RFC 4271, section 6.8, says."""
    password_file: Path | None = None


def half_of(config: Config, instance: str) -> Half | None:
    """The other half of an instance; None where it has none."""
    pair = config.pair
    if pair is None or instance not in pair.peers:
        return None
    return Half(pair.peers[instance], config.name > pair.name, pair.password_file)


def plan(instance: Instance, secret: Secrets, half: Half | None = None) -> Plan:
    """Say what the engine of `instance` should hold."""
    groups: dict[str, Session] = {}
    ranges: dict[Network, str] = {}
    peers: dict[Address, ExplicitPeer] = {}
    for name, rack in instance.racks.items():
        group = f"nodes/{name}"
        groups[group] = replace(
            _session(instance),
            password=secret(rack.nodes.password_file),
            ttl_security=rack.nodes.ttl_security,
            bfd=rack.nodes.bfd,
        )
        ranges |= dict.fromkeys(rack.nodes.ranges, group)
        peers |= {tor.address: _tor(instance, tor, secret) for tor in rack.tors}
    identity = Identity(
        instance.asn, str(instance.router_id), instance.port, frozenset(map(str, instance.bound))
    )
    if half:
        peers[half.address] = _half(instance, half, secret)
    return Plan(identity, groups, ranges, peers, pair=half.address if half else None)


def _session(instance: Instance) -> Session:
    """What all sessions of an instance share."""
    return Session(
        asn=instance.asn,
        cluster_id=str(instance.cluster_id),
        families=frozenset(instance.families),
        hold_time=instance.hold_time,
        restart_time=instance.graceful_restart.restart_time,
        deferral_time=instance.graceful_restart.deferral_time,
    )


def _tor(instance: Instance, tor: Tor, secret: Secrets) -> ExplicitPeer:
    session = replace(
        _session(instance),
        deferral_time=min(_TOR_DEFERRAL, instance.graceful_restart.deferral_time),
        add_paths=tor.add_paths,
        passive=tor.passive,
        password=secret(tor.password_file),
        bfd=tor.bfd,
    )
    return ExplicitPeer(session, tor.port, _source(map(str, instance.listen), tor.address))


def _half(instance: Instance, half: Half, secret: Secrets) -> ExplicitPeer:
    """Without graceful restart: what came over a half that is gone would outlive the node's own withdrawal."""
    session = replace(
        _session(instance),
        restart_time=0,
        deferral_time=0,
        passive=not half.dialed,
        password=secret(half.password_file),
    )
    own = [str(a) for a in instance.listen if a.version == half.address.version]
    return ExplicitPeer(session, instance.port, own[0] if own else "")


def _source(listen: Iterable[str], peer: Address) -> str:
    """The address to dial from: the one of this family that we listen on, where there is exactly one."""
    own = [a for a in map(ip_address, listen) if a.version == peer.version and not a.is_unspecified]
    return str(own[0]) if len(own) == 1 else ""


# Writing


def global_message(identity: Identity) -> pb.Global:
    """The speaker's global settings."""
    return pb.Global(
        asn=identity.asn,
        router_id=identity.router_id,
        listen_port=identity.port,
        listen_addresses=sorted(identity.listen),
    )


def group_message(name: str, session: Session) -> pb.PeerGroup:
    """A peer group for the nodes of one rack."""
    group = pb.PeerGroup(
        conf=pb.PeerGroupConf(peer_group_name=name, peer_asn=session.asn, auth_password=session.password),
        transport=pb.Transport(passive_mode=session.passive),
    )
    _write_session(group, session)
    return group


def peer_message(address: Address, peer: ExplicitPeer, *, restarting: bool = False) -> pb.Peer:
    """An explicit peer; `restarting` tells it that we have restarted and kept forwarding (RFC 4724, section 3)."""
    session = peer.session
    message = pb.Peer(
        conf=pb.PeerConf(neighbor_address=str(address), peer_asn=session.asn, auth_password=session.password),
        transport=pb.Transport(
            passive_mode=session.passive, remote_port=peer.port, local_address=peer.local_address
        ),
    )
    _write_session(message, session)
    message.graceful_restart.local_restarting = restarting
    return message


def kept_out_message(address: Address, asn: int) -> pb.Peer:
    """A peer that is shut down: it goes before its range, so whoever dials from the address is closed at once.

    Without graceful restart, or a restarted engine would wait for it.
    """
    return pb.Peer(
        conf=pb.PeerConf(neighbor_address=str(address), peer_asn=asn, admin_down=True, description=_KEPT_OUT),
        transport=pb.Transport(passive_mode=True),
    )


def _write_session(message: pb.Peer | pb.PeerGroup, session: Session) -> None:
    message.route_reflector.route_reflector_client = True
    message.route_reflector.route_reflector_cluster_id = session.cluster_id
    # A third of the hold time, as RFC 4271, section 10, suggests.
    message.timers.config.hold_time = session.hold_time
    message.timers.config.keepalive_interval = session.hold_time // 3
    message.timers.config.connect_retry = 5
    message.timers.config.idle_hold_time_after_reset = 5
    graceful = session.restart_time > 0
    message.graceful_restart.enabled = graceful
    message.graceful_restart.restart_time = session.restart_time
    message.graceful_restart.deferral_time = session.deferral_time
    for name in sorted(session.families):
        family = message.afi_safis.add()
        family.config.family.CopyFrom(FAMILIES[name])
        family.config.enabled = True
        family.mp_graceful_restart.config.enabled = graceful
        family.add_paths.config.send_max = session.add_paths
    if session.ttl_security:
        message.ttl_security.enabled = True
        message.ttl_security.ttl_min = _GTSM_TTL
    if session.bfd:
        message.bfd.enabled = True
        message.bfd.desired_minimum_tx_interval = _BFD_INTERVAL
        message.bfd.required_minimum_receive = _BFD_INTERVAL
        message.bfd.detection_multiplier = _BFD_MULTIPLIER


# Reading


def read_identity(message: pb.Global) -> Identity | None:
    """The running speaker's identity; None where the engine has not been started."""
    if not message.asn:
        return None
    return Identity(message.asn, message.router_id, message.listen_port, frozenset(message.listen_addresses))


def read_group(message: pb.PeerGroup) -> tuple[str, Session]:
    """A peer group's name and settings."""
    return message.conf.peer_group_name, _read_session(message, message.conf.peer_asn)


def read_peer(message: pb.Peer) -> tuple[Address, ExplicitPeer]:
    """An explicit peer's address and settings."""
    transport = message.transport
    # The engine says 0.0.0.0 or :: where it was told nothing.
    source = "" if transport.local_address in ("0.0.0.0", "::", "invalid IP") else transport.local_address
    session = _read_session(message, message.conf.peer_asn)
    shut = message.state.admin_state == pb.PeerState.ADMIN_STATE_DOWN
    peer = ExplicitPeer(session, transport.remote_port, source, shut)
    return ip_address(message.conf.neighbor_address), peer


def is_explicit(message: pb.Peer) -> bool:
    """Tell a configured peer from one that dialed in: the engine gives the latter no configured address."""
    try:
        ip_address(message.conf.neighbor_address)
    except ValueError:
        return False
    return True


def is_kept_out(message: pb.Peer) -> bool:
    """Tell an entry that keeps an address out."""
    return is_explicit(message) and message.conf.description == _KEPT_OUT


def read_received(message: pb.Peer) -> tuple[Address, int]:
    """A peer's address, and how many routes it announces, accepted or not."""
    return ip_address(message.state.neighbor_address), sum(f.state.received for f in message.afi_safis)


def is_established(message: pb.Peer) -> bool:
    """Say whether a peer's session is up."""
    return message.state.session_state == pb.PeerState.SESSION_STATE_ESTABLISHED


def read_families(message: pb.Peer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The address families that a session carries, and those of them under graceful restart."""
    offered = {c.multi_protocol.family.afi for c in message.state.remote_cap if c.HasField("multi_protocol")}
    own = [f for f in message.afi_safis if f.config.family.afi in _AFI and f.config.family.afi in offered]
    graceful = [f for f in own if f.mp_graceful_restart.state.received]
    return _names(own), _names(graceful)


def _names(families: "list[pb.AfiSafi]") -> tuple[str, ...]:
    return tuple(sorted(_AFI[f.config.family.afi] for f in families))


def read_ranges(messages: "list[pb.DynamicNeighbor]") -> dict[Network, str]:
    """The prefixes that may dial in, with their groups."""
    return {ip_network(message.prefix): message.peer_group for message in messages}


def _read_session(message: pb.Peer | pb.PeerGroup, asn: int) -> Session:
    enabled = [f for f in message.afi_safis if f.config.family.afi in _AFI]
    graceful = message.graceful_restart.enabled
    return Session(
        asn=asn,
        cluster_id=message.route_reflector.route_reflector_cluster_id
        if message.route_reflector.route_reflector_client
        else "",
        families=frozenset(
            _AFI[f.config.family.afi] for f in enabled if f.mp_graceful_restart.config.enabled == graceful
        ),
        hold_time=message.timers.config.hold_time,
        restart_time=message.graceful_restart.restart_time if graceful else 0,
        deferral_time=message.graceful_restart.deferral_time if graceful else 0,
        add_paths=min((f.add_paths.config.send_max for f in enabled), default=0),
        passive=message.transport.passive_mode,
        password=message.conf.auth_password,
        ttl_security=message.ttl_security.enabled,
        bfd=message.bfd.enabled,
    )
