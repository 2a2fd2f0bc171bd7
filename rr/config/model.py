"""The schema of rr.yaml: attribute names are the YAML keys, the descriptions become docs/configuration.md.

Everything here is frozen and knows nothing of files. A model can be built in Python from real types
(`ip_network(...)`) or from the same text that YAML would hold; both pass the same checks of single values.
What spans several values (overlaps, an address in two racks) is in `rr.config.checks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field, PrivateAttr, model_validator

from rr.config import scalars
from rr.config.sources import Source
from rr.config.types import (
    AbsolutePath,
    AsNumber,
    Bound,
    DeferralTime,
    Enforce,
    FamilyName,
    Flag,
    Grace,
    HoldTime,
    HostAddress,
    HostPort,
    InstanceName,
    Listen,
    ListenAddress,
    Losses,
    Model,
    Name,
    NodeRange,
    NodesGet,
    PathCount,
    Port,
    PrefixCount,
    RestartTime,
    RouterId,
    SendHoldTime,
    Share,
    Size,
    StaleTime,
    Term,
    TorPrefix,
    TorsGet,
)
from rr.net import Address, Network

Path_: TypeAlias = tuple[str | int, ...]
MOST_NEXT_HOPS = 4096
"""Addresses that the next hop of an announcement is compared with, in an observed rack and address family."""


class Http(Model):
    """The read-only HTTP server."""

    listen: Listen = Field(
        default=HostPort(host="127.0.0.1", port=9632),
        description="Where the web page, /metrics, /healthz, /readyz and /api/v1/ are served. It only reads; "
        "there is no login, so keep it on an address that only monitoring reaches.",
    )


class GracefulRestart(Model):
    """How long peers keep forwarding while an engine restarts (RFC 4724)."""

    restart_time: RestartTime = Field(
        default=120, description="How long a peer keeps routes after the session dropped, until it is back."
    )
    deferral_time: DeferralTime = Field(
        default=30,
        description="How long a restarted engine waits at most for every peer's End-of-RIB before it "
        "sends routes; it bounds what a node that never comes back can delay.",
    )


class Nodes(Model):
    """The nodes of a rack: nobody is listed, whoever dials from a range may peer."""

    ranges: tuple[NodeRange, ...] = Field(
        min_length=1,
        examples=["[10.2.0.0/24]"],
        description="Any node that dials from here gets a session. Ranges never overlap, in no two "
        "racks and no two "
        "instances, and hold neither a ToR nor the appliance itself.",
    )
    password_file: AbsolutePath | None = Field(
        default=None,
        description="A file with the TCP-MD5 password (RFC 2385) of all nodes of the rack; mode 0600.",
    )
    max_prefixes: PrefixCount = Field(
        default=256,
        description="Announced prefixes per node, accepted or not; a node with more is quarantined.",
    )
    stale_time: StaleTime | None = Field(
        default=None,
        description="How long routes of a node are kept whose session dropped and that asked for it (RFC 4724), "
        "at most: its own restart time counts if that is less. Longer keeps the routes of a node whose agent "
        "restarts, shorter takes VIP traffic off a dead node sooner; 0 drops them at once.",
        json_schema_extra={"default": "`120`, with a pair `60`"},
    )
    ttl_security: Flag = Field(
        default=False,
        description="Accept only packets that came over no router (GTSM, RFC 5082); both ends need it. For sessions "
        "over IPv6 this host must send with hop limit 255: `net.ipv6.conf.INTERFACE.hop_limit = 255`.",
    )
    bfd: Flag = Field(
        default=False,
        description="Run BFD (RFC 5880) with every node. A session that BFD ends is a hard reset: "
        "graceful restart "
        "does not keep its routes.",
    )


class Tor(Model):
    """One ToR: a peer that is given the routes, and from which nothing is taken but `from_tors`."""

    address: HostAddress = Field(
        examples=["10.2.0.1"], description="The address that the session runs to; never inside a node range."
    )
    port: Port = Field(default=179, description="The TCP port that the appliance dials.")
    add_paths: PathCount = Field(
        default=16,
        description="How many paths of one prefix the ToR is sent (RFC 7911): a VIP's ECMP width. 0 "
        "turns it off: "
        "the ToR then gets one best path.",
    )
    password_file: AbsolutePath | None = Field(
        default=None, description="A file with the TCP-MD5 password (RFC 2385) of this session; mode 0600."
    )
    bfd: Flag = Field(default=False, description="Run BFD (RFC 5880) with this ToR.")
    passive: Flag = Field(default=False, description="Wait for the ToR to dial instead of dialing it.")


class Observe(Model):
    """What the nodes of a rack may announce without owning it, while its `enforce` is `observe`; else it waits."""

    prefixes: tuple[Bound, ...] = Field(
        min_length=1,
        examples=["[10.244.0.0/16]"],
        description="Whatever lies in one of these may be announced, from the prefix itself to host routes: what "
        "pods and services have their addresses in. Never a default route; and no prefix that holds nodes, ToRs, the "
        "appliance or what a ToR may send.",
    )
    next_hops: tuple[NodeRange, ...] = Field(
        default=(),
        description="Where the nodes have the addresses that may be next hops of such routes; they hold neither a ToR "
        "nor the appliance, and are no other rack's. The engine compares next hops one by one, so they are "
        f"{MOST_NEXT_HOPS} addresses at most in each family: of an IPv6 range name the part that is used, such as "
        "fd00:2::/120.",
        json_schema_extra={"default": "the ranges, for each family of which none is named"},
    )


class Rack(Model):
    """A layer-2 segment: nodes that reach each other directly, and the ToRs above them."""

    nodes: Nodes = Field(examples=["{ranges: [10.2.0.0/24]}"], description="The nodes of the rack.")
    tors: tuple[Tor, ...] = Field(default=(), description="The ToRs of the rack.")
    from_tors: tuple[TorPrefix, ...] = Field(
        default=(),
        description="Prefixes that a ToR may send to the nodes, exactly these and no part of them; a "
        "default route "
        "is 0.0.0.0/0. Without any, nothing that a ToR sends goes anywhere.",
    )
    enforce: Enforce = Field(
        default=True,
        description="Whether the nodes' announcements are filtered. `observe` lets pass what is within the bounds of "
        "`observe`, and shows what would be rejected: for a rack that nobody filtered before "
        "(operations.md). What belongs to a node of another rack that is filtered is rejected also then.",
    )
    observe: Observe | None = Field(
        default=None,
        examples=["{prefixes: [10.244.0.0/16]}"],
        description="The bounds for `enforce: observe`. With `enforce: true` it does nothing, and may stay.",
    )

    @property
    def bounds(self) -> Observe | None:
        """What nodes may announce without owning it; None where the filter is enforced."""
        return self.observe if self.enforce == "observe" else None

    def next_hops(self, version: int) -> tuple[Network, ...]:
        """Where next hops may lie in what nodes announce without owning it, in one address family."""
        observe = self.observe
        if observe is None or not any(prefix.version == version for prefix in observe.prefixes):
            return ()
        named = tuple(network for network in observe.next_hops if network.version == version)
        return named or tuple(network for network in self.nodes.ranges if network.version == version)

    @model_validator(mode="after")
    def _next_hops_are_few(self) -> Rack:
        for version in (4, 6):
            found = self.next_hops(version)
            if sum(network.num_addresses for network in found) > MOST_NEXT_HOPS:
                wrong = f"what is announced while the rack is observed could have any next hop in {found[0]}"
                wrong += f", and the engine can compare with {MOST_NEXT_HOPS} addresses at most"
                right = "name the part in which the nodes have their addresses in `next_hops` of `observe`"
                raise scalars.refusal(wrong, right)
        return self


class Reflect(Model):
    """Whose routes go to whom. `rack` is the receiver's own rack."""

    nodes: NodesGet = Field(default="rack", description="Whose node routes a node is given.")
    tors: TorsGet = Field(default="rack", description="Whose node routes a ToR is given.")
    vips: NodesGet = Field(default="none", description="Whose VIP routes a node is given.")
    tor_vips: TorsGet = Field(default="all", description="Whose VIP routes a ToR is given.")


class Instance(Model):
    """One BGP speaker: an engine of its own, with an AS, a router id and addresses."""

    asn: AsNumber = Field(
        examples=["64512"],
        description="The AS of the reflector, its nodes and its ToRs: every session is iBGP.",
    )
    router_id: RouterId = Field(
        examples=["10.0.0.11"], description="The BGP identifier; two instances of one AS never share it."
    )
    cluster_id: RouterId = Field(
        default=IPv4Address(0),  # never stays: filled from router_id below
        description="What the reflector adds to CLUSTER_LIST (RFC 4456).",
        json_schema_extra={"default": "`router_id`"},
    )
    listen: tuple[ListenAddress, ...] = Field(
        default=(),
        min_length=1,
        description="Addresses of this host that peers dial and that the appliance dials ToRs from. "
        "0.0.0.0 and :: "
        "are refused: with them nobody could tell whether a range holds the appliance itself.",
        json_schema_extra={"default": "`[router_id]`"},
    )
    floating: tuple[ListenAddress, ...] = Field(
        default=(),
        description="Addresses that move between the halves of a pair (pair.md). They are listened on also while this "
        "host does not have them, which takes the sysctl net.ipv4.ip_nonlocal_bind or net.ipv6.ip_nonlocal_bind.",
    )
    port: Port = Field(default=179, description="The TCP port that it listens on.")
    families: tuple[FamilyName, ...] = Field(
        default=(),
        min_length=1,
        description="Address families on every session. IPv6 prefixes can run over IPv4 sessions and "
        "the other way "
        "round. Every family costs the engine about 0.45 MB a session.",
        json_schema_extra={"default": "those of the ranges"},
    )
    hold_time: HoldTime = Field(
        default=9,
        description="Seconds of silence after which a peer is taken for dead. Short on purpose: a "
        "node that lost "
        "power is let back in only after it.",
    )
    send_hold_time: SendHoldTime = Field(
        default=60,
        description="Seconds after which a peer is reset that acknowledges nothing of what it is sent (RFC 9687), "
        "before what waits for it fills the memory.",
    )
    graceful_restart: GracefulRestart = Field(
        default=GracefulRestart(), description="How long peers keep forwarding while the engine restarts."
    )
    max_memory: Size | None = Field(
        default=None,
        description="How much memory the engine may occupy. One that grows past it is restarted, with graceful "
        "restart, before it takes the host down.",
        json_schema_extra={"default": "half of the host's memory"},
    )
    racks: dict[Name, Rack] = Field(
        min_length=1,
        examples=["{rack-1: {nodes: {ranges: [10.2.0.0/24]}}}"],
        description="The racks that this speaker serves, by name.",
    )
    reflect: Reflect = Field(default=Reflect(), description="Whose routes go to whom.")

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        """Fill what follows from other keys: cluster_id and listen from router_id, families from "
        "the ranges."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        if "router_id" in filled:
            filled.setdefault("cluster_id", filled["router_id"])
            filled.setdefault("listen", (filled["router_id"],))
        return filled

    @property
    def bound(self) -> tuple[Address, ...]:
        """Every address that the engine listens on, whether this host has it or not."""
        return (*self.listen, *self.floating)

    @model_validator(mode="after")
    def _families_of_ranges(self) -> Instance:
        if not self.families:
            versions = {network.version for rack in self.racks.values() for network in rack.nodes.ranges}
            found = tuple(family for family, version in (("ipv4", 4), ("ipv6", 6)) if version in versions)
            object.__setattr__(self, "families", found)
        return self


class Guard(Model):
    """What keeps a broken IPAM from taking the network down."""

    max_removed: Share = Field(
        examples=["20%"],
        description="A new snapshot that removes more than this share of the prefixes in force (VIP prefixes "
        "included), or of the nodes, is held back, and alarms, until `rrctl ipam accept` or until the source recovers. "
        "A node counts as removed too when it keeps its name and none of its addresses. Fewer than 20 VIP prefixes may "
        "close at once whatever the share. All prefixes of nodes, all nodes or all VIP prefixes at once are held for "
        "any share but 100% (allocations.md).",
    )


class Ipam(Model):
    """Who owns which prefix: the truth that the filter follows."""

    sources: tuple[Source, ...] = Field(
        min_length=1,
        examples=["[{type: file, path: /etc/rr/allocations.yaml}]"],
        description="Where allocations come from. Their order is their precedence: what two of them claim for "
        "different nodes goes to the one named first, unless the other already has it.",
    )
    guard: Guard | None = Field(
        default=None,
        description="How much a new snapshot may remove.",
        json_schema_extra={"default": "20 %, but never for fewer than 20, unless they are all"},
    )
    grace: Grace = Field(
        default=0,
        description="How long a revocation is delayed, in seconds from when no source says any more that a node has a "
        "prefix, an address or a VIP. If a source says it again meanwhile, nothing happened; nobody else gets it "
        "before.",
    )


class Quarantine(Model):
    """Which nodes are kept out for the harm that they do, and for how long. ToRs never are."""

    enabled: Flag = Field(default=True, description="Whether any node is ever kept out.")
    session_losses: Losses = Field(
        default=5, description="A node that loses its session so often within `window` is kept out."
    )
    window: Term = Field(default=300, description="How long what a node did counts, in seconds.")
    first: Term = Field(
        default=30,
        description="How long a node is kept out the first time; each time after that, twice as long.",
    )
    longest: Term = Field(
        default=3600,
        description="How long a node is kept out at most; and for how long it must behave for one quarantine to be "
        "forgotten.",
    )
    max_share: Share = Field(
        default=0.25,
        description="Where more than this share of an instance's nodes (and more than one) would be kept out, "
        "the fault is hardly theirs: nobody is, and it alarms.",
        json_schema_extra={"default": "`25%`"},
    )


class Pair(Model):
    """The other half: a second appliance with the same racks and allocations, to which every node and ToR peers too."""

    name: Name = Field(
        examples=["rr-b"],
        description="The other half's `name`, which its certificate must be for. Both are told apart by it.",
    )
    peers: dict[InstanceName, HostAddress] = Field(
        default={},
        description="By instance, the address of the other half's speaker: an iBGP session on the instance's "
        "`port`, from the first address in its `listen` of that family. The half whose name comes later in the "
        "alphabet dials. An instance that is not named has no session.",
    )
    password_file: AbsolutePath | None = Field(
        default=None,
        description="A file with the TCP-MD5 password (RFC 2385) of the sessions between the halves; mode 0600.",
    )
    listen: Listen = Field(
        examples=["10.0.0.11:9633"],
        description="Where the other half asks for this one's health: HTTPS, and only with a certificate.",
    )
    connect: Listen = Field(
        examples=["10.0.0.12:9633"], description="Where the other half is asked for its health: its `listen`."
    )
    certificate: AbsolutePath = Field(
        examples=["/etc/rr/pair/rr-a.crt"],
        description="This half's certificate, for its `name`, in PEM. `rrctl pair certificates` makes both. "
        "Files that change are read again by themselves.",
    )
    key: AbsolutePath = Field(
        examples=["/etc/rr/pair/rr-a.key"], description="The certificate's private key, in PEM; mode 0600."
    )
    ca: AbsolutePath = Field(
        examples=["/etc/rr/pair/ca.crt"], description="The CA of both halves' certificates, in PEM."
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where each value of a configuration stands in its file; equal to any other, since it is no setting."""

    file: str = ""
    marks: Mapping[Path_, tuple[int, int]] = field(default_factory=dict)

    def of(self, path: Path_) -> tuple[int, int]:
        """Line and column of a value or, when it is a default, of what is around it; (0, 0) when unknown."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (0, 0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __hash__(self) -> int:
        return 0


class Config(Model):
    """The appliance: its name, where it keeps its files, its BGP speakers, and its IPAM."""

    name: Name = Field(
        examples=["rr-a"], description="What this appliance is called, in messages, metrics and by its pair."
    )
    state_dir: AbsolutePath = Field(
        default=Path("/var/lib/rr"),
        description="Roster, last known good allocations, who is quarantined, event history.",
    )
    run_dir: AbsolutePath = Field(
        default=Path("/run/rr"),
        description="Sockets: RUN_DIR/rrd.sock and RUN_DIR/INSTANCE/gobgpd.sock. A socket's path "
        "holds at most 107 "
        "bytes, so keep it short.",
    )
    http: Http = Field(default=Http(), description="The read-only HTTP server.")
    instances: dict[InstanceName, Instance] = Field(
        min_length=1, examples=["{main: {asn: 64512, ...}}"], description="The BGP speakers, by name."
    )
    ipam: Ipam = Field(
        examples=["{sources: [{type: file, path: /etc/rr/allocations.yaml}]}"],
        description="Who owns which prefix.",
    )
    quarantine: Quarantine = Field(
        default=Quarantine(), description="Which nodes are kept out for the harm that they do."
    )
    pair: Pair | None = Field(
        default=None,
        description="The other half of a pair of appliances.",
        json_schema_extra={"default": "none: this appliance is alone"},
    )

    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """Where the values stand in the file that this was read from."""
        return self._places

    def located(self, places: Places) -> Config:
        """The same configuration, knowing where its values stand."""
        self._places = places
        return self

    @property
    def digest(self) -> str:
        """A short fingerprint of what is configured, defaults included; comments and order of keys "
        "do not matter."""
        canonical = repr(_sorted(self.model_dump(mode="json")))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _sorted(value[key])) for key in sorted(value)]
    return [_sorted(item) for item in value] if isinstance(value, list) else value
