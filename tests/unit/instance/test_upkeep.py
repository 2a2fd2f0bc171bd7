"""When engine and rules disagree about a route, and when that is a reason to reset a session."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rr.engine.reconcile import Outcome, Reconciler
from rr.instance import upkeep
from rr.instance.health import Health
from rr.instance.upkeep import Upkeep
from rr.instance.wants import Wants
from rr.net import Address
from tests.unit.view.test_live import NOBODYS, NODE, Picture


class Engine:
    """Remembers whose session was reset, and whose routes were judged again."""

    def __init__(self) -> None:
        self.held = None
        self.resets: list[Address] = []
        self.judged: list[set[Address]] = []

    async def reset(self, address: Address) -> None:
        self.resets.append(address)

    async def refresh(self, addresses: set[Address]) -> None:
        self.judged.append(set(addresses))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def work(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Upkeep:
    """An engine whose picture has a route of NODE that the rules refuse."""
    monkeypatch.setattr(upkeep, "SETTLE", 0.001)
    view = Picture()
    view.become(NODE, "established")
    view.hear(NODE, NOBODYS, accepted=True)
    assert view.leaks() == {NODE}
    wants: Any = SimpleNamespace(name="main", view=view, allocated=True, audit=False, wake=asyncio.Event())
    wants.continuity = SimpleNamespace(taken_back=lambda count: None)
    return Upkeep(cast("Wants", wants), cast("Reconciler", engine), Health(), lambda *words: None)


async def test_a_route_that_stays_though_it_was_judged_again_costs_the_session(
    work: Upkeep, engine: Engine
) -> None:
    await work._rest()
    assert (engine.judged, engine.resets) == ([{NODE}], [])
    await work._rest()
    assert engine.resets == [NODE]


async def test_a_repair_explains_why_a_route_stayed_and_costs_no_session(
    work: Upkeep, engine: Engine
) -> None:
    await work._rest()
    work._settled(Outcome(repaired=True))
    await work._rest()
    assert (engine.judged, engine.resets) == ([{NODE}, {NODE}], [])
    await work._rest()
    assert engine.resets == [NODE]


async def test_a_change_in_the_moment_in_which_all_seems_settled_resets_nobody(
    work: Upkeep, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that is asked once a second changes something just when the wait of a second is over, time and again."""

    async def over(event: asyncio.Event, seconds: float) -> bool:
        event.set()
        return False

    monkeypatch.setattr(upkeep, "_set_within", over)
    for _ in range(3):
        work._compared = 0.0
        await work._rest()
    assert engine.resets == []
    assert engine.judged == [{NODE}] * 3


@pytest.mark.parametrize(("took", "pause"), [(0.01, 5.0), (0.1, 5.0), (0.12, 5.0), (0.2, 20.0), (0.6, 100.0)])
def test_an_audit_that_takes_long_is_made_less_often(work: Upkeep, took: float, pause: float) -> None:
    work.view.complete = True
    work._audit_took = took
    assert work._next_audit() - work._audited == pytest.approx(pause)


def test_an_audit_is_soon_where_the_picture_is_not_whole(work: Upkeep) -> None:
    work.view.complete = False
    work._audit_took = 0.6
    assert work._next_audit() - work._audited == pytest.approx(5.0)
