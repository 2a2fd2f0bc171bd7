"""Dual stack: prefixes of both families over sessions of both families, on either side of the reflector."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Appliance, BirdTor, FrrTor, Network, Peer, all_established, eventually
from tests.lab.kinds import NODE_KINDS
from tests.lab.listening import Listening
from tests.lab.peer import Transport

pytestmark = pytest.mark.root

TRANSPORTS: tuple[Transport, ...] = ("ipv4", "ipv6", "both")
NODES = [(kind, over) for kind in NODE_KINDS for over in TRANSPORTS]


@dataclass(frozen=True)
class Rack:
    appliance: Appliance
    nodes: dict[tuple[str, Transport], Peer]
    tors: dict[str, Peer]

    def sessions(self) -> dict[str, str]:
        """Since when each session is in its state."""
        return {peer["address"]: peer["since"] for peer in self.appliance.rrctl("peers")}


def numbered(kind: str, over: Transport) -> tuple[str, str, str, str]:
    """Addresses and prefixes of a node, IPv4 and IPv6."""
    n = 11 + NODES.index((kind, over))
    return f"10.2.0.{n}", f"fd00:2::{n}", f"10.244.{n}.0/24", f"fd00:10:{n}::/64"


@pytest.fixture(scope="module")
def rack(shared_net: Network) -> Rack:
    tors = ["10.2.1.1", "fd00:2:1::1", "fd00:2:1::2", "10.2.1.3", "fd00:2:1::4"]
    racks = {
        "rack-1": {
            "nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]},
            "tors": [{"address": address} for address in tors],
        }
    }
    main = {"asn": 64512, "router_id": "10.0.0.11", "listen": ["10.0.0.11", "fd00::11"], "racks": racks}
    nodes = {}
    for kind, over in NODES:
        v4, v6, pod4, pod6 = numbered(kind, over)
        nodes[f"{kind}-{over}"] = {"addresses": [v4, v6], "prefixes": [pod4, pod6]}
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", "fd00::11", instances={"main": main}, allocations={"nodes": nodes}
    )
    remote = appliance.remote()
    rack = Rack(
        appliance,
        {
            (kind, over): NODE_KINDS[kind](
                shared_net, f"{kind}-{over}", *numbered(kind, over)[:2], to=remote, over=over
            )
            for kind, over in NODES
        },
        {
            "frr over both": FrrTor(shared_net, "tor-1", "10.2.1.1", "fd00:2:1::1", to=remote, over="both"),
            "frr over ipv6": FrrTor(shared_net, "tor-2", "10.2.1.2", "fd00:2:1::2", to=remote, over="ipv6"),
            "bird over ipv4": BirdTor(shared_net, "tor-3", "10.2.1.3", "fd00:2:1::3", to=remote, over="ipv4"),
            "bird over ipv6": BirdTor(shared_net, "tor-4", "10.2.1.4", "fd00:2:1::4", to=remote, over="ipv6"),
        },
    )
    all_established(*rack.nodes.values(), *rack.tors.values())
    # ToRs are sent everything once more after they came up; a scenario that listens must not hear that.
    eventually(lambda: sent_again(appliance) >= len(tors), 20, "ToRs were sent their routes again")
    return rack


def sent_again(appliance: Appliance) -> int:
    """How many peers were sent their routes once more, as rrd's log says."""
    assert appliance.process is not None
    lines = map(json.loads, filter(None, appliance.process.log.read_text().splitlines()))
    return sum(line["peers"] for line in lines if "sent them again" in line["event"])


OFF_FAMILY = {("gobgp", "ipv4"): 6, ("gobgp", "ipv6"): 4}
"""Nodes whose own next hop is of the other family than the prefix, and the IP version of those prefixes."""


def pods(kind: str, over: Transport) -> dict[int, tuple[str, str]]:
    """By IP version: a node's prefix, and the address that should be its next hop."""
    v4, v6, pod4, pod6 = numbered(kind, over)
    return {4: (pod4, v4), 6: (pod6, v6)}


def at_every_tor(rack: Rack, prefix: str, next_hop: str) -> None:
    """Wait until every ToR has one path, with this next hop, in BGP and in the kernel."""

    def held() -> dict[str, Any]:
        return {
            name: ([path.next_hop for path in tor.paths(prefix)], tor.host.kernel_next_hops(prefix))
            for name, tor in rack.tors.items()
        }

    wanted = ([next_hop], frozenset({next_hop}))
    eventually(
        lambda: all(found == wanted for found in held().values()), 10, f"{prefix} via {next_hop}", seen=held
    )


@pytest.mark.parametrize("over", TRANSPORTS)
@pytest.mark.parametrize("kind", NODE_KINDS)
def test_prefixes_of_both_families_reach_every_tor_from(rack: Rack, kind: str, over: Transport) -> None:
    """From a node over one or two sessions to FRR and BIRD ToRs over IPv4, IPv6 and both: next hop unchanged."""
    for version, (prefix, next_hop) in pods(kind, over).items():
        off = OFF_FAMILY.get((kind, over)) == version
        rack.nodes[kind, over].announce(prefix, next_hop=next_hop if off else None)
    for prefix, next_hop in pods(kind, over).values():
        at_every_tor(rack, prefix, next_hop)


@pytest.mark.parametrize(("kind", "over"), OFF_FAMILY)
def test_a_next_hop_of_the_other_family_is_refused(rack: Rack, kind: str, over: Transport) -> None:
    """GoBGP's own choice over a session of the other family is a violation next-hop, and no session breaks."""
    prefix, next_hop = pods(kind, over)[OFF_FAMILY[kind, over]]
    node = rack.nodes[kind, over]
    node.announce(prefix, next_hop=next_hop)
    at_every_tor(rack, prefix, next_hop)
    before = rack.sessions()
    ear = Listening(*rack.tors.values())
    node.announce(prefix)
    eventually(
        lambda: rack.appliance.violations(prefix=prefix, reason="next-hop", active=True),
        5,
        "a violation next-hop",
    )
    eventually(lambda: not any(tor.paths(prefix) for tor in rack.tors.values()), 5, "the route is gone")
    assert not ear.updates(prefix)
    node.announce(prefix, next_hop=next_hop)
    at_every_tor(rack, prefix, next_hop)
    assert rack.sessions() == before


def test_nodes_of_one_rack_hold_each_others_routes_whatever_the_transport(rack: Rack) -> None:
    """Twelve nodes over IPv4, IPv6 and both hold the prefixes of the other eleven, in both families."""
    for kind, over in NODES:
        for prefix, next_hop in pods(kind, over).values():
            rack.nodes[kind, over].announce(prefix, next_hop=next_hop if (kind, over) in OFF_FAMILY else None)
    everything = {prefix for kind, over in NODES for prefix, _ in pods(kind, over).values()}

    def missing() -> dict[str, set[str]]:
        wanted = {way: everything - {prefix for prefix, _ in pods(*way).values()} for way in NODES}
        return {
            node.name: left for way, node in rack.nodes.items() if (left := wanted[way] ^ set(node.routes()))
        }

    eventually(lambda: not missing(), 10, "all routes at all nodes", seen=missing)
