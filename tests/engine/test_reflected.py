"""A node that reflects a prefix loses it, from every address of its own and once, until it stops."""

from ipaddress import ip_address
from pathlib import Path

from rr.engine.process import Program
from rr.engine.speaker import FAMILIES
from tests.engine.conftest import loopback_instance, reflecting
from tests.engine.speaker import eventually
from tests.engine.wire import Attributes
from tests.unit.policy.worlds import allocations, networks

ONE, OTHER = ip_address("127.2.1.11"), ip_address("127.2.1.12")
POD, MARK = networks("10.244.1.0/24", "10.244.2.0/24")
OWNED = allocations({"node-1": (["127.2.1.11", "127.2.1.12"], ["10.244.1.0/24", "10.244.2.0/24"])})


async def test_a_node_with_two_sessions_gets_a_reflected_prefix_back_only_when_both_are_proper(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor = await reflector.dial(ip_address("127.3.1.1"), add_paths=True)
        one, other = await reflector.dial(ONE), await reflector.dial(OTHER)
        other.announce(POD)
        await eventually(lambda: POD in tor.held(), "the proper route is there")
        one.announce(POD, Attributes(ONE, originator_id="10.9.9.9"))
        await eventually(lambda: POD not in tor.held(), "it is withheld from both")
        view = reflector.runner.view
        await eventually(lambda: len(view.violations.rows()) == 2, "both are told")
        # Were the proper one to end the suspension, edits would follow each other for ever.
        for _ in range(3):
            one.announce(MARK)
            await eventually(lambda: MARK in tor.held(), "another route comes")
            one.withdraw(MARK)
            await eventually(lambda: MARK not in tor.held(), "and goes")
        assert reflector.sentences("policy").count("main: prefixes edited: node/node-1") == 1
        assert {row["reason"] for row in view.violations.rows()} == {"reflected"}
        one.announce(POD)
        await eventually(lambda: len(tor.held().get(POD, ())) == 2, "both proper routes are there")
        await eventually(
            lambda: not any(row["active"] for row in view.violations.rows()), "the violations have ended"
        )


async def test_a_route_with_our_cluster_id_that_goes_at_once_leaves_nothing_behind(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor = await reflector.dial(ip_address("127.3.1.1"), add_paths=True)
        one, mate = await reflector.dial(ONE), await reflector.dial(OTHER)
        for _ in range(3):
            one.announce(POD)
            await eventually(lambda: POD in tor.held() and POD in mate.held(), "the proper route is there")
            one.announce(POD, Attributes(ONE, cluster_list=("10.0.0.11",)))
            one.withdraw(POD)
            await eventually(
                lambda: POD not in tor.held() and POD not in mate.held(), "nobody has it any more"
            )
        await eventually(
            lambda: any("with our own cluster id" in text for text in reflector.sentences("repair")),
            "it is said",
        )
        engine = reflector.runner.engine
        assert engine is not None
        assert await engine.count_paths(FAMILIES["ipv4"]) == 0
