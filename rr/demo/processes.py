"""The demo's side of its guardian: ask it to start processes, hear when one ends, let it clean up."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rr.demo import guardian
from rr.demo.errors import DemoError

CLEAN_UP_SECONDS = 15.0


class Processes:
    """Every process of the demo, kept by the guardian (see guardian.py)."""

    def __init__(
        self, on_end: Callable[[str, int], None], lock: socket.socket, on_guardian_lost: Callable[[], None]
    ) -> None:
        """Start the guardian; `lock` stays open as long as it lives."""
        self._on_end = on_end
        self._on_guardian_lost = on_guardian_lost
        self._keep = False
        self._killed: dict[str, asyncio.Event] = {}
        self.guardian_lost = False
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._demo_end, guardian_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._demo_end.setblocking(False)
        guardian.become_subreaper()
        script = str(Path(guardian.__file__).resolve())
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", script, str(guardian_end.fileno())],
            pass_fds=[guardian_end.fileno(), lock.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        guardian_end.close()
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self.folder = Path("/nonexistent")

    async def ready(self) -> Path:
        """The demo's folder, made by the guardian."""
        self.folder = Path((await self._answer())["folder"])
        return self.folder

    async def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] = {}) -> None:
        """Start a process, its output into `name`.log in the folder. DemoError if it cannot be started."""
        env = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"} | dict(environment)
        await self._send({"start": name, "argv": list(argv), "log": str(self.log(name)), "env": env})
        answer = await self._answer()
        if "error" in answer:
            raise DemoError(f"{name} could not be started: {answer['error']}")

    async def kill(self, name: str) -> None:
        """SIGKILL to a process, whose end is then no failure; returns when it is gone."""
        gone = self._killed[name] = asyncio.Event()
        await self._send({"kill": name})
        await gone.wait()
        del self._killed[name]

    def log(self, name: str) -> Path:
        """Where the output of the process `name` goes."""
        return self.folder / f"{name}.log"

    async def keep_folder(self) -> None:
        """Ask the guardian to leave the folder where it is."""
        self._keep = True
        with contextlib.suppress(DemoError):
            await self._send({"keep": True})

    def stop(self) -> None:
        """End every process and wait until they are gone, the folder with them."""
        self._reader.cancel()
        self._demo_end.close()
        try:
            self._guardian.wait(CLEAN_UP_SECONDS)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        if self._guardian.returncode != 0:
            guardian.sweep()
            if not self._keep:
                shutil.rmtree(self.folder, ignore_errors=True)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._demo_end, json.dumps(message).encode())
        except ConnectionError as error:
            raise DemoError("the demo's guardian process is gone") from error

    async def _answer(self) -> dict[str, Any]:
        return await self._answers.get()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while packet := await loop.sock_recv(self._demo_end, guardian.PACKET_BYTES):
            message = json.loads(packet)
            if "ended" in message:
                self._note_end(message["ended"], message["status"])
            else:
                self._answers.put_nowait(message)
        self.guardian_lost = True
        self._on_guardian_lost()

    def _note_end(self, name: str, status: int) -> None:
        if killed := self._killed.get(name):
            killed.set()
        else:
            self._on_end(name, status)
