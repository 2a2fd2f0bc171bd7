"""The snapshot: who owns what, and what changes from one to the next."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr.addresses import order_of, overlaps
from rr.errors import AllocationsError
from rr.ipam.allocations import EMPTY, Allocations, Holding, diff
from rr.ipam.document import parse, render
from rr.net import Network
from tests.unit.ipam.strategies import allocations, networks

TEXT = """\
nodes:
  node-1: {addresses: [10.2.0.11, "fd00:2::11"], prefixes: [10.244.1.0/24, "fd00:10:1::/64"]}
  node-2: {addresses: [10.2.0.12], prefixes: [10.244.2.0/26]}
vips:
  - {prefixes: [10.100.0.0/24], nodes: [node-1]}
  - {prefixes: [10.101.0.0/24]}
"""


@pytest.fixture
def snapshot() -> Allocations:
    return parse(TEXT)


def net(text: str) -> Network:
    return ip_network(text)


def test_a_node_is_found_by_each_of_its_addresses(snapshot: Allocations) -> None:
    assert snapshot.node_at(ip_address("fd00:2::11")) is snapshot.nodes["node-1"]
    assert snapshot.node_at(ip_address("10.2.0.13")) is None


def test_only_exactly_the_prefix_has_an_owner(snapshot: Allocations) -> None:
    assert snapshot.owner_of(net("10.244.1.0/24")) == "node-1"
    assert snapshot.owner_of(net("10.244.1.0/25")) is None


def test_what_is_borrowed_has_an_owner_and_its_block_keeps_its_own(snapshot: Allocations) -> None:
    lent = Allocations(
        {**snapshot.nodes, "node-2": replace(snapshot.nodes["node-2"], borrowed=(net("10.244.1.5/32"),))}
    )
    assert (lent.owner_of(net("10.244.1.5/32")), lent.borrower_of(net("10.244.1.5/32"))) == (
        "node-2",
        "node-2",
    )
    assert lent.holding(net("10.244.1.5/32")) == Holding(net("10.244.1.0/24"), "node-1")
    assert lent.holding(net("10.244.1.6/32")) == Holding(net("10.244.1.0/24"), "node-1")
    assert lent.borrower_of(net("10.244.1.0/24")) is None
    assert lent.size == snapshot.size + 1
    assert lent.digest() != snapshot.digest()
    assert diff(snapshot, lent).granted == (("node-2", net("10.244.1.5/32")),)
    assert diff(lent, snapshot).revoked == (("node-2", net("10.244.1.5/32")),)


@pytest.mark.parametrize(
    ("prefix", "owner"),
    [
        ("10.244.1.0/24", "node-1"),
        ("10.244.1.128/25", "node-1"),
        ("10.244.2.0/24", "node-2"),
        ("10.244.2.64/26", None),
        ("10.244.0.0/16", "node-1"),
        ("0.0.0.0/0", "node-1"),
        ("fd00:10:1::1/128", "node-1"),
        ("fd00:11::/64", None),
    ],
)
def test_what_a_prefix_overlaps_is_known(snapshot: Allocations, prefix: str, owner: str | None) -> None:
    assert snapshot.covering(net(prefix)) == owner


def test_the_holding_says_which_prefix_it_is(snapshot: Allocations) -> None:
    assert snapshot.holding(net("10.244.2.1/32")) == Holding(net("10.244.2.0/26"), "node-2")


def test_pools_are_open_to_those_they_name(snapshot: Allocations) -> None:
    assert snapshot.pools_for("node-1") == (net("10.101.0.0/24"), net("10.100.0.0/24"))
    assert snapshot.pools_for("node-2") == (net("10.101.0.0/24"),)
    assert snapshot.pools_for("stranger") == ()


def test_the_pool_of_a_vip_is_known(snapshot: Allocations) -> None:
    assert snapshot.vip_pool_of(net("10.100.0.7/32")) is snapshot.vips[0]
    assert snapshot.vip_pool_of(net("10.102.0.7/32")) is None
    assert snapshot.vip_pool_of(net("::/0")) is None


def test_the_digest_ignores_order_and_nothing_else(snapshot: Allocations) -> None:
    swapped = TEXT.replace('[10.2.0.11, "fd00:2::11"]', '["fd00:2::11", 10.2.0.11]')
    assert parse(swapped).digest() == snapshot.digest()
    assert parse(TEXT.replace("10.244.2.0/26", "10.244.2.0/27")).digest() != snapshot.digest()
    assert parse(TEXT.replace(", nodes: [node-1]", "")).digest() != snapshot.digest()


def test_a_change_is_told_in_full(snapshot: Allocations) -> None:
    new = parse(
        TEXT.replace("10.244.2.0/26", "10.244.3.0/24")
        .replace("10.2.0.11,", "10.2.0.21,")
        .replace("vips:", "  node-3: {addresses: [10.2.0.13]}\nvips:")
    )
    changes = diff(snapshot, new)
    assert changes.granted == (("node-2", net("10.244.3.0/24")),)
    assert changes.revoked == (("node-2", net("10.244.2.0/26")),)
    assert (changes.nodes_added, changes.nodes_removed) == (("node-3",), ())
    assert changes.addresses_changed == ("node-1",)
    assert not changes.vips_changed
    assert changes.nodes == {"node-1", "node-2", "node-3"}


def test_other_nodes_of_a_pool_are_a_change(snapshot: Allocations) -> None:
    assert diff(snapshot, parse(TEXT.replace("nodes: [node-1]", "nodes: [node-2]"))).vips_changed


@given(allocations())
def test_what_is_rendered_is_read_back(snapshot: Allocations) -> None:
    again = parse(render(snapshot))
    assert again == snapshot
    assert again.digest() == snapshot.digest()


@given(allocations(), allocations())
def test_changes_lead_from_one_snapshot_to_the_other(old: Allocations, new: Allocations) -> None:
    changes = diff(old, new)
    owned = {(name, prefix) for name, node in old.nodes.items() for prefix in node.announces}
    wanted = {(name, prefix) for name, node in new.nodes.items() for prefix in node.announces}
    assert (owned - set(changes.revoked)) | set(changes.granted) == wanted
    assert not diff(new, new)
    assert bool(changes) == (old.digest() != new.digest())


@given(allocations())
def test_all_is_granted_from_nothing_and_revoked_to_it(snapshot: Allocations) -> None:
    assert len(diff(EMPTY, snapshot).granted) == snapshot.size == len(diff(snapshot, EMPTY).revoked)


@given(st.lists(networks, max_size=12))
def test_overlaps_are_those_that_brute_force_finds(found: list[Network]) -> None:
    inside = {index for index, _ in overlaps([order_of(network) for network in found])}
    for index, network in enumerate(found):
        others = [
            other for place, other in enumerate(found) if place != index and other.version == network.version
        ]
        if index in inside:
            assert any(network.subnet_of(other) for other in others)  # type: ignore[arg-type]
        elif any(network != other and network.subnet_of(other) for other in others):  # type: ignore[arg-type]
            pytest.fail(f"{network} lies in another and was not found")
    assert bool(inside) == any(
        one.version == other.version and one.overlaps(other)
        for place, one in enumerate(found)
        for other in found[:place]
    )


@given(st.lists(networks, min_size=1, max_size=8))
def test_a_document_is_refused_exactly_when_its_prefixes_overlap(found: list[Network]) -> None:
    owners = "\n".join(
        f'  node-{number}: {{addresses: [10.2.0.{number + 1}], prefixes: ["{network}"]}}'
        for number, network in enumerate(found)
    )
    clash = bool(overlaps([order_of(network) for network in found]))
    document = f"nodes:\n{owners}\n"
    if not clash:
        assert parse(document).size == len(found)
        return
    with pytest.raises(AllocationsError) as caught:
        parse(document)
    assert all(problem.line and "allocations.yaml:" in problem.wrong for problem in caught.value.problems)


@given(allocations(), networks)
def test_the_holding_is_the_one_that_brute_force_finds(snapshot: Allocations, prefix: Network) -> None:
    clashing = {
        Holding(owned, name)
        for owned, name in snapshot.index.owners.items()
        if owned.version == prefix.version and owned.overlaps(prefix)
    }
    found = snapshot.holding(prefix)
    assert found in clashing if clashing else found is None
