"""Look after one engine's peers: find those that do harm, and close what would fill the engine's memory.

Nothing here is judged: `rr.guard` does that from plain data. What nodes did is collected in `blames`, for whoever
decides about all instances.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from rr.config.model import Instance
from rr.engine import events, speaker
from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.errors import EngineError, EngineRefused
from rr.guard import ghosts, queues
from rr.guard.garbage import EngineLog
from rr.guard.ghosts import Entry, Ghosts
from rr.guard.quarantine import Blame, Offence
from rr.guard.queues import Queue, Stalled, Stalls
from rr.guard.stale import Expired, Kept, StaleTimes
from rr.net import Address
from rr.view.live import LiveView, Role

_log = structlog.get_logger(__name__)
Say = Callable[[str, str, str], None]
LOOK_EVERY = 0.5
"""Seconds between looks at what peers do."""
UP_EVERY = 5.0
"""Seconds between looks for stale routes of nodes that have a session."""
QUEUES_EVERY = 2.0
"""Seconds between looks at the kernel's queues; 2,000 sessions take 5 ms."""
CHURN = 20
"""Times its `max_prefixes` that a node's routes may change within the window."""
BGP_PORT = 179
EXCUSED_FOR = 10.0
"""Seconds in which the loss of a session that we closed ourselves is not the node's fault."""


class Guard:
    """Watches one instance's peers."""

    def __init__(self, view: LiveView, log: Path, say: Say) -> None:
        self.view = view
        self.blames: list[Blame] = []
        self.slow_resets = 0
        self.ghosts_removed = 0
        self.stale_time: int = 120
        """Seconds that stale routes are kept where the rack does not say."""
        self.window: float = 300.0
        """Seconds in which changes of routes are counted."""
        self._say = say
        self._log = EngineLog(log)
        self._excused: dict[Address, float] = {}
        self._all_excused = float("-inf")
        self._listing: Sequence[pb.Peer] | None = None
        self._ghosts = Ghosts()
        self._stalls = Stalls()
        self._stale = StaleTimes()
        self._moves_since = time.monotonic()
        self._queues_due = self._stale_due = 0.0
        self._queues_broken = False

    @property
    def _instance(self) -> Instance:
        return self.view.rules.instance

    def listed(self, peers: Sequence[pb.Peer] | None) -> None:
        """Take an audit's listing of all peers."""
        self._listing = peers

    def excuse(self, address: Address) -> None:
        """We close this session ourselves: that it is lost is not the node's fault."""
        self._excused[address] = time.monotonic() + EXCUSED_FOR

    def excuse_everybody(self) -> None:
        """We close every session ourselves."""
        self._all_excused = time.monotonic() + 3 * EXCUSED_FOR

    async def watch(self, engine: Engine) -> None:
        """Look again and again, until cancelled."""
        self._log.news()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._see_losses()
            self._see_presence()
            self._see_excesses()
            self._see_garbage()
            try:
                await self._act(engine)
            except EngineError as error:
                # Whether the engine is dead is for others to find out.
                _log.debug("the engine did not do what its guard asked for", why=str(error))

    async def _act(self, engine: Engine) -> None:
        await self._end_stale(engine)
        await self._sweep(engine)
        if time.monotonic() >= self._queues_due:
            self._queues_due = time.monotonic() + QUEUES_EVERY
            await self._reset_slow(engine)

    # Blame

    def _blame(self, address: Address, offence: Offence, text: str) -> None:
        """Note what a node did; ToRs and peers outside of every range are none."""
        if self.view.role(address) is not Role.NODE or self.view.rules.rack_of(address) is None:
            return
        node = self.view.allocations.node_at(address)
        addresses = frozenset({address, *(node.addresses if node else ())})
        subject = node.name if node else str(address)
        self.blames.append(
            Blame(self.view.instance, subject, addresses, offence, text, time.time(), known=node is not None)
        )

    def _see_losses(self) -> None:
        lost, self.view.lost = self.view.lost, []
        now = time.monotonic()
        self._excused = {a: until for a, until in self._excused.items() if until > now}
        for address in lost:
            if address not in self._excused and now >= self._all_excused:
                self._blame(address, Offence.FLAPPING, f"its session from {address} was lost again and again")

    def _see_presence(self) -> None:
        nodes = sum(self.view.role(address) is Role.NODE for address in self.view.established())
        self.view.presence.see(nodes, time.monotonic())

    def _see_excesses(self) -> None:
        for address, prefixes, most in self.view.over_limit():
            text = f"it announced {prefixes} prefixes, and {most} are allowed"
            self._blame(address, Offence.MAX_PREFIXES, text)
        if time.monotonic() - self._moves_since < self.window:
            self._see_churn()
        else:
            self._moves_since = time.monotonic()
            self.view.moved.clear()

    def _see_churn(self) -> None:
        for address, moves in list(self.view.moved.items()):
            rack = self.view.rules.rack_of(address)
            if rack and moves > CHURN * self._instance.racks[rack].nodes.max_prefixes:
                del self.view.moved[address]
                seconds = time.monotonic() - self._moves_since
                text = f"its routes from {address} changed {moves} times in {seconds:.0f} s"
                self._blame(address, Offence.CHURN, text)

    def _see_garbage(self) -> None:
        for address, times in self._log.news().items():
            for _ in range(times):
                self._blame(address, Offence.GARBAGE, f"it sent messages from {address} that are no BGP")

    # Stale routes

    async def _end_stale(self, engine: Engine) -> None:
        now = time.monotonic()
        everybody = now >= self._stale_due
        if everybody:
            self._stale_due = now + UP_EVERY
        kept = [
            Kept(peer.address, peer.up, stale)
            for peer in self.view.peers.values()
            if (everybody or not peer.up or self._stale.knows(peer.address))
            and self.view.role(peer.address) is Role.NODE
            and (stale := sum(heard.stale for heard in peer.heard.values()))
        ]
        for expired in self._stale.look(kept, self._allowed, now):
            await self._drop(engine, expired)

    def _allowed(self, address: Address) -> float:
        rack = self.view.rules.rack_of(address)
        own = self._instance.racks[rack].nodes.stale_time if rack else None
        return float(self.stale_time if own is None else own)

    async def _drop(self, engine: Engine, expired: Expired) -> None:
        address = expired.address
        if not expired.up and any(map(speaker.is_established, await engine.peers(address))):
            return  # it has just come back
        self.excuse(address)
        if not await _deleted(engine, address):
            return
        called, after = self.view.called(address), f"after {expired.seconds:.0f} s"
        if expired.up:
            text = f"{called} came back and did not say which of its {expired.routes} routes are gone; {after} its"
            self._say("stale", str(address), f"{text} session is reset")
        else:
            text = f"{expired.routes} routes of {called}, whose session is down, are dropped {after}"
            self._say("stale", str(address), text)

    # Ghosts and floods

    async def _sweep(self, engine: Engine) -> None:
        listing, self._listing = self._listing, None
        if listing is None:
            return
        sweep = self._ghosts.look(
            (_entry(peer) for peer in listing if not speaker.is_explicit(peer)),
            self._range_of,
            time.monotonic(),
        )
        removed = [address for address in sweep.ghosts if await self._remove(engine, address)]
        if removed:
            shown = ", ".join(map(str, removed[:5])) + (
                f" and {len(removed) - 5} more" if removed[5:] else ""
            )
            text = f"peers that connected and have no session were forgotten: {shown}"
            self._say("ghost", self.view.instance, text)
        for own, addresses in sweep.flooded.items():
            closed = [a for a in addresses if await self._remove(engine, a)]
            if closed:
                text = f"more than {ghosts.HALF_OPEN} sessions from {own} are half open: the {len(closed)} oldest were"
                self._say("flood", str(own), f"{text} closed")

    def _range_of(self, address: Address) -> str:
        ranges = (r for rack in self._instance.racks.values() for r in rack.nodes.ranges)
        return next((str(r) for r in ranges if r.version == address.version and address in r), "no range")

    async def _remove(self, engine: Engine, address: Address) -> bool:
        """Forget a peer, unless it has a session by now or routes are kept for it."""
        listed = [_entry(peer) for peer in await engine.peers(address) if not speaker.is_explicit(peer)]
        if not listed or listed[0].kept or listed[0].state == "established":
            return False
        removed = await _deleted(engine, address)
        self.ghosts_removed += removed
        return removed

    # Slow peers

    async def _reset_slow(self, engine: Engine) -> None:
        try:
            found = await asyncio.to_thread(queues.look)
            self._queues_broken = False
        except OSError as error:
            if not self._queues_broken:
                _log.warning("the queues of peers are not watched", why=str(error))
            self._queues_broken = True
            return
        patience = dict.fromkeys(self.view.established(), float(self._instance.send_hold_time))
        for stalled in self._stalls.judge(filter(self._is_bgp, found), patience, time.monotonic()):
            await self._reset(engine, stalled)

    def _is_bgp(self, queue: Queue) -> bool:
        """Tell a connection of this instance's speaker from others with the same host; either side may have dialed."""
        tors = (tor for rack in self._instance.racks.values() for tor in rack.tors)
        ports = {BGP_PORT, self._instance.port, *(tor.port for tor in tors if tor.address == queue.peer)}
        return queue.local in self._instance.bound and not ports.isdisjoint(queue.ports)

    async def _reset(self, engine: Engine, stalled: Stalled) -> None:
        address = stalled.peer
        self.excuse(address)
        try:
            await engine.reset(address, "send hold timer expired")
        except EngineRefused as error:
            _log.debug("a slow peer was gone before it could be reset", peer=str(address), why=str(error))
            return
        self.slow_resets += 1
        what = (
            f"acknowledged nothing for {stalled.seconds:.0f} s, with {stalled.pending} bytes waiting for it"
        )
        self._say("slow", str(address), f"session with {self.view.called(address)} is reset: it {what}")
        self._blame(address, Offence.SLOW, f"it {what}, again and again")


def _entry(peer: pb.Peer) -> Entry:
    state = events.read_peer(peer, initial=False)
    return Entry(state.peer, state.state, peer.graceful_restart.peer_restarting)


async def _deleted(engine: Engine, address: Address) -> bool:
    try:
        await engine.delete_peer(address)
    except EngineRefused as error:
        _log.debug("a peer was gone before it could be removed", peer=str(address), why=str(error))
        return False
    return True


async def close(engine: Engine, addresses: Iterable[Address]) -> list[Address]:
    """Close the sessions from these addresses, and drop all routes, stale ones too; answer which there were."""
    closed = []
    for address in addresses:
        listed = [peer for peer in await engine.peers(address) if not speaker.is_kept_out(peer)]
        if listed and await _deleted(engine, address):
            closed.append(address)
    return closed
