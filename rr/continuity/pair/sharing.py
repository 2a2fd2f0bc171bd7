"""What both halves must have in common, as digests that are equal exactly where it is. Pure.

Names, router ids, cluster ids, addresses and files are each half's own.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rr.addresses import network_of
from rr.config.model import Instance
from rr.net import Address
from rr.policy.drain import draining
from rr.policy.model import PolicySet
from rr.policy.rules import PAIR

PARTS = ("asn", "floating", "port", "families", "hold_time", "graceful_restart", "racks", "reflect")
"""The keys of an instance that both halves must say the same of."""
_OWN: Any = {"racks": {"__all__": {"nodes": {"password_file"}, "tors": {"__all__": {"password_file"}}}}}
_RACKS = "racks"
"""The set of all racks' tags: an instance without a session between the halves may do without it."""


def settings(instance: Instance) -> dict[str, str]:
    """A digest of each part of an instance that both halves share."""
    values = instance.model_dump(mode="json", include=set(PARTS), exclude=_OWN)
    values |= {key: sorted(values[key]) for key in ("families", "floating")}
    for rack in values["racks"].values():
        rack["nodes"]["ranges"].sort()
        rack["tors"].sort(key=lambda tor: str(tor["address"]))
        rack["from_tors"].sort()
    return {part: _digest(values[part]) for part in PARTS}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def rules(policy: PolicySet, half: Address | None) -> str:
    """A digest of an enforced policy, without what is about the session between the halves, and about draining.

    The order of statements follows the IPAM's order of nodes, which means nothing.
    """
    policy = draining(policy, on=False)
    own = frozenset({network_of(half)} if half else ())
    neighbors = {name: members - own for name, members in _shared(policy.neighbor_sets).items()}
    return PolicySet(
        prefix_sets=_shared(policy.prefix_sets),
        neighbor_sets=neighbors,
        community_sets={n: m for n, m in policy.community_sets.items() if n != _RACKS},
        as_path_sets=policy.as_path_sets,
        imports=tuple(sorted((s for s in policy.imports if s.neighbors != PAIR), key=lambda s: s.name)),
        exports=tuple(sorted((s for s in policy.exports if s.neighbors != PAIR), key=lambda s: s.name)),
    ).digest()


def _shared(sets: Mapping[str, frozenset[Any]]) -> dict[str, frozenset[Any]]:
    return {name: members for name, members in sets.items() if name.partition("/")[0] != PAIR}
