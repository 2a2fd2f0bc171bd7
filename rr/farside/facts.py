"""What the far side of a session must know: addresses, AS, timers, families, paths and filters, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rr.config.model import Instance, Nodes, Pair, Rack, Tor
from rr.config.types import Family
from rr.errors import FarSideError
from rr.net import Address, Network

BGP_PORT = 179
AGENT_RESTART = 120
"""Seconds in which a node's agent is expected back, as most agents have it; a longer `stale_time` counts instead."""
FAMILY = {4: "ipv4", 6: "ipv6"}
DEFAULT = {4: ("0.0.0.0/0", 7), 6: ("::/0", 15)}
"""By IP version: the default route, and up to which length a prefix is still as good as one."""


@dataclass(frozen=True, slots=True)
class Appliance:
    """What of a configuration concerns its peers."""

    name: str
    instances: Mapping[str, Instance]
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class Password:
    """The TCP-MD5 password of a session: where it is, and what it is for whoever asked for it."""

    file: Path
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Neighbor:
    """An address of an appliance that the far side has a session with."""

    appliance: str
    address: Address
    families: tuple[Family, ...]
    floating: bool = False
    """Whether it moves between the halves of a pair."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """What all sessions of one far side with the appliance and its other half share."""

    instance: str
    rack: str
    asn: int
    port: int
    hold_time: int
    families: tuple[Family, ...]
    neighbors: tuple[Neighbor, ...]
    password: Password | None
    bfd: bool
    from_tors: tuple[Network, ...]
    notes: tuple[str, ...] = ()
    """Sentences that the reader of the snippet should know."""

    @property
    def keepalive(self) -> int:
        """Seconds between keepalives (RFC 4271, section 10)."""
        return self.hold_time // 3

    @property
    def title(self) -> str:
        """A name for what belongs to these sessions, in capitals: RR-MAIN."""
        return f"RR-{self.instance}".upper()

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions of the prefixes that are exchanged."""
        return tuple(version for version, family in FAMILY.items() if family in self.families)


@dataclass(frozen=True, slots=True)
class TorSide:
    """What a ToR must know."""

    sessions: Sessions
    address: Address
    port: int
    paths: int
    """How many paths of a prefix all neighbors together send; 0: one best path each, without add-path."""
    dials: bool
    """Whether the ToR must dial, because the appliance waits."""
    accept: tuple[Network, ...] = ()
    """The prefixes in which routes are accepted; none: everywhere, but for a default route."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A node, and what the IPAM says of it."""

    name: str
    addresses: tuple[Address, ...]
    prefixes: tuple[Network, ...]
    """All that it may announce but VIPs: its own prefixes, and the host routes that it borrows."""

    def address(self, version: int) -> Address | None:
        """Its first address of an IP version."""
        return next((a for a in self.addresses if a.version == version), None)


@dataclass(frozen=True, slots=True)
class NodeSide:
    """What a node must know, or each node of a rack."""

    sessions: Sessions
    ttl_security: bool
    restart_time: int
    max_prefixes: int
    alone: bool
    """Whether all nodes are in this one rack."""
    one_as: bool
    """Whether all nodes are in one AS."""
    owned: Owned | None = None
    sources: tuple[Address, ...] = ()
    """Those of its addresses that may dial in from this rack."""
    vips: tuple[Network, ...] = ()
    """The VIP pools that are open to the node, or all where no node is named."""

    def source(self, version: int) -> Address | None:
        """The address that a session of an IP version comes from, where it is known."""
        return next((a for a in self.sources if a.version == version), None)

    @property
    def router_id(self) -> Address | None:
        """The node's BGP identifier, where it has an IPv4 address that can be it."""
        return self.source(4) or (self.owned.address(4) if self.owned else None)

    @property
    def without_router_id(self) -> bool:
        """Whether the node has no IPv4 address that could be its BGP identifier."""
        return self.owned is not None and self.router_id is None

    def straight(self, agent: str) -> tuple[int, ...]:
        """The IP versions whose prefixes go over sessions of the same version, for agents that know no other way."""
        sessions = self.sessions
        found = tuple(v for v in sessions.versions if any(v == n.address.version for n in sessions.neighbors))
        if not found:
            raise FarSideError(
                f"{agent} announces {sessions.families[0]} over a session of that IP version alone, and "
                f"{sessions.rack} has none",
                "give the rack a range, and the instance an address, of that IP version",
            )
        return found

    def default_allowed(self, version: int) -> bool:
        """Whether the rack's ToRs give the nodes a default route."""
        return any(n.prefixlen == 0 and n.version == version for n in self.sessions.from_tors)


Secret: TypeAlias = Callable[[Path], str | None]
"""Gives the password in a file, or None where the snippet shall not have it."""


def racks(appliance: Appliance) -> Iterator[tuple[str, str, Rack]]:
    """Every rack, with the names of its instance and of itself."""
    for name, instance in appliance.instances.items():
        for rack_name, rack in instance.racks.items():
            yield name, rack_name, rack


def tor_side(
    appliance: Appliance,
    instance: str,
    rack: str,
    tor: Tor,
    secret: Secret,
    *,
    address: Address | None = None,
    accept: Iterable[Network] = (),
) -> TorSide:
    """Say what a ToR must know; `address` is the appliance's address to use instead of the first fitting one."""
    speaker = appliance.instances[instance]
    whom = f"the ToR {tor.address}"
    if address is not None:
        _must_fit(address, {tor.address.version}, whom, instance)
        if address in speaker.floating:
            raise FarSideError(
                f"{address} is a floating address, and an engine accepts ToRs at its own addresses alone",
                f"name one of {_list(a for a in speaker.listen if a.version == address.version)}; a ToR has a session "
                "with each half",
            )
    neighbors, notes = _neighbors(
        appliance, instance, {tor.address.version: speaker.families}, whom, "tor", address
    )
    password = _password(tor.password_file, secret)
    sessions = _sessions(appliance, instance, rack, neighbors, password, tor.bfd, notes)
    paths = tor.add_paths * len(neighbors)
    return TorSide(sessions, tor.address, tor.port, paths, tor.passive, tuple(accept))


def node_side(
    appliance: Appliance,
    instance: str,
    rack: str,
    secret: Secret,
    *,
    address: Address | None = None,
    owned: Owned | None = None,
    vips: Iterable[Network] = (),
) -> NodeSide:
    """Say what the nodes of a rack must know, or what one of them must that is named by `owned`."""
    speaker = appliance.instances[instance]
    nodes = speaker.racks[rack].nodes
    sources = tuple(a for a in owned.addresses if _dials_in(a, nodes)) if owned else ()
    whom = f"node {owned.name}" if owned else f"nodes of {rack}"
    versions = set[int](r.version for r in nodes.ranges) & {a.version for a in speaker.bound}
    if owned:
        versions &= {a.version for a in sources}
    if not versions:
        raise FarSideError(
            f"instance {instance} listens on no address that {whom} could dial from {_list(nodes.ranges)}",
            "add one of that IP version to `listen`",
        )
    if address is not None:
        _must_fit(address, versions, whom, instance)
        versions = {address.version}
    neighbors, notes = _neighbors(
        appliance, instance, _carried(speaker.families, versions), whom, "node", address
    )
    password = _password(nodes.password_file, secret)
    return NodeSide(
        _sessions(appliance, instance, rack, neighbors, password, nodes.bfd, notes),
        ttl_security=nodes.ttl_security,
        restart_time=max(AGENT_RESTART, nodes.stale_time or 0),
        max_prefixes=nodes.max_prefixes,
        alone=len(list(racks(appliance))) == 1,
        one_as=len({i.asn for i in appliance.instances.values()}) == 1,
        owned=owned,
        sources=sources,
        vips=tuple(vips),
    )


def _sessions(
    appliance: Appliance,
    instance: str,
    rack: str,
    neighbors: tuple[Neighbor, ...],
    password: Password | None,
    bfd: bool,
    notes: tuple[str, ...],
) -> Sessions:
    speaker = appliance.instances[instance]
    return Sessions(
        instance, rack, speaker.asn, speaker.port, speaker.hold_time, speaker.families, neighbors, password, bfd,
        speaker.racks[rack].from_tors, notes,
    )  # fmt: skip


def _password(file: Path | None, secret: Secret) -> Password | None:
    return Password(file, secret(file)) if file else None


def _dials_in(address: Address, nodes: Nodes) -> bool:
    return any(address.version == r.version and address in r for r in nodes.ranges)


def _carried(families: tuple[Family, ...], versions: set[int]) -> dict[int, tuple[Family, ...]]:
    """Which families go over which IP version: each over its own where there is a session of it."""
    own = {family: version for version, family in FAMILY.items()}
    carrier = {f: own[f] if own[f] in versions else min(versions) for f in families}
    found = {v: tuple(f for f in families if carrier[f] == v) for v in sorted(versions)}
    return {version: carried for version, carried in found.items() if carried}


def _neighbors(
    appliance: Appliance,
    instance: str,
    carried: Mapping[int, tuple[Family, ...]],
    whom: str,
    kind: str,
    address: Address | None,
) -> tuple[tuple[Neighbor, ...], tuple[str, ...]]:
    """The addresses to have sessions with, one of each half and IP version, and what there is to say about them."""
    speaker = appliance.instances[instance]
    if address is not None and address not in speaker.bound:
        raise FarSideError(
            f"instance {instance} does not listen on {address}", f"name one of {_list(speaker.bound)}"
        )
    neighbors: list[Neighbor] = []
    notes: list[str] = []
    for version, families in carried.items():
        own = [a for a in speaker.listen if a.version == version]
        chosen = address if address is not None and address.version == version else next(iter(own), None)
        if chosen is None:
            raise FarSideError(
                f"instance {instance} has no IPv{version} address for a session with {whom}",
                "add one to `listen`",
            )
        floating = chosen in speaker.floating
        neighbors.append(Neighbor(appliance.name, chosen, families, floating))
        if floating:
            notes.append(f"{chosen} moves between the halves of the pair; it is the only neighbor.")
            continue
        notes += _choices(speaker, chosen, own, kind)
        other, said = _other_half(appliance, instance, version, families, kind)
        neighbors += other
        notes += said
    return tuple(neighbors), tuple(notes)


def _must_fit(address: Address, versions: set[int], whom: str, instance: str) -> None:
    if address.version not in versions:
        right = f"name an IPv{min(versions)} address of instance {instance}"
        raise FarSideError(f"{address} cannot be dialed by {whom}", right)


def _choices(speaker: Instance, chosen: Address, own: list[Address], kind: str) -> Iterator[str]:
    if others := [a for a in own if a != chosen]:
        yield f"The appliance listens on {_list(others)} too: `--address` takes another one than {chosen}."
    floating = [a for a in speaker.floating if a.version == chosen.version]
    if floating and kind == "node":
        yield f"Where only one neighbor is possible, `--address {floating[0]}` takes the floating address."


def _other_half(
    appliance: Appliance, instance: str, version: int, families: tuple[Family, ...], kind: str
) -> tuple[list[Neighbor], list[str]]:
    pair = appliance.pair
    if pair is None:
        return [], []
    address = pair.peers.get(instance)
    if address is not None and address.version == version:
        return [Neighbor(pair.name, address, families)], []
    note = (
        f"The IPv{version} address of the other half {pair.name} is not known here: run `rrctl {kind}-config` there "
        "too, and use both."
    )
    return [], [note]


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
