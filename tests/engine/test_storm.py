"""A cold start of many nodes: the filter holds from the first route on, and the picture is whole once it is over."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from rr.engine.process import Program
from rr.instance import storm, upkeep
from tests.engine.conftest import loopback_instance, reflecting
from tests.engine.speaker import eventually
from tests.engine.wire import Attributes
from tests.unit.policy.worlds import allocations, networks

NODE_1, NODE_2, TOR = map(ip_address, ("127.2.1.11", "127.2.1.12", "127.3.1.1"))
POD_1, POD_2 = networks("10.244.1.0/24", "10.244.2.0/24")
OWNED = allocations(
    {"node-1": (["127.2.1.11"], ["10.244.1.0/24"]), "node-2": (["127.2.1.12"], ["10.244.2.0/24"])}
)


@pytest.fixture(autouse=True)
def _short_storm_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lasts as long as it may at most, and is over before the first audit."""
    monkeypatch.setattr(storm, "MANY", 2)
    monkeypatch.setattr(storm, "CALM", 0)
    monkeypatch.setattr(storm, "PATIENCE", 1.5)
    monkeypatch.setattr(upkeep, "AUDIT_EVERY", 2.5)


async def test_what_came_meanwhile_is_seen_afterwards(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node, other = [await reflector.dial(a) for a in (TOR, NODE_1, NODE_2)]
        node.announce(POD_1)
        other.announce(POD_1)
        await eventually(lambda: POD_1 in tor.held(), "the route is there")
        view = reflector.runner.view
        assert NODE_1 not in view.peers, "nobody was asked about it yet"
        suspects = view.crossings.suspects
        await eventually(lambda: {NODE_1, NODE_2} <= suspects, "both are to be sent their routes again")
        assert view.peers[NODE_1].up
        await eventually(lambda: POD_1 in view.peers[NODE_1].heard, "the route is seen")
        await eventually(view.violations.rows, "the stolen prefix is seen")
        assert [(str(row["reason"]), row["node"]) for row in view.violations.rows()] == [
            ("foreign-prefix", "node-2")
        ]
        await eventually(lambda: not suspects, "both were sent their routes again")
        other.announce(POD_2)
        await eventually(lambda: POD_2 in view.peers[NODE_2].heard, "what comes later is seen as it comes")
        await eventually(lambda: set(tor.held()) == {POD_1, POD_2}, "and reaches the ToR")


async def test_a_reflected_prefix_is_withheld_once_it_is_over(short_dir: Path, program: Program) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor, node = await reflector.dial(TOR), await reflector.dial(NODE_1)
        node.announce(POD_1, Attributes(NODE_1, originator_id="10.9.9.9"))
        await eventually(lambda: POD_1 in tor.held(), "no policy can match it")
        await eventually(lambda: POD_1 not in tor.held(), "it is withheld")


async def test_an_engine_that_takes_peers_back_is_watched_from_the_beginning(
    short_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storm, "PATIENCE", 0.1)
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        node = await reflector.dial(NODE_1)
        view = reflector.runner.view
        await eventually(lambda: NODE_1 in reflector.runner.continuity.roster.peers, "it is known")
        monkeypatch.setattr(storm, "PATIENCE", 60.0)
        await reflector.runner.process.kill()
        await eventually(lambda: NODE_1 not in view.peers, "the engine is gone")
        await reflector.applied()
        await node.dial("127.0.0.1", reflector.instance.port)
        node.announce(POD_1)
        await eventually(lambda: NODE_1 in view.peers and POD_1 in view.peers[NODE_1].heard, "it is seen")
