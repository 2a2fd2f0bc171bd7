"""Verdict and rules say the same of everything, for random networks and without an engine.

The engine itself is held against both in tests/engine/test_agreement.py.
"""

from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from rr.addresses import overlap
from rr.ipam.allocations import Allocations
from rr.net import Address
from rr.policy.changes import between
from rr.policy.model import PolicySet
from rr.policy.rules import PAIR_PREFERENCE
from rr.policy.tags import VIP
from rr.policy.verdict import Announcement, judge
from tests.unit.policy.interpreter import Route, exported, imported
from tests.unit.policy.worlds import EXAMPLES, PAIRS, World, all_allocations, instances, later_than, worlds

AS_PATHS = ("", "", "", "64512", "65001 65002", "{65001,65002}", "(65001 65002)", "[65001]", "(65001) 64512")
COMMUNITIES = ("0:0", VIP, "0:1000", "0:32768", "0:65535", "65535:65281", "65535:666", "64512:1")

attributes = st.fixed_dictionaries(
    {
        "as_path": st.sampled_from(AS_PATHS),
        "communities": st.frozensets(st.sampled_from(COMMUNITIES)),
        "local_pref": st.sampled_from((100, 0, 4294967295)),
        "med": st.sampled_from((0, 5)),
        "origin": st.sampled_from(("igp", "egp", "incomplete")),
    }
)


@given(worlds(), st.randoms(use_true_random=True), attributes)
@EXAMPLES
def test_a_route_is_in_the_table_exactly_where_the_verdict_accepts_it(world, random, more) -> None:  # type: ignore[no-untyped-def]
    rules, policy = world.rules, world.rules.build(world.allocations)
    peers = world.peers()
    for peer, prefix in product(peers, world.prefixes()):
        # Mostly its own address: a foreign one is rejected whatever the prefix.
        next_hop = world.hop(peer, prefix) if random.random() < 0.7 else random.choice(peers)
        announcement = Announcement(peer, prefix, next_hop, more["as_path"])
        verdict = judge(rules, world.allocations, announcement)
        held = imported(policy, Route(prefix, next_hop, **more), peer)
        assert verdict.accepted == (held is not None), verdict.text


@given(worlds(), attributes)
@EXAMPLES
def test_an_accepted_node_route_is_levelled_and_carries_our_tags_alone(world: World, more) -> None:  # type: ignore[no-untyped-def]
    policy, tags = world.rules.build(world.allocations), world.rules.tags
    kept = {c for c in more["communities"] if not c.startswith("0:")}
    for peer, prefix in product(world.peers(), world.prefixes()):
        hop = world.hop(peer, prefix)
        verdict = judge(world.rules, world.allocations, Announcement(peer, prefix, hop, more["as_path"]))
        if not verdict.accepted or verdict.kind == "tor":
            continue
        held = imported(policy, Route(prefix, hop, **more), peer)
        assert verdict.rack is not None
        own = {tags[verdict.rack]} | ({VIP} if verdict.kind == "vip" else set())
        preference = PAIR_PREFERENCE if peer == world.pair else 100
        assert held == Route(prefix, hop, "", frozenset(kept | own), preference)


def expected_to_get(
    world: World, kind: str | None, sender: str | None, receiver: Address, *, lacking: bool
) -> bool:
    """What DESIGN's "Where routes go" says, in its own words."""
    rules, reflect = world.rules, world.instance.reflect
    if receiver == world.pair:
        return lacking and kind != "tor"
    if rack := rules.rack_of_tor(receiver):
        if kind == "tor":
            return False
        return (reflect.tor_vips if kind == "vip" else reflect.tors) == "all" or sender == rack
    rack = rules.rack_of(receiver)
    if rack is None:
        return False
    if kind == "tor":
        return sender == rack
    reach = reflect.vips if kind == "vip" else reflect.nodes
    return reach == "all" or (reach == "rack" and sender == rack)


@given(worlds(), attributes, st.data())
@EXAMPLES
def test_each_peer_is_sent_what_the_reflection_settings_say_and_never_a_tag(world, more, data) -> None:  # type: ignore[no-untyped-def]
    more["as_path"] = ""
    lacking = data.draw(st.frozensets(st.sampled_from(world.prefixes()), max_size=5))
    rules, policy = world.rules, world.rules.build(world.allocations, lacking=lacking)
    for peer, prefix in product(world.peers(), world.prefixes()):
        hop = world.hop(peer, prefix)
        held = imported(policy, Route(prefix, hop, **more), peer)
        if held is None:
            continue
        verdict = judge(rules, world.allocations, Announcement(peer, prefix, hop))
        for receiver in world.peers():
            sent = exported(policy, held, receiver)
            lacks = prefix in lacking
            expected = expected_to_get(world, verdict.kind, verdict.rack, receiver, lacking=lacks)
            assert (sent is not None) == expected, f"{verdict.text} to {receiver}"
            if sent is not None:
                kept = {c for c in more["communities"] if not c.startswith("0:")}
                assert sent == replace(held, communities=frozenset(kept))


@given(worlds(), st.data())
@EXAMPLES
def test_a_suspended_prefix_is_rejected_and_nothing_else_changes(world: World, data: st.DataObject) -> None:
    pairs = [
        (node.name, prefix)
        for node in world.allocations.nodes.values()
        for prefix in (*node.prefixes, *world.allocations.pools_for(node.name))
    ]
    if not pairs:
        return
    suspended = frozenset(data.draw(st.lists(st.sampled_from(pairs), max_size=3)))
    policy = world.rules.build(world.allocations, suspended)
    for peer, prefix in product(world.peers(), world.prefixes()):
        hop = world.hop(peer, prefix)
        verdict = judge(world.rules, world.allocations, Announcement(peer, prefix, hop))
        out = any(
            verdict.node == node and overlap(prefix, p) and p.prefixlen <= prefix.prefixlen
            for node, p in suspended
        )
        held = imported(policy, Route(prefix, hop), peer)
        within = verdict.bounds is not None and verdict.bounds.ok
        assert (held is not None) == (verdict.accepted and (within or not out))


def outcomes(policy: PolicySet, world: World, peer: Address) -> dict[object, object]:
    return {
        prefix: imported(policy, Route(prefix, world.hop(peer, prefix)), peer) for prefix in world.prefixes()
    }


@given(worlds(), st.data())
@EXAMPLES
def test_after_new_allocations_whoever_is_not_judged_again_needs_it_not(
    world: World, data: st.DataObject
) -> None:
    later = data.draw(st.one_of(all_allocations(), later_than(world.allocations)), label="later")
    rules = world.rules
    held, wanted = rules.build(world.allocations), rules.build(later)
    change = between(held, wanted)
    both = World(
        world.instance,
        Allocations({**world.allocations.nodes, **later.nodes}, later.vips + world.allocations.vips),
        world.pair,
    )
    assert change.senders is not None
    # Whoever announces one of these is judged again too.
    announced = {p for p in both.prefixes() if any(match.covers(p) for match in change.announced)}
    for peer in both.peers():
        judged = any(n.version == peer.version and peer in n for n in change.senders)
        if not judged:
            before, after = outcomes(held, both, peer), outcomes(wanted, both, peer)
            differing = {prefix for prefix in before if before[prefix] != after[prefix]}
            assert differing <= announced, peer


@given(instances(), instances(), all_allocations(), PAIRS, PAIRS)
@EXAMPLES
def test_after_a_new_configuration_whoever_is_left_alone_needs_nothing(  # type: ignore[no-untyped-def]
    before, after, owned, half, other
) -> None:
    held, wanted = World(before, owned, half), World(after, owned, other)
    change = between(held.rules.build(owned), wanted.rules.build(owned))
    peers = sorted({*held.peers(), *wanted.peers()}, key=str)
    tags = [*held.rules.tags.values(), *wanted.rules.tags.values()]
    tagged = [
        Route(p, peers[0], communities=frozenset(c))
        for p in held.prefixes()[:1]
        for c in ((), *((t,) for t in tags), *((t, VIP) for t in tags))
    ]
    for peer in peers:
        if change.senders is not None and not any(
            n.version == peer.version and peer in n for n in change.senders
        ):
            assert outcomes(held.rules.build(owned), wanted, peer) == outcomes(
                wanted.rules.build(owned), wanted, peer
            )
        if change.receivers is not None and not any(
            n.version == peer.version and peer in n for n in change.receivers
        ):
            for route in tagged:
                assert exported(held.rules.build(owned), route, peer) == exported(
                    wanted.rules.build(owned), route, peer
                )
