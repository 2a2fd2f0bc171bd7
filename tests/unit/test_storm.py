"""When a cold start of many nodes is one, and when it is over."""

from ipaddress import ip_address
from typing import cast

import pytest

from rr.engine.client import Engine
from rr.engine.events import PeerChanged
from rr.engine.speaker import FAMILIES
from rr.instance import storm
from rr.policy.rules import Rules
from rr.view.live import LiveView
from tests.unit.policy.worlds import allocations, instance


class Counting:
    """An engine whose Loc-RIB has these numbers of paths, one after the other, and stays at the last."""

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)
        self.asked = 0

    async def count_paths(self, _family: object) -> int:
        self.asked += 1
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


def view_of(nodes: int, network: str = "10.2.0") -> LiveView:
    view = LiveView("main", Rules(instance()), lambda *_: None)
    view.allocations = allocations(
        {f"node-{n}": ([f"{network}.{n}"], [f"10.244.{n}.0/24"]) for n in range(1, nodes + 1)}
    )
    return view


async def pass_storm(counting: Counting, view: LiveView) -> None:
    await storm.passed(view, cast(Engine, counting), [FAMILIES["ipv4"]])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "WINDOW", 0.001)


def test_only_many_nodes_of_this_instance_make_a_storm() -> None:
    assert storm.expected(view_of(storm.MANY))
    assert not storm.expected(view_of(storm.MANY - 1))
    assert not storm.expected(view_of(storm.MANY, network="192.0.2"))


async def test_it_is_over_when_few_new_routes_come() -> None:
    counting = Counting(0, 0, 5, 300, 900, 1200, 1200 + storm.CALM - 1, 2000)
    await pass_storm(counting, view_of(0))
    assert counting.asked == 7


async def test_it_is_over_at_some_time_though_routes_never_cease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "PATIENCE", 0.05)
    await pass_storm(Counting(*range(1, 100_000, storm.CALM)), view_of(0))


async def test_it_is_over_at_some_time_though_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "PATIENCE", 0.05)
    view = view_of(0)
    await pass_storm(Counting(0), view)
    assert view.crossings.moved == float("-inf")


async def test_routes_count_as_moving_while_they_pour_in() -> None:
    view = view_of(0)
    await pass_storm(Counting(100, 200, 200), view)
    assert view.crossings.moved > 0


def test_a_session_that_a_census_finds_is_to_be_sent_its_routes_again() -> None:
    """The storm's end relies on it: whoever came up while routes poured in may lack one."""
    view = view_of(2)
    peer = ip_address("10.2.0.1")
    view.census([PeerChanged(peer, "established", "10.0.0.1", 64512, False, 1000.0)], since=0.0)
    assert view.crossings.suspects == {peer}
