"""Whom an engine's start left behind, from its roster until the last of them is back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rr.config.model import GracefulRestart
from rr.continuity.roster import Roster
from rr.instance import continuity as module
from rr.instance.continuity import Continuity
from rr.ipam.allocations import Allocations
from rr.net import Address
from rr.policy.rules import Rules
from tests.unit.api.serving import until
from tests.unit.policy.worlds import instance
from tests.unit.view.test_live import NODE, OTHER, OWNED, TOR, UNKNOWN, Picture

WAITED = 40.1
"""Seconds until nobody is awaited: the deferral time, and what ToRs have besides."""


class Start:
    """An engine that came up without all peers of the one before it, and is not waited for any more."""

    def __init__(self, folder: Path, back: set[Address]) -> None:
        self.view = Picture()
        self.continuity = Continuity(Roster(folder / "roster.json"), self.view, lambda *words: None)
        self.continuity.roster.see(frozenset({NODE, OTHER, TOR}), time.time())
        self.continuity.begin(GracefulRestart(restart_time=120, deferral_time=30), adopted=False)
        for address in back:
            self.view.become(address, "established")

    async def wait_out(self) -> None:
        """Let the time pass that peers have to come back."""
        self.continuity.comeback.began -= WAITED
        assert await self.continuity.see_back(_nobody_waits)


async def _nobody_waits() -> bool:
    return False


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    start = Start(tmp_path, {NODE, UNKNOWN})
    await start.wait_out()
    task = asyncio.create_task(start.continuity.keep())
    yield start
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_who_comes_back_late_is_missing_no_longer(start: Start) -> None:
    assert start.continuity.missing == [OTHER, TOR]
    start.view.become(OTHER, "established")
    await until(lambda: start.continuity.missing == [TOR])
    start.view.become(TOR, "established")
    await until(lambda: start.continuity.missing == [])


async def test_who_goes_again_later_is_no_matter_of_the_restart(start: Start) -> None:
    start.view.become(OTHER, "established")
    await until(lambda: start.continuity.missing == [TOR])
    for address in (OTHER, NODE):
        start.view.become(address, "idle")
    start.view.become(TOR, "established")
    await until(lambda: start.continuity.missing == [])


async def test_who_is_said_to_be_down_is_missing_no_longer(start: Start) -> None:
    start.continuity.give_up([OTHER])
    assert start.continuity.missing == [TOR]


async def test_who_was_taken_out_of_the_ipam_or_of_the_configuration_is_missing_no_longer(
    start: Start,
) -> None:
    nodes = {name: node for name, node in OWNED.nodes.items() if OTHER not in node.addresses}
    start.view.allocations = Allocations(nodes, OWNED.vips)
    assert start.continuity.missing == [TOR]
    start.view.rules = Rules(instance({"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}}}))
    assert start.continuity.missing == []


async def test_nobody_is_missing_where_all_sessions_are_ended_on_purpose(start: Start) -> None:
    start.continuity.await_nobody()
    assert start.continuity.missing == []
