"""What the daemon adds to the appliance: it serves it over HTTP, and says so where it cannot."""

import asyncio
import socket
from pathlib import Path

import pytest

from rr.api import server
from rr.appliance import Appliance
from rr.config.model import Config
from rr.daemon import Daemon
from tests.unit.api.serving import until
from tests.unit.test_changes import MAIN, SOURCES


async def test_an_http_port_that_somebody_has_is_a_problem_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_FIRST", 0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        values = {"name": "rr-a", "instances": {"main": MAIN}, "ipam": SOURCES, "http": {"listen": listen}}
        appliance = Appliance(
            tmp_path / "rr.yaml",
            Config.model_validate({**values, "run_dir": tmp_path, "state_dir": tmp_path}),
            None,
        )
        serving = asyncio.create_task(Daemon(appliance, stop_engines=False).serve())
        said = f"HTTP does not listen on {listen}: Address already in use; it is tried again"
        try:
            await until(lambda: {"severity": "warning", "text": said} in appliance.problems())
            assert said in appliance.check()["line"]
            taken.close()
            await until(lambda: not any("HTTP" in problem["text"] for problem in appliance.problems()))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
