"""What a deployment serves in the tests: a ToR and a node in each rack, with a session to every half."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.lab.bird import BirdNode
from tests.lab.forwarding import Forwarding
from tests.lab.frr import FrrNode, FrrTor
from tests.lab.peer import Peer, all_established
from tests.lab.stream import Stream
from tests.lab.wait import eventually
from tests.machines.deployment import Deployment

PODS = {"node-1": "10.244.1.0/24", "node-2": "10.244.2.0/24"}
VIP = "10.100.0.1/32"
STREAM = tuple(f"10.245.{number}.0/24" for number in range(8))
"""What node-2 announces and withdraws where a test wants load."""


class Fabric:
    """Both racks of the example inventory."""

    def __init__(self, pair: Deployment) -> None:
        self.pair = pair
        net, to = pair.net, pair.remotes
        passwords = pair.group()["rr_appliance_secrets"]
        self.tors = [FrrTor(net, f"tor-{n}", f"10.2.{n - 1}.1", to=to) for n in (1, 2)]
        self.guarded = BirdNode(net, "node-1", "10.2.0.131", to=to, password=passwords["rack-1"])
        self.nodes: list[Peer] = [self.guarded, FrrNode(net, "node-2", "10.2.1.131", to=to)]
        for node in self.nodes:
            node.announce(PODS[node.name])
            node.announce(VIP)

    @contextmanager
    def nothing_lost(self, *, load: bool = False) -> Iterator[None]:
        """Assert that inside no ToR's kernel loses a route; with `load`, under a stream of announcements."""
        tables = [Forwarding(tor.host) for tor in self.tors]
        stream = Stream(self.nodes[1], STREAM) if load else None
        try:
            yield
        finally:
            if stream is not None:
                stream.stop()
        assert [set(table.taken_out()) - set(STREAM) for table in tables] == [set(), set()]
        gone = lambda: not any(set(tor.routes()) & set(STREAM) for tor in self.tors)  # noqa: E731
        eventually(gone, 20, "all of the stream is gone", seen=lambda: [tor.routes() for tor in self.tors])

    def wait_whole(self, timeout: float = 90) -> None:
        """Wait until every session is up, all halves are content, and the ToRs have what they should."""
        all_established(*self.tors, *self.nodes, timeout=timeout)
        self.pair.wait_whole(nodes=len(self.nodes), timeout=timeout)
        eventually(
            self.carries, timeout, "every ToR has its routes", seen=lambda: [t.routes() for t in self.tors]
        )

    def marks(self, *, but: Sequence[str] = ()) -> dict[str, Mapping[str, str]]:
        """Since when everybody's sessions are up, but those with some halves."""
        everyone = (*self.tors, *self.nodes)
        return {
            peer.name: {remote: mark for remote, mark in peer.session_marks().items() if remote not in but}
            for peer in everyone
        }

    def carries(self) -> bool:
        """Tell whether every ToR's kernel has its rack's pods, and both paths of the VIP."""
        return all(
            tor.kernel_next_hops(PODS[node.name]) == {node.host.address(4)}
            and tor.kernel_next_hops(VIP) == {other.host.address(4) for other in self.nodes}
            for tor, node in zip(self.tors, self.nodes, strict=True)
        )
