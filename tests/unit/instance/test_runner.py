"""The loop around the lives of an engine."""

import asyncio
from pathlib import Path

import pytest

from rr.appliance import plans
from rr.continuity.roster import Roster
from rr.errors import EngineUnavailable
from rr.instance import runner as module
from rr.instance.runner import InstanceRunner
from rr.instance.wants import Setting
from tests.unit.api.serving import until
from tests.unit.test_changes import config


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
    settings = config()
    setting = Setting(settings.instances["main"], plans(settings)["main"])
    lives = Lives("main", setting, tmp_path, None, lambda *words: None, Roster(tmp_path / "roster.json"))
    lives.left_over = []
    running = asyncio.create_task(lives.run())
    await until(lambda: len(lives.left_over) > 3 or running.done())
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert set(lives.left_over) == {0}
