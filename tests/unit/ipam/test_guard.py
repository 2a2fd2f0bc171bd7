"""What a snapshot may remove before it is held back: ordinary changes of small networks, and never everything."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest

from rr.ipam.allocations import EMPTY, Allocations, NodeAllocation, VipPool
from rr.ipam.document import parse
from rr.ipam.guard import excess

ONE = "a: {addresses: [10.2.0.1], prefixes: [10.244.1.0/24, 10.244.2.0/24]}"
OTHER = "b: {addresses: [10.2.0.2, 'fd00:2::2'], prefixes: [10.244.3.0/24]}"
BARE = "c: {addresses: [10.2.0.3]}"


def said(*nodes: str, vips: str = "") -> Allocations:
    return parse(f"nodes: {{{', '.join(nodes)}}}\nvips: [{vips}]")


class TestEverything:
    """Everything at once is held back, however little it is, where more than one node had something."""

    def test_all_prefixes_and_all_nodes(self) -> None:
        assert excess(said(ONE, OTHER), EMPTY, None) == (
            "removes all 3 prefixes of nodes at once: 10.244.1.0/24 of a, 10.244.2.0/24 of a, 10.244.3.0/24 of b"
        )

    def test_all_prefixes_though_the_nodes_and_the_vips_stay(self) -> None:
        pool = "{prefixes: [10.100.0.0/24]}"
        bare = said("a: {addresses: [10.2.0.1]}", "b: {addresses: [10.2.0.2]}", vips=pool)
        why = excess(said(ONE, OTHER, vips=pool), bare, None)
        assert why is not None
        assert why.startswith("removes all 3 prefixes of nodes at once: ")

    def test_a_list_of_other_prefixes_and_nodes_is_no_better_than_an_empty_one(self) -> None:
        foreign = said("x: {addresses: [10.9.0.1], prefixes: [10.250.1.0/24, 10.250.2.0/24, 10.250.3.0/24]}")
        assert excess(said(ONE, OTHER), foreign, None) is not None

    def test_all_nodes_though_no_prefix_goes(self) -> None:
        assert excess(said(BARE, "d: {addresses: [10.2.0.4]}"), EMPTY, None) == (
            "removes all 2 nodes at once: c, d"
        )
        heir = said("x: {addresses: [10.2.0.9], prefixes: [10.244.1.0/24, 10.244.2.0/24, 10.244.3.0/24]}")
        assert excess(said(ONE, OTHER), heir, None) == "removes all 2 nodes at once: a, b"

    def test_all_but_one_may_go_in_a_small_network(self) -> None:
        assert excess(said(ONE, OTHER, BARE), said(OTHER), None) is None

    def test_a_single_node_may_lose_what_it_has(self) -> None:
        assert excess(said(ONE), EMPTY, None) is None
        assert excess(said(ONE, BARE), said("a: {addresses: [10.2.0.1]}", BARE), None) is None

    def test_it_is_too_much_for_a_configured_share_too_unless_that_is_all(self) -> None:
        crowd = ", ".join(f"{{prefixes: [10.100.{n}.0/24]}}" for n in range(100))
        old = said(ONE, OTHER, vips=crowd)
        new = said("a: {addresses: [10.2.0.1]}", "b: {addresses: [10.2.0.2]}", vips=crowd)
        assert excess(old, new, 0.2) is not None
        assert excess(old, EMPTY, 1) is None


@pytest.mark.parametrize("share", [None, 0.0])
def test_what_is_added_or_given_to_another_node_is_never_held(share: float | None) -> None:
    both = "b: {addresses: [10.2.0.2], prefixes: [10.244.1.0/24, 10.244.2.0/24, 10.244.3.0/24]}"
    assert excess(EMPTY, said(ONE, OTHER), share) is None
    assert excess(said(ONE, OTHER), said("a: {addresses: [10.2.0.1]}", both), share) is None


class TestAddresses:
    """A node that keeps its name and none of its addresses is lost: its session is an unknown node's."""

    def test_all_nodes_at_other_addresses_at_once(self) -> None:
        new = said(
            "a: {addresses: [10.3.0.1], prefixes: [10.244.1.0/24, 10.244.2.0/24]}",
            "b: {addresses: [10.3.0.2, 'fd00:3::2'], prefixes: [10.244.3.0/24]}",
        )
        assert excess(said(ONE, OTHER), new, None) == (
            "removes all 2 nodes at once: a (10.2.0.1), b (10.2.0.2, fd00:2::2)"
        )

    def test_nodes_that_take_each_others_addresses(self) -> None:
        old = said(BARE, "d: {addresses: [10.2.0.4]}")
        new = said("c: {addresses: [10.2.0.4]}", "d: {addresses: [10.2.0.3]}")
        assert excess(old, new, None) == "removes all 2 nodes at once: c (10.2.0.3), d (10.2.0.4)"

    def test_it_counts_beside_nodes_that_are_gone(self) -> None:
        old = said(ONE, OTHER, BARE)
        one = "a: {addresses: [10.2.0.9], prefixes: [10.244.1.0/24, 10.244.2.0/24]}"
        assert excess(old, said(one, OTHER), 0.5) == (
            "removes 2 of 3 nodes (66.7 %), and 50 % are allowed: c, a (10.2.0.1)"
        )
        assert excess(old, said(one, OTHER, BARE), 0.5) is None
        assert excess(old, said(one, OTHER), None) is None

    def test_a_node_that_keeps_one_address_or_had_none_is_not_lost(self) -> None:
        fewer = "b: {addresses: [10.2.0.9, 'fd00:2::2'], prefixes: [10.244.3.0/24]}"
        assert excess(said(ONE, OTHER), said(ONE, fewer), 0.0) is None
        waits = Allocations({"w": NodeAllocation("w", ())})
        assert excess(waits, said("w: {addresses: [10.2.0.9]}"), 0.0) is None

    def test_a_node_that_goes_by_another_name_at_its_address_is_not_lost(self) -> None:
        renamed = "x: {addresses: [10.2.0.1], prefixes: [10.244.1.0/24, 10.244.2.0/24]}"
        assert excess(said(ONE, OTHER), said(renamed, OTHER), 0.0) is None


def vips(count: int, nodes: str | None, first: int = 0) -> str:
    """So many host routes, each a pool of its own."""
    opens = "" if nodes is None else f", nodes: [{nodes}]"
    return ", ".join(f"{{prefixes: [10.101.0.{n}/32]{opens}}}" for n in range(first, first + count))


class TestVips:
    """A VIP prefix is closed when nobody may announce any part of it any more, whether it is there or not."""

    @pytest.mark.parametrize("share", [None, 0.2, 0.0])
    @pytest.mark.parametrize("count", [1, 2])
    def test_a_service_that_loses_its_last_endpoint_is_closed_whatever_the_guard(
        self, share: float | None, count: int
    ) -> None:
        others = vips(1, None, first=9)
        old, new = (said(ONE, OTHER, vips=f"{vips(count, n)}, {others}") for n in ("a, b", ""))
        assert excess(old, new, share) is None
        old, new = (said(ONE, OTHER, vips=vips(count, n)) for n in ("a, b", ""))
        assert excess(old, new, share) is None

    @pytest.mark.parametrize("share", [None, 0.2, 0.0])
    def test_fewer_than_twenty_may_close_at_once_and_more_only_within_the_share(
        self, share: float | None
    ) -> None:
        def closing(count: int, of: int) -> str | None:
            old = said(ONE, OTHER, vips=vips(of, "a"))
            left = vips(of - count, "a", first=count)
            return excess(old, said(ONE, OTHER, vips=f"{vips(count, '')}, {left}"), share)

        assert closing(19, of=21) is None
        assert closing(20, of=40) == (
            f"closes 20 of 40 VIP prefixes (50 %), and {'0' if share == 0 else '20'} % are allowed: 10.101.0.0/32, "
            "10.101.0.1/32, 10.101.0.2/32, 10.101.0.3/32, 10.101.0.4/32 and 15 more"
        )
        assert closing(20, of=100) is None or share == 0

    @pytest.mark.parametrize("share", [None, 0.2])
    def test_all_that_name_nodes_are_not_closed_at_once_though_others_stay_open(
        self, share: float | None
    ) -> None:
        others = vips(20, None, first=100)
        old, new = (said(ONE, OTHER, vips=f"{vips(3, n)}, {others}") for n in ("a, b", ""))
        assert excess(old, new, share) == (
            "closes all 3 VIP prefixes that name nodes at once: 10.101.0.0/32, 10.101.0.1/32, 10.101.0.2/32"
        )
        assert excess(old, new, 1) is None

    def test_all_of_a_single_node_may_close(self) -> None:
        old, new = (said(ONE, OTHER, vips=vips(5, n)) for n in ("a", ""))
        assert excess(old, new, None) is None

    def test_all_that_are_there_are_not_removed_at_once(self) -> None:
        old = said(ONE, OTHER, vips=f"{vips(2, 'a')}, {vips(2, None, first=2)}")
        why = excess(old, said(ONE, OTHER), None)
        assert why is not None
        assert why.startswith("closes all 4 VIP prefixes at once: 10.101.0.0/32, ")

    def test_a_pool_that_was_open_to_all_and_is_now_nobodys_is_closed(self) -> None:
        old, new = (said(ONE, OTHER, vips=vips(3, n)) for n in (None, ""))
        why = excess(old, new, None)
        assert why is not None
        assert why.startswith("closes all 3 VIP prefixes at once: ")

    def test_one_that_is_cut_joined_or_opened_to_others_is_not_closed(self) -> None:
        whole = "{prefixes: [10.102.0.0/24, 10.103.0.0/24, 'fd00:9::/64']}"
        parts = (
            "{prefixes: [10.102.0.0/25]}, {prefixes: [10.103.0.128/32], nodes: [b]}, {prefixes: ['fd00:9::1/128']}, "
            "{prefixes: [10.102.0.128/25], nodes: []}"
        )
        assert excess(said(ONE, OTHER, vips=whole), said(ONE, OTHER, vips=parts), None) is None
        assert excess(said(ONE, OTHER, vips=parts), said(ONE, OTHER, vips=whole), None) is None
        beside = "{prefixes: [10.102.1.0/24, 10.104.0.0/24, 'fd00:9:0:1::/64']}"
        assert excess(said(ONE, OTHER, vips=whole), said(ONE, OTHER, vips=beside), None) is None, "one pool"
        apart = "{prefixes: [10.102.0.0/24]}, {prefixes: [10.103.0.0/24]}, {prefixes: ['fd00:9::/64']}"
        assert excess(said(ONE, OTHER, vips=apart), said(ONE, OTHER, vips=beside), None) is not None


def test_five_thousand_vips_that_are_all_cut_anew_are_looked_at_in_linear_time() -> None:
    def pools(length: int) -> Allocations:
        nets = [f"10.{n // 250}.{n % 250}.0/{length}" for n in range(5000)]
        found = said(ONE, OTHER)
        return Allocations(found.nodes, (VipPool(tuple(map(ip_network, nets)), frozenset("ab")),))

    began = time.process_time()
    why = excess(pools(24), pools(25), None)
    took = time.process_time() - began
    assert why is not None
    assert why.startswith("removes 5000 of 5003 prefixes ")
    assert took < 2, "some 50 ms on an idle machine"
