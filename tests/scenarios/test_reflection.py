"""Reflection: nodes of every kind dial in from two racks of one instance, and each peer gets its share."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from tests.lab import Appliance, BirdTor, FrrTor, Network, Path, Peer, all_established, eventually
from tests.lab.kinds import NODE_KINDS

pytestmark = pytest.mark.root

CLUSTER_ID = "10.0.0.99"
RACKS = {"rack-1": "10.2", "rack-2": "10.3"}
SHARED = "10.100.0.100/32"
"""A VIP of all eight nodes, in both racks."""
DEFAULTS = {"nodes": "rack", "vips": "none", "tors": "rack", "tor_vips": "all"}


@dataclass(frozen=True)
class Member:
    """A node and what it owns: a pod prefix, and a VIP of its own so that its way can be followed."""

    peer: Peer
    rack: str
    pod: str
    vip: str


@dataclass(frozen=True)
class Fabric:
    """Two racks with a node of each kind; rack-1 has an FRR ToR, rack-2 a BIRD ToR."""

    appliance: Appliance
    nodes: dict[str, Member]
    tors: dict[str, Peer]

    def everyone(self) -> dict[str, Peer]:
        return {name: member.peer for name, member in self.nodes.items()} | {
            tor.name: tor for tor in self.tors.values()
        }


def instances(reflect: dict[str, str]) -> dict[str, Any]:
    racks = {
        rack: {"nodes": {"ranges": [f"{net}.0.0/24"]}, "tors": [{"address": f"{net}.1.1"}]}
        for rack, net in RACKS.items()
    }
    main = {"asn": 64512, "router_id": "10.0.0.11", "cluster_id": CLUSTER_ID, "racks": racks}
    return {"main": {**main, "reflect": reflect}}


def owned() -> Iterator[tuple[str, str, str, str, str]]:
    """Name, rack, address, pod prefix and VIP of every node."""
    for number, (rack, kind) in enumerate(product(RACKS, NODE_KINDS), start=1):
        address = f"{RACKS[rack]}.0.{10 + number}"
        yield f"{kind}-{rack[-1]}", rack, address, f"10.244.{number}.0/24", f"10.100.0.{number}/32"


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    allocations = {
        "nodes": {name: {"addresses": [a], "prefixes": [pod]} for name, _, a, pod, _ in owned()},
        "vips": [{"prefixes": ["10.100.0.0/24"]}],
    }
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", instances=instances(DEFAULTS), allocations=allocations
    )
    remote = appliance.remote()
    tors: dict[str, Peer] = {
        "rack-1": FrrTor(shared_net, "tor-1", "10.2.1.1", to=remote),
        "rack-2": BirdTor(shared_net, "tor-2", "10.3.1.1", to=remote),
    }
    nodes = {
        name: Member(NODE_KINDS[name[:-2]](shared_net, name, address, to=remote), rack, pod, vip)
        for name, rack, address, pod, vip in owned()
    }
    fabric = Fabric(appliance, nodes, tors)
    all_established(*fabric.everyone().values())
    for member in nodes.values():
        announce_with_everything(member)
    wait_for(fabric, DEFAULTS)
    return fabric


def announce_with_everything(member: Member) -> None:
    """Announce with whatever could make a path win, a tag of the appliance's own, and communities to keep."""
    communities = ["0:1", "0:17", "65001:7", "no-export"]
    for prefix in (member.pod, member.vip):
        member.peer.announce(prefix, communities=communities, med=777, local_pref=500, origin="incomplete")


def expected(fabric: Fabric, receiver: str, reflect: dict[str, str]) -> set[str]:
    """What a node or ToR should hold, by the words of the settings."""
    to_node = receiver in fabric.nodes
    rack = (
        fabric.nodes[receiver].rack
        if to_node
        else next(r for r, t in fabric.tors.items() if t.name == receiver)
    )
    reach = (reflect["nodes"], reflect["vips"]) if to_node else (reflect["tors"], reflect["tor_vips"])
    found = set()
    for name, member in fabric.nodes.items():
        for prefix, extent in zip((member.pod, member.vip), reach, strict=True):
            if name != receiver and (extent == "all" or (extent == "rack" and member.rack == rack)):
                found.add(prefix)
    return found


def wait_for(fabric: Fabric, reflect: dict[str, str]) -> None:
    def wrong() -> dict[str, tuple[set[str], set[str]]]:
        found = {name: set(peer.routes()) for name, peer in fabric.everyone().items()}
        wanted = {name: expected(fabric, name, reflect) for name in found}
        return {
            name: (found[name] - wanted[name], wanted[name] - found[name])
            for name in found
            if found[name] != wanted[name]
        }

    eventually(lambda: not wrong(), 10, f"everybody holds the share of {reflect}", seen=wrong)


def paths_everywhere(fabric: Fabric) -> Iterator[tuple[str, Member, Path]]:
    """Every path that anybody holds: who holds it, and whose it is."""
    owners = {prefix: member for member in fabric.nodes.values() for prefix in (member.pod, member.vip)}
    for name, peer in fabric.everyone().items():
        for prefix, paths in peer.routes().items():
            for path in paths:
                yield name, owners[prefix], path


def test_nodes_of_every_kind_dial_in_from_a_range_without_being_configured(fabric: Fabric) -> None:
    """FRR, BIRD, GoBGP and ExaBGP nodes have a session, and `rrctl peers` knows each by name and rack."""
    listed = {peer["node"]: peer for peer in fabric.appliance.rrctl("peers") if peer["role"] == "node"}
    assert listed.keys() == fabric.nodes.keys()
    for name, member in fabric.nodes.items():
        assert (listed[name]["rack"], listed[name]["state"]) == (member.rack, "established")
        assert (listed[name]["accepted"], listed[name]["rejected"]) == (2, 0)


def test_a_node_is_given_the_node_routes_of_its_own_rack_and_no_others(fabric: Fabric) -> None:
    """By default each node holds exactly the pod prefixes of the other nodes in its rack, and no VIP."""
    for name, member in fabric.nodes.items():
        own_rack = {m.pod for m in fabric.nodes.values() if m.rack == member.rack}
        assert set(member.peer.routes()) == own_rack - {member.pod}, name


def test_a_tor_is_given_its_racks_node_routes_and_the_vips_of_all(fabric: Fabric) -> None:
    """By default a ToR holds exactly the pod prefixes of its rack's nodes, and every VIP of the instance."""
    for rack, tor in fabric.tors.items():
        pods = {m.pod for m in fabric.nodes.values() if m.rack == rack}
        assert set(tor.routes()) == pods | {m.vip for m in fabric.nodes.values()}


def test_next_hops_are_unchanged(fabric: Fabric) -> None:
    """Every path that anybody holds has its node's own address as next hop."""
    for name, owner, path in paths_everywhere(fabric):
        assert path.next_hop == owner.peer.host.address(4), name


def test_originator_id_is_the_nodes_router_id_and_cluster_list_the_cluster_id(fabric: Fabric) -> None:
    """ORIGINATOR_ID names the node and CLUSTER_LIST is the cluster id alone, which is not the router id here."""
    for name, owner, path in paths_everywhere(fabric):
        assert path.originator_id == owner.peer.router_id, name
        assert path.cluster_list == (CLUSTER_ID,), name
        assert path.as_path == (), name


def test_no_internal_tag_is_visible_and_the_nodes_communities_are_kept(fabric: Fabric) -> None:
    """Of 0:1, 0:17, 65001:7 and NO_EXPORT from a node, everybody sees 65001:7 and NO_EXPORT alone."""
    for name, _, path in paths_everywhere(fabric):
        assert path.communities == {"65001:7", "no-export"}, name


def test_no_node_can_make_its_path_win(fabric: Fabric) -> None:
    """LOCAL_PREF 500, MED 777 and ORIGIN incomplete from a node arrive everywhere as 100, 0 and IGP."""
    for name, _, path in paths_everywhere(fabric):
        assert (path.local_pref, path.med or 0, path.origin) == (100, 0, "igp"), name


REFLECT = [
    {"nodes": nodes, "vips": vips, "tors": tors, "tor_vips": tor_vips}
    for (nodes, vips), (tors, tor_vips) in zip(
        product(("rack", "all", "none"), repeat=2),
        [("rack", "all"), ("all", "rack"), ("rack", "rack"), ("all", "all")] * 3,
        strict=False,
    )
]


@pytest.fixture
def shared_vip(fabric: Fabric) -> Iterator[str]:
    for member in fabric.nodes.values():
        member.peer.announce(SHARED)
    yield SHARED
    for member in fabric.nodes.values():
        member.peer.withdraw(SHARED)


def spread(fabric: Fabric) -> dict[str, int]:
    """Over how many nodes of its own rack, and of the other, each ToR spreads the shared VIP, in its kernel."""
    found = {}
    for rack, tor in fabric.tors.items():
        hops = tor.host.kernel_next_hops(SHARED)
        assert hops == tor.next_hops(SHARED)
        found[f"own rack of {tor.name}"] = len([hop for hop in hops if hop.startswith(RACKS[rack])])
        found[f"other rack of {tor.name}"] = len([hop for hop in hops if not hop.startswith(RACKS[rack])])
    return found


def spread_over(fabric: Fabric, *, own: int, others: int) -> None:
    eventually(
        lambda: list(spread(fabric).values()) == [own, others] * 2,
        5,
        f"{own} own and {others} other next hops at each ToR",
        seen=lambda: spread(fabric),
    )


def test_a_vip_of_two_racks_is_spread_over_as_many_as_reflect_says(fabric: Fabric, shared_vip: str) -> None:
    """Eight next hops at both ToRs; four, those of the own rack, with `tor_vips: rack`; eight again with `all`."""
    for tor_vips, others in (("all", 4), ("rack", 0), ("all", 4)):
        fabric.appliance.set_config(instances({**DEFAULTS, "tor_vips": tor_vips}))
        fabric.appliance.reload()
        spread_over(fabric, own=4, others=others)


@pytest.mark.parametrize("reflect", REFLECT, ids=lambda r: " ".join(f"{k}={v}" for k, v in r.items()))
def test_routes_go_as_far_as_reflect_says(fabric: Fabric, reflect: dict[str, str]) -> None:
    """After a reload with other `reflect` settings everybody holds exactly the share they say; no session is reset."""
    since = {peer["address"]: peer["since"] for peer in fabric.appliance.rrctl("peers")}
    fabric.appliance.set_config(instances(reflect))
    fabric.appliance.reload()
    wait_for(fabric, reflect)
    assert {peer["address"]: peer["since"] for peer in fabric.appliance.rrctl("peers")} == since
