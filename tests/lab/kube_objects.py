"""Objects in the shapes that Kubernetes, Cilium and Calico document, with what they carry besides what matters here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]


def _meta(name: str, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> Object:
    made: Object = {
        "name": name,
        "uid": f"00000000-0000-4000-8000-{abs(hash((namespace, name))) % 10**12:012d}",
        "creationTimestamp": "2026-01-07T09:00:00Z",
        "labels": dict(labels or {}),
        "annotations": {"example.com/owner": "network"},
        "managedFields": [
            {
                "manager": "kubelet",
                "operation": "Update",
                "apiVersion": "v1",
                "time": "2026-01-07T09:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:example.com/owner": {}}}},
            }
        ],
    }
    return made | ({"namespace": namespace} if namespace else {})


def node(
    name: str, *addresses: str, cidrs: Sequence[str] = (), labels: Mapping[str, str] | None = None
) -> Object:
    """A Node; `addresses` are its internal ones."""
    made: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": _meta(name, labels={"kubernetes.io/hostname": name, **(labels or {})}),
        "spec": {"providerID": f"metal://{name}"},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in addresses),
                {"type": "ExternalIP", "address": "203.0.113.7"},
                {"type": "Hostname", "address": name},
            ],
            "allocatable": {"cpu": "64", "memory": "263841336Ki", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {
                "architecture": "amd64",
                "kubeletVersion": "v1.34.1",
                "osImage": "Debian GNU/Linux 12",
            },
        },
    }
    if cidrs:
        made["spec"] |= {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}
    return made


def cilium_node(
    name: str, *addresses: str, cidrs: Sequence[str] = (), pools: Mapping[str, Sequence[str]] | None = None
) -> Object:
    """A CiliumNode; `pools` is what multi-pool has allocated to it."""
    ipam: Object = {"podCIDRs": list(cidrs)} if cidrs else {}
    if pools is not None:
        ipam["pools"] = {
            "allocated": [{"pool": pool, "cidrs": list(found)} for pool, found in pools.items()],
            "requested": [{"pool": pool, "needed": {"ipv4-addrs": 16}} for pool in pools],
        }
    internal = [{"type": "InternalIP", "ip": address} for address in addresses]
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": _meta(name),
        "spec": {
            "addresses": [*internal, {"type": "CiliumInternalIP", "ip": "10.244.255.1"}],
            "health": {"ipv4": "10.244.255.2"},
            "ipam": ipam,
        },
        "status": {"ipam": {"operator-status": {}}},
    }


def affinity(
    node: str, cidr: str, state: str = "confirmed", *, deleted: bool = False, virtual: bool = False
) -> Object:
    """Calico's BlockAffinity; its name is made as Calico makes it."""
    name = f"{node}-{cidr.replace('.', '-').replace(':', '-').replace('/', '-')}"
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "BlockAffinity",
        "metadata": _meta(name),
        "spec": {
            "cidr": cidr,
            "deleted": "true" if deleted else "false",
            "node": node,
            "state": state,
            "type": "virtual" if virtual else "host",
        },
    }


def block(cidr: str, owner: str | None, used: Mapping[int, str], size: int = 64) -> Object:
    """Calico's IPAMBlock: `used` says for places in the block on which node a pod has that address."""
    attributes: list[Object] = []
    allocations: list[int | None] = [None] * size
    for place, user in used.items():
        allocations[place] = len(attributes)
        pod = f"web-{place}"
        attributes.append(
            {
                "handle_id": f"k8s-pod-network.{place:064x}",
                "secondary": {"namespace": "default", "node": user, "pod": pod, "timestamp": "2026-01-07"},
            }
        )
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "IPAMBlock",
        "metadata": _meta(cidr.replace(".", "-").replace(":", "-").replace("/", "-")),
        "spec": {
            "affinity": f"host:{owner}" if owner else None,
            "allocations": allocations,
            "attributes": attributes,
            "cidr": cidr,
            "deleted": False,
            "strictAffinity": False,
            "unallocated": [place for place in range(size) if place not in used],
        },
    }


def service(
    name: str,
    *vips: str,
    policy: str = "Cluster",
    namespace: str = "default",
    kind: str = "LoadBalancer",
    load_balancer_class: str | None = None,
    external: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Object:
    """A Service; `vips` are the addresses that it was given, `policy` is its externalTrafficPolicy."""
    spec: Object = {
        "type": kind,
        "clusterIP": "10.96.0.20",
        "externalTrafficPolicy": policy,
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}],
        "selector": {"app": name},
    }
    if load_balancer_class:
        spec["loadBalancerClass"] = load_balancer_class
    if external:
        spec["externalIPs"] = list(external)
    ingress = [{"ip": vip, "ipMode": "VIP"} for vip in vips]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(name, namespace, labels),
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress} if ingress else {}},
    }


def endpoint(
    node: str, *, ready: bool | None = True, serving: bool = True, terminating: bool = False
) -> Object:
    """An endpoint on a node."""
    conditions: Object = {"serving": serving, "terminating": terminating}
    if ready is not None:
        conditions["ready"] = ready and not terminating
    return {
        "addresses": ["10.244.1.7"],
        "conditions": conditions,
        "nodeName": node,
        "targetRef": {"kind": "Pod", "name": f"web-{node}", "namespace": "default"},
    }


def endpoint_slice(
    service: str, *endpoints: Object | str, number: int = 1, namespace: str = "default"
) -> Object:
    """An EndpointSlice of a Service; a name alone stands for a ready endpoint on that node."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _meta(f"{service}-{number:05d}", namespace, {"kubernetes.io/service-name": service}),
        "addressType": "IPv4",
        "endpoints": [endpoint(one) if isinstance(one, str) else one for one in endpoints],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def ip_pool(name: str, *blocks: str | tuple[str, str], disabled: bool = False) -> Object:
    """A CiliumLoadBalancerIPPool; a block is a prefix, or the first and last address of a range."""
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumLoadBalancerIPPool",
        "metadata": _meta(name),
        "spec": {
            "disabled": disabled,
            "blocks": [
                {"cidr": block} if isinstance(block, str) else {"start": block[0], "stop": block[1]}
                for block in blocks
            ],
        },
        "status": {"conditions": [{"type": "cilium.io/PoolConflict", "status": "False"}]},
    }
