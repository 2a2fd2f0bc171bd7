"""Close a speaker to everybody: each peer is told that it is meant (RFC 9003), and nobody comes back in.

Ranges go first, so that nodes cannot dial in again; then ToRs, for which the nodes' routes then need not be withdrawn
one by one; then nodes. No N bit is sent (RFC 8538), so the NOTIFICATION ends a session without graceful restart, and
the far side drops the routes at once (RFC 4724, section 4).

What stays are the passwords: the listening socket goes on asking for them. Without, the kernel would answer nothing to
whoever signs what he sends (RFC 2385), and his own kernel would try ever more rarely, up to once a minute. As it is, he
is answered and closed at once, and tries again at the pace of his speaker.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from rr.addresses import contains, network_of
from rr.engine import speaker
from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.errors import EngineRefused
from rr.net import Address

PATIENCE = 5.0
"""Seconds in which not one more of those that were told to close has done so; then they are deleted all the same."""
LOOK_EVERY = 0.05
_AT_ONCE = 16
"""Peers that are told at the same time."""


async def close(engine: Engine, message: str) -> list[str]:
    """Leave no range, no peer and no session, and say so in sentences; an engine that is closed is left alone."""
    said = await _close_ranges(engine)
    peers = await engine.peers()
    explicit = [peer for peer in peers if speaker.is_explicit(peer)]
    for chosen, tell in (
        (explicit, engine.disable),
        ([p for p in peers if not speaker.is_explicit(p) and speaker.is_established(p)], engine.shut_down),
    ):
        up = [_address(peer) for peer in chosen if speaker.is_established(peer)]
        await _each(up, lambda address, tell=tell: tell(address, message))  # type: ignore[misc]
        await _until_down(engine, set(up))
        said += [f"session with {address} closed" for address in up]
    await _each(map(_address, await engine.peers()), engine.delete_peer)
    return said


async def _close_ranges(engine: Engine) -> list[str]:
    """Let nobody in from any range. The engine takes a range's password off unless it knows of none meanwhile.

    What goes is the password of a node that is known by its address: it would count before that of its range.
    """
    ranges = speaker.read_ranges(await engine.ranges())
    groups = dict(map(speaker.read_group, await engine.groups())) if ranges else {}
    guarded = {name: groups[name] for name in set(ranges.values()) if groups[name].password}
    for address in map(_address, filter(speaker.is_explicit, await engine.peers() if guarded else ())):
        for prefix, group in ranges.items():
            if group in guarded and contains(prefix, address):
                await engine.delete_range(network_of(address), group)
    for name, session in guarded.items():
        await engine.update_group(speaker.group_message(name, replace(session, password="")))
    for prefix, group in ranges.items():
        await engine.delete_range(prefix, group)
    for name, session in guarded.items():
        await engine.update_group(speaker.group_message(name, session))
    return [f"range {prefix} of {group} closed" for prefix, group in ranges.items()]


async def _until_down(engine: Engine, told: set[Address]) -> None:
    """Wait for as long as one after the other goes down: each end is told to everybody who is left."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE
    while told and clock() < deadline:
        left = told & {_address(peer) for peer in await engine.peers() if speaker.is_established(peer)}
        if len(left) < len(told):
            told, deadline = left, clock() + PATIENCE
        await asyncio.sleep(LOOK_EVERY if told else 0)


async def _each(addresses: Iterable[Address], call: Callable[[Address], Awaitable[None]]) -> None:
    """Do it to each peer; one that has gone meanwhile needs it no more."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(address: Address) -> None:
        async with gate:
            try:
                await call(address)
            except EngineRefused:
                return

    await asyncio.gather(*map(one, addresses))


def _address(peer: pb.Peer) -> Address:
    return speaker.read_received(peer)[0]
