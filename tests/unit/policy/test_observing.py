"""Racks that are only observed: what passes there, and what nobody can take there."""

from ipaddress import ip_address
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr.addresses import contains, overlap
from rr.ipam.allocations import Allocations, NodeAllocation
from rr.net import Network
from rr.policy.changes import between
from rr.policy.observing import OBSERVE
from rr.policy.rules import Rules
from rr.policy.tags import VIP
from rr.policy.verdict import Announcement, Reason, Verdict, judge
from tests.unit.policy.interpreter import Route, imported
from tests.unit.policy.worlds import (
    EXAMPLES,
    World,
    addresses,
    all_allocations,
    allocations,
    instance,
    later_than,
    networks,
    worlds,
)

BOUNDS = {"prefixes": ["10.244.0.0/16", "10.100.0.0/16", "fd00:10::/32"], "next_hops": ["fd00:2::/120"]}
OBSERVED = {
    "nodes": {"ranges": ["10.2.0.0/24"]},
    "tors": [{"address": "10.3.0.1"}],
    "enforce": "observe",
    "observe": BOUNDS,
}
ENFORCED = {"nodes": {"ranges": ["10.2.1.0/24"]}, "tors": [{"address": "10.3.1.1"}]}
OWNED = allocations(
    {
        "node-1": (["10.2.0.11", "fd00:2::11"], ["10.244.1.0/24"]),
        "node-2": (["10.2.0.12"], ["10.244.2.0/24"]),
        "far": (["10.2.1.11", "10.244.250.1"], ["10.244.4.0/24", "fd00:10:4::/64"]),
        "both": (["10.2.0.13", "10.2.1.13"], ["10.244.5.0/24"]),
    },
    (["10.100.0.0/24"], None),
    (["10.100.1.0/24"], ["node-1"]),
    (["10.100.2.0/24"], ["node-1", "far"]),
    (["10.100.3.0/24"], []),
)
NODE_1, STRANGER, FAR_STRANGER = addresses("10.2.0.11", "10.2.0.99", "10.2.1.99")


def rules(**first: Any) -> Rules:
    racks = {"rack-1": {**OBSERVED, **first}, "rack-2": ENFORCED}
    return Rules(instance(racks, families=["ipv4", "ipv6"]))


def verdict(network: str, peer: str = "10.2.0.99", **more: Any) -> Verdict:
    """What is said of an announcement, after the rules have been seen to do the same."""
    (prefix,) = networks(network)
    said = Announcement(ip_address(peer), prefix, **{"next_hop": ip_address(peer), **more})
    found = judge(rules(), OWNED, said)
    assert said.next_hop
    route = Route(said.prefix, said.next_hop, said.as_path)
    assert (imported(rules().build(OWNED), route, said.peer) is not None) == found.accepted, found.text
    return found


@pytest.mark.parametrize(
    ("prefix", "peer", "objection"),
    [
        ("10.244.77.0/24", "10.2.0.99", Reason.UNKNOWN_NODE),
        ("10.244.77.1/32", "10.2.0.11", Reason.NOT_ALLOCATED),
        ("10.244.1.0/25", "10.2.0.11", Reason.MORE_SPECIFIC),
        ("10.244.0.0/23", "10.2.0.11", Reason.LESS_SPECIFIC),
        ("10.244.2.0/24", "10.2.0.11", Reason.FOREIGN_PREFIX),
        ("10.100.1.1/32", "10.2.0.12", Reason.VIP_NOT_ALLOWED),
        ("10.100.1.0/25", "10.2.0.11", Reason.VIP_NOT_ALLOWED),
        ("10.100.0.1/32", "10.2.0.99", Reason.UNKNOWN_NODE),
        ("10.244.1.0/24", "10.2.0.99", Reason.UNKNOWN_NODE),
    ],
)
def test_within_the_bounds_of_an_observed_rack_anything_passes_and_the_objection_is_told(
    prefix: str, peer: str, objection: Reason
) -> None:
    found = verdict(prefix, peer)
    assert found.accepted
    assert found.observed
    assert (found.reason, found.objection) == (None, objection)
    assert found.text.startswith("rack-1 is only observed; enforced, it would be rejected: ")


def test_what_a_node_owns_is_no_objection() -> None:
    found = verdict("10.244.1.0/24", "10.2.0.11")
    assert found.accepted
    assert not found.observed
    assert found.objection is None


@pytest.mark.parametrize(
    ("prefix", "beyond"),
    [
        ("0.0.0.0/0", "in none of the prefixes that `observe` of rack-1 names"),
        ("::/0", "in none of the prefixes"),
        ("10.0.0.0/8", "in none of the prefixes"),
        ("10.245.0.0/24", "in none of the prefixes"),
        ("10.2.0.0/24", "in none of the prefixes"),
        ("10.244.4.0/24", "10.244.4.0/24 of far, which only its owner may announce"),
        ("10.244.4.0/25", "10.244.4.0/24 of far"),
        ("10.244.4.7/32", "10.244.4.0/24 of far"),
        ("10.244.4.0/23", "10.244.4.0/24 of far"),
        ("10.244.0.0/16", "which only its owner may announce"),
        ("fd00:10:4::/64", "fd00:10:4::/64 of far"),
        ("10.244.5.0/24", "10.244.5.0/24 of both"),
        ("10.244.250.1/32", "10.244.250.1/32 of the addresses of far"),
        ("10.244.250.0/24", "10.244.250.1/32 of the addresses of far"),
        ("10.100.0.0/25", "10.100.0.0/24 of the VIP pools"),
        ("10.100.2.1/32", "10.100.2.0/24 of the VIP pools"),
        ("10.100.3.1/32", "10.100.3.0/24 of the VIP pools"),
    ],
)
def test_beyond_the_bounds_or_where_it_is_somebodys_it_is_rejected(prefix: str, beyond: str) -> None:
    hop = ip_address("fd00:2::99" if ":" in prefix else "10.2.0.99")
    found = verdict(prefix, next_hop=hop)
    assert not found.accepted
    assert found.reason
    assert found.bounds
    assert beyond in found.bounds.text


@pytest.mark.parametrize(
    ("prefix", "more", "beyond"),
    [
        ("10.244.77.0/24", {"next_hop": ip_address("10.2.1.11")}, "10.2.1.11, which is none of rack-1's"),
        ("10.244.77.0/24", {"next_hop": ip_address("fd00:2::11")}, "fd00:2::11, which is none of rack-1's"),
        ("fd00:10:7::/64", {"next_hop": ip_address("10.2.0.11")}, "10.2.0.11, which is none of rack-1's"),
        ("fd00:10:7::/64", {"next_hop": ip_address("::ffff:10.2.0.11")}, "which is none of rack-1's"),
        ("10.244.77.0/24", {"as_path": "65001"}, "AS_PATH 65001"),
        ("10.244.77.0/24", {"as_path": "(65001)"}, "AS_PATH (65001)"),
    ],
)
def test_next_hops_stay_in_the_rack_and_the_as_path_is_empty(
    prefix: str, more: dict[str, Any], beyond: str
) -> None:
    found = verdict(prefix, **more)
    assert not found.accepted
    assert found.bounds
    assert beyond in found.bounds.text


def test_a_next_hop_of_the_rack_need_not_be_the_nodes_own() -> None:
    assert verdict("10.244.77.0/24", next_hop=NODE_1).observed
    assert verdict("fd00:10:7::/64", next_hop=ip_address("fd00:2::99")).observed


def test_the_rack_beside_it_is_enforced() -> None:
    found = verdict("10.244.77.0/24", "10.2.1.99")
    assert not found.accepted
    assert found.bounds is None


def test_bounds_do_nothing_while_the_rack_is_enforced() -> None:
    inert, without = rules(enforce=True), rules(enforce=True, observe=None)
    assert inert.build(OWNED) == without.build(OWNED)
    assert not any(s.name.startswith(OBSERVE) for s in inert.build(OWNED).imports)


def test_a_vip_of_an_observed_rack_is_marked_as_one_and_other_host_routes_are_not() -> None:
    policy = rules().build(OWNED)
    for text, kind in (("10.100.0.1/32", "vip"), ("10.100.1.1/32", "vip"), ("10.244.77.1/32", "pod")):
        (prefix,) = networks(text)
        held = imported(policy, Route(prefix, STRANGER), STRANGER)
        assert held
        assert (VIP in held.communities) == (kind == "vip")
        assert verdict(text).kind == kind


def test_turning_enforcing_on_judges_the_nodes_of_that_rack_again_and_nobody_else() -> None:
    for change in (
        between(rules().build(OWNED), rules(enforce=True).build(OWNED)),
        between(rules(enforce=True).build(OWNED), rules().build(OWNED)),
    ):
        assert change.senders == frozenset(networks("10.2.0.0/24"))
        assert change.receivers == frozenset()


def test_a_grant_to_an_enforced_rack_closes_the_prefix_in_the_observed_one_by_an_edit() -> None:
    def with_new(*prefixes: str) -> Allocations:
        new = NodeAllocation("new", addresses("10.2.1.50"), networks(*prefixes))
        return Allocations({**OWNED.nodes, "new": new}, OWNED.vips)

    before, after = with_new("10.244.90.0/24"), with_new("10.244.90.0/24", "10.244.91.0/24")
    change = between(rules().build(before), rules().build(after))
    assert not change.structural
    assert {edit.name for edit in change.edits} == {"node/new/4", "observe/reserved/4"}
    assert change.senders == frozenset(networks("10.2.0.0/24", "10.2.1.50/32"))


def somebodys(world: World) -> list[Network]:
    """What belongs to a node that an enforced rack may have a say about; the long way round."""
    rules, found = world.rules, list[Network]()
    for node in world.allocations.nodes.values():
        racks = {rules.rack_of(address) for address in node.addresses} - {None}
        if not racks or any(not world.instance.racks[rack].bounds for rack in racks if rack):
            found += node.prefixes
    return found


@given(worlds())
@EXAMPLES
def test_what_passes_observed_is_within_the_bounds_and_takes_nothing_from_an_enforced_rack(
    world: World,
) -> None:
    policy, taken = world.rules.build(world.allocations), somebodys(world)
    for peer, prefix in product(world.peers(), world.prefixes()):
        found = judge(world.rules, world.allocations, Announcement(peer, prefix, world.hop(peer, prefix)))
        if not found.observed:
            continue
        assert imported(policy, Route(prefix, world.hop(peer, prefix)), peer)
        assert found.rack
        bounds = world.instance.racks[found.rack].bounds
        assert bounds
        assert prefix.prefixlen > 0
        assert any(
            bound.version == prefix.version and prefix.subnet_of(bound)  # type: ignore[arg-type]
            for bound in bounds.prefixes
        )
        assert not any(overlap(prefix, other) for other in taken)
        assert not any(contains(prefix, a) for n in world.allocations.nodes.values() for a in n.addresses)
        assert found.objection


@given(worlds())
@EXAMPLES
def test_observing_takes_nothing_away_that_enforcing_lets_pass(world: World) -> None:
    values = world.instance.model_dump()
    for rack in values["racks"].values():
        rack["enforce"] = True
    enforced = World(type(world.instance).model_validate(values), world.allocations, world.pair)
    for peer, prefix in product(world.peers(), world.prefixes()):
        said = Announcement(peer, prefix, world.hop(peer, prefix))
        strict = judge(enforced.rules, world.allocations, said)
        loose = judge(world.rules, world.allocations, said)
        assert loose.accepted or not strict.accepted
        assert loose.objection == strict.objection


@given(worlds(), st.data())
@EXAMPLES
def test_following_the_allocations_ends_where_a_fresh_start_with_them_does(
    world: World, data: st.DataObject
) -> None:
    rules = world.rules
    rules.build(world.allocations)
    for _ in range(3):
        now = data.draw(st.one_of(all_allocations(), later_than(world.allocations)))
        assert rules.build(now) == World(world.instance, now, world.pair).rules.build(now)
        fresh = World(world.instance, now, world.pair).rules.reserved(now)
        for prefix in world.prefixes():
            assert (rules.reserved(now).of(prefix) is None) == (fresh.of(prefix) is None)
