"""What is read of the cluster's objects: the few fields that matter, and nothing is kept of the rest.

A list of 5,000 Nodes is 80 MB of JSON. Decoding it into these types skips what has no field here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import field

T = TypeVar("T")


class NotThis(ValueError):
    """JSON that is not what the API documents, as the end of a sentence."""


class Part(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What all of these are: immutable, named in the API's way."""


class Meta(Part, frozen=True):
    """metadata."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None

    @property
    def key(self) -> str:
        """By what an object is told apart from others of its kind."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Named(Part, frozen=True):
    """Any object: what it is called, and which version this is."""

    metadata: Meta


class ListMeta(Part, frozen=True):
    """metadata of a list; `continue_` fetches the next page."""

    resource_version: str = ""
    continue_: str | None = field(name="continue", default=None)


class Page(Part, frozen=True):
    """A part of a list. Items stay raw, so that one bad item does not spoil the others."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class Event(Part, frozen=True):
    """A line of a watch."""

    type: str
    object: msgspec.Raw


class Status(Part, frozen=True):
    """What the server says when it does not give what it was asked for."""

    code: int = 0
    reason: str = ""
    message: str = ""


class NodeAddress(Part, frozen=True):
    """An entry of Node.status.addresses."""

    type: str = ""
    address: str = ""


class NodeStatus(Part, frozen=True):
    """Node.status."""

    addresses: list[NodeAddress] | None = None


class NodeSpec(Part, frozen=True):
    """Node.spec; old clusters know only podCIDR."""

    pod_cidr: str | None = field(name="podCIDR", default=None)
    pod_cidrs: list[str] | None = field(name="podCIDRs", default=None)


class Node(Part, frozen=True):
    """v1 Node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class CiliumAddress(Part, frozen=True):
    """An entry of CiliumNode.spec.addresses."""

    type: str = ""
    ip: str = ""


class CiliumAllocated(Part, frozen=True):
    """An entry of CiliumNode.spec.ipam.pools.allocated."""

    pool: str = ""
    cidrs: list[str] | None = None


class CiliumPools(Part, frozen=True):
    """CiliumNode.spec.ipam.pools."""

    allocated: list[CiliumAllocated] | None = None


class CiliumIpam(Part, frozen=True):
    """CiliumNode.spec.ipam."""

    pod_cidrs: list[str] | None = field(name="podCIDRs", default=None)
    pools: CiliumPools | None = None


class CiliumNodeSpec(Part, frozen=True):
    """CiliumNode.spec."""

    addresses: list[CiliumAddress] | None = None
    ipam: CiliumIpam | None = None


class CiliumNode(Part, frozen=True):
    """cilium.io CiliumNode; its name is the node's."""

    metadata: Meta
    spec: CiliumNodeSpec = CiliumNodeSpec()


class CiliumBlock(Part, frozen=True):
    """An entry of CiliumLoadBalancerIPPool.spec.blocks: a prefix, or a range; `stop` may be left out."""

    cidr: str = ""
    start: str = ""
    stop: str = ""


class CiliumPoolSpec(Part, frozen=True):
    """CiliumLoadBalancerIPPool.spec; before cilium.io/v2 blocks were called cidrs."""

    disabled: bool = False
    blocks: list[CiliumBlock] | None = None
    cidrs: list[CiliumBlock] | None = None


class CiliumPool(Part, frozen=True):
    """cilium.io CiliumLoadBalancerIPPool."""

    metadata: Meta
    spec: CiliumPoolSpec = CiliumPoolSpec()


class AffinitySpec(Part, frozen=True):
    """BlockAffinity.spec. `deleted` is text in this API, and `type` is `virtual` for blocks of no host."""

    node: str = ""
    cidr: str = ""
    state: str = ""
    deleted: str | bool = False
    type: str = ""


class BlockAffinity(Part, frozen=True):
    """crd.projectcalico.org/v1 BlockAffinity."""

    metadata: Meta
    spec: AffinitySpec


class BlockAttribute(Part, frozen=True):
    """An entry of IPAMBlock.spec.attributes; `secondary` says among other things for which node."""

    secondary: dict[str, str] | None = None


class BlockSpec(Part, frozen=True):
    """IPAMBlock.spec: `allocations` has for each address of `cidr` the index of its attribute, or null."""

    cidr: str = ""
    affinity: str | None = None
    allocations: list[int | None] | None = None
    attributes: list[BlockAttribute] | None = None
    deleted: bool = False


class IpamBlock(Part, frozen=True):
    """crd.projectcalico.org/v1 IPAMBlock."""

    metadata: Meta
    spec: BlockSpec


class Ingress(Part, frozen=True):
    """An entry of Service.status.loadBalancer.ingress."""

    ip: str = ""


class LoadBalancer(Part, frozen=True):
    """Service.status.loadBalancer."""

    ingress: list[Ingress] | None = None


class ServiceStatus(Part, frozen=True):
    """Service.status."""

    load_balancer: LoadBalancer | None = None


class ServiceSpec(Part, frozen=True):
    """Service.spec."""

    type: str = ""
    external_traffic_policy: str = ""
    load_balancer_class: str | None = None
    external_ips: list[str] | None = field(name="externalIPs", default=None)


class Service(Part, frozen=True):
    """v1 Service."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class Conditions(Part, frozen=True):
    """conditions of an endpoint; null means unknown, which is to be read as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Part, frozen=True):
    """An entry of EndpointSlice.endpoints."""

    node_name: str | None = None
    conditions: Conditions | None = None


class EndpointSlice(Part, frozen=True):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata: Meta
    endpoints: list[Endpoint] | None = None


def reader(kind: type[T]) -> Callable[[bytes | msgspec.Raw], T]:
    """What decodes one object of a kind; raises NotThis."""
    decoder = msgspec.json.Decoder(kind)

    def read(raw: bytes | msgspec.Raw) -> T:
        try:
            return decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotThis(_plainly(error)) from None

    return read


def _plainly(error: Exception) -> str:
    """msgspec's own words, such as: Expected `array`, got `str` - at `$.spec.podCIDRs`."""
    return str(error).replace("$.", "").replace("`", "")


read_named: Callable[[Any], Named] = reader(Named)
read_page: Callable[[Any], Page] = reader(Page)
read_event: Callable[[Any], Event] = reader(Event)
read_status: Callable[[Any], Status] = reader(Status)
