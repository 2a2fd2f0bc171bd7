"""Whatever policy is written can be read back from a real engine, and then says the same."""

import asyncio
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rr.engine import policy as encode
from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.process import EngineProcess
from rr.engine.reconcile import Outcome, Reconciler
from rr.net import Address
from rr.policy.model import Action, PolicySet, Statement
from tests.engine.conftest import loopback_instance, serving
from tests.unit.policy.worlds import World, allocations, later_than, worlds

ENGINE = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def read_back(engine: Engine) -> PolicySet | None:
    """What an engine holds, read as after a restart of rrd."""
    fresh = Reconciler(engine)
    await fresh._read_policy(Outcome())
    return fresh.held


@given(world=worlds(), data=st.data())
@ENGINE
def test_what_was_written_is_read_back_before_and_after_edits(
    engine_process: EngineProcess, world: World, data: st.DataObject
) -> None:
    later = data.draw(later_than(world.allocations))
    policies = [world.rules.build(a) for a in (world.allocations, later)]
    policies.append(world.rules.build(later, leaving=True))

    async def write() -> None:
        engine = await serving(engine_process)
        reconciler = Reconciler(engine)
        for policy in policies:
            await reconciler._policy(policy, Outcome())
            assert reconciler.held == policy
            assert await read_back(engine) == policy
        await engine.close()

    asyncio.run(write())


NOTHING = {"next_hops": frozenset[Address](), "empty_as_path": False, "neutral": False, "local_pref": None}


def test_a_statement_that_we_could_not_have_written_is_read_as_altered() -> None:
    world = World(loopback_instance(), allocations({"node-1": (["127.2.1.11"], ["10.244.1.0/24"])}))
    policy = world.rules.build(world.allocations)
    message = encode._statement(policy.imports[-1])
    changed = pb.Statement()
    changed.CopyFrom(message)
    changed.actions.med.value = 7
    assert encode._read_statement(message) == policy.imports[-1]
    assert encode._read_statement(changed).name == f"{message.name} (altered)"
    level = next(s for s in policy.imports if s.neutral)
    half = Statement("level/pair", Action.CONTINUE, neighbors="pair", local_pref=50)
    assert encode._read_statement(encode._statement(half)) == half
    for statement, field in (
        (policy.imports[-1], "next_hops"),
        (policy.imports[-1], "empty_as_path"),
        (level, "neutral"),
        (half, "local_pref"),
    ):
        weaker = encode._statement(replace(statement, **{field: NOTHING[field]}))  # type: ignore[arg-type]
        assert encode._read_statement(weaker) != statement
