"""What `rrctl tor-config` and `rrctl node-config` print, run unchanged on FRR, BIRD and GoBGP."""

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import pytest

from rr.continuity.pair.certificates import make
from tests.lab import (
    Appliance,
    FrrTor,
    Network,
    Peer,
    Remote,
    all_established,
    eventually,
    never,
)
from tests.lab.printed import PRINTED, FrrNodeAsPrinted, FrrTorAsPrinted, NodeAsPrinted
from tests.scenarios.lifecycle import Calm

pytestmark = pytest.mark.root

VIP, VIP6 = "10.100.0.1/32", "fd00:10:100::1/128"
NUMBERS = {"frr": 11, "bird": 12, "gobgp": 13}
PASSWORD = "corr3ct-h0rse"
HOP_LIMIT = FilePath("/proc/sys/net/ipv6/conf/eth0/hop_limit")
README: dict[str, Any] = {
    "main": {
        "asn": 64512,
        "router_id": "10.0.0.11",
        "families": ["ipv4", "ipv6"],
        "racks": {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": "10.2.1.1"}]}},
    }
}


def addresses(node: str) -> tuple[str, str]:
    return f"10.2.0.{NUMBERS[node]}", f"fd00:2::{NUMBERS[node]}"


def prefixes(node: str) -> tuple[str, ...]:
    number = NUMBERS[node]
    return f"10.244.{number}.0/24", f"10.245.{number}.0/26", f"fd00:10:{number}::/64"


def allocations() -> dict[str, Any]:
    nodes = {node: {"addresses": list(addresses(node)), "prefixes": list(prefixes(node))} for node in NUMBERS}
    return {"nodes": nodes, "vips": [{"prefixes": ["10.100.0.0/24", "fd00:10:100::/64"]}]}


def tor_text(appliance: Appliance, tor: str, *options: str, vendor: str = "frr") -> str:
    (row,) = appliance.rrctl("tor-config", "--vendor", vendor, "--tor", tor, *options)
    return str(row["text"])


def node_text(appliance: Appliance, node: str, *options: str) -> str:
    (row,) = appliance.rrctl("node-config", "--for", node, "--node", node, *options)
    return str(row["text"])


def forwards(node: Peer, prefix: str, hop: str) -> None:
    """Wait until a node's kernel forwards a prefix to one next hop."""
    eventually(
        lambda: node.host.kernel_next_hops(prefix) == {hop}, 15, f"{node.name} forwards {prefix} to {hop}",
        seen=node.routes,
    )  # fmt: skip


@dataclass(frozen=True)
class Fabric:
    """An appliance with ToRs and a node of each make, all as they were told to be."""

    appliance: Appliance
    tors: dict[str, FrrTorAsPrinted]
    nodes: dict[str, NodeAsPrinted]

    def everybody(self) -> list[Peer]:
        return [*self.tors.values(), *self.nodes.values()]

    def all_at_the_tors(self) -> None:
        """Wait until every ToR forwards each node's prefixes to that node and no other."""
        wanted = {
            prefix: frozenset({addresses(node)[":" in prefix]})
            for node in self.nodes
            for prefix in prefixes(node)
        }

        def held() -> dict[str, dict[str, frozenset[str]]]:
            return {
                name: {prefix: tor.kernel_next_hops(prefix) for prefix in wanted}
                for name, tor in self.tors.items()
            }

        eventually(
            lambda: all(found == wanted for found in held().values()), 30, "prefixes at the ToRs", seen=held
        )

    def vip_at_the_tors(self, vip: str, nodes: set[str]) -> None:
        """Wait until every ToR spreads a VIP over these nodes."""
        wanted = frozenset(addresses(node)[":" in vip] for node in nodes)

        def held() -> dict[str, tuple[int, frozenset[str]]]:
            return {name: (len(tor.paths(vip)), tor.kernel_next_hops(vip)) for name, tor in self.tors.items()}

        eventually(
            lambda: all(found == (len(wanted), wanted) for found in held().values()), 15, vip, seen=held
        )


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    """The README's rack: one IP version for the sessions, prefixes of both."""
    tors = {"frr": "10.2.1.1", "sonic": "10.2.1.2"}
    rack = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": a} for a in tors.values()]}
    main = {
        "asn": 64512,
        "router_id": "10.0.0.11",
        "families": ["ipv4", "ipv6"],
        "racks": {"rack-1": rack},
    }
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", instances={"main": main}, allocations=allocations()
    )
    remote = appliance.remote()
    fabric = Fabric(
        appliance,
        {
            vendor: FrrTorAsPrinted(
                shared_net, f"tor-{vendor}", address, address.replace("10.2.1.", "fd00:2:1::"), to=remote,
                text=tor_text(appliance, address, vendor=vendor),
            )
            for vendor, address in tors.items()
        },
        {
            node: kind(shared_net, node, *addresses(node), to=remote, text=node_text(appliance, node))
            for node, kind in PRINTED.items()
        },
    )  # fmt: skip
    all_established(*fabric.everybody(), timeout=40)
    fabric.all_at_the_tors()
    return fabric


def test_nodes_and_tors_that_are_told_what_is_printed_have_every_route(fabric: Fabric) -> None:
    """FRR, BIRD and GoBGP nodes announce all of theirs, IPv6 over an IPv4 session too; nothing is a violation."""
    fabric.all_at_the_tors()
    assert fabric.appliance.violations() == []


def test_a_vip_on_an_interface_is_announced_while_it_is_there(fabric: Fabric) -> None:
    """FRR and BIRD announce a VIP that is on lo, GoBGP by the printed command: three ECMP paths, two without one."""
    for node in fabric.nodes.values():
        node.serve(VIP, VIP6)
    for vip in (VIP, VIP6):
        fabric.vip_at_the_tors(vip, set(NUMBERS))
    for name, node in fabric.nodes.items():
        node.leave(VIP)
        fabric.vip_at_the_tors(VIP, set(NUMBERS) - {name})
        node.serve(VIP)
    fabric.vip_at_the_tors(VIP, set(NUMBERS))
    assert fabric.appliance.violations() == []


@pytest.mark.parametrize("node", ["frr", "bird"])
def test_an_address_outside_of_the_vip_pools_stays_with_the_node(fabric: Fabric, node: str) -> None:
    """A loopback address and another prefix on lo are not announced: not even a violation comes of them."""
    peer = fabric.nodes[node]
    peer.serve("192.0.2.77/32", "10.100.0.128/25", "fd00:77::1/128")
    peer.serve("10.100.0.77/32")
    eventually(lambda: fabric.tors["frr"].paths("10.100.0.77/32"), 10, "a VIP that came later is there")
    assert fabric.appliance.violations() == []
    for address in ("192.0.2.77/32", "10.100.0.128/25", "fd00:77::1/128", "10.100.0.77/32"):
        peer.leave(address)


def test_nodes_forward_to_each_other_at_layer_2(fabric: Fabric) -> None:
    """FRR and BIRD nodes have the rack's other prefixes in their kernels, by way of the owner itself."""
    for name in ("frr", "bird"):
        for other in set(NUMBERS) - {name}:
            v4, _, v6 = prefixes(other)
            for prefix in (v4, v6):
                forwards(fabric.nodes[name], prefix, addresses(other)[":" in prefix])


def test_a_tor_sends_nothing_of_its_own(fabric: Fabric) -> None:
    """A ToR that is told to redistribute keeps it from the appliance by the printed filter: no violation, no route."""
    tor = fabric.tors["frr"]
    families = ("ipv4", "ipv6")
    for family in families:
        tor.configure("router bgp 64512", f"address-family {family} unicast", "redistribute connected")
    never(lambda: fabric.appliance.violations() != [], 3, "the ToR's routes get to the appliance")
    row = next(p for p in fabric.appliance.rrctl("peers") if p["address"] == "10.2.1.1")
    assert row["received"] == 0
    for family in families:
        tor.configure("router bgp 64512", f"address-family {family} unicast", "no redistribute connected")


def test_nobody_loses_a_route_while_the_engine_restarts(fabric: Fabric) -> None:
    """`rrctl engine restart` with all far sides as printed: graceful restart works at each, the ToRs remove nothing."""
    calm = Calm(tuple(fabric.tors.values()))
    fabric.appliance.rrctl("engine", "restart", timeout=90)
    all_established(*fabric.everybody(), timeout=40)
    fabric.all_at_the_tors()
    assert calm.lost() == {}


# Everything switched on.


def secret_file(net: Network, name: str) -> str:
    file = net.folder / name
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return str(file)


def test_sessions_with_md5_gtsm_another_port_and_both_ip_versions_come_up_as_printed(net: Network) -> None:
    """`--with-secrets`: nodes have a session for each IP version, a ToR one over IPv6; GTSM takes the sysctl named."""
    password = secret_file(net, "secret")
    rack = {
        "nodes": {
            "ranges": ["10.2.0.0/24", "fd00:2::/64"],
            "password_file": password,
            "ttl_security": True,
            "stale_time": 200,
        },
        "tors": [
            {"address": "10.2.1.1", "password_file": password, "passive": True},
            {"address": "fd00:2:1::2", "password_file": password},
        ],
        "from_tors": ["0.0.0.0/0"],
    }
    main = {
        "asn": 4200000000,
        "router_id": "10.0.0.11",
        "listen": ["10.0.0.11", "fd00::11"],
        "port": 1790,
        "hold_time": 12,
        "racks": {"rack-1": rack},
    }
    appliance = Appliance(
        net, "rr-a", "10.0.0.11", "fd00::11", instances={"main": main}, allocations=allocations()
    )
    told = "--with-secrets"
    assert "sysctl net.ipv6.conf.INTERFACE.hop_limit=255" in node_text(appliance, "frr")
    remote = appliance.remote()
    fabric = Fabric(
        appliance,
        {
            "one": FrrTorAsPrinted(
                net, "tor-1", "10.2.1.1", "fd00:2:1::1", to=remote, text=tor_text(appliance, "10.2.1.1", told)
            ),
            "two": FrrTorAsPrinted(
                net, "tor-2", "10.2.1.2", "fd00:2:1::2", to=remote, over="ipv6",
                text=tor_text(appliance, "fd00:2:1::2", told),
            ),
        },
        {
            node: kind(
                net, node, *addresses(node), to=remote, over="both", text=node_text(appliance, node, told)
            )
            for node, kind in PRINTED.items()
        },
    )  # fmt: skip
    all_established(*fabric.tors.values(), fabric.nodes["bird"], timeout=40)
    never(
        lambda: fabric.nodes["frr"].established() or fabric.nodes["gobgp"].established(), 3, "GTSM without it"
    )
    appliance.host.inside(lambda: HOP_LIMIT.write_text("255"))
    all_established(*fabric.everybody(), timeout=40)
    fabric.all_at_the_tors()
    for node in fabric.nodes.values():
        node.serve(VIP, VIP6)
    for vip in (VIP, VIP6):
        fabric.vip_at_the_tors(vip, set(NUMBERS))
    assert appliance.violations() == []
    tor = fabric.tors["one"]
    tor.configure(
        "router bgp 4200000000", "address-family ipv4 unicast", "neighbor 10.0.0.11 default-originate"
    )
    for name in ("frr", "bird"):
        forwards(fabric.nodes[name], "0.0.0.0/0", "10.2.1.1")
    assert appliance.violations() == []


@pytest.mark.parametrize("node", PRINTED)
def test_bfd_as_printed_ends_a_dead_nodes_routes_at_once(net: Network, node: str) -> None:
    """With `bfd: true` a node whose cable is pulled is gone within 3 seconds; the hold time is 60."""
    rack = {
        "nodes": {"ranges": ["10.2.0.0/24"], "bfd": True},
        "tors": [{"address": "10.2.1.1", "bfd": True}],
    }
    main = {"asn": 64512, "router_id": "10.0.0.11", "hold_time": 60, "racks": {"rack-1": rack}}
    appliance = Appliance(net, "rr-a", "10.0.0.11", instances={"main": main}, allocations=allocations())
    remote = appliance.remote()
    tor = FrrTorAsPrinted(net, "tor-1", "10.2.1.1", to=remote, text=tor_text(appliance, "10.2.1.1"))
    peer = PRINTED[node](net, node, *addresses(node), to=remote, text=node_text(appliance, node))
    tor.start_bfd()
    if isinstance(peer, FrrNodeAsPrinted):
        peer.start_bfd()
    all_established(tor, peer, timeout=40)
    prefix = prefixes(node)[0]
    eventually(lambda: bool(tor.paths(prefix)), 15, "the prefix is there", seen=tor.routes)
    eventually(tor.bfd_up, 20, "BFD with the ToR is up")
    eventually(peer.runs_bfd, 20, "BFD with the node is up")
    peer.host.unplug()
    eventually(lambda: not tor.paths(prefix), 3, "the prefix is gone", seen=tor.routes)


# A pair.


HALVES = {"rr-a": "10.0.0.11", "rr-b": "10.0.0.12"}
WIDTH = 3


def half(net: Network, name: str, folder: FilePath) -> Appliance:
    """One half of a pair whose ToR is sent as many paths as there are nodes, and no more."""
    (other,) = HALVES.keys() - {name}
    rack = {
        "nodes": {"ranges": ["10.2.0.0/24"]},
        "tors": [{"address": "10.2.1.1", "add_paths": WIDTH}],
    }
    pair = {
        "name": other,
        "peers": {"main": HALVES[other]},
        "listen": f"{HALVES[name]}:9633",
        "connect": f"{HALVES[other]}:9633",
        "certificate": str(folder / f"{name}.crt"),
        "key": str(folder / f"{name}.key"),
        "ca": str(folder / "ca.crt"),
    }
    main = {"asn": 64512, "router_id": HALVES[name], "families": ["ipv4", "ipv6"], "racks": {"rack-1": rack}}
    return Appliance(
        net, name, HALVES[name], instances={"main": main}, allocations=allocations(), settings={"pair": pair},
        start=False,
    )  # fmt: skip


def test_a_pair_as_printed_is_two_sessions_for_each_and_either_half_carries_everything(net: Network) -> None:
    """The text of one half has both; a VIP of three nodes is three next hops, also when a half dies."""
    folder = net.folder / "certificates"
    make(folder, tuple(HALVES), 30)
    halves = {name: half(net, name, folder) for name in HALVES}
    for appliance in halves.values():
        appliance.start()
    remotes = [appliance.remote() for appliance in halves.values()]
    teller = halves["rr-b"]
    fabric = Fabric(
        teller,
        {
            "frr": FrrTorAsPrinted(
                net, "tor-1", "10.2.1.1", "fd00:2:1::1", to=remotes, text=tor_text(teller, "10.2.1.1")
            )
        },
        {
            node: kind(net, node, *addresses(node), to=remotes, text=node_text(teller, node))
            for node, kind in PRINTED.items()
        },
    )
    all_established(*fabric.everybody(), timeout=40)
    fabric.all_at_the_tors()
    tor = fabric.tors["frr"]
    for node in fabric.nodes.values():
        node.serve(VIP)
    every = frozenset(addresses(node)[0] for node in NUMBERS)
    eventually(
        lambda: len(tor.paths(VIP)) == 2 * WIDTH and tor.kernel_next_hops(VIP) == every, 15,
        "every node is a next hop, though each comes twice", seen=lambda: (tor.paths(VIP), tor.kernel_next_hops(VIP)),
    )  # fmt: skip
    for appliance in halves.values():
        assert appliance.violations() == []
    calm = Calm((tor,))
    halves["rr-a"].host.unplug()
    eventually(lambda: tor.session_states()["10.0.0.11"] != "established", 20, "the ToR misses rr-a")
    fabric.all_at_the_tors()
    assert tor.kernel_next_hops(VIP) == every
    assert {path.next_hop for path in tor.paths(VIP)} == every
    assert calm.lost() == {}


def test_the_floating_address_alone_is_enough_for_nodes(net: Network) -> None:
    """`--address` with the floating address: the nodes have no other neighbor; a ToR is not accepted there."""
    tors = [{"address": "10.2.1.1"}, {"address": "10.2.1.2", "passive": True}]
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": tors}}
    main = {**README["main"], "floating": ["10.0.0.10"], "racks": racks}
    appliance = Appliance(
        net, "rr-a", "10.0.0.11", "10.0.0.10", instances={"main": main}, allocations=allocations()
    )
    floating = Remote(("10.0.0.10",), 64512)
    chosen = ("--address", "10.0.0.10")
    fabric = Fabric(
        appliance,
        {
            "frr": FrrTorAsPrinted(
                net, "tor-1", "10.2.1.1", "fd00:2:1::1", to=appliance.remote(),
                text=tor_text(appliance, "10.2.1.1"),
            )
        },
        {
            node: kind(net, node, *addresses(node), to=floating, text=node_text(appliance, node, *chosen))
            for node, kind in PRINTED.items()
        },
    )  # fmt: skip
    stranger = FrrTor(net, "tor-2", "10.2.1.2", to=floating)
    all_established(*fabric.everybody(), timeout=40)
    fabric.all_at_the_tors()
    assert appliance.violations() == []
    never(stranger.established, 5, "a ToR has a session with the floating address")
