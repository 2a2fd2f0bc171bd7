"""Who has what, for the question that every new claim raises: who would lose something by it?

Prefixes of nodes and VIP prefixes never overlap, so of each family a list sorted by first address answers it by a look
at the neighbours. A copy costs a copy of the tables and no look at what is in them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from rr.addresses import network_of
from rr.ipam.claims import Claim, Kind
from rr.net import Network


class Ledger:
    """Addresses, prefixes, borrowed host routes and VIP prefixes that are in force."""

    def __init__(self) -> None:
        self.addresses: dict[Network, str] = {}
        """The node at each address."""
        self.borrowed: dict[Network, str] = {}
        """The node that borrows each host route."""
        self.vips: dict[Network, str] = {}
        """The source that has each VIP prefix."""
        self._blocks: dict[int, dict[int, Claim]] = {4: {}, 6: {}}
        """Prefixes and VIP prefixes of a family by their first address."""
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        """The same first addresses, sorted."""
        self._hosts: dict[int, list[int]] = {4: [], 6: []}
        """The nodes' addresses and the borrowed ones, sorted; one that is both stands twice."""

    def copy(self) -> Ledger:
        """Another one with the same in it."""
        new = Ledger()
        new.addresses, new.borrowed, new.vips = self.addresses.copy(), self.borrowed.copy(), self.vips.copy()
        new._blocks = {version: blocks.copy() for version, blocks in self._blocks.items()}
        new._starts = {version: starts.copy() for version, starts in self._starts.items()}
        new._hosts = {version: hosts.copy() for version, hosts in self._hosts.items()}
        return new

    def add(self, node: str, claim: Claim) -> None:
        """Let a node have something; nobody else has it, or a part of it: `against` says so."""
        network = claim.network
        if claim.kind is Kind.ADDRESS:
            self.addresses[network] = node
            insort(self._hosts[network.version], _first(network))
        elif claim.kind is Kind.BORROWED:
            self.borrowed[network] = node
            insort(self._hosts[network.version], _first(network))
        else:
            self._add_block(claim)

    def remove(self, claim: Claim) -> None:
        """Take away what a node has."""
        network = claim.network
        if claim.kind is Kind.ADDRESS:
            del self.addresses[network]
            _drop(self._hosts[network.version], _first(network))
        elif claim.kind is Kind.BORROWED:
            del self.borrowed[network]
            _drop(self._hosts[network.version], _first(network))
        else:
            self._remove_block(network)

    def open_vip(self, prefix: Network, source: str) -> None:
        """Let a source have a VIP prefix."""
        self.vips[prefix] = source
        self._add_block(Claim(None, Kind.VIP, prefix))

    def close_vip(self, prefix: Network) -> None:
        """Take a VIP prefix away."""
        del self.vips[prefix]
        self._remove_block(prefix)

    def _add_block(self, claim: Claim) -> None:
        first = _first(claim.network)
        insort(self._starts[claim.network.version], first)
        self._blocks[claim.network.version][first] = claim

    def _remove_block(self, network: Network) -> None:
        first = _first(network)
        _drop(self._starts[network.version], first)
        del self._blocks[network.version][first]

    def against(self, claim: Claim) -> list[Claim]:
        """What others have, or the node itself, that stands against a claim which is not in force yet."""
        if claim.kind is Kind.ADDRESS:
            return list(self._against_address(claim))
        if claim.kind is Kind.BORROWED:
            return list(self._against_borrowed(claim))
        return list(self._against_block(claim))

    def _against_address(self, claim: Claim) -> Iterator[Claim]:
        owner = self.addresses.get(claim.network)
        if owner is not None and owner != claim.node:
            yield claim._replace(node=owner)
        yield from (block for block in self.overlapping(claim.network) if block.kind is Kind.VIP)

    def _against_borrowed(self, claim: Claim) -> Iterator[Claim]:
        borrower = self.borrowed.get(claim.network)
        if borrower is not None and borrower != claim.node:
            yield claim._replace(node=borrower)
        for block in self.overlapping(claim.network):
            if block.kind is Kind.VIP or (block.network == claim.network and block.node != claim.node):
                yield block

    def _against_block(self, claim: Claim) -> Iterator[Claim]:
        yield from self.overlapping(claim.network)
        if claim.kind is Kind.VIP:
            yield from self._hosts_in(claim.network)
        elif (borrower := self.borrowed.get(claim.network)) is not None and borrower != claim.node:
            yield Claim(borrower, Kind.BORROWED, claim.network)

    def overlapping(self, network: Network) -> Iterator[Claim]:
        """Prefixes of nodes and VIP prefixes that share an address with a prefix."""
        starts, blocks = self._starts[network.version], self._blocks[network.version]
        first, last = _first(network), _last(network)
        place = bisect_right(starts, first)
        if place and _last(blocks[starts[place - 1]].network) >= first:
            yield blocks[starts[place - 1]]
        while place < len(starts) and starts[place] <= last:
            yield blocks[starts[place]]
            place += 1

    def _hosts_in(self, prefix: Network) -> Iterator[Claim]:
        """Nodes' addresses and borrowed ones in a VIP prefix; the first is enough."""
        hosts, first = self._hosts[prefix.version], _first(prefix)
        place = bisect_left(hosts, first)
        if place == len(hosts) or hosts[place] > _last(prefix):
            return
        host = network_of(prefix[hosts[place] - first])
        if (owner := self.addresses.get(host)) is not None:
            yield Claim(owner, Kind.ADDRESS, host)
        elif (borrower := self.borrowed.get(host)) is not None:
            yield Claim(borrower, Kind.BORROWED, host)


def _first(network: Network) -> int:
    return int(network.network_address)


def _last(network: Network) -> int:
    return int(network.network_address) | ((1 << (network.max_prefixlen - network.prefixlen)) - 1)


def _drop(values: list[int], value: int) -> None:
    del values[bisect_left(values, value)]
