"""What lies between two policies: the smallest edit, and the fewest peers judged again."""

from ipaddress import ip_network

from rr.policy.changes import Edit, between
from rr.policy.model import NOTHING, PrefixMatch
from rr.policy.rules import Rules
from tests.unit.policy.worlds import allocations, instance, networks

RULES = Rules(
    instance(
        {
            "rack-1": {
                "nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]},
                "tors": [{"address": "10.3.0.1"}],
            },
            "rack-2": {"nodes": {"ranges": ["10.2.1.0/24"]}},
        }
    )
)
NODE_1 = (["10.2.0.11", "fd00:2::11"], ["10.244.1.0/24"])
NODE_2 = (["10.2.0.12"], ["10.244.2.0/24"])
NODE_1_HOSTS = frozenset(networks("10.2.0.11/32", "fd00:2::11/128"))
NODE_2_HOSTS = frozenset(networks("10.2.0.12/32"))
HELD = RULES.build(allocations({"node-1": NODE_1, "node-2": NODE_2}))


def exactly(*texts: str) -> frozenset[PrefixMatch]:
    return frozenset(map(PrefixMatch.exactly, networks(*texts)))


def test_nothing_lies_between_a_policy_and_itself() -> None:
    change = between(HELD, RULES.build(allocations({"node-1": NODE_1, "node-2": NODE_2})))
    assert not change
    assert change.senders == change.receivers == frozenset()


def test_a_grant_is_one_edit_and_only_that_node_is_judged_again() -> None:
    granted = (NODE_1[0], ["10.244.1.0/24", "10.244.9.0/26"])
    change = between(HELD, RULES.build(allocations({"node-1": granted, "node-2": NODE_2})))
    assert change.edits == (Edit("node/node-1/4", frozenset(), exactly("10.244.9.0/26")),)
    assert not change.structural
    assert change.senders == NODE_1_HOSTS
    assert change.receivers == frozenset()


def test_the_first_prefix_of_a_family_is_an_edit_too() -> None:
    granted = (NODE_1[0], ["10.244.1.0/24", "fd00:10:1::/64"])
    change = between(HELD, RULES.build(allocations({"node-1": granted, "node-2": NODE_2})))
    assert change.edits == (Edit("node/node-1/6", frozenset(), exactly("fd00:10:1::/64")),)
    assert not change.structural


def test_the_loss_of_the_last_prefix_is_an_edit_too() -> None:
    change = between(HELD, RULES.build(allocations({"node-1": (NODE_1[0], []), "node-2": NODE_2})))
    assert change.edits == (Edit("node/node-1/4", exactly("10.244.1.0/24"), frozenset()),)
    assert not change.structural
    assert change.senders == NODE_1_HOSTS


def test_a_prefix_that_moves_is_two_edits_and_judges_both_nodes_again() -> None:
    moved = allocations(
        {"node-1": (NODE_1[0], []), "node-2": (NODE_2[0], ["10.244.2.0/24", "10.244.1.0/24"])}
    )
    change = between(HELD, RULES.build(moved))
    assert {edit.name for edit in change.edits} == {"node/node-1/4", "node/node-2/4"}
    assert not change.structural
    assert change.senders == NODE_1_HOSTS | NODE_2_HOSTS


def test_a_new_node_is_structural_and_only_it_is_judged() -> None:
    node_3 = (["10.2.1.13"], ["10.244.3.0/24"])
    change = between(HELD, RULES.build(allocations({"node-1": NODE_1, "node-2": NODE_2, "node-3": node_3})))
    assert change.structural
    assert change.senders == frozenset(networks("10.2.1.13/32"))
    assert change.receivers == frozenset()


def test_a_node_that_is_gone_is_judged_again_at_its_old_addresses() -> None:
    change = between(HELD, RULES.build(allocations({"node-1": NODE_1})))
    assert change.structural
    assert change.senders == NODE_2_HOSTS


def test_a_node_with_another_address_is_judged_again_at_the_old_one_and_the_new() -> None:
    moved = allocations({"node-1": NODE_1, "node-2": (["10.2.1.12"], NODE_2[1])})
    change = between(HELD, RULES.build(moved))
    assert change.structural
    assert change.senders == NODE_2_HOSTS | frozenset(networks("10.2.1.12/32"))


def test_another_second_address_judges_the_first_again_since_next_hops_change() -> None:
    moved = allocations({"node-1": (["10.2.0.11", "fd00:2::99"], NODE_1[1]), "node-2": NODE_2})
    change = between(HELD, RULES.build(moved))
    assert change.senders == NODE_1_HOSTS | frozenset(networks("fd00:2::99/128"))


def test_a_vip_pool_judges_only_the_nodes_that_it_is_open_to() -> None:
    pool = (["10.100.0.0/24"], ["node-1"])
    change = between(HELD, RULES.build(allocations({"node-1": NODE_1, "node-2": NODE_2}, pool)))
    assert {edit.name for edit in change.edits} == {"vips/4", "node/node-1/4"}
    assert not change.structural  # not even for the first pool of a family
    assert change.senders == NODE_1_HOSTS


def test_a_second_vip_pool_is_edits_alone() -> None:
    nodes = {"node-1": NODE_1, "node-2": NODE_2}
    before = RULES.build(allocations(nodes, (["10.100.0.0/24"], None)))
    change = between(
        before, RULES.build(allocations(nodes, (["10.100.0.0/24"], None), (["10.101.0.0/24"], ["node-2"])))
    )
    assert {edit.name for edit in change.edits} == {"vips/4", "node/node-2/4"}
    assert not change.structural
    assert change.senders == NODE_2_HOSTS


def test_a_prefix_of_one_address_that_becomes_a_vip_is_judged_again_for_its_mark() -> None:
    """What the node may announce is the same, but where the route goes is not."""
    own = allocations({"node-1": (NODE_1[0], ["10.100.0.7/32"]), "node-2": NODE_2})
    pool = allocations({"node-1": (NODE_1[0], []), "node-2": NODE_2}, (["10.100.0.7/32"], ["node-1"]))
    for before, after in ((own, pool), (pool, own)):
        change = between(RULES.build(before), RULES.build(after))
        assert change.senders == NODE_1_HOSTS
        # The engine does not withdraw from a ToR with add-path what its new mark keeps from there.
        assert change.receivers == frozenset(networks("10.3.0.1/32"))


def test_a_suspension_is_an_edit_of_that_node_alone() -> None:
    owned = allocations({"node-1": NODE_1, "node-2": NODE_2})
    change = between(HELD, RULES.build(owned, frozenset({("node-1", ip_network("10.244.1.0/24"))})))
    assert change.edits == (Edit("node/node-1/4", exactly("10.244.1.0/24"), frozenset()),)
    assert change.senders == NODE_1_HOSTS


def test_other_reflection_concerns_receivers_and_no_sender() -> None:
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]}, "tors": [{"address": "10.3.0.1"}]},
             "rack-2": {"nodes": {"ranges": ["10.2.1.0/24"]}}}  # fmt: skip
    owned = allocations({"node-1": NODE_1, "node-2": NODE_2})
    change = between(HELD, Rules(instance(racks, reflect={"nodes": "all"})).build(owned))
    assert change.structural
    assert change.senders == frozenset()
    assert change.receivers == frozenset(networks("10.2.0.0/24", "10.2.1.0/24", "fd00:2::/64"))


def test_vips_to_all_nodes_concern_everybody_since_their_end_names_nobody() -> None:
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]}, "tors": [{"address": "10.3.0.1"}]},
             "rack-2": {"nodes": {"ranges": ["10.2.1.0/24"]}}}  # fmt: skip
    owned = allocations({"node-1": NODE_1, "node-2": NODE_2})
    change = between(HELD, Rules(instance(racks, reflect={"nodes": "rack", "vips": "rack"})).build(owned))
    assert change.receivers is None


def test_a_new_tor_is_all_that_is_sent_anew() -> None:
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]},
                        "tors": [{"address": "10.3.0.1"}, {"address": "10.3.0.2"}]},
             "rack-2": {"nodes": {"ranges": ["10.2.1.0/24"]}}}  # fmt: skip
    change = between(HELD, Rules(instance(racks)).build(allocations({"node-1": NODE_1, "node-2": NODE_2})))
    assert change.senders == frozenset()
    assert change.receivers == frozenset(networks("10.3.0.1/32", "10.3.0.2/32"))


def test_from_nothing_everybody_is_judged() -> None:
    change = between(NOTHING, HELD)
    assert change.structural
    assert change.senders is None


def test_a_vip_more_for_every_node_is_two_edits_and_judges_only_who_announces_it() -> None:
    nodes = {"node-1": NODE_1, "node-2": NODE_2}
    one, two = (["10.100.0.1/32"], None), (["10.100.0.2/32"], None)
    held, wanted = RULES.build(allocations(nodes, one)), RULES.build(allocations(nodes, one, two))
    for before, after in ((held, wanted), (wanted, held)):
        change = between(before, after)
        assert not change.structural
        assert {edit.name for edit in change.edits} == {"open/4", "vips/4"}
        assert (change.senders, change.receivers) == (frozenset(), frozenset())
        assert change.announced == {PrefixMatch.hosts_of(networks("10.100.0.2/32")[0])}


def test_the_first_vip_for_every_node_is_two_edits_and_so_is_its_end() -> None:
    nodes = {"node-1": NODE_1, "node-2": NODE_2}
    none = RULES.build(allocations(nodes))
    one = RULES.build(allocations(nodes, (["10.100.0.1/32"], None)))
    for change in (between(none, one), between(one, none)):
        assert {edit.name for edit in change.edits} == {"vips/4", "open/4"}
        assert not change.structural
        assert (change.senders, change.receivers) == (frozenset(), frozenset())
        assert change.announced == {PrefixMatch.hosts_of(networks("10.100.0.1/32")[0])}


def test_a_vip_that_is_opened_from_some_nodes_to_all_judges_them_and_whoever_announces_it() -> None:
    nodes = {"node-1": NODE_1, "node-2": NODE_2}
    other = (["10.100.0.9/32"], None)
    some = RULES.build(allocations(nodes, other, (["10.100.0.1/32"], ["node-1"])))
    everybody = RULES.build(allocations(nodes, other, (["10.100.0.1/32"], None)))
    change = between(some, everybody)
    assert change.senders == frozenset(networks("10.2.0.11/32", "fd00:2::11/128"))
    assert change.announced == {PrefixMatch.hosts_of(networks("10.100.0.1/32")[0])}
