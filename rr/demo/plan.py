"""The plan of the demo network: who is where, who owns what, and what each should therefore hold.

Plain immutable values. Every address of 127.0.0.0/8 is local on Linux, so one block 127.B.0.0/16 gives
each speaker an address of its own without root: the appliance 127.B.0.11, the nodes of rack R 127.B.R.0/24,
its ToR 127.B.1R.1.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from rr.net import Address, Network

ASN = 64512
BGP_PORT = 1790
HTTP_PORT = 9632
FIRST_BLOCK = 2
RACKS = (1, 2)
NODES_PER_RACK = 3
VIP_POOL: Network = ip_network("10.100.0.0/24")
VIP: Network = ip_network("10.100.0.10/32")
HONEST_VIP: Network = ip_network("10.100.0.20/32")


@dataclass(frozen=True, slots=True)
class Node:
    """A server with its own BGP speaker, its two addresses and the PodCIDRs that the IPAM gave it."""

    name: str
    rack: int
    address: IPv4Address
    address6: IPv6Address
    prefixes: tuple[Network, ...]

    def next_hop(self, prefix: Network) -> Address:
        """The node's own address in the family of `prefix`: what it sets as the next hop."""
        return self.address if prefix.version == 4 else self.address6


@dataclass(frozen=True, slots=True)
class Tor:
    """The access switch of one rack."""

    name: str
    rack: int
    address: IPv4Address


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One path of a prefix, told apart from the others by its next hop."""

    prefix: Network
    next_hop: Address

    def __str__(self) -> str:
        return f"{self.prefix} via {self.next_hop}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole network, with what the IPAM has allocated at this moment."""

    block: int
    nodes: tuple[Node, ...]
    tors: tuple[Tor, ...]
    vips: tuple[Route, ...]

    @property
    def appliance(self) -> IPv4Address:
        """The address of the appliance."""
        return IPv4Address(f"127.{self.block}.0.11")

    def range_of(self, rack: int) -> Network:
        """The prefix range from which the nodes of a rack dial in."""
        return ip_network(f"127.{self.block}.{rack}.0/24")

    def node(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)

    def owner_at(self, next_hop: Address) -> str:
        """The name of the node with that address, or the address itself."""
        names = (node.name for node in self.nodes if next_hop in (node.address, node.address6))
        return next(names, str(next_hop))

    def granting(self, name: str, prefix: Network) -> "Plan":
        """The same network after the IPAM gave `prefix` to the node `name`."""
        nodes = (
            replace(node, prefixes=(*node.prefixes, prefix)) if node.name == name else node
            for node in self.nodes
        )
        return replace(self, nodes=tuple(nodes))

    def announcing(self, vip: Network, name: str) -> "Plan":
        """The same network with one more virtual IP announced by the node `name`."""
        return replace(self, vips=(*self.vips, Route(vip, self.node(name).next_hop(vip))))

    def pod_routes(self, rack: int, but: str = "") -> frozenset[Route]:
        """The PodCIDR routes of a rack, each with its node as the next hop (but those of the node `but`)."""
        return frozenset(
            Route(prefix, node.next_hop(prefix))
            for node in self.nodes
            if node.rack == rack and node.name != but
            for prefix in node.prefixes
        )

    def held_by(self, listener: str) -> frozenset[Route]:
        """What the named ToR or node should hold, no more and no less.

        A ToR: the PodCIDRs of its rack and every path of every virtual IP. A node: its neighbours' PodCIDRs.
        """
        for tor in self.tors:
            if tor.name == listener:
                return self.pod_routes(tor.rack) | frozenset(self.vips)
        return self.pod_routes(self.node(listener).rack, but=listener)

    def expected(self) -> int:
        """How many routes the ToRs together should hold."""
        return sum(len(self.held_by(tor.name)) for tor in self.tors)


def plan(block: int) -> Plan:
    """The demo network in the block 127.`block`.0.0/16."""
    nodes = tuple(_node(block, rack, index) for rack in RACKS for index in range(1, NODES_PER_RACK + 1))
    tors = tuple(Tor(f"tor-{rack}", rack, IPv4Address(f"127.{block}.1{rack}.1")) for rack in RACKS)
    vips = tuple(Route(VIP, node.next_hop(VIP)) for node in nodes)
    return Plan(block=block, nodes=nodes, tors=tors, vips=vips)


def _node(block: int, rack: int, index: int) -> Node:
    number = (rack - 1) * NODES_PER_RACK + index
    address6 = ip_address(f"fd00:{rack}::{10 + number}")
    assert isinstance(address6, IPv6Address)
    return Node(
        name=f"node-{number}",
        rack=rack,
        address=IPv4Address(f"127.{block}.{rack}.{10 + number}"),
        address6=address6,
        prefixes=(ip_network(f"10.244.{number}.0/24"), ip_network(f"fd00:10:{number}::/64")),
    )
