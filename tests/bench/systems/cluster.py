"""The appliance whose allocations come from a Kubernetes cluster: a change is one Node that is written anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.cluster import Cluster, large_node
from tests.bench.systems.appliance import Appliance
from tests.bench.topology import Node, Topology
from tests.lab.kube_objects import Object


class ClusterAppliance(Appliance):
    """rrd and the engine that it starts, beside a stand-in for an API server."""

    name = "kubernetes"

    def __init__(self) -> None:
        super().__init__()
        self._cluster: Cluster | None = None
        self._granted = frozenset[str]()

    def _source(self, topology: Topology, folder: Path) -> Mapping[str, object]:
        cluster = self._cluster = Cluster(folder)
        self._granted = frozenset()
        for node in topology.all_nodes:
            cluster.tell(apply=[_object(topology, node, self._granted)])
        return cluster.source

    def allocate(self, granted: frozenset[str]) -> Callable[[], None] | None:
        """The Nodes that change; telling the API server is the change."""
        moved = granted ^ self._granted
        changed = [
            _object(self._topology, node, granted) for node in self._topology.all_nodes if node.name in moved
        ]
        self._granted = granted
        cluster = self._cluster
        assert cluster
        return lambda: cluster.tell(apply=changed)

    def stop(self) -> None:
        super().stop()
        if self._cluster:
            self._cluster.stop()
            self._cluster = None


def _object(topology: Topology, node: Node, granted: frozenset[str]) -> Object:
    return large_node(node.name, str(node.address), map(str, topology.owned(node, granted)))
