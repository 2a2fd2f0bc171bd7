"""kube-router: flags of its DaemonSet, and annotations of nodes where not all have the same neighbors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from rr.errors import FarSideError
from rr.farside.comment import comment, of_node, remarks, where
from rr.farside.facts import BGP_PORT, NodeSide, Password
from rr.farside.manifest import manifest

PASSWORDS = "/etc/kube-router/bgp-passwords.conf"
ARGUMENT = "/spec/template/spec/containers/0/args/-"


def node(side: NodeSide, label: str) -> str:
    """Write a JSON patch of the DaemonSet, in YAML; `label` is the node label that names a rack."""
    sessions = side.sessions
    if side.ttl_security:
        raise FarSideError(
            f"kube-router cannot do GTSM, which `ttl_security` of {sessions.rack} asks of every node",
            "set it to false, or choose another agent",
        )
    head = comment(
        "#",
        f"{of_node(side)}: kube-router 2.6 or newer. A patch that appends flags to its DaemonSet (a flag that stands "
        "there already has to go):",
        "kubectl -n kube-system patch daemonset kube-router --type json --patch-file FILE",
        *_explained(side),
        *remarks(side),
    )
    if not side.alone:
        head += _annotation(side, label)
    patch = [{"op": "add", "path": ARGUMENT, "value": f"--{flag}"} for flag in _flags(side)]
    return manifest(head, ([], patch))


def _explained(side: NodeSide) -> Iterator[str]:
    password = side.sessions.password
    yield "It keeps an overlay between subnets unless told not to, and the appliance's networks have none."
    if side.sessions.bfd:
        yield (
            f"{side.sessions.rack} has `bfd: true`, and kube-router runs no BFD: nodes are missed after the hold time."
        )
    if password and password.text is None and side.alone:
        count = len(side.sessions.neighbors)
        yield (
            f"{where(password)}: mount {PASSWORDS} into the pods, with its base64 text {count} times, with commas "
            "between (`--with-secrets` writes it into a flag instead). Until it is there, no session comes up."
        )


def _flags(side: NodeSide) -> Iterator[str]:
    sessions = side.sessions
    yield f"cluster-asn={sessions.asn}" if side.alone else "nodes-full-mesh=false"
    yield "enable-ibgp=false"
    yield "enable-overlay=false"
    yield "advertise-pod-cidr=true"
    yield "advertise-loadbalancer-ip=true"
    yield "advertise-cluster-ip=false"
    yield "advertise-external-ip=false"
    yield f"bgp-holdtime={sessions.hold_time}s"
    yield "bgp-graceful-restart=true"
    yield f"bgp-graceful-restart-time={side.restart_time}s"
    if side.alone:
        yield from _peer_flags(side)


def _peer_flags(side: NodeSide) -> Iterator[str]:
    sessions, count = side.sessions, len(side.sessions.neighbors)
    yield f"peer-router-ips={','.join(str(n.address) for n in sessions.neighbors)}"
    yield f"peer-router-asns={','.join([str(sessions.asn)] * count)}"
    if sessions.port != BGP_PORT:
        yield f"peer-router-ports={','.join([str(sessions.port)] * count)}"
    if sessions.password and sessions.password.text is not None:
        yield f"peer-router-passwords={','.join([_encoded(sessions.password)] * count)}"
    elif sessions.password:
        yield f"peer-router-passwords-file={PASSWORDS}"


def _encoded(password: Password) -> str:
    return base64.b64encode((password.text or "").encode()).decode()


def _annotation(side: NodeSide, label: str) -> list[str]:
    """Where racks differ: what each of their nodes is told by annotations, for a whole rack at once."""
    sessions = side.sessions
    peers: list[dict[str, Any]] = []
    for neighbor in sessions.neighbors:
        peer: dict[str, Any] = {"remoteip": str(neighbor.address), "remoteasn": sessions.asn}
        if sessions.port != BGP_PORT:
            peer["port"] = sessions.port
        if sessions.password:
            given = sessions.password.text is not None
            peer["password"] = _encoded(sessions.password) if given else "BASE64-OF-THE-PASSWORD"
        peers.append(peer)
    said = [
        f"Then for all nodes of the rack at once (`--label` names another label than {label}), and restart it there:"
    ]
    if sessions.password and sessions.password.text is None:
        said.append(
            f"{where(sessions.password)}; BASE64-OF-THE-PASSWORD, which kube-router refuses, is its base64 text."
        )
    return [
        *comment("#", *said),
        f"#   kubectl annotate node -l {label}={sessions.rack} --overwrite \\",
        f"#     kube-router.io/node.asn={sessions.asn} \\",
        f"#     kube-router.io/peers='{json.dumps(peers)}'",
    ]
