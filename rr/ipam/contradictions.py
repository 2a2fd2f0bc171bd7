"""What contradicts itself inside one document: two owners, overlaps, an address twice; each with both places named."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeAlias

from yaml.nodes import Node

from rr.addresses import Order, contains, overlaps
from rr.errors import Problem
from rr.net import Address, Network
from rr.yamlfile import place_of

Allocated: TypeAlias = tuple[Network, Order]


class Place(NamedTuple):
    """Where something stands: a node of the YAML, and its file."""

    file: str
    node: Node

    def __str__(self) -> str:
        return f"{self.file}:{self.node.start_mark.line + 1}:{self.node.start_mark.column + 1}"

    def first(self, again: Place) -> str:
        """This place, told at another one: the line is enough within one file."""
        return f"in line {self.node.start_mark.line + 1}" if self.file == again.file else f"at {self}"

    def problem(self, key: str, wrong: str, right: str, name: Node | None = None) -> Problem:
        """A problem here, or at the key when the value begins elsewhere."""
        return Problem(self.file, *place_of(self.node, name), key, wrong, right)


class Claim:
    """A prefix as it stands in a document: whose it is (None: a VIP pool's), where, and under which key.

    There are thousands, at every reading: so it is the plainest of classes.
    """

    __slots__ = ("file", "index", "item", "network", "node", "order", "path")

    def __init__(
        self, allocated: Allocated, node: str | None, file: str, item: Node, path: str, index: int
    ) -> None:
        self.network, self.order = allocated
        self.node, self.file, self.item, self.path, self.index = node, file, item, path, index

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.file, self.item)

    @property
    def owner(self) -> str:
        """Whose it is, in a sentence."""
        return f"of {self.node}" if self.node is not None else "of a VIP pool"

    def problem(self, wrong: str, right: str) -> Problem:
        """A problem of this claim."""
        return self.place.problem(f"{self.path}[{self.index}]", wrong, right)


def contradictions(
    claims: Sequence[Claim], borrowed: Sequence[Claim], addresses: Mapping[Address, tuple[str, Place]]
) -> Iterator[Problem]:
    """No two prefixes of nodes or pools overlap, no pool holds a node's address, and what is borrowed is another's."""
    for pair in overlaps([claim.order for claim in claims]):
        first, second = (claims[index] for index in sorted(pair))
        yield second.problem(*_conflict(second, first))
    known = sorted((address.version, int(address), address) for address in addresses)
    for claim in claims:
        if claim.node is None:
            yield from _address_in(claim, known, addresses)
    yield from _borrowings(claims, borrowed)


def _conflict(this: Claim, that: Claim) -> tuple[str, str]:
    """The sentence about two prefixes that overlap."""
    if this.path == that.path and this.network == that.network:
        return f"{this.network} is listed twice, first at {that.place}", "keep one of them"
    if this.node is not None and this.node == that.node:
        return f"{this.network} overlaps {that.network} of the same node at {that.place}", "keep one of them"
    if this.node is None or that.node is None:
        right = "a VIP pool lies apart from every node prefix and every other pool"
        return f"{this.network} overlaps {that.network} {that.owner} at {that.place}", right
    if this.network == that.network:
        wrong = f"{this.network} already belongs to {that.node} at {that.place}"
        return wrong, "a prefix has one owner: keep it at one of them"
    wrong = f"{this.network} overlaps {that.network} of {that.node} at {that.place}"
    return wrong, "give each node prefixes of its own"


def _address_in(
    pool: Claim,
    known: Sequence[tuple[int, int, Address]],
    addresses: Mapping[Address, tuple[str, Place]],
) -> Iterator[Problem]:
    """A node's address that a pool would let other nodes announce: the lowest is enough."""
    place = bisect_left(known, pool.order[:2], key=itemgetter(0, 1))
    if place < len(known) and contains(pool.network, known[place][2]):
        address = known[place][2]
        name, where = addresses[address]
        wrong = f"{pool.network} holds {address}, an address of {name} at {where}"
        yield pool.problem(wrong, "a VIP pool holds no node's address, or any node could take it over")


def _borrowings(claims: Sequence[Claim], borrowed: Sequence[Claim]) -> Iterator[Problem]:
    """Each is a host route inside a prefix of another node, and has one borrower."""
    if not borrowed:
        return
    owned = sorted((claim for claim in claims if claim.node is not None), key=attrgetter("order"))
    seen: dict[Network, Claim] = {}
    for claim in borrowed:
        if (before := seen.setdefault(claim.network, claim)) is not claim:
            if before.node == claim.node:
                wrong = f"{claim.network} is listed twice, first at {before.place}"
                yield claim.problem(wrong, "keep one of them")
            else:
                wrong = f"{claim.network} is already borrowed by {before.node} at {before.place}"
                yield claim.problem(wrong, "one node uses an address: keep it at one of them")
            continue
        lender = (
            owned[place - 1] if (place := bisect_right(owned, claim.order, key=attrgetter("order"))) else None
        )
        yield from _borrowing(claim, lender)


def _borrowing(claim: Claim, lender: Claim | None) -> Iterator[Problem]:
    if claim.network.prefixlen < claim.network.max_prefixlen:
        right = f"borrow single addresses, such as {claim.network[1]}/{claim.network.max_prefixlen}"
        yield claim.problem(f"{claim.network} is no host route", right)
    elif lender is None or not contains(lender.network, claim.network.network_address):
        wrong = f"{claim.network} lies in no node's prefix, so it cannot be borrowed"
        yield claim.problem(wrong, "put it below `prefixes:` if it is the node's own")
    elif lender.node == claim.node:
        wrong = f"{claim.network} lies in {lender.network} of the same node at {lender.place}"
        yield claim.problem(wrong, "take it out: it need not be borrowed")
    elif lender.network == claim.network:
        wrong = f"{claim.network} already belongs to {lender.node} at {lender.place}"
        yield claim.problem(wrong, "a prefix has one owner: keep it at one of them")
