"""The YAML for Kubernetes: the field names, types and enums that the APIs document, and no others.

Written after Cilium 1.18's `cilium.io/v2` types, Calico 3.29's `projectcalico.org/v3` types and kube-router 2.6's
flags.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from rr.farside.writers import AGENTS
from tests.unit.farside.snippets import VIPS, a_node

Check = Callable[[Any], bool]


def one_of(*values: object) -> Check:
    return lambda value: value in values


def number(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def text(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def address(value: Any) -> bool:
    return bool(ipaddress.ip_address(value))


def prefix(value: Any) -> bool:
    return bool(ipaddress.ip_network(value))


def labels(value: Any) -> bool:
    return all(isinstance(key, str) and isinstance(one, str) for key, one in value.items())


NAME = text(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SELECTOR = {
    "matchLabels": labels,
    "matchExpressions": [
        {
            "key": text(r"[\w./-]+"),
            "operator": one_of("In", "NotIn", "Exists", "DoesNotExist"),
            "values": [text(r"[\w.-]+")],
        }
    ],
}
SECRET = {
    "apiVersion": one_of("v1"),
    "kind": one_of("Secret"),
    "metadata": {"name": NAME, "namespace": NAME},
    "type": one_of("Opaque"),
    "stringData": {"password": text(".+")},
}
CILIUM: dict[str, Any] = {
    "Secret": SECRET,
    "CiliumBGPClusterConfig": {
        "nodeSelector": SELECTOR,
        "bgpInstances": [
            {
                "name": text(r".{1,255}"),
                "localASN": number(1, 4294967295),
                "localPort": number(1, 65535),
                "peers": [
                    {
                        "name": text(r".{1,255}"),
                        "peerAddress": address,
                        "peerASN": number(0, 4294967295),
                        "peerConfigRef": {"name": NAME},
                    }
                ],
            }
        ],
    },
    "CiliumBGPPeerConfig": {
        "transport": {"peerPort": number(1, 65535)},
        "timers": {
            "connectRetryTimeSeconds": number(1, 2147483647),
            "holdTimeSeconds": number(3, 65535),
            "keepAliveTimeSeconds": number(1, 65535),
        },
        "authSecretRef": NAME,
        "gracefulRestart": {"enabled": one_of(True, False), "restartTimeSeconds": number(1, 4095)},
        "ebgpMultihop": number(1, 255),
        "families": [
            {"afi": one_of("ipv4", "ipv6"), "safi": one_of("unicast"), "advertisements": SELECTOR},
        ],
    },
    "CiliumBGPAdvertisement": {
        "advertisements": [
            {
                "advertisementType": one_of("PodCIDR", "CiliumPodIPPool", "Service"),
                "service": {"addresses": [one_of("LoadBalancerIP", "ClusterIP", "ExternalIP")]},
                "selector": SELECTOR,
            }
        ]
    },
}
RULE = {
    "action": one_of("Accept", "Reject"),
    "matchOperator": one_of("Equal", "NotEqual", "In", "NotIn"),
    "cidr": prefix,
}
CALICO: dict[str, Any] = {
    "Secret": SECRET,
    "BGPFilter": {"exportV4": [RULE], "importV4": [RULE], "exportV6": [RULE], "importV6": [RULE]},
    "BGPPeer": {
        "nodeSelector": text(r"all\(\)|[\w./-]+ == '[^']+'"),
        "peerIP": text(r"[\d.]+(:\d+)?|[\da-f:]+|\[[\da-f:]+\]:\d+"),
        "asNumber": number(1, 4294967295),
        "sourceAddress": one_of("UseNodeIP", "None"),
        "maxRestartTime": text(r"\d+s"),
        "filters": [NAME],
        "ttlSecurity": number(1, 255),
        "password": {"secretKeyRef": {"name": NAME, "key": text(r"\w+")}},
    },
    "BGPConfiguration": {
        "nodeToNodeMeshEnabled": one_of(True, False),
        "asNumber": number(1, 4294967295),
        "serviceLoadBalancerIPs": [{"cidr": prefix}],
    },
}
FLAGS = {
    "cluster-asn": r"\d+",
    "nodes-full-mesh": "false",
    "enable-ibgp": "false",
    "enable-overlay": "false",
    "advertise-pod-cidr": "true",
    "advertise-loadbalancer-ip": "true",
    "advertise-cluster-ip": "false",
    "advertise-external-ip": "false",
    "bgp-holdtime": r"\d+s",
    "bgp-graceful-restart": "true",
    "bgp-graceful-restart-time": r"\d+s",
    "peer-router-ips": r"[\da-f.:]+(,[\da-f.:]+)*",
    "peer-router-asns": r"\d+(,\d+)*",
    "peer-router-ports": r"\d+(,\d+)*",
    "peer-router-passwords": r"[\w+/=]+(,[\w+/=]+)*",
    "peer-router-passwords-file": r"/\S+",
}


def must_match(value: Any, schema: Any, where: str) -> None:
    """Raise AssertionError where a value has a field that the schema has not, or one of another kind."""
    if isinstance(schema, Mapping):
        assert isinstance(value, Mapping), where
        assert not value.keys() - schema.keys(), f"{where} has no {value.keys() - schema.keys()}"
        for key, inner in value.items():
            must_match(inner, schema[key], f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        assert value, where
        for inner in value:
            must_match(inner, schema[0], f"{where}[]")
    else:
        assert schema(value), f"{where}: {value!r}"


def documents(agent: str, name: str, rack: str, **more: Any) -> list[Any]:
    written = AGENTS[agent](a_node(name, rack, vips=VIPS, **more), "rack")
    return [document for document in yaml.safe_load_all(written) if document is not None]


CASES = [
    ("cilium", "plain", "rack-1", {}),
    ("cilium", "full", "rack-2", {}),
    ("calico", "plain", "rack-1", {}),
    ("calico", "full", "rack-1", {"text": "s3cret"}),
    ("calico", "full", "rack-1", {}),
    ("calico", "full", "rack-2", {}),
]


@pytest.mark.parametrize(("agent", "name", "rack", "more"), CASES)
def test_every_field_is_one_of_the_documented_api(
    agent: str, name: str, rack: str, more: dict[str, Any]
) -> None:
    schemas = {"cilium": CILIUM, "calico": CALICO}[agent]
    version = {"cilium": "cilium.io/v2", "calico": "projectcalico.org/v3"}[agent]
    found = documents(agent, name, rack, **more)
    kinds = {document["kind"] for document in found} - {"Secret"}
    assert kinds == schemas.keys() - {"Secret"}
    for document in found:
        if document["kind"] == "Secret":
            must_match(document, SECRET, "Secret")
            continue
        assert document["apiVersion"] == version
        assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
        must_match(document["metadata"], {"name": NAME, "labels": labels}, document["kind"])
        must_match(document["spec"], schemas[document["kind"]], document["kind"])


def _kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in found if document["kind"] == kind]


def test_ciliums_resources_refer_to_each_other() -> None:
    found = documents("cilium", "full", "rack-2")
    configs = {config["metadata"]["name"]: config["spec"] for config in _kind(found, "CiliumBGPPeerConfig")}
    (cluster,) = _kind(found, "CiliumBGPClusterConfig")
    (advertisement,) = _kind(found, "CiliumBGPAdvertisement")
    (instance,) = cluster["spec"]["bgpInstances"]
    assert [peer["peerAddress"] for peer in instance["peers"]] == ["10.0.0.11", "10.0.0.12"]
    assert cluster["spec"]["nodeSelector"] == {"matchLabels": {"rack": "rack-2"}}
    for peer in instance["peers"]:
        for family in configs[peer["peerConfigRef"]["name"]]["families"]:
            wanted = family["advertisements"]["matchLabels"]
            assert wanted.items() <= advertisement["metadata"]["labels"].items()


def test_where_all_nodes_are_in_one_rack_all_are_selected() -> None:
    (cluster,) = _kind(documents("cilium", "plain", "rack-1"), "CiliumBGPClusterConfig")
    assert "nodeSelector" not in cluster["spec"]
    (peer,) = _kind(documents("calico", "plain", "rack-1"), "BGPPeer")
    assert peer["spec"]["nodeSelector"] == "all()"


def test_calicos_last_document_is_the_one_that_ends_the_mesh() -> None:
    found = documents("calico", "full", "rack-1")
    assert [d["kind"] for d in found].index("BGPConfiguration") == len(found) - 1
    assert found[-1]["spec"]["serviceLoadBalancerIPs"] == [{"cidr": str(pool)} for pool in VIPS]
    (refused,) = _kind(found, "BGPFilter")
    assert {peer["spec"]["filters"][0] for peer in _kind(found, "BGPPeer")} == {refused["metadata"]["name"]}
    assert "importV4" not in refused["spec"], "from_tors lets a default route in"


@pytest.mark.parametrize(
    ("name", "rack", "more"),
    [("plain", "rack-1", {}), ("full", "rack-2", {}), ("full", "rack-3", {"instance": "other"})],
)
def test_kube_routers_flags_are_flags_of_kube_router(name: str, rack: str, more: dict[str, Any]) -> None:
    (patch,) = documents("kube-router", name, rack, **more)
    for operation in patch:
        assert operation.keys() == {"op", "path", "value"}
        assert (operation["op"], operation["path"]) == ("add", "/spec/template/spec/containers/0/args/-")
        flag, _, value = operation["value"].removeprefix("--").partition("=")
        assert re.fullmatch(FLAGS[flag], value), operation["value"]


def test_kube_routers_annotation_is_its_list_of_peers() -> None:
    written = AGENTS["kube-router"](a_node("full", "rack-2"), "example.org/rack")
    assert "kubectl annotate node -l example.org/rack=rack-2 --overwrite" in written
    found = re.search(r"kube-router.io/peers='(.*)'", written)
    assert found
    assert json.loads(found[1]) == [
        {"remoteip": "10.0.0.11", "remoteasn": 64512, "port": 1790},
        {"remoteip": "10.0.0.12", "remoteasn": 64512, "port": 1790},
    ]


def test_a_schema_finds_what_the_api_does_not_have() -> None:
    with pytest.raises(AssertionError, match="has no"):
        must_match({"peerIp": "10.0.0.11"}, CALICO["BGPPeer"], "BGPPeer")
    with pytest.raises(AssertionError, match="holdTimeSeconds: 2"):
        must_match({"timers": {"holdTimeSeconds": 2}}, CILIUM["CiliumBGPPeerConfig"], "CiliumBGPPeerConfig")
