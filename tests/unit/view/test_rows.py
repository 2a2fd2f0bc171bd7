"""The rows of the API: their keys are a contract, and what they count is what the engine would send."""

from itertools import product

import pytest
from hypothesis import given

from rr.api import keys
from rr.engine.events import PeerChanged, RouteSeen
from rr.net import Address, Network
from rr.policy.rules import Rules
from rr.policy.verdict import Announcement
from rr.view import rows
from rr.view.live import LiveView
from tests.unit.policy.interpreter import Route, exported, imported
from tests.unit.policy.worlds import EXAMPLES, World, addresses, allocations, instance, networks, worlds

RACKS = {
    "rack-1": {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": "10.3.0.1"}]},
    "rack-2": {"nodes": {"ranges": ["10.2.1.0/24"]}, "tors": [{"address": "10.3.1.1", "add_paths": 2}]},
}
NODE_1, NODE_2, NODE_3, TOR_1, TOR_2 = addresses(
    "10.2.0.11", "10.2.0.12", "10.2.1.13", "10.3.0.1", "10.3.1.1"
)
POD, VIP = networks("10.244.1.0/24", "10.100.0.1/32")
OWNED = allocations(
    {
        "node-1": (["10.2.0.11"], ["10.244.1.0/24"]),
        "node-2": (["10.2.0.12"], ["10.244.2.0/24"]),
        "node-3": (["10.2.1.13"], ["10.244.3.0/24"]),
    },
    (["10.100.0.0/24"], None),
)


def view_of(world: World) -> LiveView:
    """A view of a network where everybody announces everything, properly."""
    view = LiveView("main", world.rules, lambda *_: None)
    view.allocations = world.allocations
    policy = world.rules.build(world.allocations)
    for peer in world.peers():
        if view.rack(peer):
            view.apply(PeerChanged(peer, "established", "", 64512, False))
            for prefix in world.prefixes():
                hop = world.hop(peer, prefix)
                held = imported(policy, Route(prefix, hop), peer)
                view.apply(RouteSeen(Announcement(peer, prefix, hop), held is not None, 100, False))
    return view


@pytest.fixture
def view() -> LiveView:
    return view_of(World(instance(RACKS), OWNED))


@given(worlds())
@EXAMPLES
def test_every_row_has_the_documented_keys(world: World) -> None:
    view = view_of(world)
    assert keys.faults("peers", rows.peers(view)) == []
    assert keys.faults("routes", rows.routes(view, None)) == []
    assert keys.faults("violations", view.violations.rows()) == []


@given(worlds())
@EXAMPLES
def test_what_is_advertised_is_what_the_export_rules_send(world: World) -> None:
    view, policy = view_of(world), world.rules.build(world.allocations)
    paths = rows.accepted_paths(view)
    counted = {row["address"]: row["advertised"] for row in rows.peers(view)}
    for receiver in view.established():
        tor = world.rules.rack_of_tor(receiver)
        width = world.rules.add_paths(receiver) if tor else 0
        total = 0
        for prefix, found in paths.items():
            sent = [p.peer.address for p in (found if width else found[:1]) if p.peer.address != receiver]
            total += min(sum(_goes(world, policy, prefix, sender, receiver) for sender in sent), width or 1)
        assert counted[str(receiver)] == total, receiver


def _goes(world: World, policy, prefix: Network, sender: Address, receiver: Address) -> bool:  # type: ignore[no-untyped-def]
    held = imported(policy, Route(prefix, world.hop(sender, prefix)), sender)
    return held is not None and exported(policy, held, receiver) is not None


def test_the_best_path_of_a_vip_comes_first_and_is_the_one_with_the_lowest_router_id() -> None:
    view = LiveView("main", Rules(instance(RACKS)), lambda *_: None)
    view.allocations = OWNED
    for peer, router_id in ((NODE_1, "10.0.0.9"), (NODE_2, "10.0.0.3"), (NODE_3, "10.0.0.7")):
        view.apply(PeerChanged(peer, "established", router_id, 64512, False))
        view.apply(RouteSeen(Announcement(peer, VIP, peer), True, 100, False))
    found = [(row["node"], row["best"], row["kind"]) for row in rows.routes(view, None)]
    assert found == [("node-2", True, "vip"), ("node-3", False, "vip"), ("node-1", False, "vip")]


def test_routes_of_one_prefix_can_be_asked_for(view: LiveView) -> None:
    assert {row["prefix"] for row in rows.routes(view, "10.244.1.0/24")} == {"10.244.1.0/24"}
    assert rows.routes(view, "10.244.77.0/24") == []


def test_prefixes_are_in_order_of_addresses_and_not_of_text(view: LiveView) -> None:
    found = list(dict.fromkeys(row["prefix"] for row in rows.routes(view, None)))
    assert found == sorted(found, key=lambda p: int(networks(p)[0].network_address))
    assert found[0].startswith("10.100.0.")


def test_add_path_width_bounds_the_vip_paths_of_a_tor(view: LiveView) -> None:
    sent = {row["address"]: row["advertised"] for row in rows.peers(view)}
    vips = len({row["prefix"] for row in rows.routes(view, None) if row["kind"] == "vip"})
    assert sent["10.3.0.1"] == 2 + 3 * vips
    assert sent["10.3.1.1"] == 1 + 2 * vips


def test_a_tor_that_never_came_is_listed_as_idle() -> None:
    empty = LiveView("main", Rules(instance(RACKS)), lambda *_: None)
    assert [(row["address"], row["role"], row["state"], row["advertised"]) for row in rows.peers(empty)] == [
        ("10.3.0.1", "tor", "idle", 0),
        ("10.3.1.1", "tor", "idle", 0),
    ]
    states = {(row["rack"], row["state"]): row["count"] for row in rows.counts([empty])["peers"]}
    assert states == {("rack-1", "idle"): 1, ("rack-2", "idle"): 1}


def test_counts_add_up(view: LiveView) -> None:
    found = rows.counts([view])
    accepted, rejected = ([h for _, h in view.heard() if h.accepted is yes] for yes in (True, False))
    assert sum(row["count"] for row in found["routes"]) == len(accepted)
    assert sum(row["count"] for row in found["rejected"]) == len(rejected)
    assert sum(row["count"] for row in found["peers"]) == len(list(product(view.peers)))
