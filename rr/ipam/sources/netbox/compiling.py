"""Objects of NetBox as allocations. What cannot be made use of is left out, and said; it never grants anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rr.addresses import order_of, overlap, overlaps, shown
from rr.config.sources.netbox import NetboxSettings, PrefixSelection
from rr.errors import SourceError
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.ipam.reading import Found
from rr.ipam.sources.netbox.objects import (
    DEVICES,
    MACHINES,
    Json,
    Named,
    Reference,
    Unfinished,
    Unfit,
    addresses_of,
    in_vrf,
    name_of,
    named_in,
    networks_of,
    selected,
)
from rr.net import Address, Network

PREFIXES, RANGES = "ipam/prefixes", "ipam/ip-ranges"
_KINDS = {DEVICES: "device", MACHINES: "virtual machine", PREFIXES: "prefix", RANGES: "IP range"}


@dataclass(frozen=True, slots=True)
class Inventory:
    """The objects that NetBox gave for each selection, by the path of their kind."""

    nodes: Mapping[str, Sequence[Json]]
    prefixes: Sequence[Json]
    vips: Mapping[str, Sequence[Json]] = field(default_factory=dict)


def compiled(settings: NetboxSettings, inventory: Inventory) -> Found:
    """The allocations of an inventory; raises SourceError where a custom field is not there at all."""
    return _Compiler(settings).compile(inventory)


class _Compiler:
    def __init__(self, settings: NetboxSettings) -> None:
        self.settings = settings
        self.left_out: list[str] = []
        self.mistakes: list[str] = []
        self.names: dict[Reference, str] = {}
        self.addresses: dict[str, tuple[Address, ...]] = {}

    def compile(self, inventory: Inventory) -> Found:
        for kind, items in inventory.nodes.items():
            for item in items:
                self.node(kind, item)
        owned = self.owned(inventory.prefixes)
        nodes = {
            name: NodeAllocation(name, addresses, tuple(owned.get(name, ())))
            for name, addresses in sorted(self.addresses.items())
        }
        found = Allocations(nodes, self.pools(inventory.vips))
        return Found(found, tuple(dict.fromkeys(self.left_out)), tuple(dict.fromkeys(self.mistakes)))

    def leave_out(self, kind: str, item: Json, why: object) -> None:
        """Say that an object does not count, and whether that is a mistake."""
        what = (
            item.get("prefix") or item.get("name") or item.get("display") or item.get("start_address") or ""
        )
        where = f"{self.settings.url}/{kind}/{item.get('id')}/"
        said = " ".join(filter(None, (_KINDS[kind], what and shown(str(what)), f"({where})", str(why))))
        self.left_out.append(said)
        if not isinstance(why, Unfinished):
            self.mistakes.append(said)

    # Nodes

    def node(self, kind: str, item: Json) -> None:
        """Take in a device or virtual machine; of two with one name the first in NetBox has it."""
        if not selected(item, self.settings.nodes):
            return
        try:
            name, addresses = name_of(item), addresses_of(item)
        except Unfit as error:
            self.leave_out(kind, item, error)
            return
        if name in self.addresses:
            self.leave_out(kind, item, "has the name of another node; rename one of them")
            return
        self.names[Reference(kind, int(item["id"]))] = name
        self.addresses[name] = addresses

    def resolve(self, named: Named) -> str:
        """The node's name; raises Unfit."""
        found = self.names.get(named) if isinstance(named, Reference) else named
        if found is None or found not in self.addresses:
            what = f"{_KINDS[named.kind]} {named.id}" if isinstance(named, Reference) else named
            raise Unfinished(
                f"is for {what}, which is no node; see that `nodes` selects it and that it has an address"
            )
        return found

    # Prefixes of nodes

    def owned(self, items: Iterable[Json]) -> dict[str, list[Network]]:
        """The prefixes of each node, none of them inside another of the same node."""
        found: dict[str, dict[Network, Json]] = {}
        for item in self.meant(PREFIXES, items, self.settings.prefixes):
            try:
                if owner := self.owner(item):
                    claims = found.setdefault(owner, {})
                    claims.update({network: item for network in networks_of(item) if network not in claims})
            except Unfit as error:
                self.leave_out(PREFIXES, item, error)
        return {name: list(self.apart(claims)) for name, claims in found.items()}

    def owner(self, item: Json) -> str | None:
        """The node that owns a prefix, None where nobody does; raises Unfit."""
        named = named_in(self.custom(PREFIXES, item, self.settings.owner, "owner"))
        if len(named) > 1:
            raise Unfit(f"names {len(named)} nodes in {self.settings.owner}; a prefix has one owner")
        return self.resolve(named[0]) if named else None

    def apart(self, claims: Mapping[Network, Json]) -> Iterator[Network]:
        networks = list(claims)
        inside = dict(overlaps([order_of(network) for network in networks]))
        for index, network in enumerate(networks):
            if index in inside:
                outer = networks[inside[index]]
                why = f"lies inside {outer} of the same node; a node announces prefixes that lie apart"
                self.leave_out(PREFIXES, claims[network], why)
            else:
                yield network

    # VIPs

    def pools(self, vips: Mapping[str, Sequence[Json]]) -> tuple[VipPool, ...]:
        """The pools, by who may announce them; what lies inside another pool is its own, and not the other's."""
        found: dict[Network, frozenset[str] | None] = {}
        for kind, items in vips.items():
            for item in self.meant(kind, items, self.settings.vips):
                try:
                    networks, nodes = networks_of(item), self.announcers(kind, item)
                except Unfit as error:
                    self.leave_out(kind, item, error)
                    continue
                for network in networks:
                    if found.setdefault(network, nodes) != nodes:
                        self.leave_out(kind, item, "is a pool already, for other nodes; keep one of them")
        return _pools(found)

    def announcers(self, kind: str, item: Json) -> frozenset[str] | None:
        """Who may announce the VIPs of a pool, None for every node; whoever is no node is left out.

        NetBox takes deleted devices out of the field, so one that was not empty may become so by itself.
        """
        if self.settings.announcers is None:
            return None
        named = named_in(self.custom(kind, item, self.settings.announcers, "announcers"))
        found = set()
        for one in named:
            try:
                found.add(self.resolve(one))
            except Unfit as error:
                self.leave_out(kind, item, error)
        return None if not named and self.settings.without_announcers == "all" else frozenset(found)

    # Both

    def meant(self, kind: str, items: Iterable[Json], selection: PrefixSelection | None) -> Iterator[Json]:
        elsewhere = 0
        for item in items:
            if selection is None or not selected(item, selection):
                continue
            if in_vrf(item, selection):
                yield item
            else:
                elsewhere += 1
        if elsewhere:
            where = f"outside VRF {selection.vrf}" if selection and selection.vrf else "in a VRF"
            why = f"{elsewhere} of the selected are {where} and do not count; `vrf` says which VRF is meant"
            self.left_out.append(f"{_KINDS[kind]}: {why}")

    def custom(self, kind: str, item: Json, name: str, key: str) -> object:
        """The value of a custom field. NetBox names each that exists, also where it is empty."""
        fields = item.get("custom_fields")
        if not isinstance(fields, Mapping) or name not in fields:
            wrong = f"{self.settings.url} has no custom field {name} for the type {_KINDS[kind]}"
            raise SourceError(wrong, f"create it there for that type, or correct `{key}`")
        return fields[name]


def _pools(found: Mapping[Network, frozenset[str] | None]) -> tuple[VipPool, ...]:
    """One pool for each set of nodes; of two that lie in one another the inner decides about what is in it."""
    holes: dict[Network, list[Network]] = {}
    around: list[Network] = []
    for network in sorted(found, key=order_of):
        while around and not overlap(around[-1], network):
            around.pop()
        if around and found[around[-1]] == found[network]:
            continue  # the one around it says the same
        if around:
            holes[around[-1]].append(network)
        holes[network] = []
        around.append(network)
    pools: dict[frozenset[str] | None, list[Network]] = {}
    for network, inner in holes.items():
        pools.setdefault(found[network], []).extend(_without(network, inner))
    return tuple(VipPool(tuple(networks), nodes) for nodes, networks in pools.items() if networks)


def _without(network: Network, holes: Iterable[Network]) -> list[Network]:
    """A prefix less others inside it."""
    left = [network]
    for hole in holes:
        rest: list[Network] = []
        for part in left:
            if not overlap(part, hole):
                rest.append(part)
            elif part != hole:
                rest.extend(part.address_exclude(hole))  # type: ignore[arg-type]
        left = rest
    return sorted(left, key=order_of)
