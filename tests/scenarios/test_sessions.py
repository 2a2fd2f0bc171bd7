"""Sessions: passwords, GTSM, who dials whom, and what a ToR may send."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    FrrNode,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    all_established,
    eventually,
    never,
)
from tests.lab.kinds import NODE_KINDS
from tests.lab.listening import Listening

pytestmark = pytest.mark.root

NODES_SECRET, TOR_SECRET = "the-nodes-own", "only-for-this-ToR"
DEFAULT, DEFAULT6 = "0.0.0.0/0", "::/0"


@dataclass(frozen=True)
class Fabric:
    """A rack with passwords, one with GTSM, a plain one whose ToRs may send default routes, and one for comparison."""

    network: Network
    appliance: Appliance
    nodes: dict[str, Peer]
    tors: dict[str, Peer]

    def since(self) -> dict[str, str]:
        """Since when each session that is up is up."""
        return {
            p["address"]: p["since"] for p in self.appliance.rrctl("peers") if p["state"] == "established"
        }


def racks(secrets: Path) -> dict[str, Any]:
    return {
        "md5": {
            "nodes": {"ranges": ["10.2.0.0/24"], "password_file": str(secrets / "nodes")},
            "tors": [
                {"address": "10.2.1.1", "password_file": str(secrets / "tor")},
                {"address": "10.2.1.2", "password_file": str(secrets / "tor")},
                {"address": "10.2.1.3", "password_file": str(secrets / "tor")},
                {"address": "10.2.1.4", "password_file": str(secrets / "tor")},
            ],
        },
        "gtsm": {"nodes": {"ranges": ["10.3.0.0/24"], "ttl_security": True}},
        "plain": {
            "nodes": {"ranges": ["10.4.0.0/24"]},
            "tors": [
                {"address": "10.4.1.1", "passive": True},
                {"address": "10.4.1.2", "port": 1179},
                {"address": "10.4.1.3", "port": 1179},
            ],
            "from_tors": [DEFAULT, DEFAULT6],
        },
        "other": {"nodes": {"ranges": ["10.5.0.0/24"]}, "tors": [{"address": "10.5.1.1"}]},
    }


@pytest.fixture(scope="module")
def fabric(shared_net: Network, tmp_path_factory: pytest.TempPathFactory) -> Fabric:
    secrets = tmp_path_factory.mktemp("secrets")
    for name, secret in (("nodes", NODES_SECRET), ("tor", TOR_SECRET)):
        (secrets / name).write_text(secret + "\n")
        (secrets / name).chmod(0o600)
    main = {"asn": 64512, "router_id": "10.0.0.11", "families": ["ipv4", "ipv6"], "racks": racks(secrets)}
    appliance = Appliance(
        shared_net,
        "rr-a",
        "10.0.0.11",
        instances={"main": main},
        allocations={"nodes": {"victim": {"addresses": ["10.4.0.12"], "prefixes": ["10.244.4.0/24"]}}},
    )
    to = appliance.remote()
    nodes: dict[str, Peer] = {}
    for number, (kind, node) in enumerate(NODE_KINDS.items(), start=11):
        nodes[f"md5-{kind}"] = node(
            shared_net, f"md5-{kind}", f"10.2.0.{number}", to=to, password=NODES_SECRET
        )
        nodes[f"gtsm-{kind}"] = node(shared_net, f"gtsm-{kind}", f"10.3.0.{number}", to=to, ttl_security=True)
    nodes["plain"] = FrrNode(shared_net, "plain", "10.4.0.11", "fd00:4::11", to=to)
    nodes["victim"] = BirdNode(shared_net, "victim", "10.4.0.12", "fd00:4::12", to=to)
    nodes["other"] = BirdNode(shared_net, "other", "10.5.0.11", "fd00:5::11", to=to)
    tors: dict[str, Peer] = {
        "md5-frr": FrrTor(shared_net, "tor-1", "10.2.1.1", to=to, password=TOR_SECRET),
        "md5-bird": BirdTor(shared_net, "tor-2", "10.2.1.2", to=to, password=TOR_SECRET, passive=True),
        "dialing": FrrTor(shared_net, "tor-3", "10.4.1.1", "fd00:4:1::1", to=to),
        "passive-bird": BirdTor(
            shared_net, "tor-4", "10.4.1.2", "fd00:4:1::2", to=to, passive=True, listen_port=1179
        ),
        "passive-frr": FrrTor(shared_net, "tor-5", "10.4.1.3", to=to, passive=True, listen_port=1179),
        "other": BirdTor(shared_net, "tor-6", "10.5.1.1", to=to),
    }
    all_established(*nodes.values(), *tors.values(), timeout=30)
    fabric = Fabric(shared_net, appliance, nodes, tors)
    # A peer has a session a moment before the appliance knows.
    eventually(lambda: len(fabric.since()) == len(nodes) + len(tors), 10, "every session", seen=fabric.since)
    return fabric


def test_nodes_and_tors_with_the_right_password_have_sessions(fabric: Fabric) -> None:
    """TCP-MD5 on the range with nodes of every kind, and another password with an FRR and a BIRD ToR."""
    peers = {
        peer["address"]: peer["state"] for peer in fabric.appliance.rrctl("peers") if peer["rack"] == "md5"
    }
    members = [*fabric.nodes.items(), *fabric.tors.items()]
    ours = [peer.host.address(4) for name, peer in members if name.startswith("md5-")]
    assert [peers[str(address)] for address in ours] == ["established"] * 6


def test_a_wrong_password_or_none_gets_no_session_and_disturbs_nobody(fabric: Fabric) -> None:
    """Nodes and ToRs with a wrong password, with none, and with the other one's: no session; the others stay up."""
    before = fabric.since()
    to, net = fabric.appliance.remote(), fabric.network
    intruders: list[Peer] = [
        FrrNode(net, "wrong", "10.2.0.21", to=to, password="guessed"),
        BirdNode(net, "none", "10.2.0.22", to=to),
        GobgpNode(net, "tors", "10.2.0.23", to=to, password=TOR_SECRET),
        FrrTor(net, "tor-wrong", "10.2.1.3", to=to, password="guessed"),
        BirdTor(net, "tor-none", "10.2.1.4", to=to),
    ]
    never(lambda: [peer for peer in intruders if peer.established()], 3, "a session without the password")
    for peer in intruders:
        peer.kill()
    assert fabric.since() == before


def test_who_dials_from_no_range_or_from_another_as_has_no_session(fabric: Fabric) -> None:
    """A node outside of every range, one beside a ToR, and one of another AS: none gets in, the others stay up."""
    before = fabric.since()
    to, net = fabric.appliance.remote(), fabric.network
    intruders: list[Peer] = [
        BirdNode(net, "outside", "10.6.0.11", to=to),
        BirdNode(net, "other-as", "10.4.0.31", to=to, asn=64999),
        FrrNode(net, "beside-tor", "10.4.1.99", to=to),
    ]
    never(lambda: [peer for peer in intruders if peer.established()], 2, "a session for an intruder")
    for peer in intruders:
        peer.kill()
    assert fabric.since() == before


def test_a_node_of_another_rack_needs_no_password_of_this_one(fabric: Fabric) -> None:
    """The password belongs to its range alone: nodes of the plain rack have sessions without one."""
    up = fabric.since()
    assert {"10.4.0.11", "10.4.0.12", "10.5.0.11"} <= up.keys()


def test_with_ttl_security_only_neighbours_on_the_wire_have_sessions(fabric: Fabric) -> None:
    """Nodes of every kind that send with TTL 255 have sessions; BIRD with its usual 64, as from afar, has none."""
    up = fabric.since()
    assert {"10.3.0.11", "10.3.0.12", "10.3.0.13", "10.3.0.14"} <= up.keys()
    afar = BirdNode(fabric.network, "afar", "10.3.0.21", to=fabric.appliance.remote())
    # BIRD itself may think otherwise: what the engine sends does arrive.
    never(lambda: "10.3.0.21" in fabric.since(), 3, "a session with packets that were sent with TTL 64")
    afar.kill()
    assert fabric.since() == up


def test_a_tor_that_dials_and_tors_that_wait_on_another_port_have_sessions(fabric: Fabric) -> None:
    """`passive: true` waits for the FRR ToR; `port: 1179` dials BIRD and FRR ToRs that only listen there."""
    up = fabric.since()
    assert {"10.4.1.1", "10.4.1.2", "10.4.1.3"} <= up.keys()
    ports = fabric.appliance.host.run("ss", "-Htn", "state", "established").split()
    assert {"10.4.1.2:1179", "10.4.1.3:1179"} <= set(ports)
    assert "10.4.1.1:179" not in ports


def test_a_tors_default_route_reaches_its_own_racks_nodes_and_nobody_else(fabric: Fabric) -> None:
    """`from_tors` lets 0.0.0.0/0 and ::/0 in: the rack's nodes hold them via the ToR, others hear nothing."""
    others = [peer for name, peer in (fabric.nodes | fabric.tors).items() if name not in ("plain", "victim")]
    ear = Listening(*(peer for peer in others if not isinstance(peer, GobgpNode)))
    tor = fabric.tors["passive-bird"]
    tor.announce(DEFAULT)
    tor.announce(DEFAULT6)
    rack = (fabric.nodes["plain"], fabric.nodes["victim"])
    wanted = {DEFAULT: {"10.4.1.2"}, DEFAULT6: {"fd00:4:1::2"}}
    eventually(
        lambda: all({prefix: node.next_hops(prefix) for prefix in wanted} == wanted for node in rack),
        5,
        "both default routes at the rack's nodes",
        seen=lambda: [node.routes() for node in rack],
    )
    for node in rack:
        for path in (*node.paths(DEFAULT), *node.paths(DEFAULT6)):
            assert path.communities == frozenset()
    assert not ear.updates()
    assert not fabric.nodes["md5-gobgp"].routes()
    tor.withdraw(DEFAULT)
    tor.withdraw(DEFAULT6)
    eventually(
        lambda: not any(node.routes().keys() & {DEFAULT, DEFAULT6} for node in rack), 5, "they are gone again"
    )


FROM_A_TOR = {
    "a part of what it may send": "0.0.0.0/1",
    "a prefix of its own": "192.0.2.0/24",
    "a node's prefix": "10.244.4.0/24",
    "a node's prefix in pieces": "10.244.4.0/25",
}


@pytest.mark.parametrize("what", FROM_A_TOR)
def test_nothing_else_that_a_tor_sends_goes_anywhere(fabric: Fabric, what: str) -> None:
    """No node and no other ToR hears it, and it is a violation tor-not-allowed."""
    assert_kept_out(fabric, "passive-bird", FROM_A_TOR[what])


def test_without_from_tors_not_even_a_default_route_goes_anywhere(fabric: Fabric) -> None:
    """A default route from a ToR of a rack without `from_tors` is a violation tor-not-allowed; nobody hears it."""
    assert_kept_out(fabric, "other", DEFAULT)


def assert_kept_out(fabric: Fabric, tor: str, prefix: str) -> None:
    sender = fabric.tors[tor]
    others = [p for p in (*fabric.nodes.values(), *fabric.tors.values()) if p is not sender]
    ear = Listening(*(peer for peer in others if not isinstance(peer, GobgpNode)))
    sender.announce(prefix)
    address = str(sender.host.address(4))

    def listed() -> list[dict[str, Any]]:
        return fabric.appliance.violations(peer=address, prefix=prefix, reason="tor-not-allowed", active=True)

    eventually(listed, 5, "a violation tor-not-allowed", seen=fabric.appliance.violations)
    never(lambda: ear.heard(prefix), 0.3, f"{prefix} from a ToR")
    sender.withdraw(prefix)
    eventually(lambda: not listed(), 5, "the violation has ended")
