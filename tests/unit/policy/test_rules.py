"""What the rules of one instance come to, statement by statement."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given

from rr.ipam.allocations import EMPTY, Allocations
from rr.net import Network
from rr.policy.changes import between
from rr.policy.model import Action, Match, PolicySet, PrefixMatch, Statement
from rr.policy.rules import PAIR_PREFERENCE, Rules
from rr.policy.tags import VIP, from_tor, rack_tags
from tests.unit.policy.interpreter import Route, exported, imported
from tests.unit.policy.worlds import EXAMPLES, World, addresses, allocations, instance, networks, worlds

RACK_1: dict[str, Any] = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": "10.3.0.1"}]}
RACK_2: dict[str, Any] = {"nodes": {"ranges": ["10.2.1.0/24"]}, "tors": [{"address": "10.3.1.1"}]}
BOTH = {"rack-1": RACK_1, "rack-2": RACK_2}
NODE_1 = (["10.2.0.11"], ["10.244.1.0/24"])


def build(owned: Allocations, racks: Any = None, **settings: Any) -> PolicySet:
    return Rules(instance(racks or BOTH, **settings)).build(owned)


def statements(policy: PolicySet, beginning: str) -> list[Statement]:
    return [s for s in policy.imports + policy.exports if s.name.startswith(beginning)]


def exactly(*texts: str) -> frozenset[PrefixMatch]:
    return frozenset(map(PrefixMatch.exactly, networks(*texts)))


def hosts_of(*texts: str) -> frozenset[PrefixMatch]:
    return frozenset(map(PrefixMatch.hosts_of, networks(*texts)))


# Import


def test_without_allocations_no_import_statement_accepts_anything_of_a_peer() -> None:
    policy = build(EMPTY)
    assert [s.name for s in policy.imports] == ["scrub", "own", "vip/4", "level"]
    assert {s.action for s in policy.imports if not s.own} == {Action.CONTINUE}


def test_tags_are_scrubbed_before_anything_else() -> None:
    policy = build(allocations({"node-1": NODE_1}, (["10.100.0.0/24"], None)))
    first = policy.imports[0]
    assert first == Statement("scrub", Action.CONTINUE, communities="tags", remove_communities="^0:[0-9]+$")
    assert policy.community_sets["tags"] == frozenset({"^0:[0-9]+$"})


def test_a_node_is_one_statement_with_every_condition() -> None:
    policy = build(allocations({"node-1": NODE_1}))
    (statement,) = statements(policy, "node/")
    assert statement == Statement(
        "node/node-1/rack-1/4",
        Action.ACCEPT,
        prefixes="node/node-1/4",
        neighbors="node/node-1/rack-1",
        next_hops=frozenset(addresses("10.2.0.11")),
        empty_as_path=True,
        add_community=rack_tags(BOTH)["rack-1"],
    )
    assert policy.prefix_sets["node/node-1/4"] == exactly("10.244.1.0/24")
    assert policy.neighbor_sets["node/node-1/rack-1"] == frozenset(networks("10.2.0.11/32"))


def test_a_node_without_prefixes_keeps_its_statement_and_an_empty_set() -> None:
    policy = build(allocations({"node-1": (["10.2.0.11", "fd00:2::11"], [])}), families=["ipv4", "ipv6"])
    assert [s.name for s in statements(policy, "node/")] == ["node/node-1/rack-1/4", "node/node-1/rack-1/6"]
    sets = ("node/node-1/4", "node/node-1/6", "open/4", "open/6", "vips/4", "vips/6")
    assert policy.prefix_sets == dict.fromkeys(sets, frozenset())


def test_a_nodes_next_hops_are_its_addresses_of_the_prefixs_own_family() -> None:
    owned = allocations({"node-1": (["10.2.0.11", "fd00:2::11"], ["10.244.1.0/24", "fd00:10:1::/64"])})
    policy = build(owned, families=["ipv4", "ipv6"])
    hops = {s.name: s.next_hops for s in statements(policy, "node/")}
    assert hops == {
        "node/node-1/rack-1/4": frozenset(addresses("10.2.0.11")),
        "node/node-1/rack-1/6": frozenset(addresses("fd00:2::11")),
    }


def test_a_node_without_an_address_of_a_family_announces_nothing_there() -> None:
    policy = build(allocations({"node-1": (["10.2.0.11"], ["fd00:10:1::/64"])}), families=["ipv4", "ipv6"])
    assert [s.name for s in statements(policy, "node/")] == ["node/node-1/rack-1/4"]


def test_a_node_with_addresses_in_two_racks_is_tagged_by_the_one_it_dials_from() -> None:
    owned = allocations({"node-1": (["10.2.0.11", "10.2.1.11"], ["10.244.1.0/24"])})
    policy = build(owned)
    tags = rack_tags(BOTH)
    found = {s.name: (s.neighbors, s.add_community, s.next_hops) for s in statements(policy, "node/")}
    hops = frozenset(addresses("10.2.0.11", "10.2.1.11"))
    assert found == {
        "node/node-1/rack-1/4": ("node/node-1/rack-1", tags["rack-1"], hops),
        "node/node-1/rack-2/4": ("node/node-1/rack-2", tags["rack-2"], hops),
    }
    assert policy.neighbor_sets["node/node-1/rack-1"] == frozenset(networks("10.2.0.11/32"))
    assert policy.neighbor_sets["node/node-1/rack-2"] == frozenset(networks("10.2.1.11/32"))


def test_a_node_outside_of_every_rack_has_no_statement_and_no_set() -> None:
    policy = build(allocations({"node-1": (["192.0.2.1"], ["10.244.1.0/24"])}))
    assert statements(policy, "node/") == []
    assert statements(policy, "open/") == []
    assert not any(name.startswith("node/") for name in policy.neighbor_sets)
    assert not any(policy.prefix_sets.values())


def test_an_address_outside_of_every_rack_is_still_a_next_hop_of_the_node() -> None:
    policy = build(allocations({"node-1": (["10.2.0.11", "192.0.2.1"], ["10.244.1.0/24"])}))
    (statement,) = statements(policy, "node/")
    assert statement.next_hops == frozenset(addresses("10.2.0.11", "192.0.2.1"))
    assert policy.neighbor_sets["node/node-1/rack-1"] == frozenset(networks("10.2.0.11/32"))


@pytest.mark.parametrize(
    ("families", "versions"), [(["ipv4"], ["4"]), (["ipv6"], ["6"]), (["ipv4", "ipv6"], ["4", "6"])]
)
def test_only_the_families_that_the_instance_carries_are_let_in(
    families: list[str], versions: list[str]
) -> None:
    owned = allocations(
        {"node-1": (["10.2.0.11", "fd00:2::11"], ["10.244.1.0/24", "fd00:10:1::/64"])},
        (["10.100.0.0/24", "fd00:100::/64"], None),
    )
    policy = build(owned, families=families)
    assert [s.name.rpartition("/")[2] for s in statements(policy, "node/")] == versions
    assert [s.name for s in statements(policy, "vip/")] == [f"vip/{version}" for version in versions]
    assert {m.network.version for s in policy.prefix_sets.values() for m in s} == set(map(int, versions))


def test_a_pool_open_to_all_is_one_set_that_every_node_shares_and_marked() -> None:
    owned = allocations({"node-1": NODE_1, "node-2": (["10.2.0.12"], [])}, (["10.100.0.0/24"], None))
    policy = build(owned)
    assert policy.prefix_sets["node/node-1/4"] == exactly("10.244.1.0/24")
    assert policy.prefix_sets["node/node-2/4"] == frozenset()
    assert policy.prefix_sets["open/4"] == hosts_of("10.100.0.0/24")
    shared = statements(policy, "open/")
    assert [s.name for s in shared] == ["open/node-1/rack-1/4", "open/node-2/rack-1/4"]
    for one, own in zip(shared, statements(policy, "node/"), strict=True):
        assert replace(one, name=own.name, prefixes=own.prefixes) == own, (
            "the same conditions but for the prefixes"
        )
    names = [s.name for s in policy.imports]
    assert names.index("open/node-1/rack-1/4") > names.index("node/node-2/rack-1/4"), (
        "own routes never get there"
    )
    assert policy.prefix_sets["vips/4"] == hosts_of("10.100.0.0/24")
    (mark,) = statements(policy, "vip/")
    assert mark == Statement("vip/4", Action.CONTINUE, prefixes="vips/4", add_community=VIP)


def test_a_pool_open_to_some_is_part_of_their_sets_alone() -> None:
    owned = allocations({"node-1": NODE_1, "node-2": (["10.2.0.12"], [])}, (["10.100.0.0/24"], ["node-2"]))
    policy = build(owned)
    assert policy.prefix_sets["node/node-1/4"] == exactly("10.244.1.0/24")
    assert policy.prefix_sets["node/node-2/4"] == hosts_of("10.100.0.0/24")


def test_from_tors_lets_exactly_these_prefixes_in_with_a_tag_of_their_own() -> None:
    racks = {"rack-1": {**RACK_1, "from_tors": ["0.0.0.0/0"]}, "rack-2": RACK_2}
    policy = build(EMPTY, racks)
    (statement,) = [s for s in policy.imports if s.name.startswith("from-tors/")]
    tag = from_tor(rack_tags(racks)["rack-1"])
    assert statement == Statement(
        "from-tors/rack-1/4",
        Action.ACCEPT,
        prefixes="from-tors/rack-1/4",
        neighbors="tors/rack-1",
        add_community=tag,
    )
    assert policy.prefix_sets["from-tors/rack-1/4"] == exactly("0.0.0.0/0")
    assert policy.neighbor_sets["tors/rack-1"] == frozenset(networks("10.3.0.1/32"))


def test_from_tors_of_a_rack_without_tors_lets_nobody_in() -> None:
    """A statement without a neighbor would be one for every neighbor."""
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "from_tors": ["0.0.0.0/0"]}, "rack-2": RACK_2}
    policy = build(EMPTY, racks)
    assert statements(policy, "from-tors/") == statements(policy, "nodes/from-tors/") == []


def test_a_vip_that_a_tor_sends_is_no_vip_of_ours() -> None:
    """It goes to the nodes of its rack as `from_tors` says, and to no ToR."""
    racks = {"rack-1": {**RACK_1, "from_tors": ["10.100.0.1/32"]}, "rack-2": RACK_2}
    policy = build(allocations({"node-1": NODE_1}, (["10.100.0.0/24"], None)), racks)
    (prefix,), (tor, other, node) = networks("10.100.0.1/32"), addresses("10.3.0.1", "10.3.1.1", "10.2.0.11")
    held = imported(policy, Route(prefix, tor), tor)
    assert held is not None
    assert VIP not in held.communities
    assert exported(policy, held, other) is None
    assert exported(policy, held, node) is not None


# Export

REACHES = [
    dict(zip(("nodes", "tors", "vips", "tor_vips"), each, strict=True))
    for each in product(("rack", "all", "none"), ("rack", "all"), ("rack", "all", "none"), ("rack", "all"))
]
HOME = dict(
    zip(
        ("tor-1", "tor-2", "node-1", "node-2"),
        addresses("10.3.0.1", "10.3.1.1", "10.2.0.11", "10.2.1.12"),
        strict=True,
    )
)


@pytest.mark.parametrize("reflect", REACHES, ids=lambda r: "-".join(r.values()))
def test_where_the_routes_of_rack_1_go(reflect: dict[str, str]) -> None:
    owned = allocations({"node-1": NODE_1, "node-2": (["10.2.1.12"], [])}, (["10.100.0.0/24"], None))
    policy = build(owned, reflect=reflect)
    node_1 = HOME["node-1"]
    for prefix, to_nodes, to_tors in (
        ("10.244.1.0/24", reflect["nodes"], reflect["tors"]),
        ("10.100.0.1/32", reflect["vips"], reflect["tor_vips"]),
    ):
        held = imported(policy, Route(networks(prefix)[0], node_1), node_1)
        assert held is not None
        got = {name for name, address in HOME.items() if exported(policy, held, address)}
        wanted = {"none": set[str](), "rack": {"node-1"}, "all": {"node-1", "node-2"}}[to_nodes]
        wanted |= {"rack": {"tor-1"}, "all": {"tor-1", "tor-2"}}[to_tors]
        assert got == wanted, prefix


def test_nobody_outside_of_the_racks_is_sent_anything() -> None:
    reflect = {"nodes": "all", "tors": "all", "vips": "all"}
    policy = build(allocations({"node-1": NODE_1}), reflect=reflect)
    node_1, stranger = addresses("10.2.0.11", "203.0.113.9")
    held = imported(policy, Route(networks("10.244.1.0/24")[0], node_1), node_1)
    assert held is not None
    assert exported(policy, held, stranger) is None


def test_every_accepting_export_removes_our_tags() -> None:
    for reflect in REACHES:
        racks = {"rack-1": {**RACK_1, "from_tors": ["0.0.0.0/0"]}, "rack-2": RACK_2}
        for statement in build(EMPTY, racks, reflect=reflect).exports:
            assert statement.action is Action.REJECT or statement.remove_communities == "^0:[0-9]+$"


def test_a_rack_without_tors_has_no_statement_for_them() -> None:
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}}}
    for reflect in REACHES:
        assert not [s for s in build(EMPTY, racks, reflect=reflect).exports if s.name.startswith("tors")]


def test_vips_within_a_rack_need_both_tags() -> None:
    policy = build(EMPTY, reflect={"nodes": "all", "vips": "rack"})
    (statement,) = [s for s in policy.exports if s.name == "nodes/vips/rack-1"]
    assert statement.communities_match is Match.ALL
    assert policy.community_sets["vip/rack-1"] == frozenset({"^0:1$", f"^{rack_tags(BOTH)['rack-1']}$"})


# Whatever the network


def named_sets(policy: PolicySet) -> Iterator[tuple[str, bool]]:
    for s in policy.imports + policy.exports:
        yield s.name, s.prefixes is None or s.prefixes in policy.prefix_sets
        yield s.name, s.neighbors is None or s.neighbors in policy.neighbor_sets
        yield s.name, s.communities is None or s.communities in policy.community_sets


@given(worlds())
@EXAMPLES
def test_every_policy_is_one_that_the_engine_can_take_without_opening(world: World) -> None:
    policy = world.rules.build(world.allocations)
    assert all(policy.neighbor_sets.values()), "an empty neighbor set matches every neighbor"
    assert all(policy.community_sets.values())
    assert all(there for _, there in named_sets(policy))
    for members in policy.prefix_sets.values():
        assert len({m.network.version for m in members}) <= 1, "a prefix set has one family"
    for direction in (policy.imports, policy.exports):
        assert len({s.name for s in direction}) == len(direction)
    for s in policy.imports:
        assert s.own or s.action is Action.CONTINUE or (s.prefixes and s.neighbors)


@given(worlds())
@EXAMPLES
def test_what_was_remembered_gives_the_same_policy_as_a_fresh_start(world: World) -> None:
    rules = world.rules
    first = rules.build(world.allocations)
    rules.build(EMPTY)
    assert (
        rules.build(world.allocations) == first == Rules(world.instance, world.pair).build(world.allocations)
    )


def test_a_rack_without_any_range_is_refused_and_does_not_open_the_filter() -> None:
    rack = Rules(instance(BOTH)).instance.racks["rack-1"]
    emptied = rack.model_copy(update={"nodes": rack.nodes.model_copy(update={"ranges": ()})})
    broken = instance(BOTH).model_copy(update={"racks": {"rack-1": emptied}})
    with pytest.raises(
        ValueError, match="neighbor set nodes/rack-1 is empty: the engine would match every neighbor"
    ):
        Rules(broken).build(EMPTY)


def test_a_peer_is_in_the_rack_whose_range_holds_it() -> None:
    rules = Rules(
        instance({"rack-1": {"nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]}}, "rack-2": RACK_2})
    )
    asked = addresses("10.2.0.255", "fd00:2::1", "10.2.1.0", "10.2.2.0", "10.3.1.1", "fd00:2:0:1::1")
    assert [rules.rack_of(a) for a in asked] == ["rack-1", "rack-1", "rack-2", None, None, None]
    assert rules.rack_of_tor(asked[4]) == "rack-2"


def test_add_paths_are_those_of_the_tor_asked_about() -> None:
    tors = [{"address": "10.3.0.1", "add_paths": 4}, {"address": "10.3.0.2", "add_paths": 0}]
    rules = Rules(instance({"rack-1": {**RACK_1, "tors": tors}}))
    assert [rules.add_paths(tor) for tor in rules.tors()] == [4, 0]


def prefixes_of(policy: PolicySet, name: str) -> set[Network]:
    return {m.network for m in policy.prefix_sets[name]}


def test_a_suspended_vip_takes_its_whole_pool_from_that_node_alone() -> None:
    owned = allocations(
        {"node-1": NODE_1, "node-2": (["10.2.0.12"], [])},
        (["10.100.0.0/24"], None),
        (["10.101.0.0/24"], None),
    )
    suspended = frozenset({("node-1", networks("10.100.0.1/32")[0])})
    policy = Rules(instance(BOTH)).build(owned, suspended)
    assert prefixes_of(policy, "node/node-1/4") == set(networks("10.244.1.0/24", "10.101.0.0/24"))
    assert prefixes_of(policy, "node/node-2/4") == set()
    assert prefixes_of(policy, "open/4") == set(networks("10.100.0.0/24", "10.101.0.0/24"))
    assert [s.name for s in policy.imports if s.name.startswith("open/")] == ["open/node-2/rack-1/4"]
    assert prefixes_of(policy, "vips/4") == set(networks("10.100.0.0/24", "10.101.0.0/24"))


# The other half

HALF = addresses("10.0.0.12")[0]


def test_what_comes_over_the_other_half_passes_the_same_statements_and_is_the_last_resort() -> None:
    owned = allocations({"node-1": NODE_1}, (["10.100.0.0/24"], None))
    alone, paired = (Rules(instance(BOTH), half).build(owned) for half in (None, HALF))
    half = next(s for s in paired.imports if s.name == "level/pair")
    assert half == Statement("level/pair", Action.CONTINUE, neighbors="pair", local_pref=PAIR_PREFERENCE)
    assert [s for s in paired.imports if s != half] == list(alone.imports)
    assert paired.neighbor_sets["node/node-1/rack-1"] == frozenset(networks("10.2.0.11/32", "10.0.0.12/32"))
    assert paired.prefix_sets["node/node-1/4"] == alone.prefix_sets["node/node-1/4"]


def test_a_node_in_two_racks_comes_over_the_other_half_as_one_of_the_first() -> None:
    owned = allocations({"node-1": (["192.0.2.1", "10.2.1.11", "10.2.0.11"], ["10.244.1.0/24"])})
    policy = Rules(instance(BOTH), HALF).build(owned)
    with_half = [n for n, members in policy.neighbor_sets.items() if networks("10.0.0.12/32")[0] in members]
    assert sorted(with_half) == ["node/node-1/rack-2", "pair"]


def test_the_other_half_is_given_exactly_what_it_lacks() -> None:
    rules = Rules(instance(BOTH), HALF)
    owned = allocations({"node-1": NODE_1})
    nothing = rules.build(owned)
    lacking = rules.build(owned, lacking=frozenset(networks("10.244.1.0/24", "fd00:10:1::/64")))
    assert nothing.prefix_sets["pair/4"] == frozenset()
    assert lacking.prefix_sets["pair/4"] == exactly("10.244.1.0/24")
    change = between(nothing, lacking)
    assert (change.structural, change.senders) == (False, frozenset())
    assert change.receivers == frozenset(networks("10.0.0.12/32"))
