"""Two chapters of the story: the engine is killed, and then the controller; nobody loses a route by either.

What was lost is counted from what the ToRs say, not from what the appliance believes.
"""

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from rr.demo.appliance import Appliance
from rr.demo.counts import Counts
from rr.demo.errors import DemoError
from rr.demo.ledger import Absence, Ledger, shortened
from rr.demo.network import Network
from rr.demo.plan import Plan, Route
from rr.demo.speaker import Session
from rr.demo.telling import Teller

WHOLE_SECONDS = 30.0
CHANGE_SECONDS = 10.0
POLL_SECONDS = 0.05
SETTLE_SECONDS = 1.0
"""How much longer ToRs are listened to: a route flushed late would be lost as well."""


class Kills:
    """Kills the engine and the controller, and counts what the ToRs lose by it."""

    def __init__(
        self, network: Network, appliance: Appliance, ledger: Ledger, teller: Teller, counts: Counts
    ) -> None:
        self._network = network
        self._appliance = appliance
        self._ledger = ledger
        self._teller = teller
        self._counts = counts
        self._everybody = sorted(network.speakers)
        self._engine_killed: float | None = None
        self._controller_killed: float | None = None
        self._over = math.inf

    async def engine(self) -> None:
        """The engine is killed in the middle of everything; ToRs and nodes keep their routes until it is back."""
        await self._teller.chapter("The engine is killed")
        instance = await self._when_whole()
        before = await self._network.sessions()
        pid = instance["engine"]["pid"]
        self._teller.say(f"kill -9 {pid}: the appliance's gobgpd, with all {len(before)} sessions.")
        self._engine_killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)

        await self._until(self._all_down, before)
        self._teller.found("every session is down; ToRs and nodes keep what they were sent (RFC 4724)")
        self._teller.say("Another engine starts and takes its peers back. These nodes are GoBGP, which waits")
        self._teller.say("five seconds before it dials again.")
        await self._until(self._all_back, before)
        self._counts.restart_seconds = round(time.monotonic() - self._engine_killed, 1)
        await self._ledger.until_as_planned(self._everybody, CHANGE_SECONDS)
        await self._when_whole()
        await asyncio.sleep(SETTLE_SECONDS)
        self.count()
        _refuse(self._ledger.removed_at_tors(self._engine_killed), "when the engine was killed")
        self._ledger.refuse_leaks()
        self._teller.found(f"all {len(before)} are back after {self._counts.restart_seconds} s")
        self._teller.found("both ToRs: 0 routes withdrawn or removed, by their own streams; nothing leaked")
        if exchange := self._ledger.longest_exchange_at_tors(self._engine_killed):
            self._teller.say(
                "Paths of a virtual IP changed their identifiers (RFC 7911), one in another's place:"
            )
            self._teller.say(f"for {exchange * 1000:.1f} ms at most a ToR lacked one of them, and never all.")
        self._teller.say(f'The appliance says: "{await self._appliance.last_word("engine")}"')

    async def controller(self, after: Plan, route: Route, tor: str) -> None:
        """The controller is killed, the IPAM gives away `route` (then it is as in `after`), the controller returns."""
        await self._teller.chapter("The controller is killed")
        before = await self._network.sessions()
        pid = (await self._appliance.instance())["engine"]["pid"]
        self._controller_killed = time.monotonic()
        await self._appliance.kill()
        self._teller.say(f"kill -9 to rrd: the engine, pid {pid}, runs on by itself, and filters as before.")
        self._teller.command(*await self._appliance.rrctl("check"))
        self._ledger.plan = after
        self._appliance.allocate(after)
        owner = after.owner_at(route.next_hop)
        self._teller.say(f"Meanwhile the IPAM gives {route.prefix} to {owner}.")
        self._refuse_change(before, await self._network.sessions())

        started = time.monotonic()
        await self._appliance.start()
        await self._ledger.until_as_planned(self._everybody, CHANGE_SECONDS)
        took = round((self._ledger.changed_at(tor, route) - started) * 1000)
        instance = await self._when_whole()
        if instance["engine"]["pid"] != pid:
            raise DemoError(f"the engine is another one, pid {instance['engine']['pid']} and not {pid}")
        await asyncio.sleep(SETTLE_SECONDS)
        self._over = time.monotonic()
        self.count()
        self._refuse_change(before, await self._network.sessions())
        _refuse(
            self._ledger.removed_at_tors(self._controller_killed, self._over),
            "when the controller was killed",
        )
        self._ledger.refuse_leaks()
        self._teller.found(f"rrd is started again and adopts the engine: {tor} has it {took} ms later")
        self._teller.found(f"all {len(before)} sessions are the same ones; both ToRs: 0 routes removed")

    def count(self) -> None:
        """Fill in what the ToRs have lost so far by each of the two."""
        if self._engine_killed is not None:
            until = self._controller_killed or time.monotonic()
            self._counts.restart_removed = len(self._ledger.removed_at_tors(self._engine_killed, until))
        if self._controller_killed is not None:
            lost = self._ledger.removed_at_tors(self._controller_killed, self._over)
            self._counts.controller_removed = len(lost)

    async def _when_whole(self) -> dict[str, Any]:
        """Wait until the appliance has everybody and awaits nobody: what it then says of its instance."""
        deadline = time.monotonic() + WHOLE_SECONDS
        while True:
            instance = await self._appliance.instance()
            sessions = instance["sessions"]
            up = sessions["nodes"]["up"] + sessions["tors"]["up"]
            running = instance["engine"]["state"] == "running" and not instance["restart"]["under_way"]
            if running and up == len(self._everybody):
                return instance
            if time.monotonic() > deadline:
                raise DemoError(f"after {WHOLE_SECONDS:.0f} s the appliance says that {up} sessions are up")
            await asyncio.sleep(POLL_SECONDS)

    async def _until(
        self, lack: Callable[[dict[str, Session], dict[str, Session]], str | None], before: dict[str, Session]
    ) -> None:
        deadline = time.monotonic() + WHOLE_SECONDS
        while sentence := lack(before, await self._network.sessions()):
            self._ledger.refuse_leaks()
            if time.monotonic() > deadline:
                raise DemoError(f"after {WHOLE_SECONDS:.0f} s {sentence}")
            await asyncio.sleep(POLL_SECONDS)

    @staticmethod
    def _all_down(before: dict[str, Session], now: dict[str, Session]) -> str | None:
        up = [name for name, session in now.items() if session == before[name]]
        return f"the session of {up[0]} is still up" if up else None

    @staticmethod
    def _all_back(before: dict[str, Session], now: dict[str, Session]) -> str | None:
        for name, session in now.items():
            if not session.up or session.since == before[name].since:
                return f"the session of {name} is not back"
            if session.keeps_stale:
                return f"{name} still waits for the End-of-RIB"
        return None

    @staticmethod
    def _refuse_change(before: dict[str, Session], now: dict[str, Session]) -> None:
        changed = sorted(name for name, session in now.items() if session != before[name])
        if changed:
            raise DemoError(f"the session of {changed[0]} changed when the controller was killed")


def _refuse(removed: list[Absence], when: str) -> None:
    if removed:
        raise DemoError(f"{len(removed)} routes were lost {when}: {shortened(map(str, removed))}")
