"""The appliance whose allocations come from a Kubernetes cluster: a change is a Node or a Service written anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from pathlib import Path

from tests.bench.cluster import Cluster, large_node
from tests.bench.systems.appliance import Appliance
from tests.bench.topology import AT_FIRST, Allocated, Node, Topology
from tests.lab.kube_objects import Object, service


class ClusterAppliance(Appliance):
    """rrd and the engine that it starts, beside a stand-in for an API server."""

    name = "kubernetes"

    def __init__(self) -> None:
        super().__init__()
        self._cluster: Cluster | None = None
        self._allocated = AT_FIRST

    def _source(self, topology: Topology, folder: Path) -> Mapping[str, object]:
        cluster = self._cluster = Cluster(folder)
        self._allocated = AT_FIRST
        for node in topology.all_nodes:
            cluster.tell(apply=[_object(topology, node, AT_FIRST)])
        return cluster.source

    def allocate(self, allocated: Allocated) -> Callable[[], None] | None:
        """The Nodes and Services that change; telling the API server is the change."""
        before, nodes = self._allocated, {node.name: node for node in self._topology.all_nodes}
        moved = (allocated.grown ^ before.grown) | (before.absent - allocated.absent)
        changed = [_object(self._topology, nodes[name], allocated) for name in moved - allocated.absent]
        gone = [_object(self._topology, nodes[name], AT_FIRST) for name in allocated.absent - before.absent]
        changed += [_service(vip, opened=vip in allocated.vips) for vip in allocated.vips ^ before.vips]
        self._allocated = allocated
        cluster = self._cluster
        assert cluster
        return lambda: cluster.tell(apply=changed, delete=gone)

    def stop(self) -> None:
        super().stop()
        if self._cluster:
            self._cluster.stop()
            self._cluster = None


def _object(topology: Topology, node: Node, allocated: Allocated) -> Object:
    return large_node(node.name, str(node.address), map(str, topology.owned(node, allocated)))


def _service(vip: IPv4Network, *, opened: bool) -> Object:
    """A Service for every node (externalTrafficPolicy: Cluster), with its address or without."""
    address = str(vip.network_address)
    return service(f"web-{address.replace('.', '-')}", *[address] * opened)
