"""A broken IPAM does not take the network down: a snapshot that removes too much is not believed at once."""

from __future__ import annotations

from fractions import Fraction

from rr.ipam.allocations import Allocations, Changes, diff
from rr.text import few

DEFAULT_SHARE = 0.2
DEFAULT_ALLOWANCE = 20
"""Without a configured guard fewer than this many may go, unless they are all: small networks change in large steps."""


def excess(old: Allocations, new: Allocations, max_removed: float | None) -> str | None:
    """Why `new` removes more than is allowed, as a sentence without subject; None when it does not.

    `max_removed` is a share from 0 to 1 and enforced to the single prefix; None stands for the default guard.
    Everything at once is too much for any share but 1, where more than one node had something.
    """
    share = Fraction(str(DEFAULT_SHARE if max_removed is None else max_removed))
    if share >= 1:
        return None
    moved = diff(old, new)
    owned = _lost_prefixes(old, moved)
    nodes = _lost_nodes(old, new, moved)
    pools = _lost_pools(old, new) if moved.vips_changed else []
    allowance = DEFAULT_ALLOWANCE - 1 if max_removed is None else 0
    for what, lost, total in (
        ("prefixes", owned + pools, old.size + len(old.index.pools)),
        ("nodes", nodes, len(old.nodes)),
    ):
        if len(lost) > allowance and len(lost) > share * total:
            removes = f"removes {len(lost)} of {total} {what} ({_percent(len(lost), total)})"
            return f"{removes}, and {_percent(share)} are allowed: {few(lost)}"
    if len(owned) == old.size and _more_than_one_has_a_prefix(old):
        return f"removes all {len(owned)} prefixes of nodes at once: {few(owned)}"
    if len(nodes) == len(old.nodes) > 1:
        return f"removes all {len(nodes)} nodes at once: {few(nodes)}"
    return None


def _percent(part: int | Fraction, total: int = 1) -> str:
    return f"{float(Fraction(part) / total * 100):.3g} %"


def _lost_prefixes(old: Allocations, moved: Changes) -> list[str]:
    """Prefixes that nobody owns or borrows any more; one that moves to another node is not lost."""
    kept = {prefix for _, prefix in moved.granted}
    return [f"{prefix} of {node}" for node, prefix in moved.revoked if prefix not in kept]


def _lost_pools(old: Allocations, new: Allocations) -> list[str]:
    return [f"VIP pool {prefix}" for prefix, _ in old.index.pools if new.vip_pool_of(prefix) is None]


def _lost_nodes(old: Allocations, new: Allocations, moved: Changes) -> list[str]:
    """Nodes gone under their name and under all their addresses."""
    return [
        name
        for name in moved.nodes_removed
        if not any(new.node_at(address) for address in old.nodes[name].addresses)
    ]


def _more_than_one_has_a_prefix(allocations: Allocations) -> bool:
    owners = (name for name, node in allocations.nodes.items() if node.announces)
    return next(owners, None) is not None and next(owners, None) is not None
