"""Slow peers, ghosts and floods: what would fill the engine's memory is found and closed; nobody else notices."""

import socket
import struct
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Appliance, BirdNode, BirdTor, Network, all_established, eventually, never
from tests.lab.gobgp import engine_program, neighbor_states
from tests.lab.process import run
from tests.lab.raw import EMPTY_AS_PATH, LOCAL_PREF_100, ORIGIN_IGP, RawSpeaker
from tests.scenarios.lifecycle import Calm

pytestmark = pytest.mark.root

HOLD = 4
PREFIXES = [f"10.244.{number}.0/24" for number in range(1, 251)]
TALKER, NODE = "10.2.0.11", "10.2.0.12"
SLOW_TOR, SLOW_NODE = "10.2.1.2", "fd00:2::21"
FEW_BYTES = 2048


@dataclass
class Fabric:
    """An appliance with a good ToR and a good node of BIRD, and a node that has much to say."""

    net: Network
    appliance: Appliance
    tor: BirdTor
    node: BirdNode
    talker: RawSpeaker
    talks: int = 0

    def talk(self) -> None:
        """Announce every prefix anew, each in an UPDATE of its own."""
        self.talks += 1
        for number, prefix in enumerate(PREFIXES):
            community = struct.pack("!BBBHH", 0xC0, 8, 4, 64512, 1000 * self.talks + number)
            next_hop = b"\x40\x03\x04" + socket.inet_aton(TALKER)
            nlri = bytes([24, *socket.inet_aton(prefix.partition("/")[0])[:3]])
            attributes = ORIGIN_IGP + EMPTY_AS_PATH + next_hop + LOCAL_PREF_100 + community
            self.talker.send_update(attributes=attributes, nlri=nlri)

    def listed(self, **wanted: str) -> list[dict[str, Any]]:
        """Events with these values."""
        found: list[dict[str, Any]] = self.appliance.rrctl("events")
        return [e for e in found if all(e[key] == value for key, value in wanted.items())]

    def state(self, address: str) -> str:
        """The state of a peer's session, as rrd knows it."""
        return next(
            (str(p["state"]) for p in self.appliance.rrctl("peers") if p["address"] == address), "none"
        )

    def entries(self) -> int:
        """How many peers the engine keeps."""
        socket_ = self.appliance.run_dir / "main" / "gobgpd.sock"
        return len(
            neighbor_states(run([engine_program("gobgp"), "--target", f"unix://{socket_}", "neighbor", "-j"]))
        )


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    rack = {
        "nodes": {"ranges": ["10.2.0.0/24", "fd00:2::/64"]},
        "tors": [{"address": "10.2.1.1"}, {"address": SLOW_TOR, "add_paths": 0}],
    }
    main = {
        "asn": 64512, "router_id": "10.0.0.11", "listen": ["10.0.0.11", "fd00::11"], "racks": {"rack-1": rack},
        "send_hold_time": HOLD,
    }  # fmt: skip
    nodes = {
        "talker": {"addresses": [TALKER], "prefixes": PREFIXES},
        "node": {"addresses": [NODE], "prefixes": ["10.245.0.0/24"]},
        "slow": {"addresses": [SLOW_NODE], "prefixes": ["10.245.1.0/24"]},
    }
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", "fd00::11", instances={"main": main}, allocations={"nodes": nodes},
        settings={"quarantine": {"window": 120, "first": 60}},
    )  # fmt: skip
    tor = BirdTor(shared_net, "tor-1", "10.2.1.1", to=appliance.remote(), over="ipv4")
    node = BirdNode(shared_net, "node", NODE, to=appliance.remote(), over="ipv4")
    talker = RawSpeaker(shared_net.host("talker", TALKER), asn=64512)
    talker.dial("10.0.0.11")
    talker.wait_established()
    all_established(tor, node)
    fabric = Fabric(shared_net, appliance, tor, node, talker)
    fabric.talk()
    eventually(lambda: set(tor.routes()) >= set(PREFIXES), 10, "the ToR holds every route")
    return fabric


def test_a_tor_that_does_not_read_is_reset_before_it_fills_the_memory(fabric: Fabric) -> None:
    """A ToR keeps its session alive and reads nothing: reset after `send_hold_time`, said, never quarantined."""
    slow = RawSpeaker(fabric.net.host("tor-2", SLOW_TOR), asn=64512, receive_buffer=FEW_BYTES)
    slow.listen()
    eventually(lambda: fabric.state(SLOW_TOR) == "established", 15, "the ToR has a session")
    calm = Calm((fabric.tor, fabric.node))
    never(lambda: fabric.listed(kind="slow"), HOLD + 3, "a reset of a ToR that reads")
    slow.reading.clear()
    fabric.talk()
    (event,) = eventually(
        lambda: fabric.listed(kind="slow", subject=SLOW_TOR), HOLD + 8, "the slow ToR is reset"
    )
    assert f"session with ToR {SLOW_TOR} is reset: it acknowledged nothing for" in event["text"]
    eventually(lambda: fabric.state(SLOW_TOR) != "established", 5, "its session is down")
    assert fabric.appliance.rrctl("quarantine", "list") == []
    slow.stop()
    eventually(fabric.tor.established, 1, "the other ToR has its session")
    calm.check()


def test_a_node_that_does_not_read_again_and_again_is_quarantined(fabric: Fabric) -> None:
    """Over IPv6: reset three times after `send_hold_time`, then kept out; others lose nothing."""
    host, calm = fabric.net.host("slow", SLOW_NODE), Calm((fabric.tor, fabric.node))
    for number in range(1, 4):
        slow = RawSpeaker(host, asn=64512, receive_buffer=FEW_BYTES)
        slow.dial("fd00::11")
        slow.wait_established()
        slow.send_update()
        eventually(lambda: fabric.state(SLOW_NODE) == "established", 10, "rrd knows of the session")
        slow.reading.clear()
        fabric.talk()
        eventually(
            lambda number=number: len(fabric.listed(kind="slow", subject=SLOW_NODE)) == number,  # type: ignore[misc]
            HOLD + 8,
            f"the slow node is reset the {number}. time",
        )
        slow.stop()
    (row,) = eventually(
        lambda: fabric.appliance.rrctl("quarantine", "list"), 5, "the slow node is quarantined"
    )
    assert (row["node"], row["reason"]) == ("slow", "slow")
    calm.check()


def test_whoever_connects_and_says_nothing_more_is_forgotten(fabric: Fabric) -> None:
    """Connections from 40 addresses, closed at once: the engine forgets all of them; sessions stay."""
    host = fabric.net.host("passer-by", *(f"10.2.0.{number}" for number in range(101, 141)))
    calm, before = Calm((fabric.tor, fabric.node)), fabric.entries()
    for address in host.addresses:
        host.connect("10.0.0.11", 179, source=address).close()
    eventually(lambda: fabric.entries() >= before + 40, 5, "the engine keeps an entry of each")
    eventually(lambda: fabric.entries() <= before, 45, "they are forgotten", seen=fabric.entries)
    assert any("have no session were forgotten" in event["text"] for event in fabric.listed(kind="ghost"))
    calm.check()


def dial(source: str) -> socket.socket:
    """Begin to connect, and wait for nothing."""
    connection = socket.socket()
    connection.bind((source, 0))
    connection.setblocking(False)
    connection.connect_ex(("10.0.0.11", 179))
    return connection


def test_half_open_sessions_of_a_range_are_bounded(fabric: Fabric) -> None:
    """160 connections that stay silent: the oldest are closed until 128 are left; sessions stay."""
    addresses = [f"10.2.0.{number}" for number in range(50, 100)] + [f"10.2.0.{n}" for n in range(101, 251)]
    host = fabric.net.host("flood")
    known = set(fabric.net.hosts["passer-by"].addresses)
    host.add_addresses(*(address for address in addresses if address not in known))
    calm, before = Calm((fabric.tor, fabric.node)), fabric.entries()
    connections = host.inside(lambda: [dial(address) for address in host.addresses])
    assert len(connections) == 160
    (event,) = eventually(lambda: fabric.listed(kind="flood", subject="10.2.0.0/24"), 30, "the flood is said")
    assert "are half open" in event["text"]
    eventually(lambda: fabric.entries() <= before + 128, 5, "not more are left", seen=fabric.entries)
    calm.check()
    for connection in connections:
        connection.close()
