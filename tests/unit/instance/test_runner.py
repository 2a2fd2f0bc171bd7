"""The loop around the lives of an engine."""

import asyncio
from pathlib import Path
from typing import TypeVar

import pytest

from rr.appliance import plans
from rr.continuity.roster import Roster
from rr.errors import EngineUnavailable
from rr.instance import runner as module
from rr.instance.runner import InstanceRunner
from rr.instance.wants import Setting
from tests.unit.api.serving import until
from tests.unit.test_changes import config

Runner = TypeVar("Runner", bound=InstanceRunner)


def of_kind(kind: type[Runner], folder: Path) -> Runner:
    settings = config()
    setting = Setting(settings.instances["main"], plans(settings)["main"])
    return kind("main", setting, folder, None, lambda *words: None, Roster(folder / "roster.json"))


class Lives(InstanceRunner):
    """Each of its engines is lost while it is only waited for."""

    left_over: list[int]

    async def _live(self) -> None:
        """End as the loss of an engine does: a task of a group fails while the group waits for its tasks."""
        task = asyncio.current_task()
        assert task is not None
        self.left_over.append(task.cancelling())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(5)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lose())

    async def _lose(self) -> None:
        await asyncio.sleep(0.001)
        raise EngineUnavailable("it is gone")


async def test_what_is_left_of_one_life_does_not_end_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TaskGroup can leave its task half cancelled; a timeout in that task would then cancel it for good."""
    monkeypatch.setattr(module, "BACKOFF", (0.001,))
    lives = of_kind(Lives, tmp_path)
    lives.left_over = []
    running = asyncio.create_task(lives.run())
    await until(lambda: len(lives.left_over) > 3 or running.done())
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert set(lives.left_over) == {0}


class Lost(InstanceRunner):
    """Its engine is lost in the moment in which it is let go."""

    alive = False

    async def _live(self) -> None:
        self.alive = True
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise EngineUnavailable("it is gone") from None


async def test_an_instance_that_is_let_go_while_its_engine_is_lost_ends(tmp_path: Path) -> None:
    lost = of_kind(Lost, tmp_path)
    running = asyncio.create_task(lost.run())
    await until(lambda: lost.alive)
    running.cancel()
    await asyncio.wait([running], timeout=3)
    ended = running.done()
    running.cancel()
    assert ended, "it looks for the next engine"
