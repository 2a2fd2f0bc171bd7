"""A speaker that closes tells everybody so, lets nobody back in, and opens again as if nothing had been."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from rr.continuity.drain import FAREWELL, Drain, read_engine
from rr.continuity.roster import Roster
from rr.engine import shutdown, speaker
from rr.engine.client import Engine
from rr.engine.process import Program
from rr.engine.reconcile import Reconciler
from rr.errors import EngineRefused
from rr.instance.runner import InstanceRunner
from rr.policy.drain import GRACEFUL_SHUTDOWN, LAST
from rr.policy.rules import Rules
from tests.engine.conftest import loopback_instance, reflecting, setting_of
from tests.engine.speaker import Speaker, eventually
from tests.unit.policy.worlds import allocations, networks

NODE, OTHER, TOR = (ip_address(text) for text in ("127.2.1.11", "127.2.1.12", "127.3.1.1"))
(POD,) = networks("10.244.1.0/24")
OWNED = allocations({"node-1": (["127.2.1.11"], ["10.244.1.0/24"])})
MESSAGE = "gone to lunch"
CEASE, ADMINISTRATIVE_SHUTDOWN = 6, 2
ORDERED = Drain(1_764_000_000.0, 10.0)
NOTICE = bytes([CEASE, ADMINISTRATIVE_SHUTDOWN, len(MESSAGE)]) + MESSAGE.encode()


@pytest.mark.parametrize("restart_time", [0, 120], ids=["without graceful restart", "with graceful restart"])
async def test_everybody_is_told_and_forgotten(short_dir: Path, program: Program, restart_time: int) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        node = await reflector.dial(NODE, restart_time=restart_time)
        tor = await reflector.dial(TOR, restart_time=restart_time)
        node.announce(POD)
        await eventually(lambda: tor.held([POD]), "the ToR holds the route")
        reflector.task.cancel()
        engine = Engine(reflector.runner.process.socket)
        said = await shutdown.close(engine, MESSAGE)
        for peer in (node, tor):
            await eventually(peer.closed.is_set, "the session is closed")
            assert peer.notification == NOTICE
        assert tor.withdrawn == [], "ToRs are closed before nodes, so nothing is withdrawn from them"
        assert await engine.peers() == []
        assert await engine.ranges() == []
        assert "session with 127.3.1.1 closed" in said
        assert "session with 127.2.1.11 closed" in said
        assert "range 127.2.1.0/24 of nodes/rack-1 closed" in said
        assert await shutdown.close(engine, MESSAGE) == []
        for peer in (node, tor):
            assert not await peer._try("127.0.0.1", reflector.instance.port, restart_time)
        await engine.close()


async def test_a_closed_plan_closes_and_an_open_one_opens_again(short_dir: Path, program: Program) -> None:
    instance = loopback_instance()
    async with reflecting(instance, short_dir, program, OWNED) as reflector:
        node = await reflector.dial(NODE)
        reflector.task.cancel()
        engine = Engine(reflector.runner.process.socket)
        plan, rules = setting_of(instance).plan, Rules(instance)
        reconciler = Reconciler(engine)
        closed = speaker.closed(plan, MESSAGE)
        outcome = await reconciler.run(lambda held: rules.build(OWNED, leaving=True), closed, audit=True)
        assert outcome.peers == []
        assert node.notification == NOTICE
        again = await reconciler.run(lambda held: rules.build(OWNED, leaving=True), closed, audit=True)
        assert again.said == []
        await reconciler.run(lambda held: rules.build(OWNED), plan, audit=True)
        assert set(speaker.read_ranges(await engine.ranges())) == set(plan.ranges)
        await node.dial("127.0.0.1", instance.port)
        await engine.close()


async def test_a_tor_that_was_shut_and_not_deleted_yet_is_let_in_again(
    short_dir: Path, program: Program
) -> None:
    instance = loopback_instance()
    async with reflecting(instance, short_dir, program, OWNED) as reflector:
        engine = Engine(reflector.runner.process.socket)
        await engine.disable(TOR, MESSAGE)
        reflector.runner.configure(reflector.runner.setting)
        await (await reflector.dial(TOR)).close()
        await engine.close()


async def test_what_a_leaving_speaker_sends_is_marked_and_a_change_of_mind_unmarks_it(
    short_dir: Path, program: Program
) -> None:
    instance = loopback_instance()
    async with reflecting(instance, short_dir, program, OWNED) as reflector:
        node, other = await reflector.dial(NODE), await reflector.dial(OTHER)
        tor = await reflector.dial(TOR, add_paths=True)
        node.announce(POD)
        await eventually(lambda: tor.held([POD]) and other.held([POD]), "both hold the route")
        reflector.task.cancel()
        engine = Engine(reflector.runner.process.socket)
        plan, rules, reconciler = setting_of(instance).plan, Rules(instance), Reconciler(engine)
        for leaving in (True, False):
            wanted = rules.build(OWNED, leaving=leaving)
            await reconciler.run(lambda held, wanted=wanted: wanted, plan, audit=True)  # type: ignore[misc]
            while reconciler.unsent:
                await reconciler.send_rest()
            mark = (frozenset({GRACEFUL_SHUTDOWN}), LAST) if leaving else (frozenset(), 100)
            for peer in (tor, other):
                await eventually(
                    lambda peer=peer, mark=mark: (
                        [  # type: ignore[misc]
                            (route.communities, route.local_pref) == mark for route in peer.held([POD])[POD]
                        ]
                        == [True]
                    ),
                    f"{peer.address} holds it {'' if leaving else 'not '}marked",
                )
                assert peer.withdrawn == []
        await engine.close()


async def test_a_message_that_is_too_long_is_refused(engine: Engine) -> None:
    for tell in (engine.disable, engine.shut_down):
        with pytest.raises(EngineRefused, match="longer than 128 bytes"):
            await tell(TOR, "ü" * 65)


def test_a_closed_plan_is_the_same_speaker_with_nobody() -> None:
    plan = setting_of(loopback_instance()).plan
    closed = speaker.closed(plan, MESSAGE)
    assert closed == replace(plan, ranges={}, later=plan.ranges, peers={}, farewell=MESSAGE)
    assert closed.identity == plan.identity
    assert closed.groups == plan.groups


async def test_a_decision_is_carried_out_by_the_runner_and_taken_back(
    short_dir: Path, program: Program
) -> None:
    instance = loopback_instance()
    async with reflecting(instance, short_dir, program, OWNED) as reflector:
        runner = reflector.runner
        node, tor = await reflector.dial(NODE), await reflector.dial(TOR)
        node.announce(POD)
        await eventually(lambda: tor.held([POD]), "the ToR holds the route")
        digest = runner.health.digest
        runner.maintain(ORDERED)
        await eventually(lambda: runner.resent is not None, "the marks are out")
        await eventually(lambda: preference(tor) == LAST, "the ToR holds a marked route")
        assert not runner.emptied
        assert runner.health.digest == digest, "the rules are the same: a pair must not alarm over a drain"
        runner.maintain(replace(ORDERED, closed=True))
        await eventually(lambda: runner.emptied, "nobody is left")
        assert tor.notification is not None
        assert FAREWELL.encode() in tor.notification
        assert runner.continuity.returning(runner.plan) is None
        await eventually(lambda: NODE not in runner.view.peers and not runner.view.lost, "the loss was seen")
        assert runner.guard.blames == [], "that its session was ended is not the node's fault"
        runner.maintain(replace(ORDERED, ended=True))
        await eventually(lambda: runner.resent is not None, "it serves again")
        assert not runner.emptied
        await node.dial("127.0.0.1", instance.port)
        await tor.dial("127.0.0.1", instance.port)
        node.announce(POD)
        await eventually(lambda: preference(tor) == 100, "the ToR holds the route again")


@pytest.mark.parametrize("leaving", [True, False], ids=["marks", "no marks"])
async def test_what_a_controller_could_not_send_any_more_the_next_one_sends(
    short_dir: Path, program: Program, leaving: bool
) -> None:
    instance = loopback_instance()
    async with reflecting(instance, short_dir, program, OWNED) as reflector:
        node, tor = await reflector.dial(NODE), await reflector.dial(TOR)
        node.announce(POD)
        await eventually(lambda: tor.held([POD]), "the ToR holds the route")
        runner = reflector.runner
        if not leaving:
            runner.maintain(ORDERED)
            await eventually(lambda: preference(tor) == LAST, "the ToR holds a marked route")
        reflector.task.cancel()
        engine = Engine(runner.process.socket)
        await Reconciler(engine)._replace(Rules(instance).build(OWNED, leaving=leaving))
        await engine.close()
        another = InstanceRunner(
            "main", setting_of(instance), short_dir, program, reflector._say, Roster(short_dir / "r.json")
        )
        another.allocate(OWNED)
        another.maintain(replace(ORDERED, ended=not leaving))
        task = asyncio.create_task(another.run())
        await eventually(lambda: preference(tor) == (LAST if leaving else 100), "the ToR is sent it again")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_says_how_far_it_is_drained(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        runner = reflector.runner
        assert await read_engine(runner.process.socket) is None
        for closed in (False, True):
            runner.maintain(replace(ORDERED, closed=closed))
            await eventually(lambda: runner.resent is not None, "it is as it should be")
            found = await read_engine(runner.process.socket)
            assert found
            assert found.closed == closed


async def test_without_allocations_an_adopted_engine_is_marked_all_the_same(
    short_dir: Path, program: Program
) -> None:
    instance = loopback_instance()
    async with reflecting(instance, short_dir, program, OWNED) as reflector:
        node, tor = await reflector.dial(NODE), await reflector.dial(TOR)
        node.announce(POD)
        await eventually(lambda: tor.held([POD]), "the ToR holds the route")
        reflector.task.cancel()
        another = InstanceRunner(
            "main", setting_of(instance), short_dir, program, reflector._say, Roster(short_dir / "r.json")
        )
        another.maintain(ORDERED)
        task = asyncio.create_task(another.run())
        await eventually(lambda: preference(tor) == LAST, "the ToR holds a marked route")
        assert tor.withdrawn == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def preference(speaker: Speaker) -> int | None:
    """The LOCAL_PREF of the pod's route at a speaker."""
    found = speaker.held([POD]).get(POD)
    return found[0].local_pref if found else None
