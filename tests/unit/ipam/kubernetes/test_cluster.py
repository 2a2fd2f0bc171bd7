"""Objects to allocations: any order of events, lists and deletions ends where one list of the final state does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rr.addresses import overlap
from rr.config.sources import KubernetesSettings
from rr.ipam.allocations import Allocations
from rr.ipam.sources.kubernetes.cluster import Cluster
from rr.ipam.sources.kubernetes.objects import NotThis
from rr.ipam.sources.kubernetes.parts import Decoded
from rr.ipam.sources.kubernetes.resources import Resource, resources
from rr.ipam.sources.kubernetes.vips import without
from tests.lab.kube_api import PATHS
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

ALL = KubernetesSettings(
    type="kubernetes", prefixes=("node", "cilium", "calico"), vips=("services", "cilium-pools")
)
BY_PATH = {resource.path(0): resource for resource in resources(ALL)}


def resource_of(content: Object) -> Resource:
    return BY_PATH[PATHS[content["kind"]]]


def key_of(content: Object) -> str:
    metadata = content["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])


def decoded(content: Object) -> Decoded:
    try:
        return resource_of(content).decode(json.dumps(content).encode())
    except NotThis as error:
        return Decoded(None, (str(error),))


class World:
    """A cluster that is told of events, and the objects that there are."""

    def __init__(self, *objects: Object) -> None:
        self.cluster = Cluster()
        self.objects: dict[tuple[str, str], Object] = {}
        self.apply(*objects)

    def apply(self, *objects: Object) -> None:
        for content in objects:
            kind, key = resource_of(content).full_name, key_of(content)
            self.objects[kind, key] = content
            self.cluster.put(kind, key, decoded(content))

    def delete(self, content: Object) -> None:
        kind, key = resource_of(content).full_name, key_of(content)
        if self.objects.pop((kind, key), None):
            self.cluster.put(kind, key, None)

    def list_again(self, kind: str) -> None:
        self.cluster.replace(kind, self.of(kind))

    def of(self, kind: str) -> Mapping[str, Decoded]:
        return {key: decoded(content) for (of, key), content in self.objects.items() if of == kind}

    @property
    def now(self) -> Allocations:
        return self.cluster.snapshot()

    def listed_once(self) -> Cluster:
        fresh = Cluster()
        for resource in BY_PATH.values():
            fresh.replace(resource.full_name, self.of(resource.full_name))
        return fresh

    def pools(self) -> dict[str, set[str] | None]:
        return {
            str(prefix): None if pool.nodes is None else set(pool.nodes)
            for pool in self.now.vips
            for prefix in pool.prefixes
        }


def test_a_node_without_an_address_has_nothing_and_is_named() -> None:
    world = World(node("node-1", cidrs=["10.244.1.0/24"]), node("node-2"))
    assert world.now.nodes == {}
    assert [text.split()[0] for text in world.cluster.left_out()] == ["node-1"]
    assert world.cluster.mistakes() == (), "it may be about to get one"
    world.apply(node("node-1", "10.2.0.11", cidrs=["10.244.1.0/24"]))
    assert set(world.now.nodes) == {"node-1"}
    assert world.cluster.left_out() == ()


def test_what_several_objects_say_of_a_node_adds_up() -> None:
    world = World(
        node("node-1", "10.2.0.11", cidrs=["10.244.1.0/24"]),
        cilium_node("node-1", "10.9.9.9", cidrs=["10.245.1.0/24", "10.244.1.0/24"]),
        affinity("node-1", "10.246.1.0/26"),
    )
    assert sorted(map(str, world.now.nodes["node-1"].prefixes)) == [
        "10.244.1.0/24",
        "10.245.1.0/24",
        "10.246.1.0/26",
    ]
    assert [str(address) for address in world.now.nodes["node-1"].addresses] == ["10.2.0.11"]


def test_two_nodes_may_claim_one_prefix_and_the_keeper_decides() -> None:
    world = World(
        node("node-1", "10.2.0.11"),
        node("node-2", "10.2.0.12"),
        affinity("node-1", "10.246.1.0/26"),
        affinity("node-2", "10.246.1.0/26"),
    )
    assert world.now.nodes["node-1"].prefixes == world.now.nodes["node-2"].prefixes != ()


def test_an_unchanged_list_gives_the_same_snapshot() -> None:
    world = World(node("node-1", "10.2.0.11"), service("web", "10.100.0.1"), ip_pool("blue", "10.100.0.0/24"))
    before = world.now
    for resource in BY_PATH.values():
        world.list_again(resource.full_name)
    assert world.now is before


def test_a_cluster_service_is_open_to_all() -> None:
    assert World(service("web", "10.100.0.1")).pools() == {"10.100.0.1/32": None}


def test_a_local_service_is_open_to_the_nodes_behind_it() -> None:
    world = World(
        service("web", "10.100.0.1", policy="Local"),
        endpoint_slice("web", "node-1", "node-2"),
        endpoint_slice("web", "node-3", endpoint("node-2", ready=False, serving=False), number=2),
        endpoint_slice("other", "node-9"),
    )
    assert world.pools() == {"10.100.0.1/32": {"node-1", "node-2", "node-3"}}
    world.delete(endpoint_slice("web", number=2))
    assert world.pools() == {"10.100.0.1/32": {"node-1", "node-2"}}
    world.apply(endpoint_slice("web"))
    assert world.pools() == {"10.100.0.1/32": set()}


def test_endpoints_that_end_count_only_while_no_other_is_ready() -> None:
    ending = endpoint("node-1", terminating=True)
    world = World(service("web", "10.100.0.1", policy="Local"), endpoint_slice("web", ending))
    assert world.pools() == {"10.100.0.1/32": {"node-1"}}
    world.apply(endpoint_slice("web", ending, "node-2"))
    assert world.pools() == {"10.100.0.1/32": {"node-2"}}


def test_services_that_share_an_address_are_open_to_the_nodes_of_both() -> None:
    world = World(
        service("web", "10.100.0.1", policy="Local"),
        service("dns", "10.100.0.1", policy="Local"),
        endpoint_slice("web", "node-1"),
        endpoint_slice("dns", "node-2"),
    )
    assert world.pools() == {"10.100.0.1/32": {"node-1", "node-2"}}
    world.apply(service("dns", "10.100.0.1"))
    assert world.pools() == {"10.100.0.1/32": None}
    world.delete(service("dns"))
    assert world.pools() == {"10.100.0.1/32": {"node-1"}}


def test_a_pool_is_open_to_all_but_for_the_addresses_of_local_services() -> None:
    world = World(
        ip_pool("blue", "10.100.0.0/29"),
        service("web", "10.100.0.1", policy="Local"),
        service("dns", "10.100.0.2"),
        endpoint_slice("web", "node-1"),
    )
    assert world.pools() == {
        "10.100.0.1/32": {"node-1"},
        "10.100.0.0/32": None,
        "10.100.0.2/31": None,
        "10.100.0.4/30": None,
    }
    world.apply(service("web", "10.100.0.1"))
    assert world.pools() == {"10.100.0.0/29": None}
    world.delete(ip_pool("blue"))
    assert world.pools() == {"10.100.0.1/32": None, "10.100.0.2/32": None}


hosts = st.integers(0, 255)


@given(length=st.integers(24, 32), taken=st.sets(hosts, max_size=12))
def test_a_prefix_less_hosts_is_all_its_other_addresses(length: int, taken: set[int]) -> None:
    network = ip_network(f"10.0.0.0/{length}")
    left = list(without(network, [ip_network(f"10.0.0.{host}/32") for host in taken]))
    addresses = [int(address) & 255 for part in left for address in part]
    assert sorted(addresses) == sorted(set(range(2 ** (32 - length))) - taken)


names = st.sampled_from(["node-1", "node-2", "node-3"])
cidrs = st.lists(st.sampled_from(["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/26", "rubbish"]), max_size=3)
vips = st.lists(st.sampled_from(["10.100.0.1", "10.100.0.2", "10.100.0.9", "x"]), max_size=2)
endpoints = st.lists(
    st.builds(endpoint, names, ready=st.booleans(), serving=st.booleans(), terminating=st.booleans()),
    max_size=3,
)
states = st.sampled_from(["confirmed", "pending"])
blocks = st.sampled_from(["10.246.0.0/26", "10.246.0.64/26"])
services = st.sampled_from(["web", "dns"])


def broken(content: Object) -> Object:
    return content | {"spec": 5}


objects: st.SearchStrategy[Object] = st.one_of(
    st.builds(
        lambda name, own, found: node(name, *own, cidrs=found),
        names,
        st.sampled_from([(), ("10.2.0.1",)]),
        cidrs,
    ),
    st.builds(
        lambda name, found, pool: cilium_node(name, cidrs=found, pools={"a": pool}), names, cidrs, cidrs
    ),
    st.builds(affinity, names, blocks, states, deleted=st.booleans()),
    st.builds(block, blocks, names | st.none(), st.dictionaries(st.integers(0, 63), names, max_size=4)),
    st.builds(
        lambda name, found, policy: service(name, *found, policy=policy),
        services,
        vips,
        st.sampled_from(["Local", "Cluster"]),
    ),
    st.builds(
        lambda name, found, number: endpoint_slice(name, *found, number=number),
        services,
        endpoints,
        st.integers(1, 2),
    ),
    st.builds(
        lambda name, block, disabled: ip_pool(name, block, disabled=disabled),
        st.sampled_from(["blue", "red"]),
        st.sampled_from(["10.100.0.0/29", "10.100.0.8/29", "10.100.0.0/28", "10.100.0.3/32"]),
        st.booleans(),
    ),
    st.builds(lambda name: broken(node(name)), names),
    st.builds(lambda name: broken(service(name)), services),
)
steps = st.one_of(
    st.tuples(st.just("apply"), objects),
    st.tuples(st.just("delete"), objects),
    st.tuples(st.just("list"), st.sampled_from([one.full_name for one in BY_PATH.values()])),
    st.tuples(st.just("look"), st.none()),
)


@settings(max_examples=400)
@given(story=st.lists(steps, max_size=25))
@example(story=[("apply", service("web", "10.100.0.1")), ("apply", broken(service("web")))])
def test_any_story_ends_where_one_list_of_its_end_does(story: list[tuple[str, object]]) -> None:
    world = World()
    for what, of in story:
        if what == "list":
            assert isinstance(of, str)
            world.list_again(of)
        elif what == "look":
            assert world.now is world.now
        else:
            assert isinstance(of, dict)
            world.apply(of) if what == "apply" else world.delete(of)
    fresh = world.listed_once()
    assert world.now == fresh.snapshot()
    assert world.cluster.left_out() == fresh.left_out()
    prefixes = [prefix for pool in world.now.vips for prefix in pool.prefixes]
    for place, prefix in enumerate(prefixes):
        assert not any(overlap(prefix, other) for other in prefixes[place + 1 :])
