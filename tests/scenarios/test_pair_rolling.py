"""A pair under a stream of announcements: each half is restarted, drained, killed and cut off in turn."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rr.continuity.pair.certificates import make
from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    Forwarding,
    FrrNode,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    Stream,
    all_established,
    eventually,
)
from tests.scenarios.test_pair import HALVES, NAMES, TORS, instances, pair_of

pytestmark = pytest.mark.root

NODES: dict[str, tuple[type[Peer], str]] = {
    "frr": (FrrNode, "10.2.0.11"),
    "bird": (BirdNode, "10.2.0.12"),
    "gobgp": (GobgpNode, "10.2.0.13"),
}
PODS = {name: f"10.244.{number}.0/24" for number, name in enumerate(NODES, start=1)}
STREAM = [f"10.245.{number}.0/24" for number in range(8)]
"""What the FRR node announces and withdraws all the time."""
GONE_WITHIN = 20.0
"""Seconds in which a withdrawn route is gone from the ToRs, whatever is being restarted."""
ROLLED = 60.0


class Pair:
    """Two appliances, an FRR and a BIRD ToR, three nodes; everybody has a session with both halves."""

    def __init__(self, net: Network) -> None:
        folder = net.folder / "certificates"
        make(folder, NAMES, 30)
        owned = {
            name: {"addresses": [address], "prefixes": [PODS[name], *(STREAM if name == "frr" else [])]}
            for name, (_, address) in NODES.items()
        }
        self.halves = {
            name: Appliance(
                net,
                name,
                HALVES[name],
                instances=instances(name),
                allocations={"nodes": owned},
                settings={"pair": pair_of(name, folder)},
            )
            for name in NAMES
        }
        remotes = [half.remote() for half in self.halves.values()]
        self.tors: tuple[Peer, Peer] = (
            FrrTor(net, "tor-1", TORS["tor-1"], to=remotes),
            BirdTor(net, "tor-2", TORS["tor-2"], to=remotes),
        )
        self.nodes = {name: kind(net, name, address, to=remotes) for name, (kind, address) in NODES.items()}
        self.sessions_up()
        for name, node in self.nodes.items():
            node.announce(PODS[name])
        eventually(lambda: all(set(t.routes()) == set(PODS.values()) for t in self.tors), 10, "ToRs hold all")
        self.whole()

    def sessions_up(self) -> None:
        all_established(*self.tors, *self.nodes.values(), timeout=40)

    def whole(self) -> None:
        """Wait until neither half has a reason not to be spared."""
        self.sessions_up()
        for name, half in self.halves.items():
            eventually(
                lambda half=half: half.rrctl("pair", "status")["refusal"] is None,  # type: ignore[misc]
                30,
                f"{name} can be spared",
                seen=lambda half=half: half.rrctl("pair", "status"),  # type: ignore[misc]
            )

    def kill(self, name: str) -> None:
        """Controller and engine of one half, without a word."""
        half = self.halves[name]
        half.kill()
        for pid in half.engines():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def pair(net: Network) -> Pair:
    return Pair(net)


@contextmanager
def nothing_lost(pair: Pair) -> Iterator[None]:
    """Assert that with the stream running no ToR stops forwarding to a pod, and that all of the stream goes again."""
    tables = {tor.name: Forwarding(tor.host) for tor in pair.tors}
    stream = Stream(pair.nodes["frr"], STREAM)
    try:
        yield
    finally:
        stream.stop()
    eventually(
        lambda: all(set(tor.routes()) == set(PODS.values()) for tor in pair.tors),
        GONE_WITHIN,
        "what was withdrawn is gone",
        seen=lambda: {tor.name: sorted(tor.routes()) for tor in pair.tors},
    )
    lost = {name: set(table.taken_out()) & set(PODS.values()) for name, table in tables.items()}
    assert {name: found for name, found in lost.items() if found} == {}


def both_in_turn(pair: Pair, action: Callable[[str], None]) -> None:
    for name in NAMES:
        action(name)
        pair.whole()


def test_engines_of_both_halves_are_restarted_in_turn_without_loss(pair: Pair) -> None:
    """`rrctl engine restart` on one half, then on the other, each without --force."""

    def restart(name: str) -> None:
        told = pair.halves[name].tell("engine", "restart", timeout=ROLLED)
        assert told.exit == 0, told

    with nothing_lost(pair):
        both_in_turn(pair, restart)


def test_both_halves_are_drained_exchanged_and_undrained_in_turn_without_loss(pair: Pair) -> None:
    """As an upgrade does it: drain, end controller and engine, start them again, undrain; then the other half."""

    def upgrade(name: str) -> None:
        half = pair.halves[name]
        told = half.tell("drain", "--wait", "2", timeout=ROLLED)
        assert told.exit == 0, told
        pair.kill(name)
        half.start()
        told = half.tell("undrain", timeout=ROLLED)
        assert told.exit == 0, told

    with nothing_lost(pair):
        both_in_turn(pair, upgrade)


def test_both_halves_are_killed_in_turn_without_loss(pair: Pair) -> None:
    """Controller and engine of one half are killed and started again, then those of the other."""

    def kill(name: str) -> None:
        pair.kill(name)
        time.sleep(1)  # it stays away for a moment
        pair.halves[name].start()

    with nothing_lost(pair):
        both_in_turn(pair, kill)


def test_both_halves_are_cut_off_in_turn_without_loss(pair: Pair) -> None:
    """The cable of one half is pulled for longer than the hold time, put back, and then that of the other."""

    def cut_off(name: str) -> None:
        host, tor = pair.halves[name].host, pair.tors[1]
        host.unplug()
        eventually(lambda: tor.session_states()[HALVES[name]] != "established", 20, "its sessions time out")
        host.plug()

    with nothing_lost(pair):
        both_in_turn(pair, cut_off)
