"""The network that is benchmarked: racks of nodes, two ToRs, and who owns which prefix. Pure data.

Every node owns a block of eight /24s out of 10.128.0.0/9. It announces the first two as its pod prefixes (no
VIPs: two pod prefixes a node are the same work for all systems). The third is what a few nodes announce later
(announce latency); the fourth is what a few nodes announce without owning it, until the allocations change. A VIP is
announced by five nodes, and closed until the allocations open it to every node.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from typing import Literal

ASN = 64512
REFLECTOR = IPv4Address("10.1.0.11")
TORS = (IPv4Address("10.1.1.1"), IPv4Address("10.1.1.2"))
LOCAL_ROUTES = (IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/15"))
NODE_SPACE = IPv4Network("10.2.0.0/15")
POD_SPACE = IPv4Network("10.128.0.0/9")
VIP_SPACE = IPv4Network("10.100.0.0/24")
DEFERRAL = 30
"""Seconds that a restarted speaker waits at most for what its peers announce, before it sends them anything."""
SLOTS_PER_NODE = 8
MAX_NODES = (1 << 15) // SLOTS_PER_NODE
BASE_SLOTS = (0, 1)
ANNOUNCE_SLOT = 2
GRANT_SLOT = 3
MOST_VIPS = MOST_LEAVERS = 10
VIP_PATHS = 5
"""Nodes that announce one VIP."""

ReflectNodes = Literal["rack", "none"]


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its name, the address that it dials from and the place of its block in the pod space."""

    name: str
    address: IPv4Address
    rack: int
    index: int

    def prefix(self, slot: int) -> IPv4Network:
        """The /24 in one of the node's eight slots."""
        base = int(POD_SPACE.network_address) + ((self.index * SLOTS_PER_NODE + slot) << 8)
        return IPv4Network((base, 24))


@dataclass(frozen=True, slots=True)
class Rack:
    """One rack: a range that its nodes dial from, wide enough for all of them and for a gateway."""

    number: int
    range: IPv4Network
    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        return f"rack-{self.number + 1}"


@dataclass(frozen=True, slots=True)
class Allocated:
    """What is allocated beyond what every node announces from the start."""

    grown: frozenset[str] = frozenset()
    """The nodes that own their fourth prefix."""
    absent: frozenset[str] = frozenset()
    """The nodes that are not there, with whatever they own."""
    vips: frozenset[IPv4Network] = frozenset()
    """The VIPs that every node may announce."""


AT_FIRST = Allocated()


@dataclass(frozen=True)
class Topology:
    """`nodes` nodes in racks of `rack_size`; node routes are reflected inside the rack, or to ToRs alone."""

    nodes: int
    rack_size: int
    reflect_nodes: ReflectNodes
    hold_time: int
    add_paths: int
    trials: int
    redial: float = 0.5
    """Seconds before a node whose session was lost dials again."""

    @cached_property
    def racks(self) -> tuple[Rack, ...]:
        return tuple(
            self._rack(number, first) for number, first in enumerate(range(0, self.nodes, self.rack_size))
        )

    def _rack(self, number: int, first: int) -> Rack:
        bits = (self.rack_size + 2).bit_length()  # network, gateway and broadcast address beside the nodes
        base = int(NODE_SPACE.network_address) + (number << bits)
        members = range(first, min(first + self.rack_size, self.nodes))
        return Rack(
            number,
            IPv4Network((base, 32 - bits)),
            tuple(Node(f"node-{i + 1}", IPv4Address(base + 2 + i - first), number, i) for i in members),
        )

    @cached_property
    def all_nodes(self) -> tuple[Node, ...]:
        return tuple(node for rack in self.racks for node in rack.nodes)

    @cached_property
    def announcers(self) -> tuple[Node, ...]:
        """Nodes that announce one more prefix of theirs during the measurement."""
        return self._spread(offset=0)

    @cached_property
    def growers(self) -> tuple[Node, ...]:
        """Nodes that announce one prefix more than they own, until the allocations grow."""
        return self._spread(offset=1)

    @cached_property
    def leavers(self) -> tuple[Node, ...]:
        """Nodes that are taken out of the allocations, and are put in again."""
        return self._spread(offset=1)[:MOST_LEAVERS]

    def _spread(self, offset: int) -> tuple[Node, ...]:
        count = min(self.trials, len(self.all_nodes) // 2)
        step = len(self.all_nodes) // count if count else 1
        return tuple(self.all_nodes[i * step + offset] for i in range(count))

    @cached_property
    def vips(self) -> tuple[IPv4Network, ...]:
        """The VIPs that are opened to every node during the measurement."""
        hosts = (IPv4Network(host) for host in VIP_SPACE.hosts())
        return tuple(islice(hosts, min(self.trials, MOST_VIPS)))

    def vip_announcers(self, vip: IPv4Network) -> tuple[Node, ...]:
        """Whom the VIP comes from, in racks of their own where there are as many."""
        count, number = min(VIP_PATHS, self.nodes), self.vips.index(vip)
        return tuple(self.all_nodes[(i * self.nodes // count + number) % self.nodes] for i in range(count))

    @cached_property
    def expected(self) -> frozenset[IPv4Network]:
        """What both ToRs hold at convergence."""
        return frozenset(node.prefix(slot) for node in self.all_nodes for slot in BASE_SLOTS)

    def owned(self, node: Node, allocated: Allocated = AT_FIRST) -> tuple[IPv4Network, ...]:
        """The prefixes allocated to a node alone."""
        if node.name in allocated.absent:
            return ()
        slots = [*BASE_SLOTS]
        if node in self.announcers:
            slots.append(ANNOUNCE_SLOT)
        if node.name in allocated.grown:
            slots.append(GRANT_SLOT)
        return tuple(node.prefix(slot) for slot in slots)

    def tor_rack(self, number: int) -> Rack:
        """The rack under which ToR `number` is configured (ToRs are given the routes of all racks)."""
        return self.racks[min(number, len(self.racks) - 1)]
