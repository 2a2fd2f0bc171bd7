"""What a snapshot may remove before it is held back: ordinary changes of small networks, and never everything."""

from __future__ import annotations

import pytest

from rr.ipam.allocations import EMPTY, Allocations
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
