"""Allocations as text: what is read, and the exact sentences for what is refused."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from rr.errors import AllocationsError
from rr.ipam.allocations import EMPTY, NodeAllocation, VipPool
from rr.ipam.document import parse, parse_all, render
from tests.unit.broken import Case, cases

HERE = Path(__file__).parent
GOOD = (HERE / "good.yaml").read_text()
BROKEN = cases(HERE / "broken.txt", GOOD)


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_broken_allocations_are_refused_with(case: Case) -> None:
    with pytest.raises(AllocationsError) as caught:
        parse(case.text)
    assert [str(problem) for problem in caught.value.problems] == list(case.sentences)


def test_there_are_many_cases_and_each_breaks_them_differently() -> None:
    assert len(BROKEN) > 50
    assert len({case.text for case in BROKEN}) == len(BROKEN)


def test_good_allocations_are_read() -> None:
    found = parse(GOOD)
    assert found.nodes["node-1"] == NodeAllocation(
        "node-1",
        (ip_address("10.2.0.11"), ip_address("fd00:2::11")),
        (ip_network("10.244.1.0/24"), ip_network("10.244.9.0/26"), ip_network("fd00:10:1::/64")),
    )
    assert found.vips == (VipPool((ip_network("10.100.0.0/24"),), frozenset({"node-1", "node-2"})),)


def test_no_nodes_mean_that_nothing_is_allocated() -> None:
    assert parse("nodes: {}") == EMPTY


def test_a_node_may_own_no_prefix() -> None:
    assert parse("nodes: {node-1: {addresses: [10.2.0.11]}}").nodes["node-1"].prefixes == ()
    assert parse("nodes: {node-1: {addresses: [10.2.0.11], prefixes: []}}").nodes["node-1"].prefixes == ()


def test_a_pool_without_nodes_is_open_to_all_and_one_with_none_to_nobody() -> None:
    text = "nodes: {node-1: {addresses: [10.2.0.11]}}\nvips: [{prefixes: [10.100.0.0/24]%s}]"
    assert parse(text % "").pools_for("node-1") == (ip_network("10.100.0.0/24"),)
    assert parse(text % ", nodes: []").pools_for("node-1") == ()


def test_ipv6_needs_quotes_only_where_yaml_does() -> None:
    text = "nodes:\n  node-1:\n    addresses: [fd00:2::11]\n    prefixes:\n      - fd00:10:1::/64\n"
    assert parse(text).nodes["node-1"].addresses == (ip_address("fd00:2::11"),)


def test_names_are_text_whatever_yaml_takes_them_for() -> None:
    assert list(parse("nodes: {1: {addresses: [10.2.0.11]}, yes: {addresses: [10.2.0.12]}}").nodes) == [
        "1",
        "yes",
    ]


def test_what_is_rendered_is_read_back() -> None:
    assert parse(render(parse(GOOD))) == parse(GOOD)


def test_a_node_may_borrow_addresses_of_others() -> None:
    text = GOOD.replace("    prefixes: [10.244.2.0/24]", '    borrowed: [10.244.1.5/32, "fd00:10:1::7/128"]')
    found = parse(text)
    assert found.nodes["node-2"].borrowed == (ip_network("10.244.1.5/32"), ip_network("fd00:10:1::7/128"))
    assert found.nodes["node-2"].prefixes == ()
    assert parse(render(found)) == found


NODES, POOLS = GOOD.split("vips:")
POOLS = f"vips:{POOLS}"


class TestSeveralFiles:
    """They count as one document."""

    def test_a_pool_may_name_nodes_of_another_file(self) -> None:
        assert parse_all({"a.yaml": POOLS, "b.yaml": NODES}) == parse(GOOD)

    def test_a_file_without_nodes_and_without_pools_is_refused(self) -> None:
        with pytest.raises(AllocationsError) as caught:
            parse_all({"a.yaml": GOOD, "b.yaml": "{}"})
        assert str(caught.value) == "b.yaml:1:1: nodes: is missing; write `nodes: {}` if nothing is allocated"

    def test_what_contradicts_between_two_is_refused_with_both_places(self) -> None:
        other = """\
nodes:
  node-1: {addresses: [10.2.0.31]}
  node-3: {addresses: [10.2.0.12], prefixes: [10.244.1.0/25]}
vips:
  - {prefixes: [10.100.0.128/25], nodes: [node-9]}
"""
        with pytest.raises(AllocationsError) as caught:
            parse_all({"a.yaml": GOOD, "b.yaml": other})
        assert str(caught.value).splitlines() == [
            "b.yaml:2:3: nodes.node-1: is given twice, first at a.yaml:2:3; put all that it owns in one place",
            (
                "b.yaml:3:24: nodes.node-3.addresses[0]: 10.2.0.12 is already an address of node-2 at a.yaml:6:17; "
                "an address belongs to one node: keep it at one of them"
            ),
            (
                "b.yaml:3:47: nodes.node-3.prefixes[0]: 10.244.1.0/25 overlaps 10.244.1.0/24 of node-1 at a.yaml:4:16; "
                "give each node prefixes of its own"
            ),
            (
                "b.yaml:5:17: vips[0].prefixes[0]: 10.100.0.128/25 overlaps 10.100.0.0/24 of a VIP pool at "
                "a.yaml:9:17; a VIP pool lies apart from every node prefix and every other pool"
            ),
            "b.yaml:5:43: vips[0].nodes[0]: there is no node node-9; did you mean node-3?",
        ]

    def test_every_broken_file_is_named(self) -> None:
        with pytest.raises(AllocationsError) as caught:
            parse_all({"a.yaml": "nodes: [", "b.yaml": "", "c.yaml": GOOD})
        assert {problem.file for problem in caught.value.problems} == {"a.yaml", "b.yaml"}


def many(nodes: int) -> str:
    lines = ["nodes:"]
    for number in range(nodes):
        high, low = divmod(number, 250)
        lines += [
            f"  node-{number}:",
            f'    addresses: [10.{high}.{low}.11, "fd00:2::{number:x}"]',
            f'    prefixes: [10.{100 + high}.{low}.0/25, 10.{100 + high}.{low}.128/26, "fd00:10:{number:x}::/64"]',
        ]
    return "\n".join(lines)


@pytest.mark.parametrize("nodes", [1000, 5000])
def test_a_changed_document_is_read_again_quickly(nodes: int) -> None:
    text = many(nodes)
    parse(text)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        parse(text)
        took.append(time.perf_counter() - start)
    print(f"\n{nodes} nodes: {min(took) * 1000:.1f} ms")
    assert min(took) < nodes / 1000  # generous: 25 ms for 1,000 on an idle machine


def test_thousands_of_mistakes_are_said_in_bounded_time() -> None:
    text = f"{many(2000)}\nvips: [{{prefixes: [10.250.0.0/24], nodes: [{', '.join(f'nod-{n}' for n in range(2000))}]}}]"
    start = time.perf_counter()
    with pytest.raises(AllocationsError) as caught:
        parse(text)
    assert len(caught.value.problems) == 2000
    assert time.perf_counter() - start < 5
