"""Allocations as text: what is read, and the exact sentences for what is refused."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from rr.errors import AllocationsError
from rr.ipam.allocations import EMPTY, NodeAllocation, VipPool
from rr.ipam.document import parse, render
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
