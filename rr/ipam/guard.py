"""A broken IPAM does not take the network down: a snapshot that removes too much is not believed at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from rr.addresses import order_of
from rr.ipam.allocations import Allocations, Changes, VipPool, diff
from rr.net import Network
from rr.text import few

DEFAULT_SHARE = 0.2
DEFAULT_ALLOWANCE = 20
"""Without a configured guard fewer than this many may go, unless they are all: small networks change in large steps."""
ONE_SERVICE = 2
"""VIP pools of one Service: its IPv4 and its IPv6 address. They may close though there is no other."""

Pool: TypeAlias = tuple[Network, VipPool]


def excess(old: Allocations, new: Allocations, max_removed: float | None) -> str | None:
    """Why `new` removes more than is allowed, as a sentence without subject; None when it does not.

    `max_removed` is a share from 0 to 1 and enforced to the single prefix; None stands for the default guard. VIP
    prefixes that close have the default's allowance beside any share: Services lose their last endpoint every day.
    Everything at once is too much for any share but 1, where more than one node had something.
    """
    share = Fraction(str(DEFAULT_SHARE if max_removed is None else max_removed))
    if share >= 1:
        return None
    moved = diff(old, new)
    owned, nodes = _lost_prefixes(old, moved), _lost_nodes(old, new, moved)
    gone = _gone_pools(old, new) if moved.vips_changed else []
    opened = _opened(old) if moved.vips_changed else []
    closed = _closed(opened, new)
    floor = DEFAULT_ALLOWANCE - 1
    allowed = floor if max_removed is None else 0
    for does, what, lost, total, allowance in (
        ("removes", "prefixes", owned + gone, old.size + len(old.index.pools), allowed),
        ("removes", "nodes", nodes, len(old.nodes), allowed),
        ("closes", "VIP prefixes", _names(closed), len(opened), floor),
    ):
        if len(lost) > allowance and len(lost) > share * total:
            part = f"{does} {len(lost)} of {total} {what} ({_percent(len(lost), total)})"
            return f"{part}, and {_percent(share)} are allowed: {few(lost)}"
    if len(owned) == old.size and _owners(old) > 1:
        return f"removes all {len(owned)} prefixes of nodes at once: {few(owned)}"
    if len(nodes) == len(old.nodes) > 1:
        return f"removes all {len(nodes)} nodes at once: {few(nodes)}"
    return _all_closed(old, opened, closed)


def _percent(part: int | Fraction, total: int = 1) -> str:
    return f"{float(Fraction(part) / total * 100):.3g} %"


def _lost_prefixes(old: Allocations, moved: Changes) -> list[str]:
    """Prefixes that nobody owns or borrows any more; one that moves to another node is not lost."""
    kept = {prefix for _, prefix in moved.granted}
    return [f"{prefix} of {node}" for node, prefix in moved.revoked if prefix not in kept]


def _owners(allocations: Allocations) -> int:
    return sum(bool(node.announces) for node in allocations.nodes.values())


def _lost_nodes(old: Allocations, new: Allocations, moved: Changes) -> list[str]:
    """Nodes gone under their name and all their addresses, and nodes that kept their name and none of the addresses."""
    gone = [
        name
        for name in moved.nodes_removed
        if not any(new.node_at(address) for address in old.nodes[name].addresses)
    ]
    return gone + [
        f"{name} ({few([str(address) for address in had])})"
        for name in moved.addresses_changed
        if (had := old.nodes[name].addresses) and not set(had) & set(new.nodes[name].addresses)
    ]


def _gone_pools(old: Allocations, new: Allocations) -> list[str]:
    return [f"VIP pool {prefix}" for prefix, _ in old.index.pools if new.vip_pool_of(prefix) is None]


def _opened(allocations: Allocations) -> list[Pool]:
    """The VIP prefixes that anybody may announce from."""
    return [(prefix, pool) for prefix, pool in allocations.index.pools if pool.nodes != frozenset()]


def _closed(opened: Sequence[Pool], new: Allocations) -> list[Pool]:
    """Those of which nobody may announce any part any more, gone or not; one that is cut anew is not closed."""
    left = sorted(order_of(prefix) for prefix, _ in _opened(new)) if opened else []
    return [one for one in opened if not _reaches(one[0], left, new)]


def _reaches(prefix: Network, left: Sequence[tuple[int, int, int]], new: Allocations) -> bool:
    """Whether anything that is open is around a prefix, or in it."""
    if around := new.vip_pool_of(prefix):
        return around.nodes != frozenset()
    place = bisect_left(left, order_of(prefix))
    return place < len(left) and left[place][:2] <= (prefix.version, int(prefix.broadcast_address))


def _all_closed(old: Allocations, opened: Sequence[Pool], closed: Sequence[Pool]) -> str | None:
    """Whether every VIP prefix closes, or each that names nodes, as an empty list of endpoints would have it."""
    named = [one for one in closed if one[1].nodes is not None]
    open_to_some = sum(pool.nodes is not None for _, pool in opened)
    for what, lost, total in (
        ("VIP prefixes", closed, len(opened)),
        ("VIP prefixes that name nodes", named, open_to_some),
    ):
        if len(lost) == total and len({pool for _, pool in lost}) > ONE_SERVICE and _more_than_one(old, lost):
            return f"closes all {total} {what} at once: {few(_names(lost))}"
    return None


def _more_than_one(old: Allocations, pools: Sequence[Pool]) -> bool:
    """Whether these VIP prefixes together were open to several nodes."""
    if any(pool.nodes is None for _, pool in pools):
        return len(old.nodes) > 1
    return len({node for _, pool in pools for node in pool.nodes or ()}) > 1


def _names(pools: Sequence[Pool]) -> list[str]:
    return [str(prefix) for prefix, _ in pools]
