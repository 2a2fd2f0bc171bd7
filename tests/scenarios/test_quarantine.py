"""Quarantine: a node that does harm is kept out for a growing time, and nobody else notices."""

import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from tests.lab import Network, eventually, never
from tests.lab.network import Host
from tests.lab.raw import EMPTY_AS_PATH, LOCAL_PREF_100, ORIGIN_IGP, RawSpeaker
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    VIP,
    Calm,
    Fabric,
    allocations,
    build,
    instances,
    tors_hold,
    unwell,
)

pytestmark = pytest.mark.root

MOST = 20
SETTINGS: dict[str, Any] = {"session_losses": 4, "window": 15, "first": 3, "longest": 60}
LONG: dict[str, Any] = {**SETTINGS, "first": 60}
MANY = [f"10.250.{number}.0/24" for number in range(MOST + 5)]


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    fabric = build(shared_net, settings={"quarantine": SETTINGS})
    config = instances()
    config["main"]["racks"]["rack-1"]["nodes"]["max_prefixes"] = MOST
    fabric.appliance.set_config(config)
    fabric.appliance.reload()
    return fabric


_numbers = itertools.count(101)


@dataclass
class Rascal:
    """A peer in the range that no node has, for one bad habit at a time."""

    fabric: Fabric
    host: Host

    @property
    def address(self) -> str:
        return self.host.addresses[0]

    def dial(self) -> RawSpeaker:
        """Open a session, announce a prefix that nobody owns, and say that this is all."""
        speaker = RawSpeaker(self.host, asn=64512)
        speaker.dial("10.0.0.11")
        speaker.wait_established()
        next_hop = b"\x40\x03\x04" + socket.inet_aton(self.address)
        attributes = ORIGIN_IGP + EMPTY_AS_PATH + next_hop + LOCAL_PREF_100
        speaker.send_update(attributes=attributes, nlri=bytes([24, 192, 0, 2]))
        speaker.send_update()  # End-of-RIB (RFC 4724, section 2)
        eventually(lambda: self.address in sessions(self.fabric), 10, "rrd knows of the session")
        return speaker

    def flap(self) -> None:
        """Have a session, and lose it."""
        with contextlib.suppress(OSError, AssertionError):
            self.dial().stop()
            eventually(lambda: self.address not in sessions(self.fabric), 10, "rrd knows that it is gone")

    def babble(self) -> None:
        """Have a session, and send what is no BGP."""
        with contextlib.suppress(OSError, AssertionError):
            speaker = self.dial()
            speaker.send_octets(b"\x00" * 64)
            eventually(lambda: not speaker.established.is_set(), 10, "the session is closed")


@pytest.fixture
def rascal(fabric: Fabric) -> Callable[[], Rascal]:
    def make() -> Rascal:
        number = next(_numbers)
        return Rascal(fabric, fabric.net.host(f"rascal-{number}", f"10.2.0.{number}"))

    return make


@pytest.fixture(autouse=True)
def _as_found(fabric: Fabric) -> Iterator[None]:
    yield
    use(fabric, SETTINGS)
    for row in listed(fabric):
        fabric.appliance.rrctl("quarantine", "release", row["node"])
    eventually(lambda: all(node.established() for node in fabric.nodes.values()), 20, "every node is back")
    tors_hold(fabric, ROUTES)


def use(fabric: Fabric, settings: dict[str, Any]) -> None:
    fabric.appliance.settings["quarantine"] = settings
    fabric.appliance.set_config(fabric.appliance.instances)
    fabric.appliance.reload()


def sessions(fabric: Fabric) -> set[str]:
    return {p["address"] for p in fabric.appliance.rrctl("peers") if p["state"] == "established"}


def listed(fabric: Fabric) -> list[dict[str, Any]]:
    return list(fabric.appliance.rrctl("quarantine", "list"))


def kept_out(fabric: Fabric, subject: str) -> dict[str, Any]:
    """The row of a node that is kept out; empty for one that is not."""
    return next((row for row in listed(fabric) if row["node"] == subject), {})


def others(fabric: Fabric, *but: str) -> Calm:
    return Calm((*fabric.tors, *(node for name, node in fabric.nodes.items() if name not in but)))


def announce_too_much(fabric: Fabric) -> None:
    for prefix in MANY:
        fabric.nodes["node-3"].announce(prefix)


def announce_as_before(fabric: Fabric) -> None:
    for prefix in MANY:
        fabric.nodes["node-3"].withdraw(prefix)


def test_a_node_that_announces_too_many_prefixes_is_kept_out_with_all_its_routes(fabric: Fabric) -> None:
    """More than `max_prefixes`: session closed, routes gone at both ToRs, named by `check`; others lose nothing."""
    use(fabric, LONG)
    calm = others(fabric, "node-3")
    announce_too_much(fabric)
    row = eventually(lambda: kept_out(fabric, "node-3"), 10, "node-3 is quarantined")
    assert (row["reason"], row["addresses"], row["strikes"]) == ("max-prefixes", [NODES["node-3"]], 1)
    tors_hold(fabric, ROUTES - {PODS["node-3"]})
    never(lambda: NODES["node-3"] in sessions(fabric), 4, "a session with node-3")
    told = unwell(fabric)
    assert told.exit == 1
    assert "node-3 is quarantined" in told.stdout
    calm.check(gone={PODS["node-3"], VIP})
    announce_as_before(fabric)


def test_a_released_node_is_back_at_once(fabric: Fabric) -> None:
    """`rrctl quarantine release`, by address: the node's session and routes are back, and `check` is content."""
    use(fabric, LONG)
    announce_too_much(fabric)
    eventually(lambda: kept_out(fabric, "node-3"), 10, "node-3 is quarantined")
    announce_as_before(fabric)
    assert fabric.appliance.rrctl("quarantine", "release", NODES["node-3"]) == {"released": ["node-3"]}
    eventually(fabric.nodes["node-3"].established, 15, "node-3 has a session again")
    tors_hold(fabric, ROUTES)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 5, "check is content")
    again = fabric.appliance.tell("quarantine", "release", "node-3")
    assert again.exit == 1
    assert "node-3 is not quarantined" in again.stderr


def test_a_node_that_goes_on_is_kept_out_for_twice_as_long_each_time(fabric: Fabric) -> None:
    """The term of 3 seconds ends by itself, and then it is 6, since the node announces too much again."""
    announce_too_much(fabric)
    first = eventually(lambda: kept_out(fabric, "node-3"), 10, "node-3 is quarantined")
    second = eventually(
        lambda: next((r for r in listed(fabric) if r["strikes"] == first["strikes"] + 1), {}),
        20,
        "node-3 is quarantined again",
        seen=lambda: listed(fabric),
    )
    assert seconds(second) == pytest.approx(2 * seconds(first), abs=0.1)
    announce_as_before(fabric)
    eventually(lambda: not listed(fabric), 20, "the term is over")
    tors_hold(fabric, ROUTES, within=15)


def seconds(row: dict[str, Any]) -> float:
    return (datetime.fromisoformat(row["until"]) - datetime.fromisoformat(row["since"])).total_seconds()


def test_neither_a_new_controller_nor_a_new_engine_lets_a_node_in(fabric: Fabric) -> None:
    """rrd is killed and started, then the engine is killed: node-3 has no session before its time."""
    use(fabric, LONG)
    announce_too_much(fabric)
    before = eventually(lambda: kept_out(fabric, "node-3"), 10, "node-3 is quarantined")
    fabric.appliance.kill()
    never(fabric.nodes["node-3"].established, 2, "a session with node-3 while rrd is dead")
    fabric.appliance.start()
    after = kept_out(fabric, "node-3")
    assert after["until"] == before["until"]
    never(lambda: NODES["node-3"] in sessions(fabric), 3, "a session with node-3 after rrd is back")
    for pid in fabric.appliance.engines():
        fabric.appliance.host.run("kill", "-KILL", str(pid))
    eventually(lambda: sessions(fabric) >= {NODES["node-1"], NODES["node-2"]}, 40, "the other nodes are back")
    never(lambda: NODES["node-3"] in sessions(fabric), 3, "a session with node-3 after the engine is back")
    announce_as_before(fabric)


def test_a_node_that_loses_its_session_again_and_again_is_kept_out(
    fabric: Fabric, rascal: Callable[[], Rascal]
) -> None:
    """Four losses within the window: quarantined as flapping; connections are closed at once, others lose nothing."""
    use(fabric, LONG)
    calm, flapping = others(fabric), rascal()
    for _ in range(SETTINGS["session_losses"]):
        assert not kept_out(fabric, flapping.address)
        flapping.flap()
    row = eventually(lambda: kept_out(fabric, flapping.address), 5, "the peer is quarantined")
    assert row["reason"] == "flapping"
    with flapping.host.connect("10.0.0.11", 179) as connection:
        connection.settimeout(5)
        assert connection.recv(100) == b""
    calm.check()


def test_a_node_that_sends_garbage_is_kept_out(fabric: Fabric, rascal: Callable[[], Rascal]) -> None:
    """Three sessions that end with octets that are no BGP: quarantined for garbage; others lose nothing."""
    use(fabric, LONG)
    calm, babbling = others(fabric), rascal()
    for _ in range(3):
        assert not kept_out(fabric, babbling.address)
        babbling.babble()
    row = eventually(lambda: kept_out(fabric, babbling.address), 5, "the peer is quarantined")
    assert row["reason"] == "garbage"
    calm.check()


def test_when_many_nodes_flap_nobody_is_kept_out_and_it_alarms(
    fabric: Fabric, rascal: Callable[[], Rascal]
) -> None:
    """Three of six nodes flap: whoever was out is let in again, `check` is critical, and it ends with the flapping."""
    use(fabric, {**LONG, "window": 20})
    calm, rascals = others(fabric), [rascal() for _ in range(3)]
    known = allocations()
    for one in rascals:
        known["nodes"][one.host.name] = {"addresses": [one.address], "prefixes": []}
    fabric.appliance.set_allocations(known)
    eventually(lambda: fabric.appliance.rrctl("status")["ipam"]["nodes"] == 6, 5, "the IPAM knows six nodes")
    for _ in range(SETTINGS["session_losses"]):
        for one in rascals:
            one.flap()
    told = eventually(lambda: critical(fabric), 5, "check is critical", seen=lambda: listed(fabric))
    assert "nobody is quarantined in main: 3 of 6 nodes misbehave" in told
    assert not listed(fabric)
    rascals[0].dial().stop()
    calm.check()
    eventually(lambda: not critical(fabric), 40, "the alarm is over", seen=lambda: critical(fabric))
    fabric.appliance.set_allocations(allocations())


def critical(fabric: Fabric) -> str:
    told = fabric.appliance.tell("check")
    return told.stdout if told.exit == 2 else ""
