"""Single objects to what they contribute: pure functions, on the documented shapes and on broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rr.ipam.sources.kubernetes import calico, cilium, nodes, services
from rr.ipam.sources.kubernetes.objects import NotThis
from rr.ipam.sources.kubernetes.parts import Decoded, Endpoints, OpenPool, ServiceVips
from tests.lab.kube_objects import (
    Object,
    affinity,
    block,
    cilium_node,
    endpoint,
    endpoint_slice,
    ip_pool,
    node,
    service,
)

decode_node = partial(nodes.decode, addresses=True, prefixes=True)
decode_cilium = partial(cilium.decode_node, addresses=True, prefixes=True)
decode_service = partial(services.decode_service, load_balancer_class=None, external_ips=False)


def read(decode: Callable[[bytes], Decoded], content: Object) -> Decoded:
    return decode(json.dumps(content).encode())


def shares(decoded: Decoded) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """By node: addresses, prefixes, borrowed."""
    found = decoded.contribution
    assert found is None or isinstance(found, tuple)
    return {
        share.node: ([*map(str, share.addresses)], [*map(str, share.prefixes)], [*map(str, share.borrowed)])
        for share in found or ()
    }


def vips(decoded: Decoded) -> tuple[list[str], bool] | None:
    found = decoded.contribution
    assert found is None or isinstance(found, ServiceVips)
    return ([str(vip) for vip in found.vips], found.local) if found else None


def behind(decoded: Decoded) -> tuple[str, set[str], set[str]] | None:
    found = decoded.contribution
    assert found is None or isinstance(found, Endpoints)
    return (found.service, set(found.ready), set(found.ending)) if found else None


def opened(decoded: Decoded) -> list[str] | None:
    found = decoded.contribution
    assert found is None or isinstance(found, OpenPool)
    return [str(prefix) for prefix in found.prefixes] if found else None


def test_a_node_has_its_internal_addresses_and_its_pod_cidrs() -> None:
    found = read(
        decode_node, node("node-1", "10.2.0.11", "fd00:2::11", cidrs=["10.244.1.0/24", "fd00:10:1::/64"])
    )
    assert shares(found) == {"node-1": (["10.2.0.11", "fd00:2::11"], ["10.244.1.0/24", "fd00:10:1::/64"], [])}
    assert found.troubles == ()


def test_a_node_that_is_asked_for_addresses_gives_no_prefixes() -> None:
    content = node("node-1", "10.2.0.11", cidrs=["10.244.1.0/24"])
    assert shares(read(partial(nodes.decode, addresses=True, prefixes=False), content))["node-1"][1] == []
    assert shares(read(partial(nodes.decode, addresses=False, prefixes=True), content))["node-1"][0] == []


def test_an_old_node_has_one_pod_cidr() -> None:
    content = node("node-1", "10.2.0.11")
    content["spec"]["podCIDR"] = "10.244.1.0/24"
    assert shares(read(decode_node, content))["node-1"][1] == ["10.244.1.0/24"]


def test_a_node_without_anything_is_a_node() -> None:
    assert shares(read(decode_node, {"metadata": {"name": "node-1"}})) == {"node-1": ([], [], [])}


@pytest.mark.parametrize(
    ("value", "trouble"),
    [
        ("10.244.1.0", "spec.podCIDRs: 10.244.1.0 has no length"),
        ("10.244.1.1/24", "spec.podCIDRs: 10.244.1.1/24 has bits set after its length"),
        ("0.0.0.0/0", "spec.podCIDRs: 0.0.0.0/0 is a default route"),
        ("::/0", "spec.podCIDRs: ::/0 is a default route"),
        ("127.0.0.0/8", "spec.podCIDRs: 127.0.0.0/8 is in the loopback range"),
        ("224.0.0.0/8", "spec.podCIDRs: 224.0.0.0/8 reaches into the multicast range"),
        ("rubbish", "spec.podCIDRs: rubbish is not a prefix"),
        ("", "spec.podCIDRs: '' is not a prefix"),
    ],
)
def test_a_prefix_that_is_none_is_left_out_and_named(value: str, trouble: str) -> None:
    found = read(decode_node, node("node-1", "10.2.0.11", cidrs=[value, "10.244.2.0/24"]))
    assert shares(found)["node-1"][1] == ["10.244.2.0/24"]
    assert found.troubles == (trouble,)


@pytest.mark.parametrize(
    "value", ["0.0.0.0", "::", "fe80::1", "224.0.0.1", "255.255.255.255", "node-1.example"]
)
def test_an_address_that_no_session_can_come_from_is_left_out(value: str) -> None:
    found = read(decode_node, node("node-1", value, "10.2.0.11"))
    assert shares(found)["node-1"][0] == ["10.2.0.11"]
    assert len(found.troubles) == 1


@pytest.mark.parametrize("name", ["", "node/1", "-node", "x" * 254])
def test_a_name_that_is_none_is_left_out(name: str) -> None:
    found = read(decode_node, node(name, "10.2.0.11"))
    assert found.contribution is None
    assert len(found.troubles) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"metadata": {"name": "node-1"}, "spec": {"podCIDRs": "10.244.1.0/24"}},
        {"metadata": {"name": "node-1"}, "spec": {"podCIDRs": [1]}},
        {"metadata": {"name": "node-1"}, "status": {"addresses": {"InternalIP": "10.2.0.11"}}},
        {"metadata": {"name": 5}},
        {"metadata": None},
        {},
        [],
    ],
)
def test_what_has_another_shape_is_refused(content: Any) -> None:
    with pytest.raises(NotThis):
        read(decode_node, content)


def test_a_cilium_node_has_any_number_of_prefixes() -> None:
    content = cilium_node(
        "node-1",
        "10.2.0.11",
        cidrs=["10.244.1.0/24", "10.244.9.0/26"],
        pools={"default": ["10.245.0.0/27", "10.245.0.32/27"], "mars": ["10.246.0.0/27"]},
    )
    assert shares(read(decode_cilium, content)) == {
        "node-1": (
            ["10.2.0.11"],
            ["10.244.1.0/24", "10.244.9.0/26", "10.245.0.0/27", "10.245.0.32/27", "10.246.0.0/27"],
            [],
        )
    }


def test_a_cilium_node_may_have_none_yet() -> None:
    assert shares(read(decode_cilium, cilium_node("node-1", "10.2.0.11")))["node-1"][1] == []
    assert (
        shares(read(decode_cilium, {"metadata": {"name": "n"}, "spec": {"ipam": {"pools": {}}}}))["n"][1]
        == []
    )


def test_a_pool_has_prefixes_and_ranges() -> None:
    content = ip_pool("blue", "10.100.0.0/24", ("10.101.0.10", "10.101.0.12"), "fd00:100::/112")
    assert opened(read(cilium.decode_pool, content)) == [
        "10.100.0.0/24",
        "10.101.0.10/31",
        "10.101.0.12/32",
        "fd00:100::/112",
    ]


def test_a_range_without_an_end_is_one_address() -> None:
    content = ip_pool("blue")
    content["spec"]["blocks"] = [{"start": "10.100.0.7"}]
    assert opened(read(cilium.decode_pool, content)) == ["10.100.0.7/32"]


@pytest.mark.parametrize(
    "block", [("10.0.1.9", "10.0.1.1"), ("10.0.1.1", "fd00::1"), ("x", "y"), ("0.0.0.0", "255.255.255.255")]
)
def test_a_range_that_is_none_is_left_out(block: tuple[str, str]) -> None:
    found = read(cilium.decode_pool, ip_pool("blue", block, "10.100.0.0/24"))
    assert opened(found) == ["10.100.0.0/24"]
    assert found.troubles


def test_a_disabled_pool_is_none() -> None:
    assert read(cilium.decode_pool, ip_pool("blue", "10.100.0.0/24", disabled=True)) == Decoded()


def test_a_confirmed_affinity_is_a_prefix() -> None:
    assert shares(read(calico.decode_affinity, affinity("node-1", "10.244.1.0/26"))) == {
        "node-1": ([], ["10.244.1.0/26"], [])
    }


@pytest.mark.parametrize(
    "content",
    [
        affinity("node-1", "10.244.1.0/26", "pending"),
        affinity("node-1", "10.244.1.0/26", "pendingDeletion"),
        affinity("node-1", "10.244.1.0/26", deleted=True),
        affinity("load-balancer", "10.100.0.0/26", virtual=True),
    ],
)
def test_any_other_affinity_is_none(content: Object) -> None:
    assert read(calico.decode_affinity, content) == Decoded()


def test_an_address_on_another_node_than_the_blocks_is_borrowed() -> None:
    content = block("10.244.1.0/26", "node-1", {0: "node-1", 5: "node-2", 9: "node-2", 7: "node-3"})
    assert shares(read(calico.decode_block, content)) == {
        "node-2": ([], [], ["10.244.1.5/32", "10.244.1.9/32"]),
        "node-3": ([], [], ["10.244.1.7/32"]),
    }


def test_a_block_of_ipv6_lends_too() -> None:
    content = block("fd00:10:1::/122", "node-1", {3: "node-2"})
    assert shares(read(calico.decode_block, content)) == {"node-2": ([], [], ["fd00:10:1::3/128"])}


def test_a_block_that_lost_its_node_lends_all_that_is_in_use() -> None:
    content = block("10.244.1.0/26", None, {0: "node-1", 5: "node-2"})
    assert shares(read(calico.decode_block, content)) == {
        "node-1": ([], [], ["10.244.1.0/32"]),
        "node-2": ([], [], ["10.244.1.5/32"]),
    }


def test_a_block_that_only_its_node_uses_lends_nothing() -> None:
    assert (
        read(calico.decode_block, block("10.244.1.0/26", "node-1", {0: "node-1", 1: "node-1"})) == Decoded()
    )


def test_a_block_of_load_balancers_lends_nothing() -> None:
    content = block("10.100.0.0/26", None, {0: "load-balancer"})
    content["spec"]["affinity"] = "virtual:load-balancer"
    assert read(calico.decode_block, content) == Decoded()


def test_an_address_that_was_given_back_is_not_borrowed() -> None:
    content = block("10.244.1.0/26", "node-1", {5: "node-2"})
    content["spec"]["allocations"][5] = None
    assert read(calico.decode_block, content) == Decoded()


def test_a_block_with_more_entries_than_addresses_lends_only_its_own() -> None:
    found = read(calico.decode_block, block("10.244.1.0/30", "node-1", {1: "node-2", 40: "node-2"}))
    assert shares(found) == {"node-2": ([], [], ["10.244.1.1/32"])}
    assert found.troubles == ("spec.allocations: it has more entries than 10.244.1.0/30 has addresses",)


@pytest.mark.parametrize("index", [-1, 9])
def test_an_entry_without_attributes_is_nobodys(index: int) -> None:
    content = block("10.244.1.0/26", "node-1", {5: "node-2"})
    content["spec"]["allocations"][6] = index
    assert shares(read(calico.decode_block, content)) == {"node-2": ([], [], ["10.244.1.5/32"])}


def test_a_service_has_the_addresses_that_it_was_given() -> None:
    assert vips(read(decode_service, service("web", "10.100.0.1", "fd00:100::1"))) == (
        ["10.100.0.1/32", "fd00:100::1/128"],
        False,
    )
    assert vips(read(decode_service, service("web", "10.100.0.1", policy="Local"))) == (
        ["10.100.0.1/32"],
        True,
    )


def test_a_service_without_an_address_has_none() -> None:
    assert read(decode_service, service("web")) == Decoded()
    content = service("web")
    content["status"]["loadBalancer"] = {"ingress": [{"hostname": "web.example"}]}
    assert read(decode_service, content) == Decoded()


def test_only_a_load_balancer_counts() -> None:
    assert read(decode_service, service("web", "10.100.0.1", kind="ClusterIP")) == Decoded()


def test_only_services_of_the_class_count() -> None:
    ours = partial(services.decode_service, load_balancer_class="io.cilium/bgp", external_ips=False)
    assert vips(read(ours, service("web", "10.100.0.1", load_balancer_class="io.cilium/bgp")))
    assert read(ours, service("web", "10.100.0.1", load_balancer_class="other")) == Decoded()
    assert read(ours, service("web", "10.100.0.1")) == Decoded()


def test_external_addresses_count_where_they_are_wanted() -> None:
    content = service("web", kind="ClusterIP", external=["10.100.0.9"])
    assert read(decode_service, content) == Decoded()
    wanted = partial(services.decode_service, load_balancer_class=None, external_ips=True)
    assert vips(read(wanted, content)) == (["10.100.0.9/32"], False)


def test_endpoints_are_ready_unless_they_say_otherwise() -> None:
    content = endpoint_slice(
        "web",
        "node-1",
        endpoint("node-2", ready=None),
        endpoint("node-3", ready=False, serving=False),
        endpoint("node-4", terminating=True),
        endpoint("node-5", terminating=True, serving=False),
        {"addresses": ["10.244.9.9"], "nodeName": "node-6"},
        {"addresses": ["10.244.9.9"], "conditions": {"ready": True}},
    )
    assert behind(read(services.decode_slice, content)) == (
        "default/web",
        {"node-1", "node-2", "node-6"},
        {"node-4"},
    )


def test_endpoints_of_no_service_are_nobodys() -> None:
    content = endpoint_slice("web", "node-1")
    content["metadata"]["labels"] = {}
    assert read(services.decode_slice, content) == Decoded()
