"""What a guard blames nodes for, told by the picture alone; it asks the engine nothing for that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from rr.engine.events import PeerChanged
from rr.engine.pb import gobgp_pb2 as pb
from rr.errors import EngineUnavailable
from rr.guard import queues
from rr.guard.quarantine import Offence
from rr.guard.queues import Queue
from rr.instance import guarding
from rr.instance.guarding import BGP_PORT, CHURN, Guard
from rr.net import Address
from rr.policy.rules import Rules
from tests.unit.api.serving import until
from tests.unit.policy.worlds import instance
from tests.unit.view.test_live import NODE, OTHER, OWN, TOR, UNKNOWN, Picture

OUTSIDE = ip_address("192.0.2.77")


class StubEngine:
    """Knows no peer and says so, or does not answer."""

    def __init__(self) -> None:
        self.dead = False
        self.deleted: list[Address] = []
        self.reset_peers: list[Address] = []

    async def peers(self, address: Address | None = None) -> list[pb.Peer]:
        if self.dead:
            raise EngineUnavailable("it does not answer")
        return []

    async def delete_peer(self, address: Address) -> None:
        if self.dead:
            raise EngineUnavailable("it does not answer")
        self.deleted.append(address)

    async def reset(self, address: Address, message: str) -> None:
        self.reset_peers.append(address)


class Watch:
    """A guard at work."""

    def __init__(self, log: Path) -> None:
        self.view, self.engine = Picture(), StubEngine()
        self.guard = Guard(self.view, log, lambda *words: None)

    async def rounds(self, number: int = 3) -> None:
        await asyncio.sleep(number * guarding.LOOK_EVERY)

    def blamed(self) -> list[tuple[str, Offence]]:
        return [(blame.subject, blame.offence) for blame in self.guard.blames]


@pytest.fixture
async def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    monkeypatch.setattr(guarding, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(queues, "look", list)
    watch = Watch(tmp_path / "gobgpd.log")
    task = asyncio.create_task(watch.guard.watch(watch.engine))  # type: ignore[arg-type]
    await watch.rounds()
    yield watch
    assert not task.done(), "the guard gave up"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def lose(view: Picture, address: Address) -> None:
    view.become(address, "established")
    view.become(address, "idle")


async def test_a_lost_session_is_a_blame_of_the_node_with_all_its_addresses(watch: Watch) -> None:
    lose(watch.view, NODE)
    lose(watch.view, UNKNOWN)
    await watch.rounds()
    assert watch.blamed() == [("node-1", Offence.FLAPPING), (str(UNKNOWN), Offence.FLAPPING)]
    assert watch.guard.blames[0].addresses == {NODE, ip_address("10.2.0.13")}


async def test_tors_and_strangers_are_never_blamed(watch: Watch) -> None:
    lose(watch.view, TOR)
    lose(watch.view, OUTSIDE)
    for number in range(400):
        watch.view.hear(TOR, ip_network((0x0B000000 + (number << 8), 24)), accepted=False)
    await watch.rounds()
    assert watch.blamed() == []


async def test_a_session_that_came_up_anew_between_two_looks_was_lost(watch: Watch) -> None:
    watch.view.become(NODE, "established")
    lately = (watch.view.peers[NODE].since or 0.0) + 10.0
    watch.view.apply(PeerChanged(NODE, "established", "10.0.0.1", 64512, False, lately))
    await watch.rounds()
    assert watch.blamed() == [("node-1", Offence.FLAPPING)]


async def test_a_session_that_we_closed_ourselves_is_excused(watch: Watch) -> None:
    watch.guard.excuse(NODE)
    lose(watch.view, NODE)
    lose(watch.view, OTHER)
    await watch.rounds()
    assert watch.blamed() == [("node-2", Offence.FLAPPING)]


async def test_a_drain_closes_every_session_and_blames_nobody(watch: Watch) -> None:
    watch.guard.excuse_everybody()
    lose(watch.view, NODE)
    lose(watch.view, OTHER)
    await watch.rounds()
    assert watch.blamed() == []


async def test_one_prefix_more_than_allowed_is_a_blame(watch: Watch) -> None:
    prefixes = [ip_network((0x0B000000 + (number << 8), 24)) for number in range(257)]
    for prefix in prefixes[:256]:
        watch.view.hear(NODE, prefix, accepted=False)
    await watch.rounds()
    assert watch.blamed() == []
    watch.view.hear(NODE, prefixes[256], accepted=False)
    await watch.rounds()
    assert ("node-1", Offence.MAX_PREFIXES) in watch.blamed()
    assert "announced 257 prefixes, and 256 are allowed" in watch.guard.blames[0].text


async def test_routes_that_change_all_the_time_are_a_blame_and_judging_again_is_no_change(
    watch: Watch,
) -> None:
    for _ in range(CHURN * 256 + 10):
        watch.view.hear(NODE, OWN, at=100)
    await watch.rounds()
    assert watch.blamed() == []
    for number in range(CHURN * 256 + 10):
        watch.view.hear(NODE, OWN, at=200 + number)
    await watch.rounds()
    assert watch.blamed() == [("node-1", Offence.CHURN)]


async def test_changes_that_spread_over_many_windows_are_none(watch: Watch) -> None:
    watch.guard.window = 0.0
    for number in range(CHURN * 256 + 10):
        watch.view.hear(NODE, OWN, at=200 + number)
        if number % 1000 == 0:
            await watch.rounds(1)
    await watch.rounds()
    assert watch.blamed() == []


@pytest.mark.parametrize("local", ["10.0.0.11", "10.0.0.10"], ids=["listen", "floating"])
async def test_a_peer_that_acknowledges_nothing_is_reset_over_each_address_that_the_engine_listens_on(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, local: str
) -> None:
    """Connections of other programs of this host with the same peers are not the engine's."""
    settings = instance(listen=["10.0.0.11"], floating=["10.0.0.10"])
    watch.view.rules = Rules(settings.model_copy(update={"send_hold_time": 0.05}))
    watch.view.become(NODE, "established")
    watch.view.become(OTHER, "established")
    foreign = ip_address("192.0.2.1")
    stuck = [
        Queue(NODE, (BGP_PORT, 40000), ip_address(local), 4096, 7),
        Queue(OTHER, (BGP_PORT, 40000), foreign, 4096, 7),
    ]
    monkeypatch.setattr(guarding, "QUEUES_EVERY", 0.01)
    monkeypatch.setattr(queues, "look", lambda: stuck)
    watch.guard._queues_due = 0.0
    await until(lambda: bool(watch.engine.reset_peers))
    await watch.rounds(10)
    assert set(watch.engine.reset_peers) == {NODE}


async def test_an_engine_that_does_not_answer_is_left_to_others(watch: Watch) -> None:
    watch.engine.dead = True
    watch.guard.stale_time = 0
    watch.view.hear(NODE, OWN, stale=True)
    watch.view.become(NODE, "idle")
    await watch.rounds()
    watch.engine.dead = False
    await watch.rounds()
    assert watch.engine.deleted[:1] == [NODE]
