"""A broken IPAM does not take the network down: a snapshot that removes too much is not believed at once."""

from __future__ import annotations

from fractions import Fraction

from rr.ipam.allocations import Allocations, Changes, diff
from rr.text import few

DEFAULT_SHARE = 0.2
DEFAULT_ALLOWANCE = 20
"""Without a configured guard this many may always go: small networks change in large steps."""


def excess(old: Allocations, new: Allocations, max_removed: float | None) -> str | None:
    """Why `new` removes more than is allowed, as a sentence without subject; None when it does not.

    `max_removed` is a share from 0 to 1 and enforced to the single prefix; None stands for the default guard.
    """
    moved = diff(old, new)
    counted = (
        ("prefixes", _lost_prefixes(old, new, moved), old.size + len(old.index.pools)),
        ("nodes", _lost_nodes(old, new, moved), len(old.nodes)),
    )
    allowance = DEFAULT_ALLOWANCE - 1 if max_removed is None else 0
    share = Fraction(str(DEFAULT_SHARE if max_removed is None else max_removed))
    for what, lost, total in counted:
        if len(lost) > allowance and len(lost) > share * total:
            removes = f"removes {len(lost)} of {total} {what} ({_percent(len(lost), total)})"
            return f"{removes}, and {_percent(share)} are allowed: {few(lost)}"
    return None


def _percent(part: int | Fraction, total: int = 1) -> str:
    return f"{float(Fraction(part) / total * 100):.3g} %"


def _lost_prefixes(old: Allocations, new: Allocations, moved: Changes) -> list[str]:
    """Prefixes that nobody owns or borrows any more; one that moves to another node is not lost."""
    kept = {prefix for _, prefix in moved.granted}
    owned = [f"{prefix} of {node}" for node, prefix in moved.revoked if prefix not in kept]
    if not moved.vips_changed:
        return owned
    return owned + [f"VIP pool {p}" for p, _ in old.index.pools if new.vip_pool_of(p) is None]


def _lost_nodes(old: Allocations, new: Allocations, moved: Changes) -> list[str]:
    """Nodes gone under their name and under all their addresses."""
    return [
        name
        for name in moved.nodes_removed
        if not any(new.node_at(address) for address in old.nodes[name].addresses)
    ]
