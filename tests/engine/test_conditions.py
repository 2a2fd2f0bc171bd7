"""Each thing that a node could do wrong, one by one, on a route that is otherwise in order."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from rr.engine.process import Program
from tests.engine import wire
from tests.engine.conftest import loopback_instance, reflecting
from tests.engine.speaker import eventually
from tests.engine.test_agreement import AS_PATHS
from tests.engine.wire import Attributes
from tests.unit.policy.worlds import allocations, networks

NODE, HOP_6, TOR = ip_address("127.2.1.11"), ip_address("fd00:2::1"), ip_address("127.3.1.1")
POD, POD_6, MARK = networks("10.244.1.0/24", "fd00:10:1::/64", "10.244.9.0/26")
OWNED = allocations(
    {"node-1": (["127.2.1.11", "fd00:2::1"], ["10.244.1.0/24", "fd00:10:1::/64", "10.244.9.0/26"])}
)


async def test_a_route_goes_when_it_is_announced_again_with_anything_wrong(
    short_dir: Path, program: Program
) -> None:
    """Confederation segments too: they count nothing in the length of a path (RFC 5065, section 5.3).

    But for a path through our own AS: the engine drops it as a loop before any policy, and keeps the route from before.
    """
    paths = [path for path in AS_PATHS if path != ((wire.SEQUENCE, (64512,)),)]
    right = {POD: Attributes(NODE), POD_6: Attributes(HOP_6)}
    wrongs = {
        POD: [
            *(replace(right[POD], as_path=path) for path in paths),
            Attributes(ip_address("127.2.1.12")),
            Attributes(ip_address("10.9.9.9")),
        ],
        POD_6: [
            *(replace(right[POD_6], as_path=path) for path in paths),
            Attributes(ip_address("fd00:2::2")),
            Attributes(ip_address("::ffff:127.2.1.11")),
        ],
    }
    async with reflecting(loopback_instance(), short_dir, program, OWNED) as reflector:
        tor = await reflector.dial(TOR, add_paths=True)
        node = await reflector.dial(NODE)
        for prefix, attributes in wrongs.items():
            for wrong in attributes:
                node.announce(prefix, right[prefix])
                await eventually(lambda p=prefix: p in tor.held(), "the proper route is there")  # type: ignore[misc]
                node.announce(prefix, wrong)
                # Updates of one session are taken in order: when this one is through, so is the one before.
                node.announce(MARK)
                await eventually(lambda: MARK in tor.held(), "the next route is there")
                assert prefix not in tor.held(), wrong
                node.withdraw(MARK)
                await eventually(lambda: MARK not in tor.held(), "the mark is gone")
