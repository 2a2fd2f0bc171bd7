"""Virtual IPs: many nodes announce one address, and a ToR spreads traffic over all of them."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Appliance, BirdTor, FrrTor, GobgpNode, Network, Peer, all_established, eventually
from tests.lab.kinds import NODE_KINDS
from tests.lab.listening import Listening
from tests.lab.process import Process

pytestmark = pytest.mark.root

KINDS = (*NODE_KINDS.values(),) * 2
ADDRESSES = [f"10.2.0.{11 + number}" for number in range(8)]
V6_ADDRESSES = [f"fd00:2::{11 + number}" for number in range(8)]
OPEN, OPEN6 = "10.100.0.1/32", "fd00:10:100::1/128"
RESERVED = "10.101.0.1/32"


@dataclass(frozen=True)
class Rack:
    """Eight nodes of four kinds below four ToRs: FRR and BIRD with 16 paths, FRR with 4, BIRD with one."""

    appliance: Appliance
    nodes: list[Peer]
    frr: FrrTor
    bird: BirdTor
    four: FrrTor
    one: BirdTor

    @property
    def tors(self) -> tuple[FrrTor | BirdTor, ...]:
        return self.frr, self.bird, self.four, self.one


@pytest.fixture(scope="module")
def rack(shared_net: Network) -> Rack:
    tors = [
        {"address": "10.2.1.1"},
        {"address": "10.2.1.2"},
        {"address": "10.2.1.4", "add_paths": 4},
        {"address": "10.2.1.5", "add_paths": 0},
    ]
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": tors}}
    main = {"asn": 64512, "router_id": "10.0.0.11", "families": ["ipv4", "ipv6"], "racks": racks}
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", instances={"main": main}, allocations=allocations()
    )
    remote = appliance.remote()
    rack = Rack(
        appliance,
        [
            kind(shared_net, f"node-{n}", address, v6, to=remote, restart_time=None if n == 7 else 120)
            for n, (kind, address, v6) in enumerate(zip(KINDS, ADDRESSES, V6_ADDRESSES, strict=True))
        ],
        FrrTor(shared_net, "tor-frr", "10.2.1.1", "fd00:2:1::1", to=remote),
        BirdTor(shared_net, "tor-bird", "10.2.1.2", "fd00:2:1::2", to=remote),
        FrrTor(shared_net, "tor-four", "10.2.1.4", "fd00:2:1::4", to=remote),
        BirdTor(shared_net, "tor-one", "10.2.1.5", "fd00:2:1::5", to=remote),
    )
    all_established(*rack.tors, *rack.nodes)
    return rack


def allocations() -> dict[str, Any]:
    nodes = {
        f"node-{n}": {"addresses": [address, v6], "prefixes": []}
        for n, (address, v6) in enumerate(zip(ADDRESSES, V6_ADDRESSES, strict=True))
    }
    vips = [
        {"prefixes": ["10.100.0.0/24", "fd00:10:100::/64"]},
        {"prefixes": ["10.101.0.0/24"], "nodes": ["node-0", "node-1"]},
    ]
    return {"nodes": nodes, "vips": vips}


def announced_by_all(rack: Rack, prefix: str) -> None:
    """Have every node announce the VIP, and wait until the ToRs spread over all eight."""
    for node in rack.nodes:
        v6 = node.host.address(6) if ":" in prefix and isinstance(node, GobgpNode) else None
        node.announce(prefix, next_hop=v6)
    spread_over(rack, prefix, set(V6_ADDRESSES if ":" in prefix else ADDRESSES))


def spread_over(rack: Rack, prefix: str, addresses: set[str]) -> None:
    """Wait until both large ToRs have these next hops, in BGP and in the kernel."""

    def held() -> list[frozenset[str]]:
        return [
            view(prefix) for tor in (rack.frr, rack.bird) for view in (tor.next_hops, tor.kernel_next_hops)
        ]

    eventually(
        lambda: all(found == addresses for found in held()), 10, f"{len(addresses)} next hops", seen=held
    )


def nobody_announces(rack: Rack, prefix: str) -> None:
    for node in rack.nodes:
        if prefix in node.announced:
            node.withdraw(prefix)
    eventually(lambda: not any(tor.paths(prefix) for tor in rack.tors), 10, f"{prefix} is gone")


def test_a_vip_of_eight_nodes_is_eight_ecmp_next_hops(rack: Rack) -> None:
    """Eight nodes of four kinds, each with its own ORIGIN and MED: eight next hops in FRR's and BIRD's kernel table."""
    for number, node in enumerate(rack.nodes):
        node.announce(OPEN, origin="incomplete" if number % 3 else "igp", med=number)
    spread_over(rack, OPEN, set(ADDRESSES))
    nobody_announces(rack, OPEN)


def test_an_ipv6_vip_of_eight_nodes_is_eight_ecmp_next_hops(rack: Rack) -> None:
    """The same with an IPv6 VIP over IPv4 sessions: eight IPv6 next hops in both kernel tables."""
    announced_by_all(rack, OPEN6)
    nobody_announces(rack, OPEN6)


def test_a_vip_outlives_the_nodes_that_leave_it(rack: Rack) -> None:
    """Seven nodes withdraw one after the other: 7, 6, … 1 next hops; no ToR ever deletes the route before the last."""
    announced_by_all(rack, OPEN)
    kernels = [tor.host.start("monitor", ["ip", "monitor", "route"]) for tor in (rack.frr, rack.bird)]
    for left, node in enumerate(rack.nodes[:-1], start=1):
        ear = Listening(rack.frr, rack.bird)
        node.withdraw(OPEN)
        spread_over(rack, OPEN, set(ADDRESSES[left:]))
        assert len(ear.withdrawals(OPEN)) == 2, "one path less at each ToR"
    assert not [line for kernel in kernels for line in deletions(kernel, OPEN)]
    rack.nodes[-1].withdraw(OPEN)
    eventually(
        lambda: all(deletions(kernel, OPEN) for kernel in kernels), 5, "the last node takes the route along"
    )
    for kernel in kernels:
        kernel.stop()


def deletions(kernel: Process, prefix: str) -> list[str]:
    lines = kernel.log.read_text().splitlines()
    return [line for line in lines if line.startswith(f"Deleted {prefix.removesuffix('/32')} ")]


def test_a_node_that_dies_takes_only_its_own_path_along(rack: Rack) -> None:
    """A node without graceful restart is killed: seven next hops are left at once, and eight when it is back."""
    announced_by_all(rack, OPEN)
    mortal = rack.nodes[-1]
    mortal.kill()
    spread_over(rack, OPEN, set(ADDRESSES[:-1]))
    mortal.start()
    spread_over(rack, OPEN, set(ADDRESSES))
    nobody_announces(rack, OPEN)


def test_a_tor_is_given_no_more_paths_than_it_is_configured_for(rack: Rack) -> None:
    """With `add_paths: 4` four of eight nodes are next hops, with 0 one; another one moves up for one that leaves."""
    announced_by_all(rack, OPEN)
    eventually(lambda: len(rack.one.next_hops(OPEN)) == 1, 5, "one path", seen=rack.one.routes)
    chosen = rack.four.next_hops(OPEN)
    assert len(chosen) == 4
    leaver = next(node for node in rack.nodes if node.host.address(4) in chosen)
    leaver.withdraw(OPEN)
    eventually(
        lambda: len(now := rack.four.next_hops(OPEN)) == 4 and leaver.host.address(4) not in now,
        5,
        "four paths without the one that left",
        seen=rack.four.routes,
    )
    nobody_announces(rack, OPEN)


def test_a_tor_that_starts_anew_is_given_at_least_its_number_of_paths(rack: Rack) -> None:
    """The engine's first dump ignores `add_paths: 4` (docs/engine.md): a ToR that restarts has 4 paths or more."""
    announced_by_all(rack, OPEN)
    rack.four.kill()
    rack.four.start()
    all_established(rack.four)
    eventually(lambda: len(rack.four.next_hops(OPEN)) >= 4, 10, "four paths or more", seen=rack.four.routes)
    print(f"add_paths 4: {len(rack.four.next_hops(OPEN))} paths after the first dump")
    nobody_announces(rack, OPEN)


def test_only_the_nodes_of_its_pool_can_announce_a_vip(rack: Rack) -> None:
    """All eight announce a VIP whose pool names two: two next hops at the ToRs, and six violations vip-not-allowed."""
    ear = Listening(rack.frr, rack.bird)
    for node in rack.nodes:
        node.announce(RESERVED)
    spread_over(rack, RESERVED, set(ADDRESSES[:2]))

    def refused() -> list[dict[str, Any]]:
        return rack.appliance.violations(reason="vip-not-allowed", active=True)

    eventually(lambda: len(refused()) == 6, 5, "six violations", seen=rack.appliance.violations)
    assert {violation["peer"] for violation in refused()} == set(ADDRESSES[2:])
    assert len(ear.updates(RESERVED)) == 2 * 2, "two paths at each of two ToRs, and never another"
    nobody_announces(rack, RESERVED)


def test_a_gobgp_nodes_own_next_hop_for_an_ipv6_vip_is_refused(rack: Rack) -> None:
    """GoBGP sends `::ffff:10.2.0.13` over an IPv4 session, which no ToR can use: violation next-hop, six paths."""
    for node in rack.nodes:
        node.announce(OPEN6)
    others = {a for a, kind in zip(V6_ADDRESSES, KINDS, strict=True) if kind is not GobgpNode}
    spread_over(rack, OPEN6, others)
    refused = rack.appliance.violations(reason="next-hop", prefix=OPEN6, active=True)
    assert {violation["node"] for violation in refused} == {"node-2", "node-6"}
    nobody_announces(rack, OPEN6)
