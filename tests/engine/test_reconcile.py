"""What an engine should hold, it comes to hold: at a start, at an adoption, and after somebody tampered with it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from rr.engine import leftovers, reconcile, speaker
from rr.engine import policy as encode
from rr.engine.client import EXPORT, IMPORT, Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.process import Program
from rr.engine.reconcile import NeedsRestart, Outcome, Reconciler
from rr.engine.speaker import FAMILIES, NOBODY
from rr.errors import EngineRefused
from rr.instance import runner, upkeep
from rr.ipam.allocations import Allocations
from rr.policy.model import NOTHING, PolicySet
from rr.policy.rules import Rules
from tests.engine.conftest import Reflector, loopback_instance, reflecting, setting_of
from tests.engine.speaker import eventually
from tests.unit.policy.worlds import allocations, networks

OWNED = allocations(
    {
        "node-1": (["127.2.1.11", "fd00:2::1"], ["10.244.1.0/24"]),
        "node-2": (["127.2.2.12"], ["10.244.2.0/24"]),
    },
    (["10.100.0.0/24"], None),
)
NODE_1, NODE_2 = ip_address("127.2.1.11"), ip_address("127.2.2.12")
POD_1, POD_2, VIP = networks("10.244.1.0/24", "10.244.2.0/24", "10.100.0.1/32")


class Recorder:
    """A client that writes down what is called, in order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)

        async def recorded(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            return await found(*args, **kwargs)

        return recorded

    def changes(self) -> list[str]:
        asked = {"ping", "assignment", "defined_sets", "groups", "ranges", "peers"}
        return [name for name in self.calls if name not in asked]


class Kept:
    """An engine and a reconciler that keeps it as one instance says."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.recorder = Recorder(engine)
        self.instance = loopback_instance()
        self.plan = setting_of(self.instance).plan
        self.wanted = Rules(self.instance).build(OWNED)
        self.reconciler = self.another()

    def another(self) -> Reconciler:
        """As after a restart of rrd: nothing is remembered."""
        return Reconciler(self.recorder)  # type: ignore[arg-type]

    async def audit(self) -> Outcome:
        self.recorder.calls.clear()
        return await self.reconciler.run(lambda held: self.wanted, self.plan, audit=True)


@pytest.fixture
async def kept(engine: Engine) -> Kept:
    found = Kept(engine)
    await found.audit()
    return found


async def test_policy_is_assigned_and_read_back_before_anybody_is_let_in(engine: Engine) -> None:
    fresh = Kept(engine)
    assert await fresh.reconciler.start(fresh.plan)
    await fresh.audit()
    calls = fresh.recorder.calls
    doors = [i for i, name in enumerate(calls) if name in ("add_range", "add_peer", "add_group")]
    assert doors, "nobody was let in at all"
    last_assigned = max(i for i, name in enumerate(calls) if name == "assign")
    assert calls.index("set_policies") < calls.index("assign")
    assert "assignment" in calls[last_assigned : min(doors)], "it was not read back before the doors opened"
    assert last_assigned < min(doors)


async def test_a_policy_that_is_not_in_force_keeps_the_doors_shut(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Kept(engine)

    async def nothing(*_: Any) -> None:
        return None

    monkeypatch.setattr(engine, "assign", nothing)
    with pytest.raises(EngineRefused, match="policy rr-import is not in force after it was assigned"):
        await fresh.audit()
    assert not {"add_range", "add_peer", "add_group"} & set(fresh.recorder.calls)
    assert await engine.ranges() == []


async def test_an_adopted_engine_that_is_right_is_left_alone(kept: Kept) -> None:
    kept.reconciler = kept.another()
    outcome = await kept.audit()
    assert kept.recorder.changes() == []
    assert outcome.said == []
    assert not outcome.repaired


async def test_a_second_audit_changes_nothing(kept: Kept) -> None:
    outcome = await kept.audit()
    assert kept.recorder.changes() == []
    assert not outcome.said


async def accept_by_default(engine: Engine) -> None:
    assignment = pb.PolicyAssignment(
        name="global",
        direction=pb.POLICY_DIRECTION_IMPORT,
        policies=[pb.Policy(name=IMPORT)],
        default_action=pb.ROUTE_ACTION_ACCEPT,
    )
    await engine._stub.SetPolicyAssignment(pb.SetPolicyAssignmentRequest(assignment=assignment))


async def _rewrite(engine: Engine, policy: PolicySet) -> None:
    messages = [encode.policy_message(IMPORT, policy.imports), encode.policy_message(EXPORT, policy.exports)]
    await engine.set_policies(encode.sets(policy), messages)


WANTED = Rules(loopback_instance()).build(OWNED)


async def delete_a_statement(engine: Engine) -> None:
    await _rewrite(engine, replace(WANTED, imports=WANTED.imports[1:]))


async def swap_statements(engine: Engine) -> None:
    await _rewrite(engine, replace(WANTED, imports=WANTED.imports[::-1]))


async def weaken_a_statement(engine: Engine) -> None:
    last = replace(WANTED.imports[-1], next_hops=frozenset())
    await _rewrite(engine, replace(WANTED, imports=(*WANTED.imports[:-1], last)))


async def extend_a_set(engine: Engine) -> None:
    stolen = WANTED.prefix_sets["node/node-2/4"]
    await engine.extend_set(encode.prefix_set("node/node-1/4", stolen))


async def shrink_a_set(engine: Engine) -> None:
    await engine.shrink_set(encode.prefix_set("node/node-1/4", WANTED.prefix_sets["node/node-1/4"]))


async def widen_a_neighbor_set(engine: Engine) -> None:
    wide = {**WANTED.neighbor_sets, "node/node-1/rack-1": frozenset(networks("127.2.1.0/24"))}
    await _rewrite(engine, replace(WANTED, neighbor_sets=wide))


async def drop_everything(engine: Engine) -> None:
    await engine._stub.SetPolicies(pb.SetPoliciesRequest())


Tamper = Callable[[Engine], Awaitable[None]]


@pytest.mark.parametrize(
    "tamper",
    [
        accept_by_default, delete_a_statement, swap_statements, weaken_a_statement, extend_a_set, shrink_a_set,
        widen_a_neighbor_set, drop_everything,
    ],
    ids=lambda tamper: tamper.__name__,
)  # fmt: skip
async def test_a_policy_that_somebody_changed_is_repaired_and_said(kept: Kept, tamper: Tamper) -> None:
    await tamper(kept.engine)
    outcome = await kept.audit()
    assert outcome.repaired
    assert outcome.said
    again = kept.another()
    await again._read_policy(Outcome())
    assert again.held == kept.wanted
    assert not (await kept.audit()).repaired


async def test_a_stray_group_range_and_peer_are_removed_and_said(kept: Kept) -> None:
    group = speaker.group_message("nodes/stray", kept.plan.groups["nodes/rack-1"])
    await kept.engine.add_group(group)
    await kept.engine.add_range(ip_network("127.9.0.0/24"), "nodes/stray")
    stray = speaker.peer_message(ip_address("127.3.9.9"), next(iter(kept.plan.peers.values())))
    await kept.engine.add_peer(stray)
    outcome = await kept.audit()
    assert outcome.said == ["ToR 127.3.9.9 removed", "range 127.9.0.0/24 of nodes/stray closed"]
    assert {g.conf.peer_group_name for g in await kept.engine.groups()} == set(kept.plan.groups)
    assert set(speaker.read_ranges(await kept.engine.ranges())) == set(kept.plan.ranges)


async def test_a_tor_and_a_range_that_are_gone_come_back(kept: Kept) -> None:
    await kept.engine.delete_peer(ip_address("127.3.1.1"))
    await kept.engine.delete_range(ip_network("127.2.1.0/24"), "nodes/rack-1")
    outcome = await kept.audit()
    assert outcome.said == ["ToR 127.3.1.1 added", "range 127.2.1.0/24 of nodes/rack-1 open"]


async def test_another_as_needs_a_restart_and_nothing_is_touched(kept: Kept) -> None:
    other = setting_of(kept.instance.model_copy(update={"asn": 64999})).plan
    kept.recorder.calls.clear()
    with pytest.raises(NeedsRestart, match="64999"):
        await kept.reconciler.run(lambda held: kept.wanted, other, audit=True)
    assert kept.recorder.changes() == []


async def test_more_edits_than_a_few_replace_the_policy_in_one_step(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_EDITS", 1)
    moved = allocations(
        {"node-1": (["127.2.1.11", "fd00:2::1"], []), "node-2": (["127.2.2.12"], ["10.244.1.0/24"])},
        (["10.100.0.0/24"], None),
    )
    kept.wanted = Rules(kept.instance).build(moved)
    await kept.audit()
    assert "set_policies" in kept.recorder.calls
    assert "extend_set" not in kept.recorder.calls


async def test_revocations_reach_the_engine_before_grants(kept: Kept) -> None:
    moved = allocations(
        {
            "node-1": (["127.2.1.11", "fd00:2::1"], []),
            "node-2": (["127.2.2.12"], ["10.244.2.0/24", "10.244.1.0/24"]),
        },
        (["10.100.0.0/24"], None),
    )
    kept.wanted = Rules(kept.instance).build(moved)
    outcome = await kept.audit()
    # Whoever is concerned is judged again, known to have a session or not.
    assert kept.recorder.changes() == ["shrink_set", "extend_set"] + ["refresh_in"] * 2
    assert outcome.said == ["prefixes edited: node/node-1, node/node-2"]


async def test_what_a_node_has_that_goes_is_taken_away_before_the_new_policy_is_written(kept: Kept) -> None:
    kept.wanted = Rules(kept.instance).build(allocations({"node-2": (["127.2.2.12"], ["10.244.2.0/24"])}))
    await kept.audit()
    calls = kept.recorder.changes()
    assert calls[:3] == ["shrink_set", "refresh_in", "set_policies"]
    assert kept.reconciler.held == kept.wanted


async def test_a_node_that_goes_by_another_name_keeps_what_it_has_meanwhile(kept: Kept) -> None:
    renamed = {**OWNED.nodes, "other": replace(OWNED.nodes["node-1"], name="other")}
    del renamed["node-1"]
    kept.wanted = Rules(kept.instance).build(Allocations(renamed, OWNED.vips))
    await kept.audit()
    assert "set_policies" in kept.recorder.calls
    assert "shrink_set" not in kept.recorder.calls
    assert kept.recorder.changes()[0] == "set_policies", "nothing is judged again before"


async def test_what_keeps_routes_out_is_not_emptied_before_the_new_policy_is_written(engine: Engine) -> None:
    bounds = {"prefixes": ["10.0.0.0/8"]}
    rack = {"nodes": {"ranges": ["127.2.1.0/24"]}, "enforce": "observe", "observe": bounds}
    kept = Kept(engine)
    kept.wanted = Rules(loopback_instance({"rack-1": rack})).build(OWNED)
    await kept.audit()
    closed: list[str] = []
    shrink = engine.shrink_set

    async def shrunk(removal: pb.DefinedSet) -> None:
        closed.append(removal.name)
        await shrink(removal)

    engine.shrink_set = shrunk  # type: ignore[method-assign]
    reserved = "observe/reserved/4"
    assert kept.wanted.prefix_sets[reserved]
    kept.wanted = Rules(loopback_instance({"rack-1": {"nodes": rack["nodes"]}})).build(OWNED)
    assert reserved not in kept.wanted.prefix_sets
    await kept.audit()
    assert closed == ["observe/rack/rack-1/4"]


async def test_with_no_policy_wanted_at_all_nothing_is_accepted(kept: Kept) -> None:
    kept.wanted = NOTHING
    await kept.audit()
    found = await kept.engine.assignment(pb.POLICY_DIRECTION_IMPORT)
    assert found.default_action == pb.ROUTE_ACTION_REJECT
    assert not found.policies[0].statements


# With sessions


async def both_up(reflector: Reflector) -> tuple[Any, Any]:
    tor = await reflector.dial(ip_address("127.3.1.1"), add_paths=True)
    node = await reflector.dial(NODE_1)
    node.announce(POD_1)
    await eventually(lambda: POD_1 in tor.held(), "the ToR holds the node's route")
    return tor, node


async def test_a_new_hold_time_keeps_every_session(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node = await both_up(reflector)
        reflector.configure(hold_time=30)
        await reflector.applied()
        assert "main: settings of ToR 127.3.1.1 changed, its session stays" in reflector.sentences("policy")
        node.withdraw(POD_1)
        await eventually(lambda: POD_1 not in tor.held(), "the old sessions still carry routes")
        assert not tor.closed.is_set()
        assert not node.closed.is_set()


async def test_a_new_password_of_a_range_keeps_the_sessions_that_are_up(
    short_dir: Path, program: Program
) -> None:
    secret = short_dir / "password"
    secret.write_text("tulip\n")
    secret.chmod(0o600)
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node = await both_up(reflector)
        racks = reflector.instance.model_dump()["racks"]
        racks["rack-1"]["nodes"]["password_file"] = secret
        reflector.configure(racks=racks)
        await reflector.applied()
        node.withdraw(POD_1)
        await eventually(lambda: POD_1 not in tor.held(), "the sessions are still up")
        assert not node.closed.is_set()


async def test_a_range_that_is_closed_ends_its_sessions_alone(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node = await both_up(reflector)
        other = await reflector.dial(NODE_2)
        racks = reflector.instance.model_dump()["racks"]
        racks["rack-2"]["nodes"]["ranges"] = ["127.2.77.0/24"]
        reflector.configure(racks=racks)
        await reflector.applied()
        await eventually(other.closed.is_set, "the session of the closed range ends")
        assert not node.closed.is_set()
        assert not tor.closed.is_set()


async def test_another_as_restarts_the_engine(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        before = reflector.runner.process.pid()
        reflector.configure(asn=64999)
        await reflector.applied()
        assert reflector.runner.process.pid() not in (None, before)
        assert any("is restarted" in text for text in reflector.sentences("engine"))
        await both_up(reflector)


async def test_a_killed_engine_comes_back_with_its_policy(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node = await both_up(reflector)
        await reflector.runner.process.kill()
        await eventually(lambda: reflector.runner.health.restarts == 1, "the loss is counted")
        await reflector.applied()
        tor.routes.clear()
        await node.dial("127.0.0.1", reflector.instance.port)
        node.announce(POD_1)
        node.announce(POD_2)
        node.announce(VIP)
        await tor.dial("127.0.0.1", reflector.instance.port)
        await eventually(lambda: set(tor.held()) == {POD_1, VIP}, "its own routes and only these")
        await eventually(lambda: not reflector.runner.continuity.restarting, "nobody is awaited any more")
        await reflector.applied()
        engine = Engine(reflector.runner.process.socket)
        listed = {peer.state.neighbor_address for peer in await engine.peers()}
        await engine.close()
        assert str(NOBODY) not in listed


async def test_a_hung_engine_is_ended_and_replaced(
    short_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PING_EVERY", 0.1)
    monkeypatch.setattr(runner, "PING_DEADLINE", 0.3)
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        before = reflector.runner.process.pid()
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        await eventually(lambda: reflector.runner.health.restarts == 1, "it is given up")
        await reflector.applied()
        assert reflector.runner.process.pid() not in (None, before)
        assert any("hangs: no answer to 3 pings" in text for text in reflector.sentences("engine"))


async def test_an_engine_that_takes_nodes_back_may_be_silent_for_longer(
    short_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PING_EVERY", 0.1)
    monkeypatch.setattr(runner, "PING_DEADLINE", 0.3)
    monkeypatch.setattr(runner, "PINGS_LOST_RESTARTING", 6)
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        before = reflector.runner.process.pid()
        assert before is not None
        reflector.runner.continuity.restarting = True
        os.kill(before, signal.SIGSTOP)
        await eventually(lambda: reflector.runner.health.restarts == 1, "it is given up")
        assert [text for text in reflector.sentences("engine") if "hangs: no answer to" in text] == [
            "the engine of main hangs: no answer to 6 pings"
        ]


@asynccontextmanager
async def coming_later(first: Reflector, run_dir: Path, program: Program) -> AsyncIterator[Reflector]:
    """End a runner, and begin another one with the engine that it leaves."""
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    second = Reflector(first.instance, run_dir, program)
    try:
        second.allocate(OWNED)
        await second.applied()
        yield second
    finally:
        second.task.cancel()
        await asyncio.gather(second.task, return_exceptions=True)


async def test_a_runner_that_comes_later_removes_what_one_that_was_killed_left(
    short_dir: Path, program: Program
) -> None:
    """Paths of our own, which take the place of others for a moment, stay where rrd ends in that moment."""
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as first:
        engine = first.runner.engine
        assert engine is not None
        for prefix in ("10.244.1.0/24", "fd00:1::/64"):
            await engine.add_own_path(leftovers._path(ip_network(prefix), 1))
        async with coming_later(first, short_dir, program) as second:
            assert second.runner.engine is not None
            counts = [await second.runner.engine.count_paths(family) for family in FAMILIES.values()]
            assert counts == [0, 0]


async def test_a_runner_that_comes_later_adopts_the_engine_and_its_sessions(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as first:
        tor, node = await both_up(first)
        node.announce(POD_2)
        await eventually(first.runner.view.violations.rows, "the stolen prefix is seen")
        async with coming_later(first, short_dir, program) as second:
            assert any("engine adopted" in text for text in second.sentences("engine"))
            assert second.sentences("policy") == []
            await eventually(second.runner.view.violations.rows, "it learns what was rejected before it came")
            assert {str(row["reason"]) for row in second.runner.view.violations.rows()} == {"foreign-prefix"}
            assert not tor.closed.is_set()
            assert not node.closed.is_set()
            assert set(tor.held()) == {POD_1}


async def test_tampering_is_found_by_the_next_audit_while_it_runs(
    short_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "AUDIT_EVERY", 0.2)
    monkeypatch.setattr(upkeep, "SETTLE", 0.1)
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node = await both_up(reflector)
        node.announce(POD_2)
        engine = Engine(reflector.runner.process.socket)
        await accept_by_default(engine)
        await engine.refresh_in(NODE_1)
        await eventually(lambda: reflector.runner.health.repairs, "it is repaired and counted")
        await eventually(lambda: set(tor.held()) == {POD_1}, "what leaked is taken back")
        assert any("nobody asked for" in text for text in reflector.sentences("repair"))
        await engine.close()
