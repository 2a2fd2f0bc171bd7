"""What can be given to somebody, one thing at a time: an address, a prefix, a borrowed host route, a VIP prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from rr.addresses import network_of
from rr.ipam.allocations import Allocations, NodeAllocation
from rr.net import Network

Parts: TypeAlias = Mapping[str, Allocations]
"""What each source says, in the order of the configuration: that is their precedence."""
Nodes: TypeAlias = frozenset[str] | None
"""Whom a VIP prefix is open to; None is every node."""


class Kind(StrEnum):
    """What is claimed. The values are part of the JSON contract."""

    ADDRESS = "address"
    PREFIX = "prefix"
    BORROWED = "borrowed"
    VIP = "vip"


class Claim(NamedTuple):
    """One thing for one node; of a VIP prefix, `node` None stands for every node."""

    node: str | None
    kind: Kind
    network: Network
    """An address is its host route."""

    @property
    def value(self) -> str:
        """The address or prefix as people write it."""
        return str(self.network.network_address if self.kind is Kind.ADDRESS else self.network)


class Wanted(NamedTuple):
    """A claim that is not in force, and what decides whether it goes before another one."""

    stranger: bool
    """Nothing that it overlaps is its owner's by now: whoever gives his own another size goes first."""
    rank: int
    """The place of its source."""
    vip: bool
    name: str
    """The node's, or for a VIP prefix the source's."""
    place: int
    source: str
    claim: Claim
    nodes: Nodes = None
    """For a VIP prefix: whom it is to be open to."""


@dataclass(frozen=True, slots=True)
class Lingering:
    """Until when something stays in force that no source says any more, and which said it last."""

    until: float
    source: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something that a source says and that is refused, since somebody else has what it would take."""

    source: str
    claim: Claim
    text: str
    """What is wrong, as a sentence without its end."""
    until: float | None = None
    """When it is granted by itself, where only the grace of a revocation stands against it."""

    @property
    def key(self) -> tuple[str, Claim]:
        """What makes it the same conflict a moment later."""
        return self.source, self.claim


def claims_of(node: NodeAllocation) -> Iterator[Claim]:
    """Everything that a node has, or is to have."""
    for address in node.addresses:
        yield Claim(node.name, Kind.ADDRESS, network_of(address))
    for prefix in node.prefixes:
        yield Claim(node.name, Kind.PREFIX, prefix)
    for route in node.borrowed:
        yield Claim(node.name, Kind.BORROWED, route)


def said_by(parts: Parts, claim: Claim) -> list[str]:
    """The sources that say this now."""
    return [source for source, part in parts.items() if _says(part, claim)]


def _says(part: Allocations, claim: Claim) -> bool:
    if claim.kind is Kind.VIP:
        return any(claim.network in pool.prefixes for pool in part.vips)
    node = part.nodes.get(claim.node or "")
    return node is not None and claim in claims_of(node)


def refusal(wanted: Wanted, holder: Claim, holders: str) -> str:
    """Why a claim is refused: a sentence without its end. `holders` are the sources that say what `holder` has."""
    claim, source = wanted.claim, wanted.source
    subject = {
        Kind.ADDRESS: f"{claim.value} of {claim.node} ({source})",
        Kind.PREFIX: f"{claim.value} of {claim.node} ({source})",
        Kind.BORROWED: f"{claim.value}, borrowed by {claim.node} ({source}),",
        Kind.VIP: f"the VIP prefix {claim.value} ({source})",
    }[claim.kind]
    return f"{subject} {_relation(claim, holder)} ({holders})"


def _relation(claim: Claim, holder: Claim) -> str:
    other, value = holder.node, holder.value
    if holder.network == claim.network and claim.kind is not Kind.VIP:
        return {
            Kind.ADDRESS: f"is already an address of {other}",
            Kind.PREFIX: f"already belongs to {other}",
            Kind.BORROWED: f"is already borrowed by {other}",
            Kind.VIP: "is a VIP prefix",
        }[holder.kind]
    if holder.kind is Kind.VIP:
        same = holder.network == claim.network
        return "is already open to other nodes" if same else f"overlaps the VIP prefix {value}"
    if holder.kind is Kind.PREFIX:
        return f"overlaps {value} of {'the same node' if other == claim.node else other}"
    return f"holds {value}, {'an address of' if holder.kind is Kind.ADDRESS else 'borrowed by'} {other}"
