"""The rules of one speaker: configuration and allocations in, plain policy out. A pure function.

What a node may announce becomes one import statement per node, rack and address family; where routes go becomes
a few export statements per rack. Everything else is rejected by default, so a mistake here closes and does not open.
`rr.policy.verdict` says the same of one announcement; a randomized test holds the two and the engine together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rr.addresses import network_of, overlap
from rr.config.model import Instance, Rack
from rr.ipam.allocations import Allocations, NodeAllocation
from rr.net import Address, Network
from rr.policy import observing
from rr.policy.drain import draining
from rr.policy.model import Action, Match, PolicySet, PrefixMatch, Statement
from rr.policy.observing import OBSERVE, Reserved
from rr.policy.tags import ALL_TAGS, VIP, from_tor, rack_tags

Suspension: TypeAlias = tuple[str, Network]
"""A node, and a prefix of its own or a VIP that it may not announce for now."""
VERSION = {"ipv4": 4, "ipv6": 6}
TORS = "tors"
"""The set of every ToR."""
PAIR = "pair"
"""The set of the other half, and how the names of the statements begin that are about it."""
PAIR_PREFERENCE = 50
"""LOCAL_PREF of what comes over the other half, so that whatever a node says directly goes before it."""
MARKS = "vip/"
"""How the names of the statements begin that only mark routes as VIPs."""
OPEN = "open/"
"""How the names begin of the sets of VIP prefixes open to every node, and of the statements that name them."""


def lent(policy: PolicySet | None) -> frozenset[Network]:
    """What a policy gives the other half, because it lacks it."""
    sets = policy.prefix_sets.items() if policy else ()
    return frozenset(m.network for name, members in sets if name.startswith(f"{PAIR}/") for m in members)


class Rules:
    """What follows from one instance's configuration. It remembers what it computed, and nothing else."""

    def __init__(self, instance: Instance, pair: Address | None = None) -> None:
        """`pair` is the address of the other half's speaker, where there is one."""
        self.instance = instance
        self.pair = pair
        self.versions = tuple(VERSION[family] for family in instance.families)
        self.tags = rack_tags(instance.racks)
        self.observed = {name: bounds for name, rack in instance.racks.items() if (bounds := rack.bounds)}
        """The racks whose filter is only observed, with what may pass there."""
        self._tors = {tor.address: name for name, rack in instance.racks.items() for tor in rack.tors}
        self._racks: dict[Address, str | None] = {}
        self._hops = {
            (name, version): observing.next_hops(rack, version)
            for name, rack in instance.racks.items()
            for version in self.versions
        }
        self._pieces: dict[str, _Piece] = {}
        within = [prefix for observe in self.observed.values() for prefix in observe.prefixes]
        self._reserved = Reserved(within, self._is_observed)
        self._reserved_by: Allocations | None = None

    def rack_of(self, address: Address) -> str | None:
        """Name the rack whose node ranges hold this address."""
        if address not in self._racks:
            if len(self._racks) > _REMEMBERED:
                self._racks.clear()
            self._racks[address] = self._find_rack(address)
        return self._racks[address]

    def _find_rack(self, address: Address) -> str | None:
        for name, rack in self.instance.racks.items():
            if any(address.version == r.version and address in r for r in rack.nodes.ranges):
                return name
        return None

    def rack_of_tor(self, address: Address) -> str | None:
        """Name the rack that this address is a ToR of."""
        return self._tors.get(address)

    def tors(self) -> Iterable[Address]:
        """Every configured ToR."""
        return self._tors

    def configured(self) -> Iterator[Address]:
        """Every peer that is known by its address: the ToRs, and the other half."""
        yield from self._tors
        if self.pair:
            yield self.pair

    def add_paths(self, tor: Address) -> int:
        """How many paths of one prefix a ToR is sent; 0: the best one, without add-path."""
        rack = self.instance.racks[self._tors[tor]]
        return next(known.add_paths for known in rack.tors if known.address == tor)

    def home_of(self, node: NodeAllocation) -> str | None:
        """Name the rack that a node's routes belong to where they come over the other half: the first with it."""
        return next(filter(None, map(self.rack_of, node.addresses)), None)

    def next_hops(self, rack: str, version: int) -> frozenset[Address]:
        """Which next hops may stand in what an observed rack's nodes do not own."""
        return self._hops[rack, version]

    def reserved(self, allocations: Allocations) -> Reserved:
        """What nodes of observed racks may not announce unless they own it."""
        if self._reserved_by is not allocations:
            self._reserved.follow(allocations)
            self._reserved_by = allocations
        return self._reserved

    def _is_observed(self, node: NodeAllocation) -> bool:
        """Whether a node dials from observed racks alone."""
        racks = {rack for rack in map(self.rack_of, node.addresses) if rack}
        return bool(racks) and racks <= self.observed.keys()

    def build(
        self,
        allocations: Allocations,
        suspended: frozenset[Suspension] = frozenset(),
        lacking: frozenset[Network] = frozenset(),
        *,
        leaving: bool = False,
    ) -> PolicySet:
        """Say what the engine should hold while `allocations` are in force, but for what is suspended.

        `lacking` are the prefixes that the other half does not get from their nodes itself: it is given them.
        While the speaker is `leaving`, everything that it sends is a last resort (RFC 8326).
        """
        withheld: dict[str, set[Network]] = {}
        for node, prefix in suspended:
            withheld.setdefault(node, set()).add(prefix)
        named = allocations.index.named
        self._pieces = {
            name: self._piece(node, named.get(name, ()), withheld.get(name), allocations)
            for name, node in allocations.nodes.items()
        }
        policy = _Build(self, allocations, self._pieces.values(), lacking).policy()
        return draining(policy, leaving)

    def _piece(
        self,
        node: NodeAllocation,
        pools: tuple[Network, ...],
        withheld: set[Network] | None,
        all_: Allocations,
    ) -> "_Piece":
        """A node's part of the policy; the one from last time where nothing changed for it."""
        kept = self._pieces.get(node.name)
        if kept and withheld is None and kept.share.is_just(node, pools):
            return kept
        share = _Share.of(node, pools, withheld or set(), all_.index.open_to_all)
        return kept if kept and kept.share == share else _node_piece(self, share)


_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class _Share:
    """All that one node's part of the policy follows from."""

    node: NodeAllocation
    own: tuple[Network, ...]
    pools: tuple[Network, ...]
    shares: bool
    """Whether it may announce from all pools that are open to every node; else `pools` has those that it may."""

    @classmethod
    def of(
        cls,
        node: NodeAllocation,
        named: tuple[Network, ...],
        withheld: set[Network],
        open_to_all: tuple[Network, ...],
    ) -> "_Share":
        """Take what is withheld out of what a node has; of a pool, all of it."""
        if not withheld:
            return cls(node, node.announces, named, True)
        own = tuple(p for p in node.announces if p not in withheld)
        shares = not any(overlap(p, w) for p in open_to_all for w in withheld)
        pools = named if shares else open_to_all + named
        return cls(node, own, tuple(p for p in pools if not any(overlap(p, w) for w in withheld)), shares)

    def is_just(self, node: NodeAllocation, named: tuple[Network, ...]) -> bool:
        """Whether this is the share of that very node, with these pools, and nothing is withheld."""
        return self.node is node and self.shares and self.own == node.announces and self.pools == named


@dataclass(frozen=True, slots=True)
class _Piece:
    """One node's statements, with the sets that they name."""

    share: _Share
    statements: tuple[Statement, ...]
    open: Mapping[int, tuple[Statement, ...]]
    """What lets it announce from the pools that are open to every node, by family."""
    prefix_sets: Mapping[str, frozenset[PrefixMatch]]
    neighbor_sets: Mapping[str, frozenset[Network]]


def _node_piece(rules: Rules, share: _Share) -> _Piece:
    """One statement per family, also while the node owns nothing there: a grant is then an edit of a set in use.

    Not for a family of which the node has no address: it has no next hop there, and no condition would be none.
    """
    node = share.node
    racks: dict[str, set[Network]] = {}
    for address in node.addresses:
        if rack := rules.rack_of(address):
            racks.setdefault(rack, set()).add(network_of(address))
    if not racks:
        return _Piece(share, (), {}, {}, {})
    prefix_sets = {}
    statements: list[Statement] = []
    open_: dict[int, tuple[Statement, ...]] = {}
    for version in rules.versions:
        if not _next_hops(node, version):
            continue
        own = {PrefixMatch.exactly(p) for p in share.own if p.version == version}
        vips = {PrefixMatch.hosts_of(p) for p in share.pools if p.version == version}
        prefix_sets[f"node/{node.name}/{version}"] = frozenset(own | vips)
        mine = [_node_statement(rules, node, rack, version) for rack in racks]
        statements += mine
        if share.shares:
            open_[version] = tuple(
                replace(one, name=f"{OPEN}{one.name.removeprefix('node/')}", prefixes=f"{OPEN}{version}")
                for one in mine
            )
    neighbor_sets = {f"node/{node.name}/{rack}": frozenset(hosts) for rack, hosts in racks.items()}
    if rules.pair:
        home = f"node/{node.name}/{rules.home_of(node)}"
        neighbor_sets[home] |= {network_of(rules.pair)}
    return _Piece(share, tuple(statements), open_, prefix_sets, neighbor_sets)


def _next_hops(node: NodeAllocation, version: int) -> frozenset[Address]:
    """A node's addresses of the prefix's own family: others reset sessions where RFC 8950 was not agreed upon."""
    return frozenset(address for address in node.addresses if address.version == version)


def _node_statement(rules: Rules, node: NodeAllocation, rack: str, version: int) -> Statement:
    return Statement(
        f"node/{node.name}/{rack}/{version}",
        Action.ACCEPT,
        prefixes=f"node/{node.name}/{version}",
        neighbors=f"node/{node.name}/{rack}",
        next_hops=_next_hops(node, version),
        empty_as_path=True,
        add_community=rules.tags[rack],
    )


class _Build:
    """Collects the sets that the statements name, while the statements are made."""

    def __init__(
        self, rules: Rules, allocations: Allocations, pieces: "Iterable[_Piece]", lacking: frozenset[Network]
    ) -> None:
        self.instance = rules.instance
        self.rules = rules
        self.pair = rules.pair
        self.lacking = lacking
        self.allocations = allocations
        self.versions = rules.versions
        self.tags = rules.tags
        self.pieces = pieces
        self.prefix_sets: dict[str, frozenset[PrefixMatch]] = {}
        self.neighbor_sets: dict[str, frozenset[Network]] = {}
        self.community_sets: dict[str, frozenset[str]] = {}

    def policy(self) -> PolicySet:
        # A ToR's routes are dealt with before VIPs are marked: a VIP that a ToR sends is no VIP of ours.
        imports = (
            *self.scrub(),
            *self.own(),
            *self.from_tors(),
            *self.mark_vips(),
            *self.level(),
            *self.nodes(),
            *self.open_vips(),
            *self.observed(),
        )
        exports = (
            *self.to_pair(),
            *self.to_tors(),
            *self.vips_to_nodes(),
            *self.pods_to_nodes(),
            *self.tor_routes_to_nodes(),
        )
        return PolicySet(
            prefix_sets=self.prefix_sets,
            neighbor_sets=self.neighbor_sets,
            community_sets=self.community_sets,
            as_path_sets={"any-as": frozenset({"[0-9]"})},
            imports=imports,
            exports=exports,
        )

    # Import: scrub, mark, and then one statement that may accept

    def scrub(self) -> Iterator[Statement]:
        """Remove our own tags from whatever arrives, before anything looks at them (only where there are any)."""
        tags = self.communities("tags", ALL_TAGS)
        yield Statement("scrub", Action.CONTINUE, communities=tags, remove_communities=ALL_TAGS)

    def own(self) -> Iterator[Statement]:
        """Let in what the controller itself puts in to find what peers were left with (`rr.engine.leftovers`).

        It has no tag, so nobody is sent it.
        """
        yield Statement("own", Action.ACCEPT, own=True)

    def mark_vips(self) -> Iterator[Statement]:
        """Also while there are none: the first VIP is then an edit too."""
        for version in self.versions:
            hosts = frozenset(PrefixMatch.hosts_of(p) for p in self.pools() if p.version == version)
            prefixes = self.prefixes(f"vips/{version}", hosts)
            yield Statement(f"{MARKS}{version}", Action.CONTINUE, prefixes=prefixes, add_community=VIP)

    def pools(self) -> Iterator[Network]:
        for pool in self.allocations.vips:
            yield from pool.prefixes

    def from_tors(self) -> Iterator[Statement]:
        """Let a ToR's routes in where its rack names them, for that rack's nodes alone."""
        for name, rack in self.instance.racks.items():
            for version in self.versions:
                exact = frozenset(PrefixMatch.exactly(p) for p in rack.from_tors if p.version == version)
                if exact and rack.tors:
                    yield Statement(
                        f"from-tors/{name}/{version}",
                        Action.ACCEPT,
                        prefixes=self.prefixes(f"from-tors/{name}/{version}", exact),
                        neighbors=self.tors_of(name, rack),
                        add_community=from_tor(self.tags[name]),
                    )

    def level(self) -> Iterator[Statement]:
        """Take from nodes' routes what could make one win; what comes over the other half is the last resort."""
        yield Statement("level", Action.CONTINUE, neutral=True)
        if self.pair:
            half = self.neighbors(PAIR, [network_of(self.pair)])
            yield Statement("level/pair", Action.CONTINUE, neighbors=half, local_pref=PAIR_PREFERENCE)

    def nodes(self) -> Iterator[Statement]:
        for piece in self.pieces:
            self.prefix_sets |= piece.prefix_sets
            self.neighbor_sets |= piece.neighbor_sets
            yield from piece.statements

    def open_vips(self) -> Iterator[Statement]:
        """Let every node announce from the pools that are open to all: one set that they share, for each family.

        A VIP more or less is then an edit of that set, and not of every node's; also the first one, so the set is there
        while it is empty. It comes after what nodes own: a path of theirs never gets here.
        """
        for version in self.versions:
            pools = frozenset(p for p in self.allocations.index.open_to_all if p.version == version)
            self.prefixes(f"{OPEN}{version}", frozenset(map(PrefixMatch.hosts_of, pools)))
            for piece in self.pieces:
                yield from piece.open.get(version, ())

    def observed(self) -> Iterator[Statement]:
        """Let nodes of observed racks announce what they do not own, within bounds, and nothing that is somebody's."""
        for version in self.versions if self.rules.observed else ():
            reserved = self.rules.reserved(self.allocations).matches(version)
            for rack in self.rules.observed:
                yield from self.observed_rack(rack, version, reserved)

    def observed_rack(self, name: str, version: int, reserved: frozenset[PrefixMatch]) -> Iterator[Statement]:
        """None for a family without next hops: no condition would be none."""
        inside = observing.inside(self.instance.racks[name], version)
        hops = self.rules.next_hops(name, version)
        if inside and hops:
            taken = self.prefixes(f"{OBSERVE}reserved/{version}", reserved)
            open_ = self.prefixes(f"{OBSERVE}rack/{name}/{version}", inside)
            nodes = self.nodes_of(name)
            yield Statement(f"{taken}/{name}", Action.REJECT, prefixes=taken, neighbors=nodes)
            yield Statement(
                open_,
                Action.ACCEPT,
                prefixes=open_,
                neighbors=nodes,
                next_hops=hops,
                empty_as_path=True,
                add_community=self.tags[name],
            )

    # Export: whatever is not named here goes nowhere

    def to_pair(self) -> Iterator[Statement]:
        """Give the other half the nodes' routes that it lacks, and no other; an empty set of prefixes matches none."""
        if not self.pair:
            return
        half = self.neighbors(PAIR, [network_of(self.pair)])
        racks = self.communities("racks", *map(_exactly, self.tags.values()))
        for version in self.versions:
            members = frozenset(PrefixMatch.exactly(p) for p in self.lacking if p.version == version)
            prefixes = self.prefixes(f"{PAIR}/{version}", members)
            yield replace(self.export(f"{PAIR}/{version}", half, racks), prefixes=prefixes)

    def to_tors(self) -> Iterator[Statement]:
        racks = {name: rack for name, rack in self.instance.racks.items() if rack.tors}
        if not racks:
            return
        everyone = self.neighbors(TORS, (network_of(t.address) for r in racks.values() for t in r.tors))
        reflect = self.instance.reflect
        if reflect.tors != reflect.tor_vips:
            yield from self.vips_to_tors(everyone, racks)
        if reflect.tors == "all":
            yield self.export("tors", everyone, self.communities("racks", *map(_exactly, self.tags.values())))
            return
        for name, rack in racks.items():
            yield self.export(f"tors/{name}", self.tors_of(name, rack), self.rack_tag(name))

    def vips_to_tors(self, everyone: str, racks: Mapping[str, Rack]) -> Iterator[Statement]:
        """VIP routes carry their rack's tag too, so they are dealt with before the other routes."""
        vip = self.communities("vip", _exactly(VIP))
        if self.instance.reflect.tor_vips == "all":
            yield self.export("tors/vips", everyone, vip)
            return
        for name, rack in racks.items():
            yield self.export(f"tors/vips/{name}", self.tors_of(name, rack), self.vip_tags(name), Match.ALL)
        yield Statement("tors/vips-end-here", Action.REJECT, neighbors=everyone, communities=vip)

    def vips_to_nodes(self) -> Iterator[Statement]:
        """VIP routes carry their rack's tag too, so they are dealt with before the node routes."""
        reach = self.instance.reflect.vips
        if reach == self.instance.reflect.nodes:
            return
        vip = self.communities("vip", _exactly(VIP))
        if reach == "all":
            yield self.export("nodes/vips", self.all_nodes(), vip)
        if reach == "rack":
            for name in self.instance.racks:
                yield self.export(f"nodes/vips/{name}", self.nodes_of(name), self.vip_tags(name), Match.ALL)
        yield Statement("vips-end-here", Action.REJECT, communities=vip)

    def pods_to_nodes(self) -> Iterator[Statement]:
        if self.instance.reflect.nodes == "all":
            racks = self.communities("racks", *map(_exactly, self.tags.values()))
            yield self.export("nodes", self.all_nodes(), racks)
        if self.instance.reflect.nodes == "rack":
            for name in self.instance.racks:
                yield self.export(f"nodes/{name}", self.nodes_of(name), self.rack_tag(name))

    def tor_routes_to_nodes(self) -> Iterator[Statement]:
        for name, rack in self.instance.racks.items():
            if rack.from_tors and rack.tors:
                tag = self.communities(f"from-tors/{name}", _exactly(from_tor(self.tags[name])))
                yield self.export(f"nodes/from-tors/{name}", self.nodes_of(name), tag)

    # Sets, made where they are first named

    def export(self, name: str, neighbors: str, tag: str, match: Match = Match.ANY) -> Statement:
        return Statement(
            name,
            Action.ACCEPT,
            neighbors=neighbors,
            communities=tag,
            communities_match=match,
            remove_communities=ALL_TAGS,
        )

    def rack_tag(self, rack: str) -> str:
        return self.communities(f"rack/{rack}", _exactly(self.tags[rack]))

    def vip_tags(self, rack: str) -> str:
        return self.communities(f"vip/{rack}", _exactly(VIP), _exactly(self.tags[rack]))

    def nodes_of(self, rack: str) -> str:
        return self.neighbors(f"nodes/{rack}", self.instance.racks[rack].nodes.ranges)

    def all_nodes(self) -> str:
        ranges = (r for rack in self.instance.racks.values() for r in rack.nodes.ranges)
        return self.neighbors("nodes", ranges)

    def tors_of(self, name: str, rack: Rack) -> str:
        return self.neighbors(f"tors/{name}", (network_of(t.address) for t in rack.tors))

    def prefixes(self, name: str, members: frozenset[PrefixMatch]) -> str:
        self.prefix_sets[name] = members
        return name

    def neighbors(self, name: str, members: Iterable[Network]) -> str:
        self.neighbor_sets[name] = frozenset(members)
        if not self.neighbor_sets[name]:
            raise ValueError(f"neighbor set {name} is empty: the engine would match every neighbor")
        return name

    def communities(self, name: str, *members: str) -> str:
        self.community_sets[name] = frozenset(members)
        return name


def _exactly(community: str) -> str:
    return f"^{community}$"
