"""Several sources as one snapshot; each source has already been checked by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rr.addresses import contains, order_of, overlaps
from rr.errors import AllocationsError, Problem
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.net import Address, Network


def merge(parts: Mapping[str, Allocations]) -> Allocations:
    """One snapshot of all parts, by name of their source; raises AllocationsError when two contradict.

    A node may stand in several sources and then has what any of them gives it.
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    nodes: dict[str, NodeAllocation] = {}
    vips: dict[VipPool, None] = {}
    for part in parts.values():
        for node in part.nodes.values():
            nodes[node.name] = _joined(nodes[node.name], node) if node.name in nodes else node
        vips.update(dict.fromkeys(part.vips))
    if problems := [*_addresses(parts), *_prefixes(parts)]:
        raise AllocationsError(problems)
    return Allocations(nodes, tuple(vips))


def _joined(one: NodeAllocation, other: NodeAllocation) -> NodeAllocation:
    addresses = tuple(dict.fromkeys((*one.addresses, *other.addresses)))
    prefixes = tuple(dict.fromkeys((*one.prefixes, *other.prefixes)))
    return NodeAllocation(one.name, addresses, prefixes)


def _addresses(parts: Mapping[str, Allocations]) -> Iterator[Problem]:
    seen: dict[Address, tuple[str, str]] = {}
    for source, part in parts.items():
        for node in part.nodes.values():
            for address in node.addresses:
                owner, where = seen.setdefault(address, (node.name, source))
                if owner != node.name:
                    wrong = f"{address} is already an address of {owner} in {where}"
                    yield _problem(source, f"nodes.{node.name}.addresses", wrong)
    for source, part in parts.items():
        for pool in part.vips:
            yield from _addresses_in_pool(source, pool, seen)


def _addresses_in_pool(
    source: str, pool: VipPool, seen: Mapping[Address, tuple[str, str]]
) -> Iterator[Problem]:
    for address, (owner, where) in seen.items():
        if any(contains(network, address) for network in pool.prefixes):
            wrong = f"a VIP pool holds {address}, an address of {owner} in {where}"
            yield _problem(source, "vips", wrong)


def _prefixes(parts: Mapping[str, Allocations]) -> Iterator[Problem]:
    claims = list(dict.fromkeys(_claims(parts)))
    sources: dict[tuple[Network, str | VipPool], str] = {}
    for source, part in parts.items():
        for claim in _claims({source: part}):
            sources.setdefault(claim, source)
    for pair in overlaps([order_of(network) for network, _ in claims]):
        this, that = (claims[index] for index in sorted(pair, reverse=True))
        wrong = f"{this[0]} overlaps {that[0]} of {_owner(that[1])} in {sources[that]}"
        key = "vips" if isinstance(this[1], VipPool) else f"nodes.{this[1]}.prefixes"
        yield _problem(sources[this], key, wrong)


def _claims(parts: Mapping[str, Allocations]) -> Iterator[tuple[Network, str | VipPool]]:
    for part in parts.values():
        for node in part.nodes.values():
            yield from ((prefix, node.name) for prefix in node.prefixes)
        for pool in part.vips:
            yield from ((prefix, pool) for prefix in pool.prefixes)


def _owner(owner: str | VipPool) -> str:
    return "a VIP pool" if isinstance(owner, VipPool) else owner


def _problem(source: str, key: str, wrong: str) -> Problem:
    return Problem(source, 0, 0, key, wrong, "keep it in one of the two sources")
