"""Every kind of peer against a plain reflector: what it announces arrives as announced."""

import pytest

from tests.lab import (
    BareReflector,
    BirdNode,
    BirdTor,
    ExabgpNode,
    ExabgpTor,
    FrrNode,
    FrrTor,
    GobgpNode,
    GobgpTor,
    Network,
    Peer,
    Unsupported,
    all_established,
    eventually,
    never,
)

pytestmark = pytest.mark.root

NODES = [FrrNode, BirdNode, GobgpNode, ExabgpNode]
TORS = [FrrTor, BirdTor, GobgpTor, ExabgpTor]
SPOOFERS = [BirdNode, ExabgpNode]


@pytest.fixture
def reflector(net: Network) -> BareReflector:
    return BareReflector(
        net, "rr", "10.0.0.11", "fd00::11", asn=64512, nodes=["10.2.0.0/24", "fd00:2::/64"], tors=["10.2.0.1"]
    )


@pytest.mark.parametrize("tor_kind", TORS)
@pytest.mark.parametrize("node_kind", NODES)
def test_route_passes_with_its_attributes(
    net: Network, reflector: BareReflector, node_kind: type[Peer], tor_kind: type[Peer]
) -> None:
    tor = tor_kind(net, "tor-1", "10.2.0.1", "fd00:2::1", to=reflector.remote)
    node = node_kind(net, "node-1", "10.2.0.11", "fd00:2::11", to=reflector.remote)
    all_established(tor, node)

    node.announce("10.244.1.0/24", communities=["64512:7", "no-export"], med=5, local_pref=200)
    node.announce("10.244.2.0/24", next_hop="10.2.0.99", as_path=[65001, 65002])
    node.announce("fd00:10:1::/64", next_hop="fd00:2::11")
    node.announce("0.0.0.0/0", origin="incomplete")
    node.announce("::/0", next_hop="fd00:2::11")
    eventually(lambda: len(tor.routes()) == 5, 10, "five prefixes at the ToR", seen=tor.routes)

    (plain,) = tor.paths("10.244.1.0/24")
    assert plain.next_hop == "10.2.0.11"
    assert (plain.med, plain.local_pref, plain.origin) == (5, 200, "igp")
    assert plain.communities == {"64512:7", "no-export"}
    assert (plain.originator_id, plain.cluster_list) == ("10.2.0.11", ("10.0.0.11",))
    assert [path.origin for path in tor.paths("0.0.0.0/0")] == ["incomplete"]
    (foreign,) = tor.paths("10.244.2.0/24")
    assert (foreign.next_hop, foreign.as_path) == ("10.2.0.99", (65001, 65002))
    assert tor.next_hops("fd00:10:1::/64") == {"fd00:2::11"}
    assert tor.next_hops("::/0") == {"fd00:2::11"}

    node.announce("10.244.1.0/24", med=6)
    eventually(lambda: [p.med for p in tor.paths("10.244.1.0/24")] == [6], 10, "the new MED", seen=tor.routes)
    node.withdraw("10.244.1.0/24")
    node.withdraw("fd00:10:1::/64")
    eventually(lambda: len(tor.routes()) == 3, 10, "three prefixes left", seen=tor.routes)
    if tor_kind is not GobgpTor:
        assert {heard.prefix for heard in tor.removals()} == {"10.244.1.0/24", "fd00:10:1::/64"}


@pytest.mark.parametrize("node_kind", SPOOFERS)
def test_spoofed_reflection_attributes_arrive(
    net: Network, reflector: BareReflector, node_kind: type[Peer]
) -> None:
    tor = GobgpTor(net, "tor-1", "10.2.0.1", to=reflector.remote)
    node = node_kind(net, "node-1", "10.2.0.11", to=reflector.remote)
    node.announce("10.244.1.0/24", originator_id="9.9.9.9", cluster_list=["1.1.1.1", "2.2.2.2"])

    (path,) = eventually(lambda: tor.paths("10.244.1.0/24"), 15, "the spoofed route", seen=tor.routes)
    assert path.originator_id == "9.9.9.9"
    assert path.cluster_list == ("10.0.0.11", "1.1.1.1", "2.2.2.2")


@pytest.mark.parametrize("node_kind", [FrrNode, GobgpNode])
def test_what_a_peer_cannot_send_is_refused(
    net: Network, reflector: BareReflector, node_kind: type[Peer]
) -> None:
    node = node_kind(net, "node-1", "10.2.0.11", to=reflector.remote)
    with pytest.raises(Unsupported):
        node.announce("10.244.1.0/24", originator_id="9.9.9.9")
    assert node.announced == {}


@pytest.mark.parametrize("tor_kind", [FrrTor, BirdTor])
def test_vip_of_eight_nodes_is_eight_ecmp_paths_in_the_kernel(
    net: Network, reflector: BareReflector, tor_kind: type[FrrTor | BirdTor]
) -> None:
    tor = tor_kind(net, "tor-1", "10.2.0.1", to=reflector.remote)
    kinds: list[type[Peer]] = [GobgpNode, BirdNode]
    nodes = [kinds[n % 2](net, f"node-{n}", f"10.2.0.1{n}", to=reflector.remote) for n in range(8)]
    for node in nodes:
        node.announce("10.100.0.1/32")

    addresses = {f"10.2.0.1{n}" for n in range(8)}
    eventually(
        lambda: tor.kernel_next_hops("10.100.0.1/32") == addresses,
        20,
        "eight next hops in the kernel",
        seen=lambda: (tor.kernel_next_hops("10.100.0.1/32"), tor.routes()),
    )
    assert tor.next_hops("10.100.0.1/32") == addresses
    nodes[0].kill()
    nodes[1].stop()
    gone = "10.2.0.11"
    eventually(lambda: gone not in tor.kernel_next_hops("10.100.0.1/32"), 10, "the stopped node is gone")


@pytest.mark.parametrize("kind", NODES)
def test_md5_lets_in_who_has_the_password(net: Network, kind: type[Peer]) -> None:
    reflector = BareReflector(net, "rr", "10.0.0.11", asn=64512, nodes=["10.2.0.0/24"], password="secret-1")
    right = kind(net, "right", "10.2.0.11", to=reflector.remote, password="secret-1")
    wrong = kind(net, "wrong", "10.2.0.12", to=reflector.remote, password="secret-2")
    without = kind(net, "without", "10.2.0.13", to=reflector.remote)
    all_established(right)
    never(lambda: wrong.established() or without.established(), 2, "a session without the password")


@pytest.mark.parametrize("kind", NODES)
def test_both_families_over_ipv6(net: Network, reflector: BareReflector, kind: type[Peer]) -> None:
    node = kind(net, "node-1", "10.2.0.11", "fd00:2::11", to=reflector.remote, over="ipv6")
    tor = GobgpTor(net, "tor-1", "10.2.0.1", "fd00:2::1", to=reflector.remote)
    node.announce("fd00:10:1::/64")
    node.announce("10.244.1.0/24")
    eventually(lambda: len(tor.routes()) == 2, 15, "both prefixes", seen=tor.routes)
    assert tor.next_hops("fd00:10:1::/64") == {"fd00:2::11"}
    # GoBGP sends RFC 8950 next hops to anybody, asked or not.
    assert tor.next_hops("10.244.1.0/24") == {"fd00:2::11" if kind is GobgpNode else "10.2.0.11"}


@pytest.mark.parametrize("kind", NODES)
def test_dual_stack_by_a_session_for_each_family(
    net: Network, reflector: BareReflector, kind: type[Peer]
) -> None:
    node = kind(net, "node-1", "10.2.0.11", "fd00:2::11", to=reflector.remote, over="both")
    tor = GobgpTor(net, "tor-1", "10.2.0.1", to=reflector.remote)
    all_established(node)
    assert dict(node.session_states()) == {"10.0.0.11": "established", "fd00::11": "established"}
    node.announce("fd00:10:1::/64")
    node.announce("10.244.1.0/24")
    eventually(lambda: len(tor.routes()) == 2, 15, "both prefixes", seen=tor.routes)
    assert tor.next_hops("fd00:10:1::/64") == {"fd00:2::11"}
    assert tor.next_hops("10.244.1.0/24") == {"10.2.0.11"}


@pytest.mark.parametrize("kind", NODES)
def test_node_comes_back_with_its_routes_after_a_crash(
    net: Network, reflector: BareReflector, kind: type[Peer]
) -> None:
    tor = GobgpTor(net, "tor-1", "10.2.0.1", to=reflector.remote)
    node = kind(net, "node-1", "10.2.0.11", to=reflector.remote, restart_time=None)
    node.announce("10.244.1.0/24")
    eventually(lambda: tor.paths("10.244.1.0/24"), 15, "the route", seen=tor.routes)
    node.kill()
    eventually(lambda: not tor.paths("10.244.1.0/24"), 15, "the route is gone", seen=tor.routes)
    node.start()
    eventually(lambda: tor.paths("10.244.1.0/24"), 15, "the route is back", seen=tor.routes)
