"""Cilium's BGP control plane: resources that select nodes, so nothing in them is one node's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rr.errors import FarSideError
from rr.farside.comment import comment, left_out, names, of_node, remarks, where
from rr.farside.facts import FAMILY, NodeSide, Sessions
from rr.farside.manifest import Object, kubernetes_name, manifest

API = "cilium.io/v2"
NAMESPACE = "kube-system"
EVERYTHING = {"matchExpressions": [{"key": "rr.none", "operator": "NotIn", "values": ["never-used"]}]}
"""The selector that Cilium's documentation gives for all objects: an absent one selects none."""


def node(side: NodeSide, label: str) -> str:
    """Write the resources for the nodes of a rack; `label` is the node label that names a rack."""
    sessions = side.sessions
    if side.ttl_security:
        raise FarSideError(
            f"Cilium cannot do GTSM, which `ttl_security` of {sessions.rack} asks of every node",
            "set it to false, or choose another agent",
        )
    carried = side.straight("Cilium")
    head = comment(
        "#",
        f"{of_node(side)}: Cilium 1.18 or newer, with `bgpControlPlane.enabled: true` (kubectl apply -f).",
        *_explained(side, label, carried),
        *remarks(side),
    )
    documents: list[tuple[list[str], Object]] = []
    if sessions.password and sessions.password.text is not None:
        documents.append(([], _secret(sessions, sessions.password.text)))
    documents.append((_advertised(), _advertisement(sessions)))
    documents += [([], _peer_config(side, version)) for version in carried]
    documents.append(([], _cluster_config(side, label, carried)))
    return manifest(head, *documents)


def _explained(side: NodeSide, label: str, carried: tuple[int, ...]) -> Iterator[str]:
    sessions = side.sessions
    if not side.alone:
        yield f"Label the nodes of the rack, or name another label with `--label`: {label}={sessions.rack}."
    yield from left_out(side, carried, "Cilium gives its prefixes a usable next hop")
    if sessions.bfd:
        yield f"{sessions.rack} has `bfd: true`, and Cilium runs no BFD: its nodes are missed after the hold time."
    if sessions.password and sessions.password.text is None:
        yield f"{where(sessions.password)}: put it into a secret first (or use `--with-secrets`):"
        yield (
            f"kubectl -n {NAMESPACE} create secret generic {_secret_name(sessions)} --from-literal=password=..."
        )


def _advertised() -> list[str]:
    return comment("#", "With multi-pool IPAM, `CiliumPodIPPool` and the same selector instead of `PodCIDR`.")


def _secret_name(sessions: Sessions) -> str:
    return kubernetes_name("rr", sessions.instance, sessions.rack)


def _secret(sessions: Sessions, text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _secret_name(sessions), "namespace": NAMESPACE},
        "type": "Opaque",
        "stringData": {"password": text},
    }


def _advertisement(sessions: Sessions) -> Object:
    name = _own_name(sessions)
    return {
        "apiVersion": API,
        "kind": "CiliumBGPAdvertisement",
        "metadata": {"name": name, "labels": {"rr-advertise": name}},
        "spec": {
            "advertisements": [
                {"advertisementType": "PodCIDR"},
                {
                    "advertisementType": "Service",
                    "service": {"addresses": ["LoadBalancerIP"]},
                    "selector": EVERYTHING,
                },
            ]
        },
    }


def _own_name(sessions: Sessions) -> str:
    return kubernetes_name("rr", sessions.instance, sessions.rack)


def _peer_config(side: NodeSide, version: int) -> Object:
    sessions = side.sessions
    spec: dict[str, Any] = {
        "transport": {"peerPort": sessions.port},
        "timers": {
            "connectRetryTimeSeconds": 5,
            "holdTimeSeconds": sessions.hold_time,
            "keepAliveTimeSeconds": sessions.keepalive,
        },
        "gracefulRestart": {"enabled": True, "restartTimeSeconds": side.restart_time},
    }
    if sessions.password:
        spec["authSecretRef"] = _secret_name(sessions)
    advertised = {"matchLabels": {"rr-advertise": _own_name(sessions)}}
    spec["families"] = [{"afi": FAMILY[version], "safi": "unicast", "advertisements": advertised}]
    return {
        "apiVersion": API,
        "kind": "CiliumBGPPeerConfig",
        "metadata": {"name": f"{_own_name(sessions)}-{FAMILY[version]}"},
        "spec": spec,
    }


def _cluster_config(side: NodeSide, label: str, carried: tuple[int, ...]) -> Object:
    sessions = side.sessions
    peers = [
        {
            "name": kubernetes_name(name),
            "peerASN": sessions.asn,
            "peerAddress": str(neighbor.address),
            "peerConfigRef": {"name": f"{_own_name(sessions)}-{FAMILY[neighbor.address.version]}"},
        }
        for name, neighbor in zip(names(sessions), sessions.neighbors, strict=True)
        if neighbor.address.version in carried
    ]
    spec: dict[str, Any] = {}
    if not side.alone:
        spec["nodeSelector"] = {"matchLabels": {label: sessions.rack}}
    spec["bgpInstances"] = [
        {"name": kubernetes_name("rr", sessions.instance), "localASN": sessions.asn, "peers": peers}
    ]
    return {
        "apiVersion": API,
        "kind": "CiliumBGPClusterConfig",
        "metadata": {"name": _own_name(sessions)},
        "spec": spec,
    }
