"""The hijack battery: what a node may not announce reaches nobody, and the operator sees it with its reason."""

import itertools
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from rr.policy.tags import rack_tags
from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    ExabgpNode,
    ExabgpTor,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    all_established,
    eventually,
)
from tests.lab.listening import Listening

pytestmark = pytest.mark.root

ATTACKER, VICTIM, STRANGER, MATE, FAR = "10.2.0.11", "10.2.0.12", "10.2.0.99", "10.2.0.13", "10.3.0.11"
ROUTER_ID = "10.0.0.11"
OWN, OWN6 = "10.244.1.0/24", "fd00:10:1::/64"
HELD, SENTINEL = "10.244.11.0/24", "10.244.13.0/24"

ALLOCATIONS: dict[str, Any] = {
    "nodes": {
        "attacker": {"addresses": [ATTACKER, "fd00:2::11"], "prefixes": [OWN, OWN6, HELD, SENTINEL]},
        "victim": {"addresses": [VICTIM, "fd00:2::12"], "prefixes": ["10.244.2.0/24", "fd00:10:2::/64"]},
        "mate": {"addresses": [MATE], "prefixes": ["10.244.3.0/24"]},
        "far": {"addresses": [FAR], "prefixes": ["10.244.4.0/24"]},
    },
    "vips": [
        {"prefixes": ["10.100.0.0/24", "fd00:10:100::/64"], "nodes": ["victim"]},
        {"prefixes": ["10.101.0.0/24"]},
    ],
}


@dataclass
class Fabric:
    """Two racks. In rack-1 an attacker with its victim, a mate and a stranger; ToRs and listeners of three makes."""

    appliance: Appliance
    tors: tuple[Peer, ...]
    """Of rack-1: FRR and BIRD."""
    far_tor: Peer
    attacker: ExabgpNode
    victim: GobgpNode
    stranger: ExabgpNode
    mate: BirdNode
    far: BirdNode
    marks: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def everyone(self) -> tuple[Peer, ...]:
        """All who might be lied to and keep a log of what they hear."""
        return (*self.tors, self.far_tor, self.mate, self.far)

    def caught_up(self, *, through: ExabgpNode | None = None) -> None:
        """Wait until what a node announced before this has reached the ToRs, if it ever does.

        A route that the same node announces later has arrived: the engine keeps the order of one peer's routes.
        """
        sender = through or self.attacker
        mark = f"65001:{next(self.marks)}"
        prefix = SENTINEL
        sender.announce(prefix, communities=[mark])
        eventually(
            lambda: all(mark in path.communities for tor in self.tors for path in tor.paths(prefix)),
            5,
            "a later route of the same node",
            seen=lambda: [tor.paths(prefix) for tor in self.tors],
        )


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    racks = {
        "rack-1": {
            "nodes": {"ranges": ["10.2.0.0/24"]},
            "tors": [{"address": "10.2.1.1"}, {"address": "10.2.1.2"}],
        },
        "rack-2": {"nodes": {"ranges": ["10.3.0.0/24"]}, "tors": [{"address": "10.3.1.1"}]},
    }
    main = {"asn": 64512, "router_id": ROUTER_ID, "families": ["ipv4", "ipv6"], "racks": racks}
    appliance = Appliance(shared_net, "rr-a", ROUTER_ID, instances={"main": main}, allocations=ALLOCATIONS)
    remote = appliance.remote()
    fabric = Fabric(
        appliance,
        (
            FrrTor(shared_net, "tor-frr", "10.2.1.1", "fd00:2:1::1", to=remote),
            BirdTor(shared_net, "tor-bird", "10.2.1.2", "fd00:2:1::2", to=remote),
        ),
        ExabgpTor(shared_net, "tor-far", "10.3.1.1", to=remote, passive=True),
        ExabgpNode(shared_net, "attacker", ATTACKER, "fd00:2::11", to=remote),
        GobgpNode(shared_net, "victim", VICTIM, "fd00:2::12", to=remote),
        ExabgpNode(shared_net, "stranger", STRANGER, to=remote),
        BirdNode(shared_net, "mate", MATE, to=remote),
        BirdNode(shared_net, "far", FAR, to=remote),
    )
    all_established(*fabric.everyone, fabric.attacker, fabric.victim, fabric.stranger)
    announce_honestly(fabric)
    return fabric


def announce_honestly(fabric: Fabric) -> None:
    """Everybody announces what is theirs; the attacker keeps two of its prefixes back for the cases."""
    fabric.victim.announce("10.244.2.0/24")
    fabric.victim.announce("fd00:10:2::/64", next_hop="fd00:2::12")
    fabric.victim.announce("10.100.0.1/32")
    fabric.attacker.announce(HELD)
    fabric.mate.announce("10.244.3.0/24")
    fabric.far.announce("10.244.4.0/24")
    honest = {"10.244.2.0/24", "fd00:10:2::/64", "10.100.0.1/32", HELD, "10.244.3.0/24"}
    eventually(
        lambda: (
            all(set(tor.routes()) == honest for tor in fabric.tors)
            and set(fabric.far_tor.routes()) == {"10.100.0.1/32", "10.244.4.0/24"}
        ),
        10,
        "the honest routes at every ToR",
        seen=lambda: [tor.routes() for tor in (*fabric.tors, fabric.far_tor)],
    )


def violation(
    fabric: Fabric, prefix: str, reason: str, peer: str = ATTACKER, within: float = 5
) -> dict[str, Any]:
    """Wait for an active violation and return it."""

    def listed() -> list[dict[str, Any]]:
        return fabric.appliance.violations(peer=peer, prefix=prefix, reason=reason, active=True)

    found: list[dict[str, Any]] = eventually(
        listed, within, f"a violation {reason}", seen=lambda: fabric.appliance.violations(prefix=prefix)
    )
    return found[0]


def no_violation(fabric: Fabric, prefix: str) -> None:
    """Wait until no violation about a prefix goes on."""
    eventually(
        lambda: not fabric.appliance.violations(prefix=prefix, active=True), 5, "the violation has ended"
    )


HIJACKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another node's prefix": ("foreign-prefix", "10.244.2.0/24", {}),
    "another node's IPv6 prefix": ("foreign-prefix", "fd00:10:2::/64", {}),
    "a part of another node's prefix": ("foreign-prefix", "10.244.2.128/25", {}),
    "a prefix around another node's": ("foreign-prefix", "10.244.2.0/23", {}),
    "a prefix of the other rack": ("foreign-prefix", "10.244.4.0/24", {}),
    "a more specific of its own": ("more-specific", "10.244.1.0/25", {}),
    "a host route of its own": ("more-specific", "10.244.1.1/32", {}),
    "an IPv6 more specific of its own": ("more-specific", "fd00:10:1::/80", {}),
    "a less specific of its own": ("less-specific", "10.244.0.0/23", {}),
    "an IPv6 less specific of its own": ("less-specific", "fd00:10::/32", {}),
    "an IPv4 default route": ("default-route", "0.0.0.0/0", {}),
    "an IPv6 default route": ("default-route", "::/0", {}),
    "half of everything": ("less-specific", "0.0.0.0/1", {}),
    "an unallocated prefix": ("not-allocated", "10.245.0.0/24", {}),
    "an unallocated IPv6 prefix": ("not-allocated", "2001:db8::/64", {}),
    "a VIP that it may not announce": ("vip-not-allowed", "10.100.0.1/32", {}),
    "an IPv6 VIP that it may not announce": ("vip-not-allowed", "fd00:10:100::1/128", {}),
    "half of a VIP pool that is open to it": ("vip-not-allowed", "10.101.0.0/25", {}),
    "a whole VIP pool that is open to it": ("vip-not-allowed", "10.101.0.0/24", {}),
    "a foreign next hop": ("next-hop", OWN, {"next_hop": VICTIM}),
    "a VIP with a foreign next hop": ("next-hop", "10.101.0.1/32", {"next_hop": VICTIM}),
    "a next hop outside": ("next-hop", OWN, {"next_hop": "192.0.2.1"}),
    "the reflector as next hop": ("next-hop", OWN, {"next_hop": ROUTER_ID}),
    "a foreign IPv6 next hop": ("next-hop", OWN6, {"next_hop": "fd00:2::12"}),
    "a foreign IPv4-mapped next hop": ("next-hop", OWN6, {"next_hop": f"::ffff:{VICTIM}"}),
    "its own IPv4-mapped next hop": ("next-hop", OWN6, {"next_hop": f"::ffff:{ATTACKER}"}),
    "a foreign AS": ("as-path", OWN, {"as_path": [65001]}),
    "a foreign AS before a prefix of another node": ("foreign-prefix", "10.244.2.0/24", {"as_path": [65001]}),
    "another node's prefix with ORIGINATOR_ID": (
        "foreign-prefix",
        "10.244.2.0/24",
        {"originator_id": "9.9.9.9"},
    ),
    "another node's prefix with CLUSTER_LIST": (
        "foreign-prefix",
        "10.244.2.0/24",
        {"cluster_list": ["9.9.9.9"]},
    ),
    "an unallocated prefix with an internal tag": (
        "not-allocated",
        "10.245.1.0/24",
        {"communities": ["0:1"]},
    ),
}


@pytest.mark.parametrize("hijack", HIJACKS)
def test_nobody_hears_a_node_announce(fabric: Fabric, hijack: str) -> None:
    """FRR, BIRD and ExaBGP ToRs and the nodes of both racks hear no update; `rrctl violations` names the reason."""
    reason, prefix, attributes = HIJACKS[hijack]
    ear = Listening(*fabric.everyone)
    fabric.attacker.announce(prefix, **attributes)
    violation(fabric, prefix, reason)
    fabric.caught_up()
    assert not ear.heard(prefix)
    fabric.attacker.withdraw(prefix)
    no_violation(fabric, prefix)


def test_nobody_hears_an_unknown_node(fabric: Fabric) -> None:
    """A node that the IPAM does not know has a session, and what it announces is a violation unknown-node."""
    prefixes = [OWN, "10.244.2.0/24", "10.101.0.9/32", "0.0.0.0/0"]
    ear = Listening(*fabric.everyone)
    for prefix in prefixes:
        fabric.stranger.announce(prefix)
    for prefix in prefixes:
        violation(fabric, prefix, "unknown-node", STRANGER)
    fabric.caught_up()
    assert not [heard for prefix in prefixes for heard in ear.heard(prefix)]
    for prefix in prefixes:
        fabric.stranger.withdraw(prefix)


def test_our_own_autonomous_system_in_the_path_is_noticed_by_an_audit(fabric: Fabric) -> None:
    """The engine drops it without an event: nobody hears it, and within seconds it is a violation as-path."""
    ear = Listening(*fabric.everyone)
    fabric.attacker.announce(OWN, as_path=[64512])
    violation(fabric, OWN, "as-path", within=30)
    assert not ear.heard(OWN)
    fabric.attacker.withdraw(OWN)
    no_violation(fabric, OWN)


def is_there(fabric: Fabric, prefix: str) -> None:
    eventually(lambda: all(tor.paths(prefix) for tor in fabric.tors), 5, f"{prefix} at the ToRs")


def is_gone(fabric: Fabric, prefix: str) -> None:
    eventually(
        lambda: not any(tor.paths(prefix) for tor in fabric.tors), 5, f"{prefix} is gone from the ToRs"
    )


REANNOUNCED: dict[str, tuple[str, dict[str, Any]]] = {
    "a foreign next hop": ("next-hop", {"next_hop": VICTIM}),
    "a foreign AS": ("as-path", {"as_path": [65001]}),
}


@pytest.mark.parametrize("change", REANNOUNCED)
def test_an_accepted_route_goes_when_it_is_announced_again_with(fabric: Fabric, change: str) -> None:
    """The ToRs lose the route, hear no update of it, and have it again when the node announces it properly."""
    reason, attributes = REANNOUNCED[change]
    ear = Listening(*fabric.everyone)
    fabric.attacker.announce(HELD, **attributes)
    is_gone(fabric, HELD)
    violation(fabric, HELD, reason)
    fabric.caught_up()
    assert not ear.updates(HELD)
    fabric.attacker.announce(HELD)
    is_there(fabric, HELD)
    no_violation(fabric, HELD)


@pytest.mark.parametrize("tag", ["rack-2", "rack-1", "vip", "everything"])
def test_a_spoofed_internal_tag_moves_nothing(fabric: Fabric, tag: str) -> None:
    """An own prefix with the appliance's own tag for another rack or for VIPs stays in rack-1, and the tag is gone."""
    tags = rack_tags(["rack-1", "rack-2"])
    spoofed = {"vip": ["0:1"], "everything": [*tags.values(), "0:1", "0:32768", "0:65535"]}.get(tag) or [
        tags[tag]
    ]
    ear = Listening(fabric.far_tor, fabric.far)
    fabric.attacker.announce(OWN, communities=[*spoofed, "65001:7"])
    is_there(fabric, OWN)
    assert {path.communities for tor in fabric.tors for path in tor.paths(OWN)} == {frozenset({"65001:7"})}
    fabric.attacker.withdraw(OWN)
    is_gone(fabric, OWN)
    # The engine tells everybody of a withdrawal, also those to whom it never sent the route.
    assert not ear.updates(OWN)


def test_a_spoofed_tag_opens_no_way_for_another_nodes_prefix(fabric: Fabric) -> None:
    """Another rack's prefix, announced with that rack's tag, is a violation foreign-prefix; nobody hears it."""
    ear = Listening(*fabric.everyone)
    fabric.attacker.announce("10.244.4.0/24", communities=[rack_tags(["rack-1", "rack-2"])["rack-2"]])
    violation(fabric, "10.244.4.0/24", "foreign-prefix")
    fabric.caught_up()
    assert not ear.heard("10.244.4.0/24")
    fabric.attacker.withdraw("10.244.4.0/24")
    no_violation(fabric, "10.244.4.0/24")


def test_a_revoked_prefix_goes_while_the_node_goes_on_announcing_it(fabric: Fabric) -> None:
    """The IPAM takes a prefix away: the ToRs lose it, it is a violation revoked, and it returns with the allocation."""
    fabric.appliance.set_allocations(without(HELD))
    is_gone(fabric, HELD)
    violation(fabric, HELD, "revoked")
    ear = Listening(*fabric.everyone)
    fabric.attacker.announce(HELD, communities=["65001:7"])
    fabric.caught_up()
    assert not ear.heard(HELD)
    fabric.appliance.set_allocations(ALLOCATIONS)
    is_there(fabric, HELD)
    no_violation(fabric, HELD)


def without(prefix: str) -> dict[str, Any]:
    """The allocations, but for one prefix of the attacker's."""
    nodes = ALLOCATIONS["nodes"]
    fewer = [own for own in nodes["attacker"]["prefixes"] if own != prefix]
    return {**ALLOCATIONS, "nodes": {**nodes, "attacker": {**nodes["attacker"], "prefixes": fewer}}}


def test_a_revoked_prefix_cannot_hide_behind_a_looped_one(fabric: Fabric) -> None:
    """Announced again with our own AS, the engine keeps the old route: after a revocation it goes all the same."""
    fabric.attacker.announce(HELD, as_path=[64512])
    fabric.caught_up()
    assert all(tor.paths(HELD) for tor in fabric.tors)
    fabric.appliance.set_allocations(without(HELD))
    eventually(lambda: not any(tor.paths(HELD) for tor in fabric.tors), 15, f"{HELD} is gone from the ToRs")
    fabric.appliance.set_allocations(ALLOCATIONS)
    fabric.attacker.announce(HELD)
    is_there(fabric, HELD)
    no_violation(fabric, HELD)


REFLECTED: dict[str, dict[str, Any]] = {
    "ORIGINATOR_ID": {"originator_id": "9.9.9.9"},
    "CLUSTER_LIST": {"cluster_list": ["9.9.9.9"]},
}


def milliseconds_held(bird: Peer, prefix: str) -> float:
    """How long a BIRD ToR had a route that it lost, by the last two lines of its log about it."""
    came, went = [
        datetime.fromisoformat(heard.line[:23]) for heard in bird.heard() if heard.prefix == prefix
    ][-2:]
    return (went - came).total_seconds() * 1000


@pytest.mark.parametrize("attribute", REFLECTED)
def test_an_own_prefix_with_a_reflectors_attribute_is_taken_back(fabric: Fabric, attribute: str) -> None:
    """The one case that ToRs do hear, for milliseconds: taken back, kept away, and back when announced properly."""
    fabric.attacker.announce(OWN, **REFLECTED[attribute])
    violation(fabric, OWN, "reflected")
    is_gone(fabric, OWN)
    fabric.attacker.announce(OWN, **REFLECTED[attribute], communities=["65001:7"])
    again = Listening(*fabric.tors)
    fabric.caught_up()
    assert not again.updates(OWN)
    assert not any(tor.paths(OWN) for tor in fabric.tors)
    print(
        f"own prefix with {attribute}: the BIRD ToR had it for {milliseconds_held(fabric.tors[1], OWN):.0f} ms"
    )
    fabric.attacker.announce(OWN)
    is_there(fabric, OWN)
    no_violation(fabric, OWN)
    fabric.attacker.withdraw(OWN)
    is_gone(fabric, OWN)


def test_an_own_prefix_with_our_cluster_id_is_no_way_to_leave_a_route_behind(fabric: Fabric) -> None:
    """The engine then keeps it from all others and withdraws nothing: they lose what they had all the same."""
    fabric.attacker.announce(OWN)
    is_there(fabric, OWN)
    fabric.attacker.announce(OWN, cluster_list=[ROUTER_ID])
    violation(fabric, OWN, "reflected")
    is_gone(fabric, OWN)
    eventually(lambda: not fabric.mate.paths(OWN) and not fabric.victim.paths(OWN), 5, "nodes lose it too")
    fabric.attacker.withdraw(OWN)
    no_violation(fabric, OWN)
    fabric.attacker.announce(OWN)
    is_there(fabric, OWN)
    fabric.attacker.withdraw(OWN)
    is_gone(fabric, OWN)


def test_the_reflectors_own_router_id_as_originator_is_noticed_by_an_audit(fabric: Fabric) -> None:
    """The engine drops it as its own without an event: nobody hears it, and within seconds it is reflected."""
    ear = Listening(*fabric.everyone)
    fabric.attacker.announce(OWN, originator_id=ROUTER_ID)
    violation(fabric, OWN, "reflected", within=30)
    assert not ear.heard(OWN)
    fabric.attacker.withdraw(OWN)
    no_violation(fabric, OWN)


def test_after_all_of_it_the_honest_routes_are_where_they_were(fabric: Fabric) -> None:
    """The victim's routes were never withdrawn from a ToR meanwhile, and no violation is left."""
    assert not fabric.appliance.violations(active=True)
    for tor in fabric.tors:
        assert {"10.244.2.0/24", "fd00:10:2::/64", "10.100.0.1/32", HELD, "10.244.3.0/24"} <= set(
            tor.routes()
        )
        assert not tor.removals("10.244.2.0/24")
        assert not tor.removals("10.100.0.1/32")
