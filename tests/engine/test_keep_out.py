"""An address that is kept out: its session and routes are gone at once, it gets no other, and nobody else notices."""

import asyncio
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from rr.engine.client import Engine
from rr.engine.process import Program
from rr.engine.reconcile import Reconciler
from rr.engine.speaker import closed, is_kept_out
from rr.guard import stale
from rr.instance import guarding
from rr.net import Address
from rr.policy.rules import Rules
from tests.engine.conftest import HOME, Reflector, loopback_instance, reflecting
from tests.engine.speaker import Speaker, eventually
from tests.engine.test_reconcile import NODE_1, NODE_2, OWNED, POD_1, POD_2, VIP
from tests.unit.policy.worlds import networks

TOR = next(iter(networks("127.3.1.1/32"))).network_address
ALL = {"reflect": {"tors": "all"}}


async def fabric(reflector: Reflector) -> tuple[Speaker, Speaker, Speaker]:
    """Let a ToR and two nodes have sessions; the ToR holds both nodes' routes."""
    tor = await reflector.dial(TOR, add_paths=True)
    nodes = [await reflector.dial(address, restart_time=120) for address in (NODE_1, NODE_2)]
    for node, prefix in zip(nodes, (POD_1, POD_2), strict=True):
        node.announce(prefix)
        node.end_of_rib()
    await eventually(lambda: set(tor.held()) == {POD_1, POD_2}, "the ToR holds both routes")
    return tor, nodes[0], nodes[1]


async def is_closed_at_once(address: Address, port: int) -> bool:
    """Whether a connection is closed before a word is said."""
    reader, writer = await asyncio.open_connection(HOME, port, local_addr=(str(address), 0))
    try:
        return await asyncio.wait_for(reader.read(100), 2.0) == b""
    finally:
        writer.close()


async def test_a_live_session_is_closed_and_none_comes_up(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(**ALL), short_dir, program, OWNED) as reflector:
        tor, node, other = await fabric(reflector)
        reflector.runner.keep_out(frozenset({NODE_1}))
        await reflector.applied()
        await eventually(node.closed.is_set, "the session is closed")
        assert node.notification is not None
        assert node.notification[0] == 6, "a Cease (RFC 4486)"
        await eventually(lambda: set(tor.held()) == {POD_2}, "its route is gone")
        assert await is_closed_at_once(NODE_1, reflector.instance.port)
        assert other.established.is_set()
        assert not other.closed.is_set()
        assert POD_2 not in tor.withdrawn


async def test_stale_routes_go_too(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(**ALL), short_dir, program, OWNED) as reflector:
        tor, node, _ = await fabric(reflector)
        node.abort()
        view = reflector.runner.view
        await eventually(lambda: NODE_1 in view.peers and not view.peers[NODE_1].up, "the session is lost")
        assert set(tor.held()) == {POD_1, POD_2}
        reflector.runner.keep_out(frozenset({NODE_1}))
        await eventually(lambda: set(tor.held()) == {POD_2}, "its stale route is gone")


async def test_it_survives_audits_and_ends_when_it_should(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(**ALL), short_dir, program, OWNED) as reflector:
        tor, _, _ = await fabric(reflector)
        runner = reflector.runner
        runner.keep_out(frozenset({NODE_1}))
        await reflector.applied()
        said = len(reflector.said)
        runner.configure(replace(runner.setting))
        await reflector.applied()
        assert [text for _, _, text in reflector.said[said:] if "repair" in text or "dial" in text] == []
        assert await is_closed_at_once(NODE_1, reflector.instance.port)
        runner.keep_out(frozenset())
        await reflector.applied()
        back = await reflector.dial(NODE_1)
        back.announce(ip_network(POD_1))
        await eventually(lambda: set(tor.held()) == {POD_1, POD_2}, "its route is back")


async def test_what_somebody_else_changed_about_it_is_repaired(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(**ALL), short_dir, program, OWNED) as reflector:
        runner = reflector.runner
        runner.keep_out(frozenset({NODE_1}))
        await reflector.applied()
        assert runner.engine is not None
        await runner.engine.delete_peer(NODE_1)
        await reflector.dial(NODE_1)
        runner.configure(replace(runner.setting))
        await reflector.applied()
        listed = await runner.engine.peers(NODE_1)
        assert [is_kept_out(peer) for peer in listed] == [True]


async def test_a_closed_speaker_is_left_alone_whoever_is_kept_out(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(**ALL), short_dir, program, OWNED) as reflector:
        runner = reflector.runner
        engine = runner.engine
        assert engine is not None
        reflector.task.cancel()
        await asyncio.gather(reflector.task, return_exceptions=True)
        engine = Engine(runner.process.socket)
        reconciler = Reconciler(engine)
        wanted = Rules(reflector.instance).build(OWNED)
        plan = closed(replace(runner.setting.plan, kept_out=frozenset({NODE_1})), "closed")
        await reconciler.run(lambda held: wanted, plan, audit=True)
        again = await reconciler.run(lambda held: wanted, plan, audit=True)
        assert again.said == []
        assert await engine.peers() == []
        await engine.close()


async def test_a_node_that_is_back_and_never_says_that_this_is_all_keeps_no_stale_route_for_ever(
    short_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale, "CATCH_UP", 1.0)
    monkeypatch.setattr(guarding, "UP_EVERY", 0.2)
    async with reflecting(loopback_instance(**ALL), short_dir, program, OWNED) as reflector:
        tor, node, _ = await fabric(reflector)
        node.announce(VIP)
        await eventually(lambda: VIP in tor.held(), "the ToR holds the VIP")
        reflector.runner.guard.stale_time = 1
        node.abort()
        back = await reflector.dial(NODE_1, restart_time=120)
        back.announce(POD_1)
        assert VIP in tor.held()
        await eventually(lambda: VIP not in tor.held(), "the stale VIP is gone")
        await eventually(back.closed.is_set, "its session was reset")
        await eventually(
            lambda: [text for text in reflector.sentences("stale") if "did not say which" in text],
            "it is said",
        )
        again = await reflector.dial(NODE_1, restart_time=120)
        again.announce(POD_1)
        again.end_of_rib()
        await eventually(lambda: set(tor.held()) == {POD_1, POD_2}, "what it announces now, and no more")
