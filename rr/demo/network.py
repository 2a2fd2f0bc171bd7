"""The nodes and ToRs of the demo: each a gobgpd of its own, listened to from its first second to its last."""

import asyncio
from collections.abc import Callable

from rr.demo.errors import DemoError
from rr.demo.files import node_toml, tor_toml
from rr.demo.ledger import Ledger
from rr.demo.plan import Plan, Route
from rr.demo.processes import Processes
from rr.demo.speaker import Session, Speaker


class Network:
    """Six nodes and two ToRs, all running, all heard by the ledger."""

    def __init__(self, plan: Plan, processes: Processes, gobgpd: str, ledger: Ledger) -> None:
        self._plan = plan
        self._processes = processes
        self._gobgpd = gobgpd
        self._ledger = ledger
        self._listeners: list[asyncio.Task[None]] = []
        self.speakers: dict[str, Speaker] = {}

    async def start(self, on_deaf: Callable[[DemoError], None]) -> None:
        """Start all speakers and listen to each; `on_deaf` is told if a stream breaks."""
        for tor in self._plan.tors:
            await self._start(tor.name, tor_toml(self._plan, tor))
        for node in self._plan.nodes:
            await self._start(node.name, node_toml(self._plan, node))
        for speaker in self.speakers.values():
            await speaker.ready()
            self._listeners.append(asyncio.create_task(self._listen(speaker, on_deaf)))

    async def announce_own(self) -> None:
        """Let every node announce its PodCIDRs and its virtual IPs."""
        for node in self._plan.nodes:
            for prefix in node.prefixes:
                await self.speakers[node.name].announce(Route(prefix, node.next_hop(prefix)))
        for vip in self._plan.vips:
            await self.speakers[self._plan.owner_at(vip.next_hop)].announce(vip)

    async def sessions(self) -> dict[str, Session]:
        """Every speaker's session with the appliance, as the speakers themselves say."""
        found = await asyncio.gather(*(speaker.session() for speaker in self.speakers.values()))
        return dict(zip(self.speakers, found, strict=True))

    async def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners:
            listener.cancel()
        for speaker in self.speakers.values():
            await speaker.close()

    async def _start(self, name: str, toml: str) -> None:
        folder = self._processes.folder
        config, socket = folder / f"{name}.toml", folder / f"{name}.sock"
        config.write_text(toml)
        argv = [self._gobgpd, "-f", str(config), "--api-hosts", f"unix://{socket}"]
        await self._processes.start(name, [*argv, "--pprof-disable", "--metrics-path=", "-p"])
        self.speakers[name] = Speaker(name, socket)

    async def _listen(self, speaker: Speaker, on_deaf: Callable[[DemoError], None]) -> None:
        try:
            async for news in speaker.listen():
                self._ledger.hear(speaker.name, news)
        except DemoError as error:
            on_deaf(error)
