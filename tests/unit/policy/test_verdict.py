"""Every reason with its sentence, and the order in which an operator would ask."""

from dataclasses import replace
from typing import Any

import pytest

from rr.policy.rules import Rules
from rr.policy.verdict import Announcement, Reason, Verdict, judge
from tests.unit.policy.worlds import addresses, allocations, instance, networks

RACKS: dict[str, Any] = {
    "rack-1": {
        "nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]},
        "tors": [{"address": "10.3.0.1"}],
        "from_tors": ["0.0.0.0/0"],
    }
}
RULES = Rules(instance(RACKS, families=["ipv4", "ipv6"]))
HOLDERS = allocations(
    {
        "node-1": (["10.2.0.11", "fd00:2::11"], ["10.244.1.0/24", "fd00:10:1::/64"]),
        "node-2": (["10.2.0.12"], ["10.244.2.0/24"]),
    },
    (["10.100.0.0/24"], None),
    (["10.101.0.0/24"], ["node-2"]),
)
BORROWER = replace(HOLDERS.nodes["node-2"], borrowed=networks("10.244.1.5/32", "10.249.0.5/32"))
OWNED = replace(HOLDERS, nodes={**HOLDERS.nodes, "node-2": BORROWER})


def verdict(prefix: str, peer: str = "10.2.0.11", hop: str | None = None, **more: Any) -> Verdict:
    next_hop = addresses(hop)[0] if hop else None
    return judge(RULES, OWNED, Announcement(addresses(peer)[0], networks(prefix)[0], next_hop, **more))


@pytest.mark.parametrize(
    ("prefix", "peer", "more", "reason", "text"),
    [
        ("10.244.1.0/24", "203.0.113.9", {}, "unknown-peer",
         "203.0.113.9 is in no rack's range and is no ToR: it gets no session"),
        ("10.244.1.0/24", "10.2.0.99", {}, "unknown-node",
         "10.244.1.0/24 comes from 10.2.0.99 of rack-1, and the IPAM knows no node with this address"),
        ("0.0.0.0/0", "10.2.0.11", {}, "default-route", "0.0.0.0/0 is a default route, which no node may announce"),
        ("::/0", "10.2.0.11", {}, "default-route", "::/0 is a default route, which no node may announce"),
        ("10.244.2.0/24", "10.2.0.11", {}, "foreign-prefix", "10.244.2.0/24 belongs to node-2, not to node-1"),
        ("10.244.2.0/25", "10.2.0.11", {}, "foreign-prefix", "10.244.2.0/25 belongs to node-2, not to node-1"),
        ("10.244.1.128/25", "10.2.0.11", {}, "more-specific",
         "10.244.1.128/25 is longer than 10.244.1.0/24, which is what node-1 was allocated"),
        ("10.244.0.0/23", "10.2.0.11", {}, "less-specific",
         "10.244.0.0/23 is shorter than 10.244.1.0/24, which is what node-1 was allocated"),
        ("10.244.1.5/32", "10.2.0.11", {}, "foreign-prefix",
         "10.244.1.5/32 is borrowed by node-2 out of 10.244.1.0/24 of node-1"),
        ("10.244.1.6/32", "10.2.0.12", {}, "foreign-prefix", "10.244.1.6/32 belongs to node-1, not to node-2"),
        ("10.244.1.4/31", "10.2.0.12", {}, "foreign-prefix", "10.244.1.4/31 belongs to node-1, not to node-2"),
        ("10.249.0.5/32", "10.2.0.11", {}, "foreign-prefix", "10.249.0.5/32 is borrowed by node-2"),
        ("10.101.0.1/32", "10.2.0.11", {}, "vip-not-allowed",
         "10.101.0.1/32 is a VIP that node-1 may not announce: its pool is open to node-2"),
        ("10.100.0.0/25", "10.2.0.11", {}, "vip-not-allowed",
         "10.100.0.0/25 lies in the VIP pool 10.100.0.0/24, where only host routes may be announced"),
        ("10.99.0.0/24", "10.2.0.11", {}, "not-allocated", "10.99.0.0/24 is allocated to nobody"),
        ("10.244.1.0/24", "10.2.0.11", {"hop": "10.9.9.9"}, "next-hop",
         "10.244.1.0/24 has next hop 10.9.9.9, not an address of node-1"),
        ("10.244.1.0/24", "10.2.0.11", {"hop": "10.2.0.11", "as_path": "65001"}, "as-path",
         "10.244.1.0/24 has AS_PATH 65001; a node's own routes have an empty one"),
        ("10.244.1.0/24", "10.2.0.11", {"as_path": "(65001)"}, "as-path",
         "10.244.1.0/24 has AS_PATH (65001); a node's own routes have an empty one"),
        ("10.244.1.0/24", "10.2.0.11", {"originator_id": "10.9.9.9"}, "reflected",
         "10.244.1.0/24 carries ORIGINATOR_ID or CLUSTER_LIST, which only a reflector sets (RFC 4456)"),
        ("10.244.1.0/24", "10.2.0.11", {"cluster_list": ("10.9.9.9",)}, "reflected",
         "10.244.1.0/24 carries ORIGINATOR_ID or CLUSTER_LIST, which only a reflector sets (RFC 4456)"),
        ("10.99.0.0/24", "10.3.0.1", {}, "tor-not-allowed",
         "10.99.0.0/24 comes from a ToR, and from_tors of rack-1 does not name it"),
    ],
)  # fmt: skip
def test_each_rejection_has_its_reason_and_its_sentence(
    prefix: str, peer: str, more: dict[str, Any], reason: str, text: str
) -> None:
    found = verdict(prefix, peer, **more)
    assert not found.accepted
    assert (found.reason, found.text) == (reason, text)


def test_a_family_that_is_not_carried_is_its_own_reason() -> None:
    rules = Rules(instance(RACKS | {"rack-1": {**RACKS["rack-1"]}}, families=["ipv4"]))
    peer, prefix = addresses("10.2.0.11")[0], networks("fd00:10:1::/64")[0]
    found = judge(rules, OWNED, Announcement(peer, prefix))
    assert found.reason is Reason.FAMILY
    assert found.text == "fd00:10:1::/64 is IPv6, which this instance does not carry"


@pytest.mark.parametrize(
    ("prefix", "peer", "kind", "node", "text"),
    [
        ("10.244.1.0/24", "10.2.0.11", "pod", "node-1", "10.244.1.0/24 from node-1 is accepted"),
        ("fd00:10:1::/64", "fd00:2::11", "pod", "node-1", "fd00:10:1::/64 from node-1 is accepted"),
        ("10.100.0.7/32", "10.2.0.12", "vip", "node-2", "10.100.0.7/32 from node-2 is accepted"),
        ("10.101.0.7/32", "10.2.0.12", "vip", "node-2", "10.101.0.7/32 from node-2 is accepted"),
        ("0.0.0.0/0", "10.3.0.1", "tor", None, "0.0.0.0/0 from 10.3.0.1 is accepted"),
    ],
)
def test_what_is_accepted(prefix: str, peer: str, kind: str, node: str | None, text: str) -> None:
    found = verdict(prefix, peer)
    assert found.accepted
    assert found.reason is None
    assert (found.kind, found.node, found.rack, found.text) == (kind, node, "rack-1", text)
    assert all(check.ok for check in found.checks)


def test_the_checks_come_in_the_order_in_which_one_would_ask() -> None:
    found = verdict("10.244.1.0/24", hop="10.9.9.9", as_path="65001", originator_id="10.9.9.9")
    assert [check.name for check in found.checks] == [
        "peer",
        "node",
        "prefix",
        "next-hop",
        "as-path",
        "reflected",
    ]
    assert [check.ok for check in found.checks] == [True, True, True, False, False, False]
    assert found.reason is Reason.NEXT_HOP


def test_the_prefix_is_the_reason_before_next_hop_and_as_path() -> None:
    assert verdict("10.244.2.0/24", hop="10.9.9.9", as_path="65001").reason is Reason.FOREIGN_PREFIX


def test_one_that_owns_a_part_and_takes_all_is_told_of_its_own_part() -> None:
    """10.244.0.0/22 covers both nodes' prefixes: the announcer's own is the nearer explanation."""
    assert verdict("10.244.0.0/22").reason is Reason.LESS_SPECIFIC
    found = verdict("10.244.2.0/23")
    assert (found.reason, found.text) == (
        Reason.FOREIGN_PREFIX,
        "10.244.2.0/23 belongs to node-2, not to node-1",
    )


def test_a_next_hop_that_is_not_asked_about_is_not_judged() -> None:
    assert verdict("10.244.1.0/24").accepted
    assert "next-hop" not in [check.name for check in verdict("10.244.1.0/24").checks]


def test_another_reason_replaces_only_the_check_that_failed() -> None:
    found = verdict("10.99.0.0/24").because(Reason.REVOKED, "it was taken away")
    assert (found.reason, found.text) == (Reason.REVOKED, "it was taken away")
    assert [check.ok for check in found.checks] == [True, True, False, True]


def test_every_reason_is_documented_for_the_api() -> None:
    from rr.api.keys import EXPLAINED, REASONS

    assert set(map(str, Reason)) == set(EXPLAINED)
    assert set(EXPLAINED) - set(REASONS) == {str(Reason.UNKNOWN_PEER)}


def test_a_borrowed_host_route_is_accepted_from_its_borrower_and_said_to_be_borrowed() -> None:
    found = verdict("10.244.1.5/32", "10.2.0.12", "10.2.0.12")
    assert (found.accepted, found.kind) == (True, "pod")
    assert [c.text for c in found.checks if c.name == "prefix"] == [
        "10.244.1.5/32 is borrowed by node-2 out of 10.244.1.0/24 of node-1"
    ]
    assert verdict("10.244.1.0/24", "10.2.0.11", "10.2.0.11").accepted
