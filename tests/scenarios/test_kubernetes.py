"""A Kubernetes cluster says who owns what: routes at the ToRs follow it, and its API's troubles cost nobody a route."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

import pytest

from tests.lab import Appliance, Network, eventually, never
from tests.lab.kube_api import PATHS, Faults, KubeApi
from tests.lab.kube_cluster import KubeCluster
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
from tests.lab.kube_tls import Authority
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    VIP,
    Fabric,
    instances,
    populate,
    tors_hold,
    undisturbed,
    unwell,
)

pytestmark = pytest.mark.root

MORE = {"node-1": "10.244.101.0/24", "node-2": "10.244.102.0/24", "node-3": "10.244.103.0/24"}
"""What each node announces all the time and does not own at first."""
LOCAL = "10.101.0.1/32"
"""A VIP that every node announces all the time, and no Service has at first."""
BLOCK, BORROWED = "10.246.1.0/26", "10.246.1.5/32"
AT_ONCE = 2.0
"""Seconds that a change may take on a busy machine; alone it takes milliseconds."""
NAMES = ("node-1", "node-2", "node-3")


@dataclass(frozen=True)
class World:
    """The fabric, and the cluster that it belongs to."""

    fabric: Fabric
    cluster: KubeCluster

    @property
    def api(self) -> KubeApi:
        return self.cluster.api

    def ipam(self) -> Object:
        found: Object = self.fabric.appliance.rrctl("status")["ipam"]
        return found

    def source(self) -> Object:
        """What `rrctl ipam sources` says of the cluster."""
        found: list[Object] = self.fabric.appliance.rrctl("ipam", "sources")
        return found[0]

    def next_hops(self, prefix: str) -> set[str]:
        """The nodes that both ToRs have a prefix from, if they agree."""
        by_address = {address: name for name, address in NODES.items()}
        found = [frozenset(by_address[hop] for hop in tor.next_hops(prefix)) for tor in self.fabric.tors]
        assert found[0] == found[1], found
        return set(found[0])

    def held_from(self, prefix: str, *names: str, within: float = AT_ONCE) -> None:
        """Wait until both ToRs have a prefix from these nodes and from no other."""
        eventually(
            lambda: self.next_hops(prefix) == set(names),
            within,
            f"{prefix} is at the ToRs from {', '.join(names) or 'nobody'}",
            seen=lambda: [tor.next_hops(prefix) for tor in self.fabric.tors],
        )

    def prefixes(self) -> dict[str, set[str]]:
        """What each node has, as `rrctl ipam show` says."""
        rows = self.fabric.appliance.rrctl("ipam", "show")
        return {row["node"]: set(row["prefixes"]) for row in rows if row["node"]}

    def good(self, within: float = 20) -> None:
        """Wait until the source has no error."""
        eventually(lambda: not self.ipam()["error"], within, "the source is good", seen=self.ipam)

    def failing(self, *words: str, within: float = 10) -> str:
        """Wait until the source's error has all of these in it, and return it."""

        def error() -> str:
            found = str(self.ipam()["error"])
            assert all(word in found for word in words), found
            return found

        return eventually(error, within, f"an error with {words}")


def base() -> list[Object]:
    """What the cluster has at first."""
    return [
        *(node(name, NODES[name], cidrs=[PODS[name]]) for name in NAMES),
        service("vip", VIP.split("/")[0]),
    ]


@pytest.fixture(scope="module")
def started(shared_net: Network) -> World:
    cluster = KubeCluster(shared_net)
    cluster.api.apply(*base())
    source = cluster.source(prefixes=["node", "cilium", "calico"], vips=["services", "cilium-pools"])
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", instances=instances(), settings={"ipam": {"sources": [source]}}
    )
    fabric = populate(shared_net, appliance)
    for name, peer in fabric.nodes.items():
        peer.announce(MORE[name])
        peer.announce(LOCAL)
    return World(fabric, cluster)


@pytest.fixture
def world(started: World) -> Iterator[World]:
    """The world, with the cluster's first objects again after each test."""
    yield started
    restore(started)


def restore(world: World) -> None:
    api = world.api
    api.faults = Faults()
    for peer in world.fabric.nodes.values():
        if LOCAL not in peer.announced:
            peer.announce(LOCAL)
    wanted = {(one["kind"], one["metadata"]["name"]): one for one in base()}
    for table in [api.tables[path] for path in PATHS.values() if path in api.tables]:
        for stored in list(table.objects.values()):
            if (table.kind, stored.content["metadata"]["name"]) not in wanted:
                api.delete(stored.content)
    api.apply(*wanted.values())
    world.good()

    def settled() -> bool:
        """Nothing but the first objects is in force; that a test's many others go has to be accepted."""
        if world.ipam()["held"]:
            world.fabric.appliance.rrctl("ipam", "accept")
        return bool(world.ipam()["nodes"] == len(NAMES))

    eventually(settled, 5, "only the first nodes are left", seen=world.ipam)
    tors_hold(world.fabric, ROUTES)


def give(world: World, name: str = "node-1", *cidrs: str) -> None:
    """Let a Node have these PodCIDRs beside its first."""
    world.api.apply(node(name, NODES[name], cidrs=[PODS[name], *cidrs]))


@pytest.mark.parametrize("name", NAMES)
def test_a_node_that_is_given_a_second_pod_cidr_has_it_at_the_tors_at_once(world: World, name: str) -> None:
    """FRR, BIRD and GoBGP nodes do nothing; the Node's podCIDRs grow and shrink, and no session is touched."""
    with undisturbed(world.fabric, gone={MORE[name]}):
        give(world, name, MORE[name])
        world.held_from(MORE[name], name)
        give(world, name)
        world.held_from(MORE[name])
    tors_hold(world.fabric, ROUTES)


def test_a_node_that_leaves_the_cluster_loses_its_routes_and_has_them_again_when_it_is_back(
    world: World,
) -> None:
    """The Node object is deleted and created anew while its session stays up: its routes go and come, others stay."""
    with undisturbed(world.fabric, gone={PODS["node-2"], VIP}):
        world.api.delete(node("node-2"))
        world.held_from(PODS["node-2"])
        world.held_from(VIP, "node-1", "node-3")
        give(world, "node-2")
        world.held_from(PODS["node-2"], "node-2")
        world.held_from(VIP, *NAMES)


def test_ciliums_multi_pool_gives_a_node_any_number_of_prefixes(world: World) -> None:
    """Two pools allocate to one node in CiliumNode.spec.ipam.pools; both prefixes come, and go one by one."""
    mine, third = MORE["node-1"], "10.244.111.0/27"
    world.fabric.nodes["node-1"].announce(third)
    with undisturbed(world.fabric, gone={mine, third}):
        world.api.apply(cilium_node("node-1", NODES["node-1"], pools={"default": [mine], "mars": [third]}))
        world.held_from(mine, "node-1")
        world.held_from(third, "node-1")
        world.api.apply(cilium_node("node-1", NODES["node-1"], pools={"default": [], "mars": [third]}))
        world.held_from(mine)
        assert world.next_hops(third) == {"node-1"}
    world.fabric.nodes["node-1"].withdraw(third)


def test_a_pending_affinity_gives_nothing_and_a_confirmed_one_gives_its_block(world: World) -> None:
    """Calico claims a block in two steps: its prefix is at no ToR before the second, and gone when it is given up."""
    mine = MORE["node-2"]
    world.api.apply(affinity("node-2", mine, "pending"))
    never(lambda: world.next_hops(mine), 1.0, "a pending affinity gives a route")
    world.api.apply(affinity("node-2", mine))
    world.held_from(mine, "node-2")
    world.api.apply(affinity("node-2", mine, "pendingDeletion"))
    world.held_from(mine)


def test_an_address_borrowed_out_of_another_nodes_block_is_a_route_of_the_borrower_alone(
    world: World,
) -> None:
    """node-1 has the block, node-2 uses one address in it: its /32 is beside the block, and node-3 is refused it."""
    fabric = world.fabric
    fabric.nodes["node-1"].announce(BLOCK)
    for name in ("node-2", "node-3"):
        fabric.nodes[name].announce(BORROWED)
    world.api.apply(affinity("node-1", BLOCK), block(BLOCK, "node-1", {0: "node-1", 5: "node-2"}))
    world.held_from(BLOCK, "node-1")
    world.held_from(BORROWED, "node-2")
    eventually(
        lambda: {v["node"] for v in fabric.appliance.violations(prefix=BORROWED, active=True)} == {"node-3"},
        5,
        "node-3 is told that it has not",
    )
    with undisturbed(fabric, gone={BORROWED}):
        world.api.apply(block(BLOCK, "node-1", {0: "node-1"}))
        world.held_from(BORROWED)
        assert world.next_hops(BLOCK) == {"node-1"}
    fabric.nodes["node-1"].withdraw(BLOCK)
    for name in ("node-2", "node-3"):
        fabric.nodes[name].withdraw(BORROWED)


def test_of_two_affinities_for_one_block_the_node_that_has_it_keeps_it(world: World) -> None:
    """The newcomer announces it too and is refused; it gets the block by itself when the holder gives it up."""
    fabric = world.fabric
    for name in ("node-1", "node-3"):
        fabric.nodes[name].announce(BLOCK)
    world.api.apply(affinity("node-3", BLOCK))
    world.held_from(BLOCK, "node-3")
    with undisturbed(fabric, gone={BLOCK}):
        world.api.apply(affinity("node-1", BLOCK))
        never(lambda: world.next_hops(BLOCK) != {"node-3"}, 1.0, "the newcomer takes the block")
        world.api.delete(affinity("node-3", BLOCK))
        world.held_from(BLOCK, "node-1")
    for name in ("node-1", "node-3"):
        fabric.nodes[name].withdraw(BLOCK)


def test_a_service_for_the_whole_cluster_is_announced_by_every_node(world: World) -> None:
    """externalTrafficPolicy: Cluster. Three paths at each ToR while the Service has its address, none afterwards."""
    world.api.apply(service("web", LOCAL.split("/")[0]), endpoint_slice("web", "node-1"))
    world.held_from(LOCAL, *NAMES)
    world.api.apply(service("web"))
    world.held_from(LOCAL)


def local_service(*names: str | Object) -> list[Object]:
    """A Service that only nodes with an endpoint may announce."""
    return [service("web", LOCAL.split("/")[0], policy="Local"), endpoint_slice("web", *names)]


def test_a_local_service_is_announced_by_the_nodes_with_a_ready_endpoint(world: World) -> None:
    """Endpoints come, are not ready, end and go: the VIP's paths at both ToRs are those of the nodes that are ready."""
    api = world.api
    api.apply(*local_service("node-1", endpoint("node-2", ready=False, serving=False)))
    world.held_from(LOCAL, "node-1")
    api.apply(endpoint_slice("web", "node-1", "node-2"), endpoint_slice("web", "node-3", number=2))
    world.held_from(LOCAL, *NAMES)
    api.apply(endpoint_slice("web", "node-1", endpoint("node-2", terminating=True)))
    world.held_from(LOCAL, "node-1", "node-3")
    api.delete(endpoint_slice("web", number=2))
    api.apply(endpoint_slice("web", endpoint("node-1", ready=False, serving=False)))
    world.held_from(LOCAL)


class Churn:
    """Two hundred changes a second in the background, of few nodes: many at once would be for the guard to hold.

    Every fiftieth gives node-3 what it announces all the time, or takes it.
    """

    def __init__(self, api: KubeApi) -> None:
        self.told: dict[str, list[str]] = {}
        """What each CiliumNode has now."""
        self.changes = 0
        self.followed = 0
        """How many of them concerned node-3."""
        self._api = api
        self._ended = Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> "Churn":
        self._running = self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()
        self._running.result()

    def _run(self) -> None:
        for number in itertools.count():
            third = number % 10
            self._tell(f"other-{third}", f"10.250.{third}.{number // 10 % 8 * 32}/27")
            if number % 50 == 0:
                self._tell("node-3", *([] if number % 100 else [MORE["node-3"]]))
                self.followed += 1
            if self._ended.wait(0.005):
                return

    def _tell(self, name: str, *prefixes: str) -> None:
        self._api.apply(cilium_node(name, pools={"default": prefixes}))
        self.told[name] = list(prefixes)
        self.changes += 1


@contextmanager
def never_without(fabric: Fabric, prefix: str) -> Iterator[None]:
    """Assert that FRR's kernel never loses its route, and BIRD never its last path, while the route moves."""

    def lost() -> int:
        return len([one for one in fabric.bird.losses() if one.prefix == prefix])

    monitor = fabric.frr.host.start("monitor", ["ip", "monitor", "route"])
    before, lost_before = len(monitor.log.read_text()), lost()
    yield
    monitor.stop()
    address = prefix.split("/")[0]
    lines = monitor.log.read_text()[before:].splitlines()
    assert any(line.startswith(f"{address} ") for line in lines), "the monitor saw the route move"
    assert [line for line in lines if line.startswith(f"Deleted {address} ")] == []
    assert lost() == lost_before


def test_a_local_service_that_moves_between_nodes_under_load_is_never_without_a_path(world: World) -> None:
    """Its endpoint moves ten times, first there and then gone here, and six times in one go, beside many other changes.

    FRR's and BIRD's paths follow each time, FRR's kernel never loses its route, and none of the other changes is lost:
    a prefix that comes and goes among them does so at the ToRs, and in the end the IPAM is as the API server has it.
    """
    api, fabric, followed = world.api, world.fabric, MORE["node-3"]
    pods = {f"other-{n}": f"10.251.{n}.0/24" for n in range(200)}
    others = [node(name, f"10.2.0.{20 + n}", cidrs=[pods[name]]) for n, name in enumerate(pods)]
    api.apply(*local_service("node-1"), *others)
    world.held_from(LOCAL, "node-1")
    taken = len(fabric.frr.removals(followed))
    with (
        Churn(api) as churn,
        undisturbed(fabric, gone={LOCAL, followed}),
        never_without(fabric, LOCAL),
    ):
        for here, there in itertools.islice(itertools.pairwise(itertools.cycle(NAMES)), 10):
            api.apply(endpoint_slice("web", here, there))
            world.held_from(LOCAL, here, there, within=10)
            api.apply(endpoint_slice("web", endpoint(here, terminating=True), there))
            world.held_from(LOCAL, there, within=10)
        for _, there in itertools.islice(itertools.pairwise(itertools.cycle(NAMES)), 6):
            api.apply(endpoint_slice("web", there))
            world.held_from(LOCAL, there, within=10)
    assert churn.changes > 500
    assert len(fabric.frr.removals(followed)) - taken > churn.followed / 6, "about half of them take it"
    told = {name: {prefix, *churn.told.get(name, ())} for name, prefix in (PODS | pods).items()}
    eventually(
        lambda: world.prefixes() == told, 5, "the IPAM is as the API server has it", seen=world.prefixes
    )
    world.held_from(followed, *(["node-3"] if churn.told["node-3"] else []))


def roll(world: World, here: str, there: str) -> None:
    """A rolling update moves the endpoint of the Local service; each node announces the VIP only while it has one."""
    api, nodes = world.api, world.fabric.nodes
    api.apply(endpoint_slice("web", here, there))
    time.sleep(0.02)
    api.apply(endpoint_slice("web", endpoint(here, terminating=True), there))
    never(lambda: world.next_hops(LOCAL) != {here}, 0.3, "the old path goes before there is a new one")
    nodes[there].announce(LOCAL)
    world.held_from(LOCAL, there)
    nodes[here].withdraw(LOCAL)


def test_a_rolling_update_of_a_local_service_is_never_without_a_path(world: World) -> None:
    """The new endpoint is ready 20 ms before the old one goes, and its node announces the VIP 300 ms later: six times.

    Until then the old node's path stays, afterwards the new one's is alone; FRR's kernel never loses its route.
    """
    for name in NAMES[1:]:
        world.fabric.nodes[name].withdraw(LOCAL)
    world.api.apply(*local_service(NAMES[0]))
    world.held_from(LOCAL, NAMES[0])
    with undisturbed(world.fabric, gone={LOCAL}), never_without(world.fabric, LOCAL):
        for here, there in itertools.islice(itertools.pairwise(itertools.cycle(NAMES)), 6):
            roll(world, here, there)


def test_a_pool_is_open_to_every_node_but_for_the_addresses_of_local_services(world: World) -> None:
    """A CiliumLoadBalancerIPPool opens its addresses before any Service has one; a Local Service closes its own."""
    world.api.apply(ip_pool("blue", "10.101.0.0/28"))
    world.held_from(LOCAL, *NAMES)
    world.api.apply(*local_service("node-2"))
    world.held_from(LOCAL, "node-2")
    world.api.apply(ip_pool("blue", "10.101.0.0/28", disabled=True))
    never(lambda: world.next_hops(LOCAL) != {"node-2"}, 0.5, "the Service loses its address with the pool")


def test_a_history_that_the_server_has_forgotten_is_listed_again_and_nothing_flaps(world: World) -> None:
    """410 Gone after a break: one list, the change made meanwhile is at the ToRs, nothing else moves."""
    api = world.api
    with undisturbed(world.fabric, gone={MORE["node-1"]}):
        lists = len(api.lists("Node"))
        api.stop()
        give(world, "node-1", MORE["node-1"])
        api.forget()
        api.start()
        world.held_from(MORE["node-1"], "node-1", within=15)
        assert len(api.lists("Node")) == lists + 1


def test_a_watch_that_is_cut_in_the_middle_of_a_line_goes_on_where_it_was(world: World) -> None:
    """The change that was cut is at the ToRs all the same, without a new list, and nobody is alarmed."""
    api = world.api
    with undisturbed(world.fabric, gone={MORE["node-1"]}):
        lists = len(api.lists("Node"))
        for number in range(5):
            api.cut(half_a_line=True)
            give(world, "node-1", *([] if number % 2 else [MORE["node-1"]]))
            world.held_from(MORE["node-1"], *([] if number % 2 else ["node-1"]), within=5)
        assert len(api.lists("Node")) == lists
        assert not world.ipam()["error"]


def test_a_rotated_token_is_taken_up_by_itself(world: World) -> None:
    """The server takes only the new one and cuts every watch: the next change is at the ToRs, and nobody is alarmed.

    A token that is wrong for good is an error that says what to renew; what was accepted stays.
    """
    api = world.api
    with undisturbed(world.fabric, gone={MORE["node-1"]}):
        world.cluster.set_token("second")
        api.tokens = {"second"}
        api.cut()
        give(world, "node-1", MORE["node-1"])
        world.held_from(MORE["node-1"], "node-1", within=5)
        assert not world.ipam()["error"]
        api.tokens = {"third"}
        api.cut()
        world.failing("does not know us", "renew the token")
        assert world.next_hops(MORE["node-1"]) == {"node-1"}
        world.cluster.set_token("third")
        world.good()


def test_an_api_server_that_is_away_for_long_costs_no_route(world: World) -> None:
    """Refused for seconds: every route stays, nothing new gets in, `check` warns; then all is made up for."""
    api, fabric = world.api, world.fabric
    with undisturbed(fabric, gone={MORE["node-1"]}):
        api.stop()
        world.failing("does not answer", "since 20")
        told = eventually(lambda: unwell(fabric), 10, "check warns")
        assert told.exit == 1, told
        give(world, "node-1", MORE["node-1"])
        never(lambda: set(fabric.frr.routes()) != ROUTES, 2.0, "routes move while nobody answers")
        api.start()
        world.held_from(MORE["node-1"], "node-1", within=20)
        world.good()


def test_a_list_that_is_empty_by_mistake_is_held_back(world: World) -> None:
    """Every Node is missing from a new list: nothing is revoked, `check` is critical, until they are back."""
    api, fabric = world.api, world.fabric
    crowd = [node(f"other-{n}", f"10.2.0.{20 + n}", cidrs=[f"10.250.{n}.0/24"]) for n in range(40)]
    api.apply(*crowd)
    eventually(lambda: world.ipam()["nodes"] == 43, 5, "all nodes are known")
    with undisturbed(fabric):
        api.faults.empty.add("Node")
        api.forget()
        api.cut()
        eventually(lambda: world.ipam()["held"], 10, "it is held", seen=world.ipam)
        assert eventually(lambda: unwell(fabric), 10, "check is critical").exit == 2
        tors_hold(fabric, ROUTES)
        api.faults.empty.clear()
        api.forget()
        api.cut()
        eventually(lambda: not world.ipam()["held"], 10, "nothing is held any more", seen=world.ipam)


def test_a_list_of_endpoints_that_is_empty_by_mistake_closes_no_vip(world: World) -> None:
    """Three Local Services lose every endpoint in a new list: no VIP's path goes, `check` is critical, until they are
    back. One of them that loses its last endpoint is closed at once."""
    api, fabric = world.api, world.fabric
    for number in (1, 2):
        api.apply(
            service(f"other-{number}", f"10.101.1.{number}", policy="Local"),
            endpoint_slice(f"other-{number}", "node-2", "node-3"),
        )
    api.apply(*local_service("node-1", "node-2"))
    world.held_from(LOCAL, "node-1", "node-2")
    with undisturbed(fabric):
        api.faults.empty.add("EndpointSlice")
        api.forget()
        api.cut()
        (held,) = eventually(lambda: world.ipam()["held"], 10, "it is held", seen=world.ipam)
        assert "closes all 3 VIP prefixes that name nodes at once: 10.101.0.1/32, " in held["reason"]
        assert eventually(lambda: unwell(fabric), 10, "check is critical").exit == 2
        never(lambda: world.next_hops(LOCAL) != {"node-1", "node-2"}, 1.0, "a path of the VIP goes")
        api.faults.empty.clear()
        api.forget()
        api.cut()
        eventually(lambda: not world.ipam()["held"], 10, "nothing is held any more", seen=world.ipam)
    with undisturbed(fabric, gone={LOCAL}):
        api.apply(endpoint_slice("web"))
        world.held_from(LOCAL)
        assert not world.ipam()["held"]


def test_a_server_with_a_wrong_certificate_is_not_believed(world: World) -> None:
    """Somebody else answers in its place and gives a node more: an error that says so, and not one route moves."""
    api, fabric = world.api, world.fabric
    right = api.tls
    with undisturbed(fabric, gone={MORE["node-1"]}):
        api.stop()
        api.tls = Authority(world.cluster.host.folder / "other", "other").server("10.0.0.5")
        give(world, "node-1", MORE["node-1"])
        api.start()
        world.failing("cannot be trusted")
        never(lambda: set(fabric.frr.routes()) != ROUTES, 1.0, "routes move at a stranger's word")
        api.stop()
        api.tls = right
        api.start()
        world.held_from(MORE["node-1"], "node-1", within=20)


def test_a_server_that_fails_or_forbids_keeps_what_was_accepted(world: World) -> None:
    """500 to everything, then 403 for one resource: routes stay; the error names the status, and the missing rule."""
    api, fabric = world.api, world.fabric
    with undisturbed(fabric):
        api.faults.status["*"] = 500
        api.cut()
        world.failing("cannot give us", "500")
        tors_hold(fabric, ROUTES)
        api.faults.status = {"EndpointSlice": 403}
        text = world.failing("does not let us read endpointslices.discovery.k8s.io", within=20)
        assert "resources: [endpointslices], verbs: [list, watch]" in text
        tors_hold(fabric, ROUTES)
        api.faults.status.clear()


def test_a_silent_server_is_noticed_when_it_matters(world: World) -> None:
    """Answers take ten seconds after a break: told with the time that it was waited for; routes stay."""
    api, fabric = world.api, world.fabric
    with undisturbed(fabric):
        api.faults.delay = 10
        api.cut()
        world.failing("does not answer", "nothing was heard for 2 s", within=15)
        tors_hold(fabric, ROUTES)
        api.faults.delay = 0


def test_one_broken_object_does_not_disturb_the_others(world: World) -> None:
    """podCIDRs of another type and a default route: both nodes have none, `check` warns, and the next change works."""
    broken = node("other-1", "10.2.0.21")
    broken["spec"]["podCIDRs"] = "10.250.1.0/24"
    with undisturbed(world.fabric, gone={MORE["node-1"]}):
        world.api.apply(broken, node("other-2", "10.2.0.22", cidrs=["0.0.0.0/0"]))
        give(world, "node-1", MORE["node-1"])
        world.held_from(MORE["node-1"], "node-1")
        assert not world.ipam()["error"]
        named = world.source()["left_out_named"]
        assert any(text.startswith("nodes/other-1: ") for text in named)
        assert any("0.0.0.0/0 is a default route" in text for text in named)
        assert "Left out of kubernetes" in world.fabric.appliance.tell("ipam", "sources").stdout
        told = world.fabric.appliance.tell("check")
        assert (told.exit, "says what cannot be used and counts for nothing" in told.stdout) == (1, True)
    world.api.delete(broken)
    world.api.delete(node("other-2", "10.2.0.22"))
    eventually(lambda: world.source()["left_out"] == 0, 5, "nothing is left out any more")


def test_a_restarted_controller_goes_on_with_what_was_last_known(world: World) -> None:
    """The API server is away while rrd restarts: routes and sessions stay, and the cluster is read when it is back."""
    api, fabric = world.api, world.fabric
    with undisturbed(fabric, gone={MORE["node-1"]}):
        api.stop()
        fabric.appliance.kill()
        fabric.appliance.start()
        tors_hold(fabric, ROUTES)
        give(world, "node-1", MORE["node-1"])
        world.failing("does not answer")
        api.start()
        world.held_from(MORE["node-1"], "node-1", within=20)


def test_a_cluster_without_calico_is_told_which_setting_asks_for_it(net: Network) -> None:
    """`prefixes: [calico]` where its resources are not installed: nothing is accepted; the error says what to do."""
    cluster = KubeCluster(net, without=("BlockAffinity", "IPAMBlock"))
    cluster.api.apply(*base())
    appliance = Appliance(
        net,
        "rr-a",
        "10.0.0.11",
        instances=instances(),
        settings={"ipam": {"sources": [cluster.source(prefixes=["node", "calico"])]}},
        start=False,
    )
    appliance.start()
    eventually(
        lambda: "`prefixes: calico`" in str(appliance.rrctl("status")["ipam"]["error"]),
        10,
        "the setting is named",
        seen=lambda: appliance.rrctl("status")["ipam"],
    )
