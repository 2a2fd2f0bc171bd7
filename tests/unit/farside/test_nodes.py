"""What each agent does with what not every node has."""

from ipaddress import ip_address, ip_network

import pytest

from rr.errors import FarSideError
from rr.farside.facts import Owned
from rr.farside.gobgp import announcements
from rr.farside.writers import AGENTS
from tests.unit.farside.snippets import NODE, VIPS, a_node

OWN = ("frr", "bird", "gobgp")
"""Agents whose configuration is one node's."""


@pytest.mark.parametrize("agent", OWN)
def test_without_a_node_there_are_words_that_the_agent_refuses(agent: str) -> None:
    text = AGENTS[agent](a_node("plain"), "rack")
    word = "PREFIX_OF_THE_NODE" if agent == "bird" else "PREFIX-OF-THE-NODE"
    used = [line for line in text.splitlines() if word in line and line[0] not in "!#"]
    assert used
    assert f"Replace every {word}" in text or f"Replace each {word}" in text or "gobgpd refuses them" in text


@pytest.mark.parametrize("agent", [*OWN, "calico", "cilium"])
def test_a_secret_is_written_only_if_asked_for(agent: str) -> None:
    rack = "rack-1" if agent != "cilium" else "rack-3"
    if agent == "cilium":
        with pytest.raises(
            FarSideError, match=r"Cilium announces ipv6 over a session of that IP version alone"
        ):
            AGENTS[agent](a_node("full", rack, instance="other", text="s3cret"), "rack")
        return
    owned = NODE if agent in OWN else None
    assert "s3cret" in AGENTS[agent](a_node("full", rack, owned, text="s3cret"), "rack")
    text = AGENTS[agent](a_node("full", rack, owned), "rack")
    assert "The TCP-MD5 password is the one in /etc/rr/secrets/rack-1" in text
    empty = {
        "frr": " password\n",
        "bird": "  password ;\n",
        "gobgp": "auth-password =\n",
        "calico": "name: rr-main-rack-1",
    }
    assert empty[agent] in text


def test_kube_router_has_its_password_in_a_file_or_as_base64() -> None:
    text = AGENTS["kube-router"](a_node("full", "rack-3", instance="other"), "rack")
    assert '"password": "BASE64-OF-THE-PASSWORD"' in text
    text = AGENTS["kube-router"](a_node("full", "rack-3", instance="other", text="s3cret"), "rack")
    assert '"password": "czNjcmV0"' in text


@pytest.mark.parametrize("agent", ["cilium", "kube-router"])
def test_an_agent_without_gtsm_is_refused_where_it_is_asked_for(agent: str) -> None:
    with pytest.raises(
        FarSideError, match=r"cannot do GTSM, which `ttl_security` of rack-1 asks of every node"
    ):
        AGENTS[agent](a_node("full"), "rack")


@pytest.mark.parametrize("agent", OWN)
def test_a_default_route_is_taken_only_where_from_tors_has_it(agent: str) -> None:
    word = {"frr": "deny 0.0.0.0/0 le 7", "bird": "0.0.0.0/0{0,7}", "gobgp": '"rr-default-ipv4"'}[agent]
    assert word in AGENTS[agent](a_node("plain", owned=NODE), "rack")
    assert word not in AGENTS[agent](a_node("full", owned=NODE), "rack")


def test_frr_does_not_wait_for_a_floating_address_to_restart() -> None:
    text = AGENTS["frr"](a_node("full", "rack-2", address=ip_address("10.0.0.10")), "rack")
    assert " neighbor 10.0.0.10 graceful-restart-disable\n" in text


@pytest.mark.parametrize("agent", OWN)
def test_a_node_without_an_ipv4_address_must_be_given_a_router_id(agent: str) -> None:
    owned = Owned("node-6", (ip_address("fd00:2::16"),), (ip_network("fd00:10:6::/64"),))
    text = AGENTS[agent](a_node("full", owned=owned), "rack")
    assert "OF-THE-NODE" in text.replace("_", "-")
    assert "replace what stands for its router id" in text


@pytest.mark.parametrize("agent", OWN)
def test_a_node_without_prefixes_announces_nothing_and_is_told(agent: str) -> None:
    owned = Owned("node-7", (ip_address("10.2.0.17"),), ())
    text = AGENTS[agent](a_node("plain", owned=owned), "rack")
    assert "The IPAM gives this node no prefix yet" in text
    assert "  network " not in text
    assert "route 1" not in text


def test_gobgp_is_told_the_nodes_address_of_the_prefixs_own_ip_version() -> None:
    assert list(announcements(a_node("full", owned=NODE))) == [
        "gobgp global rib add -a ipv4 10.244.1.0/24 origin igp nexthop 10.2.0.11",
        "gobgp global rib add -a ipv4 10.244.9.0/26 origin igp nexthop 10.2.0.11",
        "gobgp global rib add -a ipv6 fd00:10:1::/64 origin igp nexthop fd00:2::11",
    ]
    alone = Owned("node-1", NODE.addresses[:1], NODE.prefixes)
    with pytest.raises(FarSideError, match=r"Node node-1 of rack-1, instance main has no IPv6 address"):
        list(announcements(a_node("full", owned=alone)))


@pytest.mark.parametrize("agent", ["frr", "bird"])
def test_vips_are_host_routes_of_the_pools_and_nothing_else(agent: str) -> None:
    host = ip_network("10.101.0.1/32")
    text = AGENTS[agent](a_node("plain", owned=NODE, vips=(*VIPS, host)), "rack")
    assert "10.100.0.0/24 ge 32" in text or "10.100.0.0/24{32,32}" in text
    assert "10.101.0.1/32 ge" not in text
    assert "No VIP pool is known here" in AGENTS[agent](a_node("plain", owned=NODE), "rack")
