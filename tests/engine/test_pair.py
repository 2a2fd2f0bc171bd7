"""The session between the halves, on a real engine: what is handed over, what comes back, and why it is a client's."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from rr.engine.client import Engine
from rr.engine.process import Program
from rr.engine.speaker import peer_message
from rr.net import Network
from tests.engine.conftest import Reflector, loopback_instance, reflecting
from tests.engine.speaker import Speaker, eventually
from tests.engine.wire import Attributes
from tests.unit.policy.worlds import allocations, networks

HALF, NODE, TOR = map(ip_address, ("127.9.0.1", "127.2.1.11", "127.3.1.1"))
POD, MARK, OTHER = networks("10.244.1.0/24", "10.244.9.0/24", "10.244.2.0/24")
OWNED = allocations(
    {"node-1": ([str(NODE)], [str(POD), str(MARK)]), "node-2": (["127.2.1.12"], [str(OTHER)])}
)


def lend(reflector: Reflector, *prefixes: Network) -> None:
    reflector.runner.lend(frozenset(prefixes))


async def test_the_other_half_is_given_what_it_lacks_and_nothing_else(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED, HALF) as reflector:
        half, node = await reflector.dial(HALF), await reflector.dial(NODE)
        node.announce(POD)
        lend(reflector, POD, OTHER)
        await eventually(lambda: POD in half.held(), "it is lent")
        (got,) = half.held()[POD]
        assert (got.next_hop, got.originator_id, got.cluster_list) == (NODE, str(NODE), ("10.0.0.11",))
        node.announce(MARK)
        lend(reflector)
        await eventually(lambda: POD not in half.held(), "it is lent no longer")
        assert MARK not in half.ever


async def test_what_the_other_half_hands_over_is_the_last_resort_and_goes_to_tors_but_never_back(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED, HALF) as reflector:
        half, node, tor = [await reflector.dial(a) for a in (HALF, NODE, TOR)]
        lend(reflector, POD)
        half.announce(POD, Attributes(NODE))
        await eventually(lambda: POD in tor.held(), "it reaches the ToR")
        assert tor.held()[POD][0].local_pref == 50
        node.announce(POD)
        await eventually(lambda: tor.held()[POD][0].local_pref == 100, "the node's own goes before it")
        await eventually(lambda: POD in half.held(), "and is lent: the other half's own is not better")
        node.withdraw(POD)
        await eventually(lambda: tor.held()[POD][0].local_pref == 50, "the last resort is back")
        await eventually(lambda: POD not in half.held(), "and the other half's own is not told to it")
        half.withdraw(POD)
        await eventually(lambda: POD not in tor.held(), "gone")


@pytest.mark.parametrize(
    ("prefix", "attributes", "reason"),
    [
        ("10.244.1.0/24", Attributes(ip_address("127.2.1.12")), "foreign-prefix"),
        ("10.244.1.0/24", Attributes(HALF), "unknown-node"),
        ("10.244.1.0/25", Attributes(NODE), "more-specific"),
        ("10.244.0.0/16", Attributes(NODE), "less-specific"),
        ("0.0.0.0/0", Attributes(NODE), "default-route"),
        ("10.99.0.0/24", Attributes(NODE), "not-allocated"),
        ("10.244.1.0/24", Attributes(NODE, as_path=((2, (65001,)),)), "as-path"),
    ],
    ids=str,
)
async def test_a_hijack_over_the_other_half_is_rejected_with_its_reason(
    short_dir: Path, program: Program, prefix: str, attributes: Attributes, reason: str
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED, HALF) as reflector:
        half, tor = await reflector.dial(HALF), await reflector.dial(TOR)
        half.announce(ip_network(prefix), attributes)
        half.announce(OTHER, Attributes(ip_address("127.2.1.12")))
        await eventually(lambda: OTHER in tor.held(), "what came after it has arrived")
        assert tor.ever == {OTHER}
        (violation,) = await eventually(reflector.runner.view.violations.rows, "it is seen")
        assert (violation["prefix"], violation["peer"], violation["reason"]) == (prefix, str(HALF), reason)


async def withdrawn_behind(reflector: Reflector, half: Speaker) -> bool:
    """Whether the other half is told that a node took a route back for which it announces a path itself."""
    node, tor = await reflector.dial(NODE), await reflector.dial(TOR)
    lend(reflector, POD, MARK)
    node.announce(POD)
    await eventually(lambda: POD in half.held(), "the node's path is handed over")
    half.announce(POD, Attributes(NODE))
    half.announce(OTHER, Attributes(ip_address("127.2.1.12")))
    await eventually(lambda: OTHER in tor.held(), "its own path is there too")
    node.withdraw(POD)
    node.announce(MARK)
    await eventually(lambda: MARK in half.held(), "what came after it is there")
    return POD not in half.held()


async def make_non_client(reflector: Reflector) -> None:
    """Exchange the peer by one that is no client; the product would change it back, so it is told the same."""
    setting = reflector.runner.setting
    peer = setting.plan.peers[HALF]
    other = replace(peer, session=replace(peer.session, cluster_id=""))
    peers = {**setting.plan.peers, HALF: other}
    reflector.runner.setting = replace(setting, plan=replace(setting.plan, peers=peers))
    message = peer_message(HALF, other)
    message.route_reflector.route_reflector_client = False
    engine = Engine(reflector.runner.process.socket)
    await engine.delete_peer(HALF)
    await engine.add_peer(message)
    await engine.close()


async def test_the_other_half_is_told_that_a_route_is_gone_for_which_it_has_a_path_itself(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED, HALF) as reflector:
        assert await withdrawn_behind(reflector, await reflector.dial(HALF))


async def test_the_engine_would_leave_a_stale_route_with_the_other_half_were_it_no_client(
    short_dir: Path, program: Program
) -> None:
    async with reflecting(loopback_instance(), short_dir, program, OWNED, HALF) as reflector:
        await make_non_client(reflector)
        assert not await withdrawn_behind(reflector, await reflector.dial(HALF))
