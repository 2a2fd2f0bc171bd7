"""The appliance of the demo: its files, its process, and what it answers."""

import asyncio
import json
import shlex
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rr.demo.errors import DemoError
from rr.demo.files import allocations_yaml, replace_file, rr_yaml
from rr.demo.plan import HTTP_PORT, Plan
from rr.demo.processes import Processes
from rr.demo.programs import sibling, typed

READY_SECONDS = 30.0
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.05


class Appliance:
    """`rrd` with one instance and two racks, asked over HTTP and with the real `rrctl`."""

    def __init__(self, plan: Plan, processes: Processes, gobgpd: str) -> None:
        self._processes = processes
        self._gobgpd = gobgpd
        self._folder = processes.folder
        self.url = f"http://{plan.appliance}:{HTTP_PORT}"
        self.socket = self._folder / "run" / "rrd.sock"
        self.allocations = self._folder / "allocations.yaml"
        self.config = self._folder / "rr.yaml"
        for folder in ("state", "run"):
            (self._folder / folder).mkdir(mode=0o700)
        self.config.write_text(rr_yaml(plan, self._folder))
        self.allocate(plan)

    def allocate(self, plan: Plan) -> float:
        """Write the allocations of `plan`, as an IPAM would; return the monotonic time just before."""
        text = allocations_yaml(plan)
        before = time.monotonic()
        replace_file(self.allocations, text)
        return before

    async def start(self) -> None:
        """Start `rrd` and return when it says that its policy is in force and its engine serves."""
        argv = [sibling("rrd"), "--config", str(self.config), "--engine", "managed", "--stop-engines"]
        await self._processes.start("rrd", argv, {"GOBGPD": self._gobgpd})
        deadline = time.monotonic() + READY_SECONDS
        while not await asyncio.to_thread(self._is_ready):
            if time.monotonic() > deadline:
                raise DemoError(f"the appliance was not ready within {READY_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    async def kill(self) -> None:
        """SIGKILL to `rrd`; its engine runs on."""
        await self._processes.kill("rrd")

    async def rrctl(self, *arguments: str) -> tuple[str, str]:
        """Run `rrctl` with these arguments: the command line as typed, and what it printed."""
        line = f"{self.rrctl_line()} {shlex.join(arguments)}"
        process = await asyncio.create_subprocess_exec(
            sibling("rrctl"),
            "--socket",
            str(self.socket),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, error = await process.communicate()
        if not output:
            raise DemoError(f"`{line}` printed nothing: {error.decode().strip()}")
        return line, output.decode()

    def rrctl_line(self) -> str:
        """How to type `rrctl` so that it asks this appliance."""
        return f"{typed(sibling('rrctl'))} --socket {shown(self.socket)}"

    async def violations(self) -> list[dict[str, Any]]:
        """The violations that the appliance lists."""
        answer = await asyncio.to_thread(self._get, "/api/v1/violations")
        return list(json.loads(answer))

    async def instance(self) -> dict[str, Any]:
        """What the appliance says of its instance: engine, restart, sessions."""
        answer = await asyncio.to_thread(self._get, "/api/v1/status")
        return dict(json.loads(answer)["instances"][0])

    async def last_word(self, kind: str) -> str:
        """What its last event of that kind says."""
        answer = await asyncio.to_thread(self._get, "/api/v1/events")
        return str([event["text"] for event in json.loads(answer) if event["kind"] == kind][-1])

    def _is_ready(self) -> bool:
        try:
            self._get("/readyz")
        except DemoError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url + path, timeout=ANSWER_SECONDS) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise DemoError(f"{self.url}{path} answers {error.code} {error.reason}") from error
        except OSError as error:
            raise DemoError(f"{self.url}{path} does not answer: {error}") from error


def shown(path: Path) -> str:
    """A path as one would type it in a shell."""
    return shlex.quote(str(path))
