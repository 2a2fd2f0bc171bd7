"""The VIP prefixes' part of `rr.ipam.settle`: which source has each, and which nodes each is open to."""

from __future__ import annotations

from collections.abc import Iterator

from rr.ipam.allocations import Allocations, VipPool
from rr.ipam.claims import Claim, Kind, Lingering, Nodes, Parts, Wanted
from rr.ipam.ledger import Ledger
from rr.net import Network

EVERYBODY: frozenset[str | None] = frozenset((None,))


def openings(parts: Parts) -> dict[str, dict[Network, Nodes]]:
    """For each source, whom its VIP prefixes are open to; where it names one twice, the first time counts."""
    found: dict[str, dict[Network, Nodes]] = {}
    for source, part in parts.items():
        mine = found[source] = {}
        for prefix, nodes in _prefixes(part):
            mine.setdefault(prefix, nodes)
    return found


class VipSettling:
    """One run over all VIP prefixes. It changes the ledger and what lingers."""

    def __init__(
        self, before: Parts, parts: Parts, ledger: Ledger, lingering: dict[Claim, Lingering]
    ) -> None:
        self.parts, self.ledger, self.lingering = parts, ledger, lingering
        self.was, self.said = openings(before), openings(parts)
        self.staying: dict[Network, set[str | None]] = {}
        """Who has a grace, by prefix."""
        for claim in lingering:
            if claim.kind is Kind.VIP:
                self.staying.setdefault(claim.network, set()).add(claim.node)

    def give_up(self, now: float, until: float | None) -> None:
        """Take away what sources do not say any more, or let it have its grace until then."""
        for prefix, source in list(self.ledger.vips.items()):
            said = self.said.get(source, {})
            nodes = _tokens(said[prefix]) if prefix in said else frozenset[str | None]()
            if until is not None:
                was = self.was.get(source, {})
                for node in _lost(_tokens(was[prefix]) if prefix in was else frozenset(), nodes):
                    self._let_stay(Claim(node, Kind.VIP, prefix), Lingering(until, source))
            for node in list(self.staying.get(prefix, ())):
                claim = Claim(node, Kind.VIP, prefix)
                if node in nodes or None in nodes or self.lingering[claim].until <= now:
                    self._end(claim)
            if prefix not in said and prefix not in self.staying:
                self.ledger.close_vip(prefix)

    def _let_stay(self, claim: Claim, entry: Lingering) -> None:
        self.lingering.setdefault(claim, entry)
        self.staying.setdefault(claim.network, set()).add(claim.node)

    def _end(self, claim: Claim) -> None:
        del self.lingering[claim]
        self.staying[claim.network].discard(claim.node)
        if not self.staying[claim.network]:
            del self.staying[claim.network]

    def wanted(self, before: Ledger) -> Iterator[Wanted]:
        """What sources want and have not."""
        for rank, (source, part) in enumerate(self.parts.items()):
            seen: dict[Network, Nodes] = {}
            for place, (prefix, nodes) in enumerate(_prefixes(part)):
                if seen.setdefault(prefix, nodes) == nodes and self.ledger.vips.get(prefix) == source:
                    continue
                mine = any(before.vips.get(block.network) == source for block in before.overlapping(prefix))
                claim = Claim(None, Kind.VIP, prefix)
                yield Wanted(not mine, rank, True, source, place, source, claim, nodes)

    def gives_way(self, holder: Claim, wanted: Wanted) -> bool:
        """Whether what a source wants replaces what it does not say any more itself."""
        source = self.ledger.vips.get(holder.network)
        return wanted.vip and source == wanted.source and holder.network not in self.said[source]

    def same(self, holder: Claim, wanted: Wanted) -> bool:
        """Whether two sources say the same of a VIP prefix."""
        said = self.said.get(self.ledger.vips.get(holder.network, ""), {})
        return holder.network == wanted.claim.network and said.get(holder.network, ()) == wanted.nodes

    def drop(self, prefix: Network) -> None:
        """End every grace of a VIP prefix, and take it away."""
        for node in list(self.staying.get(prefix, ())):
            self._end(Claim(node, Kind.VIP, prefix))
        self.ledger.close_vip(prefix)

    def until(self, prefix: Network) -> float | None:
        """When the last grace of a VIP prefix is over; None where its source still says it."""
        source = self.ledger.vips[prefix]
        if prefix in self.said.get(source, {}):
            return None
        return max(self.lingering[Claim(node, Kind.VIP, prefix)].until for node in self.staying[prefix])

    def pools(self) -> tuple[VipPool, ...]:
        """What is in force, in the order of the sources; as they say it, wherever it is just that."""
        found: list[VipPool] = []
        done: set[Network] = set()
        for source, part in self.parts.items():
            for pool in part.vips:
                mine = [p for p in pool.prefixes if self.ledger.vips.get(p) == source and p not in done]
                mine = [p for p in mine if self.said[source][p] == pool.nodes]
                done.update(mine)
                found += self._pools(pool, mine)
        found += [VipPool((p,), self._nodes(p, frozenset())) for p in self.staying if p not in done]
        return tuple(found)

    def _pools(self, pool: VipPool, mine: list[Network]) -> Iterator[VipPool]:
        plain = [prefix for prefix in mine if prefix not in self.staying]
        if len(plain) == len(pool.prefixes):
            yield pool
        elif plain:
            yield VipPool(tuple(plain), pool.nodes)
        for prefix in mine:
            if prefix in self.staying:
                yield VipPool((prefix,), self._nodes(prefix, _tokens(pool.nodes)))

    def _nodes(self, prefix: Network, said: frozenset[str | None]) -> Nodes:
        both = said | self.staying.get(prefix, set())
        return None if None in both else frozenset(node for node in both if node is not None)


def _prefixes(part: Allocations) -> Iterator[tuple[Network, Nodes]]:
    return ((prefix, pool.nodes) for pool in part.vips for prefix in pool.prefixes)


def _tokens(nodes: Nodes) -> frozenset[str | None]:
    return EVERYBODY if nodes is None else frozenset[str | None](nodes)


def _lost(was: frozenset[str | None], now: frozenset[str | None]) -> frozenset[str | None]:
    return frozenset() if None in now else was - now
