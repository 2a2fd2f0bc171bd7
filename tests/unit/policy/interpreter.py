"""A policy evaluated in Python, condition by condition as the engine does it (its table/policy.go)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rr.engine.policy import ANY_AS
from rr.net import Address, Network
from rr.policy.model import Action, Match, PolicySet, Statement


@dataclass(frozen=True, slots=True)
class Route:
    """What a policy sees of a path."""

    prefix: Network
    next_hop: Address
    as_path: str = ""
    communities: frozenset[str] = frozenset()
    local_pref: int = 100
    med: int = 0
    origin: str = "igp"


def imported(policy: PolicySet, route: Route, sender: Address) -> Route | None:
    """What the table holds of a path that `sender` announces; None where it is rejected."""
    return _evaluate(policy, policy.imports, route, sender)


def exported(policy: PolicySet, route: Route, receiver: Address) -> Route | None:
    """What `receiver` is sent of a path in the table; None where it is not sent."""
    return _evaluate(policy, policy.exports, route, receiver)


def _evaluate(
    policy: PolicySet, statements: Iterable[Statement], route: Route, neighbor: Address
) -> Route | None:
    for statement in statements:
        if not _matches(policy, statement, route, neighbor):
            continue
        route = _edited(statement, route)
        if statement.action is Action.REJECT:
            return None
        if statement.action is Action.ACCEPT:
            return route
    return None


def _matches(policy: PolicySet, statement: Statement, route: Route, neighbor: Address) -> bool:
    if statement.prefixes is not None and not any(
        match.covers(route.prefix) for match in policy.prefix_sets[statement.prefixes]
    ):
        return False
    if statement.neighbors is not None:
        members = policy.neighbor_sets[statement.neighbors]
        # An empty neighbor set matches every neighbor.
        if members and not any(n.version == neighbor.version and neighbor in n for n in members):
            return False
    if statement.communities is not None and not _communities_match(policy, statement, route):
        return False
    if statement.next_hops and route.next_hop not in statement.next_hops:
        return False
    return not statement.empty_as_path or _as_path_is_empty(policy, route.as_path)


def _communities_match(policy: PolicySet, statement: Statement, route: Route) -> bool:
    assert statement.communities is not None
    found = [
        any(re.search(pattern, community) for community in route.communities)
        for pattern in policy.community_sets[statement.communities]
    ]
    return bool(found) and (all(found) if statement.communities_match is Match.ALL else any(found))


def _as_path_is_empty(policy: PolicySet, text: str) -> bool:
    return as_path_length(text) == 0 and not any(re.search(p, text) for p in policy.as_path_sets[ANY_AS])


def as_path_length(text: str) -> int:
    """Hops as route selection counts them: a set is one, confederation segments are none (RFC 5065, 5.3)."""
    plain = re.sub(r"\([^)]*\)|\[[^]]*\]", "", text)
    return len(re.findall(r"\{[^}]*\}|[0-9]+", plain))


def _edited(statement: Statement, route: Route) -> Route:
    communities = set(route.communities)
    if statement.remove_communities:
        communities = {c for c in communities if not re.search(statement.remove_communities, c)}
    if statement.add_community:
        communities.add(statement.add_community)
    route = replace(route, communities=frozenset(communities))
    if statement.neutral:
        route = replace(route, local_pref=100, med=0, origin="igp")
    return route if statement.local_pref is None else replace(route, local_pref=statement.local_pref)
