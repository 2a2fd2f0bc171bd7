"""The next hop that each implementation sends for an IPv6 prefix, octet by octet.

The filter compares a next hop with a node's own addresses, so these octets decide what it must know.
"""

import ipaddress

import pytest

from tests.lab import (
    BareReflector,
    BirdNode,
    BirdTor,
    FrrNode,
    FrrTor,
    GobgpNode,
    Host,
    Network,
    Peer,
    RawSpeaker,
    Remote,
    all_established,
    eventually,
    never,
)

pytestmark = pytest.mark.root

IPV4, IPV6 = "10.2.0.11", "fd00:2::11"
MAPPED = "::ffff:10.2.0.11"


@pytest.fixture
def listener(net: Network) -> RawSpeaker:
    speaker = RawSpeaker(net.host("rr", "10.0.0.11", "fd00::11"), asn=64512)
    speaker.listen()
    return speaker


def octets(*addresses: str) -> bytes:
    return b"".join(ipaddress.IPv6Address(address).packed for address in addresses)


def link_local(host: Host) -> str:
    shown = host.run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
    return shown.split()[3].partition("/")[0]


def announce_ipv6(net: Network, listener: RawSpeaker, kind: type[Peer], *addresses: str) -> Peer:
    node = kind(net, "node-1", *addresses, to=Remote(("10.0.0.11",), 64512))
    listener.wait_established()
    node.announce("fd00:10:1::/64")
    return node


def test_frr_sends_its_global_and_link_local_address(net: Network, listener: RawSpeaker) -> None:
    node = announce_ipv6(net, listener, FrrNode, IPV4, IPV6)
    wanted = {octets(IPV6, link_local(node.host))}
    eventually(lambda: listener.mp_next_hops() == wanted, 10, "32 octets", seen=listener.mp_next_hops)


def test_frr_without_ipv6_address_sends_its_link_local_one_twice(net: Network, listener: RawSpeaker) -> None:
    node = announce_ipv6(net, listener, FrrNode, IPV4)
    own = link_local(node.host)
    wanted = {octets(own, own)}
    eventually(lambda: listener.mp_next_hops() == wanted, 10, "32 octets", seen=listener.mp_next_hops)


def test_bird_sends_its_ipv6_address(net: Network, listener: RawSpeaker) -> None:
    announce_ipv6(net, listener, BirdNode, IPV4, IPV6)
    eventually(lambda: listener.mp_next_hops() == {octets(IPV6)}, 10, "16 octets", seen=listener.mp_next_hops)


def test_bird_without_ipv6_address_announces_nothing(net: Network, listener: RawSpeaker) -> None:
    announce_ipv6(net, listener, BirdNode, IPV4)
    never(listener.mp_next_hops, 2, "an announcement")


@pytest.mark.parametrize("addresses", [(IPV4, IPV6), (IPV4,)], ids=["dual-stack", "ipv4-only"])
def test_gobgp_always_sends_its_ipv4_address_mapped(
    net: Network, listener: RawSpeaker, addresses: tuple[str, ...]
) -> None:
    announce_ipv6(net, listener, GobgpNode, *addresses)
    wanted = {octets(MAPPED)}
    eventually(lambda: listener.mp_next_hops() == wanted, 10, "16 octets", seen=listener.mp_next_hops)


def test_reflected_link_local_address(net: Network) -> None:
    reflector = BareReflector(net, "rr", "10.0.0.11", asn=64512, nodes=["10.2.0.0/24"])
    raw = RawSpeaker(net.host("raw", "10.2.0.1"), asn=64512)
    raw.dial("10.0.0.11")
    node = FrrNode(net, "node-1", IPV4, IPV6, to=reflector.remote)
    raw.wait_established()
    node.announce("fd00:10:1::/64")
    eventually(raw.mp_next_hops, 10, "the route")
    assert raw.mp_next_hops() == {octets(IPV6)}


def test_bird_refuses_a_mapped_next_hop_that_frr_takes_and_cannot_install(net: Network) -> None:
    reflector = BareReflector(
        net, "rr", "10.0.0.11", asn=64512, nodes=["10.2.0.0/24"], tors=["10.2.0.1", "10.2.0.2"]
    )
    frr = FrrTor(net, "frr", "10.2.0.1", "fd00:2::1", to=reflector.remote)
    bird = BirdTor(net, "bird", "10.2.0.2", "fd00:2::2", to=reflector.remote)
    node = GobgpNode(net, "node-1", IPV4, IPV6, to=reflector.remote)
    all_established(frr, bird, node)
    node.announce("fd00:10:1::/64")
    eventually(lambda: frr.paths("fd00:10:1::/64"), 10, "the route at FRR", seen=frr.routes)
    never(lambda: frr.kernel_next_hops("fd00:10:1::/64") or bird.paths("fd00:10:1::/64"), 2, "a usable route")
    assert "mismatched address family" in (bird.host.folder / "routes.log").read_text()
