"""Calico with BIRD: resources that select nodes, so nothing in them is one node's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rr.farside.comment import comment, left_out, names, of_node, remarks, where
from rr.farside.facts import BGP_PORT, DEFAULT, Neighbor, NodeSide, Sessions
from rr.farside.manifest import Object, kubernetes_name, manifest

API = "projectcalico.org/v3"
NAMESPACE = "calico-system"


def node(side: NodeSide, label: str) -> str:
    """Write the resources for the nodes of a rack; `label` is the node label that names a rack."""
    sessions, carried = side.sessions, side.straight("Calico")
    head = comment(
        "#",
        f"{of_node(side)}: Calico 3.29 or newer with BIRD, without encapsulation (`calicoctl apply -f`, or "
        "kubectl with Calico's API server).",
        *_explained(side, label),
        *left_out(side, carried, "Calico carries its routes"),
        *remarks(side),
    )
    documents: list[tuple[list[str], Object]] = []
    if sessions.password and sessions.password.text is not None:
        documents.append(([], _secret(sessions, sessions.password.text)))
    documents.append(([], _filter(side, carried)))
    documents += [
        ([], _peer(side, name, neighbor, label))
        for name, neighbor in zip(names(sessions), sessions.neighbors, strict=True)
        if neighbor.address.version in carried
    ]
    documents.append((_last(side), _configuration(side)))
    return manifest(head, *documents)


def _explained(side: NodeSide, label: str) -> Iterator[str]:
    sessions = side.sessions
    if not side.alone:
        yield f"Label the nodes of the rack, or name another label with `--label`: {label}={sessions.rack}."
    yield f"BIRD takes the hold time of {sessions.hold_time} s from the appliance's OPEN."
    if not side.one_as:
        yield (
            "Calico has one AS for all nodes that do not have their own; give it to each node of the rack: calicoctl "
            f'patch node NODE --patch \'{{"spec":{{"bgp":{{"asNumber":"{sessions.asn}"}}}}}}\''
        )
    if sessions.bfd:
        yield f"{sessions.rack} has `bfd: true`, and Calico runs no BFD: its nodes are missed after the hold time."
    if sessions.password:
        yield (
            f"The secret is in the namespace of calico-node ({NAMESPACE} with the operator, else kube-system), whose "
            "service account needs a Role that may get it."
        )
    if sessions.password and sessions.password.text is None:
        yield f"{where(sessions.password)}: put it into that secret first (or use `--with-secrets`):"
        yield f"kubectl -n {NAMESPACE} create secret generic {_name(sessions)} --from-literal=password=..."


def _name(sessions: Sessions) -> str:
    return kubernetes_name("rr", sessions.instance, sessions.rack)


def _secret(sessions: Sessions, text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _name(sessions), "namespace": NAMESPACE},
        "type": "Opaque",
        "stringData": {"password": text},
    }


def _filter(side: NodeSide, carried: tuple[int, ...]) -> Object:
    """No default route in either direction; Calico itself announces its own blocks and service addresses alone."""
    rules: dict[str, Any] = {}
    for version in carried:
        refused = [{"action": "Reject", "matchOperator": "Equal", "cidr": DEFAULT[version][0]}]
        rules[f"exportV{version}"] = refused
        if not side.default_allowed(version):
            rules[f"importV{version}"] = [dict(refused[0])]
    return {
        "apiVersion": API,
        "kind": "BGPFilter",
        "metadata": {"name": _name(side.sessions)},
        "spec": rules,
    }


def _peer(side: NodeSide, name: str, neighbor: Neighbor, label: str) -> Object:
    sessions = side.sessions
    spec: dict[str, Any] = {
        "nodeSelector": "all()" if side.alone else f"{label} == '{sessions.rack}'",
        "peerIP": _with_port(neighbor, sessions.port),
        "asNumber": sessions.asn,
        "sourceAddress": "UseNodeIP",
        "maxRestartTime": f"{side.restart_time}s",
        "filters": [_name(sessions)],
    }
    if side.ttl_security:
        spec["ttlSecurity"] = 1
    if sessions.password:
        spec["password"] = {"secretKeyRef": {"name": _name(sessions), "key": "password"}}
    peer = kubernetes_name(name, sessions.rack)
    return {"apiVersion": API, "kind": "BGPPeer", "metadata": {"name": peer}, "spec": spec}


def _with_port(neighbor: Neighbor, port: int) -> str:
    if port == BGP_PORT:
        return str(neighbor.address)
    return f"[{neighbor.address}]:{port}" if neighbor.address.version == 6 else f"{neighbor.address}:{port}"


def _last(side: NodeSide) -> list[str]:
    return comment(
        "#",
        "Apply this one last, when every node's session is up (`rrctl peers`): it ends the mesh between the nodes. "
        "Keep what your own BGPConfiguration has besides.",
        *([] if side.vips else ["No VIP pool is known here: name yours in `serviceLoadBalancerIPs`."]),
    )


def _configuration(side: NodeSide) -> Object:
    spec: dict[str, Any] = {"nodeToNodeMeshEnabled": False, "asNumber": side.sessions.asn}
    if side.vips:
        spec["serviceLoadBalancerIPs"] = [{"cidr": str(pool)} for pool in side.vips]
    return {"apiVersion": API, "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec}
