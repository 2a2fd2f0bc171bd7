"""Between plain policy and the engine's messages, both ways: what is written can be read back and compared."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network

from rr.engine.pb import gobgp_pb2 as pb
from rr.net import Network
from rr.policy.model import Action, Match, PolicySet, PrefixMatch, Statement

_ACTIONS = {
    Action.ACCEPT: pb.ROUTE_ACTION_ACCEPT,
    Action.REJECT: pb.ROUTE_ACTION_REJECT,
    Action.CONTINUE: pb.ROUTE_ACTION_UNSPECIFIED,
}
_MATCHES = {Match.ANY: pb.MatchSet.TYPE_ANY, Match.ALL: pb.MatchSet.TYPE_ALL}
_NEUTRAL_PREFERENCE = 100
_LIST_SETS = {
    "neighbor_sets": pb.DEFINED_TYPE_NEIGHBOR,
    "community_sets": pb.DEFINED_TYPE_COMMUNITY,
    "as_path_sets": pb.DEFINED_TYPE_AS_PATH,
}
SET_KINDS = (pb.DEFINED_TYPE_PREFIX, *_LIST_SETS.values())
"""Every kind of set that a policy uses."""
# Encoded messages are kept: a change at 2,000 nodes encodes what changed and copies the rest.
_keep = lru_cache(maxsize=65536)

network = lru_cache(maxsize=131072)(ip_network)
"""Parse a prefix, remembering what was parsed before."""
address = lru_cache(maxsize=131072)(ip_address)
"""Parse an address, remembering what was parsed before."""


# Writing


def sets(policy: PolicySet) -> list[pb.DefinedSet]:
    """Every set of the policy as the engine's messages."""
    found = [prefix_set(name, members) for name, members in policy.prefix_sets.items()]
    for kind, number in _LIST_SETS.items():
        found += [_list_set(number, name, members) for name, members in getattr(policy, kind).items()]
    return found


@_keep
def prefix_set(name: str, members: frozenset[PrefixMatch]) -> pb.DefinedSet:
    """One prefix set, or the members to add to it or take from it."""
    prefixes = [
        pb.Prefix(ip_prefix=str(m.network), mask_length_min=m.shortest, mask_length_max=m.longest)
        for m in members
    ]
    return pb.DefinedSet(defined_type=pb.DEFINED_TYPE_PREFIX, name=name, prefixes=prefixes)


@_keep
def _list_set(
    kind: "pb.DefinedType.ValueType", name: str, members: frozenset[str | Network]
) -> pb.DefinedSet:
    return pb.DefinedSet(defined_type=kind, name=name, list=sorted(map(str, members)))


def policy_message(name: str, statements: Iterable[Statement]) -> pb.Policy:
    """One policy with its statements in order."""
    return pb.Policy(name=name, statements=map(_statement, statements))


@_keep
def _statement(statement: Statement) -> pb.Statement:
    conditions = pb.Conditions(next_hop_in_list=sorted(map(str, statement.next_hops)))
    if statement.prefixes:
        conditions.prefix_set.CopyFrom(_match(statement.prefixes))
    if statement.neighbors:
        conditions.neighbor_set.CopyFrom(_match(statement.neighbors))
    if statement.communities:
        conditions.community_set.CopyFrom(
            pb.MatchSet(name=statement.communities, type=_MATCHES[statement.communities_match])
        )
    if statement.empty_as_path:
        conditions.as_path_length.CopyFrom(pb.AsPathLength(type=pb.COMPARISON_EQ, length=0))
        # Confederation segments have length 0 (RFC 5065, section 5.3), so the length alone is no proof.
        conditions.as_path_set.CopyFrom(pb.MatchSet(name=ANY_AS, type=pb.MatchSet.TYPE_INVERT))
    return pb.Statement(name=statement.name, conditions=conditions, actions=_actions(statement))


ANY_AS = "any-as"
"""The AS_PATH set that matches every path with an AS number in it."""


def _match(name: str) -> pb.MatchSet:
    return pb.MatchSet(name=name, type=pb.MatchSet.TYPE_ANY)


def _actions(statement: Statement) -> pb.Actions:
    actions = pb.Actions(route_action=_ACTIONS[statement.action])
    if statement.add_community:
        actions.community.CopyFrom(
            pb.CommunityAction(type=pb.CommunityAction.TYPE_ADD, communities=[statement.add_community])
        )
    if statement.remove_communities:
        actions.community.CopyFrom(
            pb.CommunityAction(
                type=pb.CommunityAction.TYPE_REMOVE, communities=[statement.remove_communities]
            )
        )
    if statement.neutral:
        actions.local_pref.value = _NEUTRAL_PREFERENCE
        actions.med.CopyFrom(pb.MedAction(type=pb.MedAction.TYPE_REPLACE, value=0))
        actions.origin_action.origin = pb.ORIGIN_TYPE_IGP
    if statement.local_pref is not None:
        actions.local_pref.value = statement.local_pref
    return actions


# Reading


def read_prefix_set(message: pb.DefinedSet) -> frozenset[PrefixMatch]:
    """The members of one prefix set."""
    return frozenset(_prefix(p.ip_prefix, p.mask_length_min, p.mask_length_max) for p in message.prefixes)


@lru_cache(maxsize=131072)
def _prefix(prefix: str, shortest: int, longest: int) -> PrefixMatch:
    return PrefixMatch(network(prefix), shortest, longest)


def read_sets(
    found: Iterable[pb.DefinedSet], imports: Iterable[pb.Statement], exports: Iterable[pb.Statement]
) -> PolicySet:
    """Everything that the engine said it holds, as plain policy."""
    kinds: dict[int, list[pb.DefinedSet]] = {kind: [] for kind in SET_KINDS}
    for message in found:
        kinds[message.defined_type].append(message)
    prefixes, neighbors, communities, as_paths = kinds.values()
    return PolicySet(
        prefix_sets={m.name: read_prefix_set(m) for m in prefixes},
        neighbor_sets={m.name: frozenset(map(network, m.list)) for m in neighbors},
        community_sets={m.name: frozenset(m.list) for m in communities},
        as_path_sets={m.name: frozenset(m.list) for m in as_paths},
        imports=tuple(map(_read_statement, imports)),
        exports=tuple(map(_read_statement, exports)),
    )


def _read_statement(message: pb.Statement) -> Statement:
    """Read a statement; one that we could not have written comes back under a name that nobody asked for."""
    read = _as_ours(message)
    if _statement(read).SerializeToString(deterministic=True) == _normal(message):
        return read
    return Statement(f"{message.name} (altered)", Action.REJECT)


def _as_ours(message: pb.Statement) -> Statement:
    conditions, actions = message.conditions, message.actions
    community = actions.community
    text = community.communities[0] if community.communities else None
    neutral = actions.HasField("med")
    match = Match.ALL if conditions.community_set.type == pb.MatchSet.TYPE_ALL else Match.ANY
    return Statement(
        name=message.name,
        action=next((a for a, number in _ACTIONS.items() if number == actions.route_action), Action.CONTINUE),
        prefixes=conditions.prefix_set.name or None,
        neighbors=conditions.neighbor_set.name or None,
        communities=conditions.community_set.name or None,
        communities_match=match if conditions.community_set.name else Match.ANY,
        next_hops=frozenset(ip_address(hop.partition("/")[0]) for hop in conditions.next_hop_in_list),
        empty_as_path=conditions.HasField("as_path_length"),
        add_community=text if community.type == pb.CommunityAction.TYPE_ADD else None,
        remove_communities=text if community.type == pb.CommunityAction.TYPE_REMOVE else None,
        neutral=neutral,
        local_pref=actions.local_pref.value if actions.HasField("local_pref") and not neutral else None,
    )


def _normal(message: pb.Statement) -> bytes:
    """The statement as it was sent: the engine adds prefix lengths to next hops and reorders them."""
    normal = pb.Statement()
    normal.CopyFrom(message)
    hops = sorted(hop.partition("/")[0] for hop in message.conditions.next_hop_in_list)
    normal.conditions.next_hop_in_list[:] = hops
    return normal.SerializeToString(deterministic=True)
