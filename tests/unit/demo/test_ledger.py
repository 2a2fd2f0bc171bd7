from ipaddress import ip_address, ip_network

import pytest

from rr.demo.errors import DemoError
from rr.demo.ledger import EXCHANGE_SECONDS, Leak, Ledger
from rr.demo.plan import VIP, Plan, Route, plan
from rr.demo.speaker import Heard

PLAN = plan(2)
OWN = Route(ip_network("10.244.1.0/24"), ip_address("127.2.1.11"))
STOLEN = Route(ip_network("10.244.2.0/24"), ip_address("127.2.1.11"))


def sent(route: Route, path_id: int = 1, at: float = 1.0) -> Heard:
    return Heard(route.prefix, path_id, route.next_hop, at)


def withdrawn(route: Route, path_id: int = 1, at: float = 2.0) -> Heard:
    return Heard(route.prefix, path_id, None, at)


def hear_all_of(ledger: Ledger, demo: Plan, listener: str) -> None:
    ledger.hear(listener, [sent(route, number) for number, route in enumerate(demo.held_by(listener))])


def test_a_route_that_was_sent_for_a_moment_only_is_a_leak() -> None:
    ledger = Ledger(PLAN)
    ledger.hear("tor-1", [sent(STOLEN), withdrawn(STOLEN)])
    assert ledger.routes("tor-1") == frozenset()
    assert ledger.leaks == {Leak("tor-1", STOLEN)}
    with pytest.raises(DemoError, match=r"leaked .*: 10\.244\.2\.0/24 via 127\.2\.1\.11 at tor-1"):
        ledger.refuse_leaks()


def test_another_racks_route_is_a_leak_at_a_tor_and_at_a_node() -> None:
    ledger = Ledger(PLAN)
    ledger.hear("tor-1", [sent(OWN)])
    assert not ledger.leaks
    ledger.hear("tor-2", [sent(OWN)])
    ledger.hear("node-4", [sent(OWN)])
    assert ledger.leaks == {Leak("tor-2", OWN), Leak("node-4", OWN)}


def test_a_route_is_allowed_from_the_moment_the_plan_has_it() -> None:
    prefix = ip_network("10.244.23.0/24")
    route = Route(prefix, PLAN.node("node-3").next_hop(prefix))
    early, late = Ledger(PLAN), Ledger(PLAN)
    late.plan = PLAN.granting("node-3", prefix)
    for ledger in (early, late):
        ledger.hear("tor-1", [sent(route)])
    assert early.leaks
    assert not late.leaks


def test_a_route_that_is_held_may_be_sent_again_after_the_plan_lost_it_and_not_after_it_went() -> None:
    prefix = ip_network("10.244.23.0/24")
    route = Route(prefix, PLAN.node("node-3").next_hop(prefix))
    ledger = Ledger(PLAN.granting("node-3", prefix))
    ledger.hear("node-1", [sent(route)])
    ledger.plan = PLAN
    ledger.hear("node-1", [sent(route), sent(route, path_id=2)])
    assert not ledger.leaks
    ledger.hear("node-1", [withdrawn(route), withdrawn(route, path_id=2), sent(route)])
    assert ledger.leaks == {Leak("node-1", route)}


def test_paths_of_one_prefix_are_told_apart_and_the_tor_with_fewest_counts() -> None:
    ledger = Ledger(PLAN)
    for tor in PLAN.tors:
        hear_all_of(ledger, PLAN, tor.name)
    assert ledger.paths_of(VIP) == 6
    assert ledger.held_of(PLAN) == PLAN.expected() == 24
    number = next(n for n, route in enumerate(PLAN.held_by("tor-2")) if route.prefix == VIP)
    ledger.hear("tor-2", [Heard(VIP, number, None, 2.0)])
    assert ledger.paths_of(VIP) == 5
    assert ledger.held_of(PLAN) == 23


def removed(ledger: Ledger, since: float = 0.0, until: float = 99.0) -> list[str]:
    return [str(absence) for absence in ledger.removed_at_tors(since, until)]


def test_a_route_that_is_kept_and_sent_again_is_not_removed_and_one_that_is_withdrawn_is() -> None:
    ledger = Ledger(PLAN)
    ledger.hear("tor-1", [sent(OWN), sent(OWN, at=2.0)])
    assert removed(ledger) == []
    ledger.hear("tor-1", [withdrawn(OWN, at=3.0), sent(OWN, at=3.001)])
    assert removed(ledger) == ["10.244.1.0/24 via 127.2.1.11 at tor-1"]
    assert removed(ledger, since=3.1) == removed(ledger, until=3.0) == []
    assert ledger.longest_exchange_at_tors(0.0) == 0


def test_what_a_node_loses_or_the_ipam_has_taken_away_is_not_counted_at_the_tors() -> None:
    ledger = Ledger(PLAN)
    ledger.hear("node-2", [sent(OWN), withdrawn(OWN)])
    ledger.hear("tor-1", [sent(STOLEN), withdrawn(STOLEN)])
    assert removed(ledger) == []


@pytest.mark.parametrize(("took", "lost"), [(0.005, 0), (EXCHANGE_SECONDS, 1)])
def test_paths_that_change_places_in_one_burst_are_not_removed_but_one_that_stays_away_is(
    took: float, lost: int
) -> None:
    ledger = Ledger(PLAN)
    one, other = (Route(VIP, PLAN.node(name).address) for name in ("node-1", "node-2"))
    ledger.hear("tor-1", [sent(one, 1), sent(other, 2)])
    ledger.hear("tor-1", [sent(other, 1, at=2.0)])
    assert removed(ledger) == [f"{one} at tor-1"], "not back yet"
    ledger.hear("tor-1", [sent(one, 2, at=2.0 + took)])
    assert len(removed(ledger)) == lost
    assert ledger.longest_exchange_at_tors(0.0) == (0 if lost else pytest.approx(took))


def test_changes_are_told_once_with_the_time_they_were_heard() -> None:
    ledger = Ledger(PLAN)
    told: list[tuple[str, Route, bool]] = []
    ledger.on_change = lambda *change: told.append(change)
    ledger.hear("tor-1", [sent(OWN, at=1.0), sent(OWN, at=2.0)])
    assert ledger.changed_at("tor-1", OWN) == 1.0
    ledger.hear("tor-1", [withdrawn(OWN, at=3.0), withdrawn(OWN, at=4.0)])
    assert ledger.changed_at("tor-1", OWN) == 3.0
    assert told == [("tor-1", OWN, True), ("tor-1", OWN, False)]


def test_what_is_lacking_is_said_by_name() -> None:
    ledger = Ledger(PLAN)
    hear_all_of(ledger, PLAN, "node-1")
    assert ledger.lacking(["node-1"]) is None
    lost = min(PLAN.held_by("node-1"), key=str)
    number = list(PLAN.held_by("node-1")).index(lost)
    ledger.hear("node-1", [withdrawn(lost, number)])
    assert ledger.lacking(["node-1"]) == "node-1 lacks 10.244.2.0/24 via 127.2.1.12"


async def test_waiting_in_vain_says_what_was_lacking() -> None:
    with pytest.raises(DemoError, match=r"after 0 s tor-1 lacks .* \(and 11 more\)"):
        await Ledger(PLAN).until_as_planned(["tor-1"], 0.01)


async def test_waiting_ends_at_the_first_leak() -> None:
    ledger = Ledger(PLAN)
    ledger.hear("tor-2", [sent(STOLEN)])
    with pytest.raises(DemoError, match="leaked"):
        await ledger.until_as_planned(["tor-1"], 60)
