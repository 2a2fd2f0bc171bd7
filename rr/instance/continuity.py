"""Keep one instance's roster, and follow its engine's restarts until everybody is back or awaited no longer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from rr.config.model import GracefulRestart
from rr.continuity.comeback import Comeback, Present
from rr.continuity.roster import Roster
from rr.engine import events, speaker
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.speaker import Plan, Returning
from rr.errors import StateError
from rr.net import Address
from rr.view.live import LiveView, Role

LOOK_EVERY = 0.25
"""Seconds between looks at who is up."""
ROSTER_OLDEST = 15.0
"""Seconds after which the roster is written again though nothing changed: so old are its times after a power cut."""

Say = Callable[[str, str, str], None]


class Continuity:
    """Who is up, who was when the engine went away, and who is still to come back."""

    def __init__(self, roster: Roster, view: LiveView, say: Say) -> None:
        self.roster = roster
        self.problem: str | None = None
        """Why the roster cannot be kept."""
        self.comeback = Comeback()
        self.restarting = False
        """Whether the engine takes back the peers of the one before it, and not all are there yet."""
        self._adopted = False
        self._view = view
        self._say = say

    # An engine's life, from its start

    def begin(self, settings: GracefulRestart, *, adopted: bool) -> None:
        """Await whoever was up just now, and so still forwards by what the engine before told it.

        An engine that is `adopted` ran already when this rrd came.
        """
        self._adopted = adopted
        fresh = self.roster.fresh(time.time(), settings.restart_time)
        # The other half keeps nothing for us, and is let in with the ToRs.
        known = {address: peer for address, peer in fresh.items() if address != self._view.rules.pair}
        tors = frozenset(self._view.rules.tors())
        self.comeback = Comeback(known, tors, time.monotonic(), settings.deferral_time)

    def go_on(self, *, restarting: bool) -> None:
        """Another rrd began with this engine; whether its peers were still coming back then, the engine knows."""
        self.restarting = restarting

    def await_nobody(self) -> None:
        """Nobody is to come back: sessions are ended on purpose, and peers drop the routes."""
        self.comeback = Comeback()

    def returning(self, plan: Plan) -> Returning | None:
        """What the engine must know of the peers before it lets anybody in; None where nobody is known."""
        comeback, now = self.comeback, time.monotonic()
        if not comeback.known:
            return None
        awaited = comeback.awaited(now)
        nodes = speaker.returning_nodes(plan, comeback.known.keys() - (comeback.missing - awaited))
        under_way = self.restarting or not comeback.over(now)
        return Returning(nodes, comeback.holds_tors(now), frozenset(awaited), under_way)

    def taken_back(self, nodes: int) -> None:
        """The engine was told of this many nodes."""
        if nodes:
            self.restarting = True
            self._tell(f"takes {nodes} nodes back that were up before")

    async def see_back(self, syncing: Callable[[], Awaitable[bool]]) -> bool:
        """Wait for the next turn of a restart: ToRs that had to wait may be let in, or, then true, it is over.

        `syncing` asks the engine whether a ToR still waits for others' routes.
        """
        comeback = self.comeback
        held = comeback.holds_tors(time.monotonic())
        while True:
            now = time.monotonic()
            comeback.see(self._present(), now)
            if held and not comeback.holds_tors(now):
                return False
            if comeback.over(now) and not await syncing():
                break
            await asyncio.sleep(LOOK_EVERY)
        if self.restarting:
            self.restarting = False
            self._tell(_outcome(comeback, now, adopted=self._adopted))
        return True

    @property
    def missing(self) -> list[Address]:
        """Who was up before the engine started, is allocated or configured still, and has not come back since."""
        return sorted(filter(self._belongs, self.comeback.lost), key=lambda a: (a.version, a))

    def _belongs(self, address: Address) -> bool:
        view = self._view
        if view.role(address) is not Role.NODE:
            return True
        return view.rules.rack_of(address) is not None and view.allocations.node_at(address) is not None

    def give_up(self, addresses: Iterable[Address]) -> None:
        """These are down for good, as an administrator says."""
        self.comeback.give_up(addresses)

    def ended(self) -> None:
        """The engine is gone."""
        self.restarting = False
        self._take_note()

    # The roster

    def load(self) -> None:
        """Take what is on disk; a roster that cannot be used is said, and nobody is awaited."""
        self._try(self.roster.load)

    def forget(self) -> None:
        """The engine was ended in order: its peers have dropped its routes, and need not be awaited."""
        self._try(self.roster.forget)

    async def keep(self) -> None:
        """Keep the roster, in memory and on disk, until cancelled."""
        while True:
            self._take_note()
            if self.roster.due(ROSTER_OLDEST):
                await asyncio.to_thread(self._try, self.roster.save)
            await asyncio.sleep(LOOK_EVERY)

    def learn(self, peer: pb.Peer) -> None:
        """Take note of what a session can do, as the engine lists it."""
        if speaker.is_established(peer):
            self.roster.learn(events.address(peer.state.neighbor_address), *speaker.read_families(peer))

    def _take_note(self) -> None:
        up, now = frozenset(self._view.established()), time.monotonic()
        self.roster.see(up, time.time(), self.comeback.awaited(now))
        if self.comeback.over(now):
            self.comeback.see_late(up)

    def _present(self) -> list[Present]:
        """Who is up, but for the other half of a pair: it keeps nothing for us, and is not waited for."""
        peers, half = self._view.peers.values(), self._view.rules.pair
        return [Present(p.address, frozenset(p.ended)) for p in peers if p.up and p.address != half]

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StateError as error:
            if self.problem != str(error):
                self._say("roster", self._view.instance, f"{self._view.instance}: {error}")
            self.problem = str(error)
        else:
            self.problem = None

    def _tell(self, what: str) -> None:
        self._say("engine", self._view.instance, f"{self._view.instance} {what}")


def _outcome(comeback: Comeback, now: float, *, adopted: bool) -> str:
    after = f"{now - comeback.began:.1f} s after {'rrd took the engine over' if adopted else 'the engine started'}"
    if not comeback.missing:
        return f"is whole again: all {len(comeback.known)} peers are back, {after}"
    return f"waits no longer: {len(comeback.missing)} of {len(comeback.known)} peers are not back, {after}"
