"""The Kubernetes API as a source of allocations."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rr.addresses import shown
from rr.config import scalars
from rr.config.scalars import Kind
from rr.config.sources.base import SourceSettings
from rr.config.types import AbsolutePath, Flag, word

_LONGEST = 1000
_CLASS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9./_-]{0,251}[A-Za-z0-9])?", re.ASCII)


def _selector(value: Any) -> str:
    """A label selector as kubectl takes it; what it means is for the API server to judge."""
    right = "write one such as node-role.kubernetes.io/worker or rack=r1,tier!=test"
    text = str(scalars.scalar(value, right))
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST:
        raise scalars.refusal(f"{shown(text)} is not a label selector", right)
    return text.strip()


def _class(value: Any) -> str:
    right = "write one such as io.cilium/bgp-control-plane"
    text = str(scalars.scalar(value, right))
    if not _CLASS.fullmatch(text):
        raise scalars.refusal(f"{shown(text)} is not a load balancer class", right)
    return text


def _context(value: Any) -> str:
    right = "write the name of a context of the kubeconfig"
    text = str(scalars.scalar(value, right))
    if not text or not text.isprintable():
        raise scalars.refusal(f"{shown(text)} is not the name of a context", right)
    return text


Selector = Annotated[str, BeforeValidator(_selector), Kind("a label selector, as kubectl takes it")]
LoadBalancerClass = Annotated[str, BeforeValidator(_class), Kind("a load balancer class")]
ContextName = Annotated[str, BeforeValidator(_context), Kind("a name in the kubeconfig")]
Timeout = Annotated[
    int,
    BeforeValidator(scalars.integer(1, 300, "a number of seconds")),
    Kind("seconds, 1 to 300"),
]
AddressesFrom = Annotated[Literal["node", "cilium"], *word("node", "cilium")]
PrefixesFrom = Annotated[Literal["node", "cilium", "calico"], *word("node", "cilium", "calico")]
VipsFrom = Annotated[Literal["services", "cilium-pools"], *word("services", "cilium-pools")]


class KubernetesSettings(SourceSettings):
    """A Kubernetes cluster, by its API (sources-kubernetes.md)."""

    type: Literal["kubernetes"] = Field(
        examples=["kubernetes"], description="A Kubernetes cluster, by its API."
    )
    kubeconfig: AbsolutePath | None = Field(
        default=None,
        examples=["/etc/rr/kubeconfig"],
        description="How to reach the API server and as whom; mode 0600. It is read again when the server no longer "
        "knows us, and so is the token file that it names.",
        json_schema_extra={"default": "the service account of the pod that the appliance runs in"},
    )
    context: ContextName | None = Field(
        default=None,
        description="Which context of the kubeconfig.",
        json_schema_extra={"default": "its current one"},
    )
    addresses: AddressesFrom = Field(
        default="node",
        description="Where nodes' addresses stand: `node` is InternalIP in Node.status.addresses, `cilium` is "
        "InternalIP in CiliumNode.spec.addresses.",
    )
    prefixes: tuple[PrefixesFrom, ...] = Field(
        default=("node",),
        description="Where nodes' prefixes stand; several add up. `node` is Node.spec.podCIDRs, `cilium` is "
        "CiliumNode.spec.ipam (podCIDRs, and what is allocated of multi-pool), `calico` is the confirmed "
        "BlockAffinities, and the addresses that a node borrows from other nodes' blocks. An empty list: VIPs only.",
    )
    vips: tuple[VipsFrom, ...] = Field(
        default=("services",),
        description="Where VIPs stand. `services` are the addresses in Service.status.loadBalancer, open to every "
        "node, or to the nodes with a ready endpoint where externalTrafficPolicy is Local. `cilium-pools` are the "
        "CiliumLoadBalancerIPPools that are not disabled, open to every node but for the addresses of Local services. "
        "An empty list: no VIPs.",
    )
    external_ips: Flag = Field(
        default=False,
        description="Whether Service.spec.externalIPs count too. Whoever may write a Service can write any address "
        "there.",
    )
    load_balancer_class: LoadBalancerClass | None = Field(
        default=None,
        description="Only Services of this loadBalancerClass.",
        json_schema_extra={"default": "all"},
    )
    node_selector: Selector | None = Field(
        default=None,
        description="Only nodes with these labels.",
        json_schema_extra={"default": "all"},
    )
    service_selector: Selector | None = Field(
        default=None,
        description="Only Services with these labels.",
        json_schema_extra={"default": "all"},
    )
    timeout: Timeout = Field(
        default=10, description="Seconds to wait for a connection, and for each part of an answer."
    )

    @property
    def place(self) -> str:
        """The type, and the kubeconfig with its context."""
        where = str(self.kubeconfig) if self.kubeconfig else "in-cluster"
        return f"{self.type}:{where}{f'#{self.context}' if self.context else ''}"
