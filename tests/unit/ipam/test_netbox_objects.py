"""What NetBox's objects mean, and that none of them grants anything by accident."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rr.config.sources.netbox import NetboxSettings, NodeSelection, PrefixSelection
from rr.errors import SourceError
from rr.ipam.reading import Found
from rr.ipam.sources.netbox.api import query
from rr.ipam.sources.netbox.compiling import PREFIXES, RANGES, Inventory, compiled
from rr.ipam.sources.netbox.objects import DEVICES, MACHINES, selected

URL = "https://netbox.example.net"
Item = dict[str, Any]


def configured(**more: Any) -> NetboxSettings:
    given = {
        "type": "netbox",
        "url": URL,
        "nodes": {"role": "k8s-node"},
        "prefixes": {"role": "pod-cidr"},
        "owner": "k8s_node",
        "vips": {"role": "vip"},
        "announcers": "k8s_nodes",
        **more,
    }
    return NetboxSettings.model_validate(given)


def item(number: int, role: str, **more: Any) -> Item:
    return {
        "id": number,
        "status": {"value": "active"},
        "role": {"slug": role},
        "tags": [],
        "vrf": None,
        **more,
    }


def device(number: int, name: Any, *addresses: str, **more: Any) -> Item:
    primary = {f"primary_ip{6 if ':' in text else 4}": {"id": 1, "address": text} for text in addresses}
    return item(number, "k8s-node", **{"name": name, "custom_fields": {}, **primary, **more})


def prefix(number: int, text: str, owner: Any, **more: Any) -> Item:
    return item(number, "pod-cidr", **{"prefix": text, "custom_fields": {"k8s_node": owner}, **more})


def pool(number: int, text: str, nodes: Any = None, **more: Any) -> Item:
    return item(number, "vip", **{"prefix": text, "custom_fields": {"k8s_nodes": nodes}, **more})


def span(number: int, start: str, end: str, nodes: Any = None) -> Item:
    return item(number, "vip", start_address=start, end_address=end, custom_fields={"k8s_nodes": nodes})


def reference(number: int, kind: str = DEVICES, name: str = "x") -> Item:
    return {
        "id": number,
        "url": f"{URL}/api/{kind}/{number}/",
        "display": name,
        "name": name,
        "description": "",
    }


NODES = [device(1, "node-1", "10.2.0.11/24"), device(2, "node-2", "10.2.0.12/24", "fd00:2::12/64")]


def read(
    items: list[Item] = [],  # noqa: B006
    *,
    nodes: list[Item] = NODES,
    machines: list[Item] = [],  # noqa: B006
    pools: list[Item] = [],  # noqa: B006
    ranges: list[Item] = [],  # noqa: B006
    **more: Any,
) -> Found:
    inventory = Inventory({DEVICES: nodes, MACHINES: machines}, items, {PREFIXES: pools, RANGES: ranges})
    return compiled(configured(**more), inventory)


def owned(found: Found) -> dict[str, list[str]]:
    nodes = found.allocations.nodes.values()
    return {node.name: list(map(str, node.prefixes)) for node in nodes if node.prefixes}


def pools(found: Found) -> dict[frozenset[str] | None, list[str]]:
    return {pool.nodes: list(map(str, pool.prefixes)) for pool in found.allocations.vips}


@pytest.mark.parametrize(
    "owner",
    ["node-1", " node-1 ", reference(1), [reference(1)], ["node-1"]],
    ids=lambda owner: type(owner).__name__,
)
def test_an_owner_is_an_object_or_a_name(owner: Any) -> None:
    found = read([prefix(9, "10.244.1.0/24", owner)])
    assert owned(found) == {"node-1": ["10.244.1.0/24"]}
    assert found.left_out == ()


def test_a_virtual_machine_and_a_device_with_one_id_are_two() -> None:
    found = read(
        [prefix(9, "10.244.1.0/24", reference(1, MACHINES))], machines=[device(1, "node-7", "10.2.0.17/24")]
    )
    assert owned(found) == {"node-7": ["10.244.1.0/24"]}


@pytest.mark.parametrize("owner", [None, "", [], " , "])
def test_a_prefix_that_is_nobodys_is_no_news(owner: Any) -> None:
    found = read([prefix(9, "10.244.1.0/24", owner)])
    assert (owned(found), found.left_out) == ({}, ())


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (prefix(9, "10.244.1.0/24", "node-3"), ("is for node-3, which is no node; see that `nodes` selects it "
         "and that it has an address")),
        (prefix(9, "10.244.1.0/24", reference(5)), ("is for device 5, which is no node; see that `nodes` selects "
         "it and that it has an address")),
        (prefix(9, "10.244.1.0/24", reference(1, "dcim/sites", "AMS1")), ("names AMS1, which is no device or virtual "
         "machine; let the field be of one of these types")),
        (prefix(9, "10.244.1.0/24", "node-1,node-2"), "names 2 nodes in k8s_node; a prefix has one owner"),
        (prefix(9, "10.244.1.0/24", [reference(1), reference(2)]), "names 2 nodes in k8s_node; a prefix has one owner"),
        (prefix(9, "10.244.1.0/24", 7), "names its node by 7; use a field of type object, or text"),
        (prefix(9, "0.0.0.0/0", "node-1"), "is a default route; it cannot be handed to nodes or services"),
        (prefix(9, "127.0.0.0/8", "node-1"), "is in the loopback range; it cannot be handed to nodes or services"),
        (prefix(9, "10.244.1.1/24", "node-1"), ("cannot be read: 10.244.1.1/24 has bits set after its length; write "
         "10.244.1.0/24, or 10.244.1.1/32 for the one address")),
        (prefix(9, "pods", "node-1"), ("cannot be read: pods is not a prefix; write one such as 10.2.0.0/24 or "
         "fd00:2::/64")),
    ],
)  # fmt: skip
def test_a_prefix_that_cannot_be_made_use_of_is_left_out_alone(bad: Item, why: str) -> None:
    found = read([bad, prefix(10, "10.244.2.0/24", "node-2")])
    assert owned(found) == {"node-2": ["10.244.2.0/24"]}
    assert found.left_out == (f"prefix {bad['prefix']} ({URL}/ipam/prefixes/9/) {why}",)
    assert found.mistakes == (() if "is no node" in why else found.left_out)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (device(9, None, "10.2.0.19/24"), "({where}) has no name; give it the name of its node"),
        (device(9, "node 9", "10.2.0.19/24"), ("node 9 ({where}) is called node 9, and a node has a name without "
         "spaces; rename it")),
        (device(9, "node-9"), "node-9 ({where}) has no primary address; set the one that its BGP session comes from"),
        (device(9, "node-9", "fe80::1/64"), ("node-9 ({where}) has the primary address fe80::1, which is "
         "link-local and needs an interface")),
        (device(9, "node-9", "nonsense"), ("node-9 ({where}) has the address nonsense: nonsense is not an IP "
         "address; write one such as 10.2.0.11 or fd00:2::11")),
        (device(9, "node-1", "10.2.0.19/24"), "node-1 ({where}) has the name of another node; rename one of them"),
    ],
)  # fmt: skip
def test_a_device_that_can_be_no_node_is_left_out_alone(bad: Item, why: str) -> None:
    found = read([prefix(10, "10.244.1.0/24", "node-1")], nodes=[*NODES, bad])
    assert set(found.allocations.nodes) == {"node-1", "node-2"}
    assert owned(found) == {"node-1": ["10.244.1.0/24"]}
    assert found.left_out == ("device " + why.format(where=f"{URL}/dcim/devices/9/"),)
    unfinished = "has no name" in why or "has no primary address" in why
    assert found.mistakes == (() if unfinished else found.left_out)


def test_a_prefix_inside_another_of_the_same_node_is_left_out() -> None:
    found = read([prefix(9, "10.244.1.128/25", "node-1"), prefix(10, "10.244.1.0/24", "node-1")])
    assert owned(found) == {"node-1": ["10.244.1.0/24"]}
    assert found.left_out == (
        (
            f"prefix 10.244.1.128/25 ({URL}/ipam/prefixes/9/) lies inside 10.244.1.0/24 of the same node; a node "
            "announces prefixes that lie apart"
        ),
    )


def test_a_custom_field_that_no_prefix_has_is_an_error_of_all() -> None:
    with pytest.raises(SourceError, match="has no custom field node for the type prefix"):
        read([prefix(9, "10.244.1.0/24", "node-1")], owner="node")


@pytest.mark.parametrize(
    ("other", "selects"),
    [
        ({}, True),
        ({"status": {"value": "reserved"}}, False),
        ({"status": None}, False),
        ({"role": None}, False),
        ({"role": {"slug": "other"}}, False),
        ({"tags": None}, False),
        ({"tags": [{"slug": "other"}]}, False),
        ({"custom_fields": {"cluster": "preprod"}}, False),
        ({"custom_fields": {"cluster": {"value": "prod", "label": "Production"}}}, True),
        ({"custom_fields": {}}, False),
    ],
)
def test_every_part_of_a_selection_is_looked_at_again(other: Item, selects: bool) -> None:
    wanted = PrefixSelection.model_validate({"role": "pod-cidr", "tag": "k8s", "fields": {"cluster": "prod"}})
    fits = item(1, "pod-cidr", tags=[{"slug": "k8s"}], custom_fields={"cluster": "prod"})
    assert selected({**fits, **other}, wanted) is selects


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (7, "7"), ("a b", "a b")])
def test_custom_fields_are_compared_as_text(value: Any, text: str) -> None:
    wanted = NodeSelection.model_validate({"fields": {"rr": text}})
    assert selected({"status": {"value": "active"}, "custom_fields": {"rr": value}}, wanted)
    assert not selected({"status": {"value": "active"}, "custom_fields": {"rr": None}}, wanted)


def test_a_site_tells_nodes_apart() -> None:
    here, there = (device(1, "node-1", "10.2.0.11/24", site={"slug": slug}) for slug in ("ams1", "fra1"))
    wanted = NodeSelection.model_validate({"site": "ams1"})
    assert (selected(here, wanted), selected(there, wanted)) == (True, False)


def test_a_selection_is_what_netbox_is_asked_for() -> None:
    nodes = {
        "role": "node",
        "tag": "k8s",
        "site": "ams1",
        "fields": {"a": "b"},
        "status": ["active", "staged"],
    }
    assert query(NodeSelection.model_validate(nodes)) == [
        ("status", "active"),
        ("status", "staged"),
        ("role", "node"),
        ("tag", "k8s"),
        ("site", "ams1"),
        ("cf_a", "b"),
    ]


VRF = {"id": 3, "name": "prod", "rd": "64512:1"}


@pytest.mark.parametrize(
    ("vrf", "prefixes", "left_out"),
    [
        (None, ["10.244.1.0/24"], ("prefix: 1 of the selected are in a VRF and do not count; `vrf` says "
         "which VRF is meant")),
        ("prod", ["10.244.2.0/24"], ("prefix: 1 of the selected are outside VRF prod and do not count; `vrf` "
         "says which VRF is meant")),
        ("64512:1", ["10.244.2.0/24"], ("prefix: 1 of the selected are outside VRF 64512:1 and do not count; "
         "`vrf` says which VRF is meant")),
    ],
)  # fmt: skip
def test_only_one_vrf_counts(vrf: str | None, prefixes: list[str], left_out: str) -> None:
    both = [prefix(9, "10.244.1.0/24", "node-1"), prefix(10, "10.244.2.0/24", "node-1", vrf=VRF)]
    selection = {"role": "pod-cidr", **({"vrf": vrf} if vrf else {})}
    found = read(both, prefixes=selection)
    assert owned(found) == {"node-1": prefixes}
    assert (found.left_out, found.mistakes) == ((left_out,), ())


class TestPools:
    """VIPs: who may announce them."""

    @pytest.mark.parametrize(
        ("settings", "nodes"),
        [({}, frozenset()), ({"without_announcers": "all"}, None), ({"announcers": None}, None)],
    )
    def test_a_pool_that_names_nobody_is_nobodys_unless_it_is_said_otherwise(
        self, settings: Item, nodes: frozenset[str] | None
    ) -> None:
        assert pools(read(pools=[pool(9, "10.100.0.0/24")], **settings)) == {nodes: ["10.100.0.0/24"]}

    @pytest.mark.parametrize("nodes", ["node-1, node-2", [reference(1), reference(2)]])
    def test_a_pool_names_its_nodes(self, nodes: Any) -> None:
        both = frozenset({"node-1", "node-2"})
        assert pools(read(pools=[pool(9, "10.100.0.0/24", nodes)])) == {both: ["10.100.0.0/24"]}

    def test_a_pool_whose_nodes_are_none_is_open_to_nobody(self) -> None:
        found = read(pools=[pool(9, "10.100.0.0/24", "node-8,node-9")])
        assert pools(found) == {frozenset(): ["10.100.0.0/24"]}
        assert [sentence.split(" is for ")[1][:6] for sentence in found.left_out] == ["node-8", "node-9"]

    def test_a_range_is_the_prefixes_that_it_covers(self) -> None:
        found = read(
            ranges=[span(9, "10.100.0.6/24", "10.100.0.17/24"), span(10, "fd00:100::/64", "fd00:100::f/64")]
        )
        v4 = ["10.100.0.6/31", "10.100.0.8/29", "10.100.0.16/31"]
        assert pools(found) == {frozenset(): [*v4, "fd00:100::/124"]}

    @pytest.mark.parametrize(
        ("start", "end", "why"),
        [
            (
                "10.100.0.9/24",
                "10.100.0.3/24",
                "does not reach from 10.100.0.9 to 10.100.0.3; correct its ends",
            ),
            ("10.100.0.9/24", "fd00::1/64", "does not reach from 10.100.0.9 to fd00::1; correct its ends"),
            ("x", "y", "cannot be read: x is not an IP address; write one such as 10.2.0.11 or fd00:2::11"),
            (
                "0.0.0.0/0",
                "255.255.255.255/0",
                "is a default route; it cannot be handed to nodes or services",
            ),
        ],
    )
    def test_a_range_that_is_none_is_left_out(self, start: str, end: str, why: str) -> None:
        found = read(ranges=[span(9, start, end)])
        assert pools(found) == {}
        assert found.left_out == (f"IP range {start} ({URL}/ipam/ip-ranges/9/) {why}",)

    def test_the_inner_of_two_pools_decides(self) -> None:
        found = read(
            pools=[pool(9, "10.100.0.0/30"), pool(10, "10.100.0.2/32", "node-1")], without_announcers="all"
        )
        assert pools(found) == {
            None: ["10.100.0.0/31", "10.100.0.3/32"],
            frozenset({"node-1"}): ["10.100.0.2/32"],
        }

    def test_one_pool_for_two_sets_of_nodes_stays_the_firsts(self) -> None:
        found = read(pools=[pool(9, "10.100.0.0/30", "node-1"), pool(10, "10.100.0.0/30")])
        assert pools(found) == {frozenset({"node-1"}): ["10.100.0.0/30"]}
        assert found.left_out == (
            f"prefix 10.100.0.0/30 ({URL}/ipam/prefixes/10/) is a pool already, for other nodes; keep one of them",
        )

    @given(
        st.lists(
            st.tuples(st.integers(0, 255), st.integers(24, 32), st.sampled_from([None, "node-1", "node-2"])),
            max_size=12,
        )
    )
    def test_each_address_is_open_to_whom_its_closest_pool_names(
        self, given: list[tuple[int, int, str | None]]
    ) -> None:
        networks: dict[IPv4Network, str | None] = {}
        items = []
        for number, (octet, length, nodes) in enumerate(given):
            network = IPv4Network((f"10.100.0.{octet}", length), strict=False)
            items.append(pool(number, str(network), nodes))
            networks.setdefault(network, nodes)
        found = read(pools=items, without_announcers="all").allocations
        claimed = [network for pool in found.vips for network in pool.prefixes]
        assert sum(network.num_addresses for network in claimed) == len({a for n in networks for a in n})
        for octet in range(256):
            address = ip_network(f"10.100.0.{octet}/32")
            around = [n for n in networks if n.supernet_of(address)]  # type: ignore[arg-type]
            pool_of = found.vip_pool_of(address)
            if not around:
                assert pool_of is None
                continue
            nodes = networks[max(around, key=lambda network: network.prefixlen)]
            assert pool_of is not None
            assert pool_of.nodes == (None if nodes is None else frozenset({nodes}))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("node-1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = (
    "name", "prefix", "start_address", "end_address", "status", "role", "vrf", "tags", "custom_fields", "primary_ip4",
    "primary_ip6", "display",
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, good: Item) -> Item:
    """An object of which some values are anything at all, or missing."""
    keys = draw(st.sets(st.sampled_from(KEYS), max_size=3))
    bad = {key: draw(anything) for key in keys}
    fields = good["custom_fields"]
    inner = (
        {"custom_fields": {**fields, **{key: draw(anything) for key in fields}}}
        if draw(st.booleans())
        else {}
    )
    missing = draw(
        st.sets(st.sampled_from(("status", "role", "vrf", "tags", "name", "prefix", "start_address")))
    )
    return {key: value for key, value in {**good, **inner, **bad}.items() if key not in missing or key in bad}


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_no_object_of_whatever_form_breaks_the_reading_or_grants_anything_to_others(
    data: st.DataObject,
) -> None:
    nodes = [*NODES, data.draw(spoilt(device(3, "node-3", "10.2.0.13/24")))]
    prefixes = [
        prefix(9, "10.244.1.0/24", "node-1"),
        data.draw(spoilt(prefix(10, "10.244.2.0/24", "node-2"))),
    ]
    try:
        found = read(
            prefixes,
            nodes=nodes,
            pools=[data.draw(spoilt(pool(11, "10.100.0.0/24", "node-2")))],
            ranges=[data.draw(spoilt(span(12, "10.101.0.0/24", "10.101.0.9/24", "node-2")))],
        )
    except SourceError as error:
        assert "has no custom field" in str(error)  # noqa: PT017
        return
    allowed = {"10.244.1.0/24"}
    assert set(owned(found).get("node-1", [])) - {"10.244.2.0/24"} == allowed
    assert all("\n" not in sentence for sentence in found.left_out)
