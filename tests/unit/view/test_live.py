"""Sequences of events as the engine sends them, and what the picture is afterwards."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from rr.engine.events import PeerChanged, RouteGone, RouteSeen
from rr.net import Address
from rr.policy.model import PrefixMatch
from rr.policy.rules import Rules
from rr.policy.verdict import Announcement, Reason
from rr.view.live import LiveView
from tests.unit.policy.worlds import allocations, instance, networks

NODE, OTHER, UNKNOWN, TOR = (ip_address(a) for a in ("10.2.0.11", "10.2.0.12", "10.2.0.99", "10.3.0.1"))
OWN, FOREIGN, NOBODYS, VIP, VIP_2 = networks(
    "10.244.1.0/24", "10.244.2.0/24", "10.99.0.0/24", "10.100.0.1/32", "10.100.0.2/32"
)
OWNED = allocations(
    {"node-1": (["10.2.0.11", "10.2.0.13"], ["10.244.1.0/24"]), "node-2": (["10.2.0.12"], ["10.244.2.0/24"])},
    (["10.100.0.0/24"], None),
)


class Picture(LiveView):
    """A view that remembers what it said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []
        super().__init__("main", Rules(instance()), lambda *words: self.said.append(words))
        self.allocations = OWNED

    def become(self, peer: Address, state: str, *, initial: bool = False) -> None:
        self.apply(PeerChanged(peer, state, "10.0.0.1", 64512, initial))

    def hear(
        self,
        peer: Address,
        prefix: Any,
        *,
        accepted: bool = True,
        at: int = 100,
        stale: bool = False,
        **more: Any,
    ) -> None:
        self.apply(RouteSeen(Announcement(peer, prefix, peer, **more), accepted, at, stale))

    def texts(self, kind: str) -> list[str]:
        return [text for k, _, text in self.said if k == kind]

    def active(self) -> set[tuple[str, str]]:
        return {(row["prefix"], row["reason"]) for row in self.violations.rows() if row["active"]}


@pytest.fixture
def view() -> Picture:
    picture = Picture()
    picture.become(NODE, "established")
    return picture


def test_a_session_that_comes_up_is_said_once(view: Picture) -> None:
    view.become(NODE, "established")
    assert view.texts("session") == ["session with node-1 (10.2.0.11) is up"]
    assert view.established() == [NODE]


def test_a_session_that_was_there_before_us_is_no_news() -> None:
    picture = Picture()
    picture.become(NODE, "established", initial=True)
    assert picture.said == []
    assert picture.established() == [NODE]


def test_a_node_on_its_way_in_is_not_a_peer_yet_but_a_tor_is() -> None:
    picture = Picture()
    picture.become(NODE, "opensent")
    picture.become(TOR, "active")
    assert set(picture.peers) == {TOR}
    assert picture.peers[TOR].state == "active"


def test_an_unknown_node_is_called_so(view: Picture) -> None:
    view.become(UNKNOWN, "established")
    view.become(TOR, "established")
    assert view.texts("session")[1:] == [
        "session with unknown node 10.2.0.99 is up",
        "session with ToR 10.3.0.1 is up",
    ]


def test_an_accepted_route_is_no_violation(view: Picture) -> None:
    view.hear(NODE, OWN)
    assert view.peers[NODE].heard[OWN].accepted
    assert view.violations.rows() == []


def test_a_rejected_route_is_a_violation_with_its_reason(view: Picture) -> None:
    view.hear(NODE, FOREIGN, accepted=False)
    (row,) = view.violations.rows()
    assert (row["reason"], row["node"], row["count"], row["active"]) == ("foreign-prefix", "node-1", 1, True)
    assert view.texts("violation") == ["rejected: 10.244.2.0/24 belongs to node-2, not to node-1"]


def test_the_same_announcement_judged_again_is_not_counted_twice(view: Picture) -> None:
    """A soft reset tells every route again, with the time at which it was received."""
    for _ in range(3):
        view.hear(NODE, FOREIGN, accepted=False, at=100)
    assert view.violations.rows()[0]["count"] == 1


def test_a_new_announcement_of_the_same_is_counted(view: Picture) -> None:
    view.hear(NODE, FOREIGN, accepted=False, at=100)
    view.hear(NODE, FOREIGN, accepted=False, at=107)
    assert view.violations.rows()[0]["count"] == 2
    assert len(view.texts("violation")) == 1


def test_another_fault_of_the_same_prefix_takes_the_place_of_the_first(view: Picture) -> None:
    view.hear(NODE, OWN, accepted=False, as_path="65001")
    view.hear(NODE, OWN, accepted=False, at=101, originator_id="10.9.9.9")
    assert view.active() == {("10.244.1.0/24", "reflected")}


def test_a_withdrawn_route_is_gone_and_its_violation_over(view: Picture) -> None:
    view.hear(NODE, FOREIGN, accepted=False)
    view.apply(RouteGone(NODE, FOREIGN))
    assert view.peers[NODE].heard == {}
    assert view.active() == set()
    assert view.violations.rows()[0]["count"] == 1


def test_a_grant_ends_the_violation(view: Picture) -> None:
    view.hear(NODE, NOBODYS, accepted=False)
    assert view.active() == {("10.99.0.0/24", "not-allocated")}
    view.allocations = allocations({"node-1": (["10.2.0.11"], ["10.99.0.0/24"])})
    view.hear(NODE, NOBODYS, accepted=True)
    assert view.active() == set()


def test_a_prefix_that_was_taken_away_is_called_revoked(view: Picture) -> None:
    view.hear(NODE, OWN)
    view.revoked(iter([("node-1", OWN)]))
    view.allocations = allocations({"node-1": (["10.2.0.11"], [])})
    view.hear(NODE, OWN, accepted=False)
    (row,) = view.violations.rows()
    assert (row["reason"], row["text"]) == ("revoked", "10.244.1.0/24 was taken from node-1")


def test_a_revoked_prefix_that_is_another_nodes_now_is_foreign(view: Picture) -> None:
    view.revoked(iter([("node-1", OWN)]))
    view.allocations = allocations(
        {"node-1": (["10.2.0.11"], []), "node-2": (["10.2.0.12"], ["10.244.1.0/24"])}
    )
    assert view.judge(Announcement(NODE, OWN)).reason is Reason.FOREIGN_PREFIX


def test_without_graceful_restart_a_session_that_ends_takes_all_with_it(view: Picture) -> None:
    view.hear(NODE, OWN)
    view.hear(NODE, FOREIGN, accepted=False)
    view.become(NODE, "idle")
    assert NODE not in view.peers
    assert view.active() == set()
    assert view.texts("session")[-1] == "session with node-1 (10.2.0.11) is down"


def test_with_graceful_restart_its_accepted_routes_are_kept_as_stale(view: Picture) -> None:
    view.hear(NODE, OWN)
    view.hear(NODE, FOREIGN, accepted=False)
    view.hear(NODE, OWN, stale=True)
    view.become(NODE, "idle")
    assert set(view.peers[NODE].heard) == {OWN}
    assert not view.peers[NODE].up
    assert view.texts("session")[-1].endswith("is down, 1 routes are kept while it restarts")


def test_a_stale_route_whose_time_is_over_goes_and_the_peer_with_it(view: Picture) -> None:
    view.hear(NODE, OWN, stale=True)
    view.become(NODE, "idle")
    view.hear(NODE, OWN, accepted=False)
    assert NODE not in view.peers
    assert view.violations.rows() == []


def test_a_restarted_node_that_announces_again_has_it_fresh(view: Picture) -> None:
    view.hear(NODE, OWN, stale=True)
    view.become(NODE, "idle")
    view.become(NODE, "established")
    view.hear(NODE, OWN, at=200)
    assert not view.peers[NODE].heard[OWN].stale


def test_a_tor_that_is_down_is_still_listed(view: Picture) -> None:
    view.become(TOR, "established")
    view.become(TOR, "idle")
    assert view.peers[TOR].state == "idle"


def test_a_reflected_route_suspends_the_prefix_and_a_proper_one_frees_it(view: Picture) -> None:
    view.hear(NODE, OWN, originator_id="10.9.9.9")
    assert view.suspended() == {("node-1", OWN)}
    view.hear(NODE, OWN, accepted=False, originator_id="10.9.9.9")
    assert view.active() == {("10.244.1.0/24", "reflected")}
    view.hear(NODE, OWN, accepted=False, at=101)
    assert view.suspended() == frozenset()


@pytest.mark.parametrize("end", ["withdrawn", "down"])
def test_a_suspension_ends_with_the_route(view: Picture, end: str) -> None:
    view.hear(NODE, OWN, accepted=False, cluster_list=("10.9.9.9",))
    assert view.suspended()
    if end == "withdrawn":
        view.apply(RouteGone(NODE, OWN))
    else:
        view.become(NODE, "idle")
    assert view.suspended() == frozenset()


def test_a_reflected_route_that_is_refused_for_more_suspends_nothing(view: Picture) -> None:
    view.hear(NODE, FOREIGN, accepted=False, originator_id="10.9.9.9")
    view.hear(UNKNOWN, OWN, accepted=False, originator_id="10.9.9.9")
    assert view.suspended() == frozenset()


def test_a_second_session_that_is_proper_does_not_end_the_suspension_of_the_first(view: Picture) -> None:
    second = ip_address("10.2.0.13")
    view.become(second, "established")
    view.hear(NODE, OWN, accepted=False, originator_id="10.9.9.9")
    view.hear(second, OWN, accepted=False)
    assert view.suspended() == {("node-1", OWN)}
    assert view.peers[second].heard[OWN].reason is Reason.REFLECTED
    assert view.withheld() == set()


def test_a_reflected_vip_explains_why_the_pool_is_withheld(view: Picture) -> None:
    view.hear(NODE, VIP, accepted=False, originator_id="10.9.9.9")
    found = view.judge(Announcement(NODE, VIP_2, NODE))
    assert (found.reason, found.text) == (
        Reason.REFLECTED,
        "10.100.0.2/32 is withheld from node-1, which reflects it or its pool from 10.2.0.11",
    )
    assert view.judge(Announcement(OTHER, VIP_2, OTHER)).accepted
    assert view.judge(Announcement(NODE, OWN, NODE)).accepted


def test_a_looped_route_that_was_asked_for_is_learned_as_rejected(view: Picture) -> None:
    view.learn(RouteSeen(Announcement(NODE, OWN, NODE, "64512"), True, 100, False))
    assert view.active() == {("10.244.1.0/24", "as-path")}


def test_what_is_learned_does_not_take_the_place_of_what_was_heard(view: Picture) -> None:
    view.hear(NODE, OWN)
    view.learn(RouteSeen(Announcement(NODE, OWN, NODE), True, 100, False))
    view.learn(RouteSeen(Announcement(OTHER, FOREIGN, OTHER), True, 100, False))
    assert view.peers[NODE].heard[OWN].accepted
    assert OTHER not in view.peers


def test_a_route_that_the_engine_holds_and_the_rules_refuse_is_a_leak(view: Picture) -> None:
    view.hear(NODE, OWN)
    assert view.leaks() == set()
    view.hear(NODE, FOREIGN, accepted=True)
    assert view.leaks() == {NODE}


def test_a_route_that_the_engine_rejects_and_the_rules_accept_is_withheld(view: Picture) -> None:
    view.hear(NODE, OWN, accepted=False)
    assert view.withheld() == {NODE}
    assert view.violations.rows() == []
    view.hear(NODE, OWN, accepted=True)
    assert view.withheld() == set()


def test_when_the_engine_is_gone_so_is_everything_heard(view: Picture) -> None:
    view.hear(NODE, FOREIGN, accepted=False)
    view.hear(NODE, OWN, accepted=False, originator_id="10.9.9.9")
    view.restarted()
    assert view.peers == {}
    assert view.active() == set()
    assert view.suspended() == frozenset()
    assert len(view.violations.rows()) == 2


def test_a_node_with_too_many_prefixes_is_named() -> None:
    picture = Picture()
    racks = {"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"], "max_prefixes": 2}}}
    picture.rules = Rules(instance(racks))
    for number in range(2):
        picture.hear(NODE, ip_network(f"10.200.{number}.0/24"), accepted=False)
    assert list(picture.excesses()) == []
    picture.hear(NODE, ip_network("10.200.9.0/24"), accepted=False)
    assert [text.rstrip(".") for text in picture.excesses()] == [
        "node-1 (10.2.0.11) announces 3 prefixes, rack-1 allows 2"
    ]


def test_prefixes_of_all_sessions_of_a_node_count_together_and_each_once() -> None:
    picture = Picture()
    picture.rules = Rules(instance({"rack-1": {"nodes": {"ranges": ["10.2.0.0/24"], "max_prefixes": 2}}}))
    second = ip_address("10.2.0.13")
    for peer in (NODE, second):
        picture.hear(peer, ip_network("10.200.0.0/24"), accepted=False)
    picture.hear(NODE, ip_network("10.200.1.0/24"), accepted=False)
    picture.hear(OTHER, ip_network("10.200.2.0/24"), accepted=False)
    assert list(picture.over_limit()) == []
    picture.hear(second, ip_network("10.200.3.0/24"), accepted=False)
    assert list(picture.over_limit()) == [(NODE, 3, 2)]


@pytest.fixture
def observed() -> Picture:
    """A view of a rack that is only observed."""
    rack = {
        "nodes": {"ranges": ["10.2.0.0/24"]},
        "tors": [{"address": "10.3.0.1"}],
        "enforce": "observe",
        "observe": {"prefixes": ["10.99.0.0/16", "10.244.0.0/16"]},
    }
    picture = Picture()
    picture.rules = Rules(instance({"rack-1": rack}))
    picture.become(NODE, "established")
    picture.become(UNKNOWN, "established")
    return picture


def passing(view: Picture) -> set[tuple[str, str, str]]:
    """What goes on and would be rejected: prefix, peer and reason."""
    rows = view.violations.rows()
    return {(r["prefix"], r["peer"], r["reason"]) for r in rows if r["active"] and not r["enforced"]}


def test_what_passes_in_an_observed_rack_is_told_and_no_leak(observed: Picture) -> None:
    observed.hear(NODE, OWN)
    observed.hear(NODE, NOBODYS)
    observed.hear(UNKNOWN, FOREIGN)
    assert passing(observed) == {
        ("10.99.0.0/24", "10.2.0.11", "not-allocated"),
        ("10.244.2.0/24", "10.2.0.99", "unknown-node"),
    }
    assert observed.passing() == {"rack-1": 2}
    assert observed.leaks() == observed.withheld() == set()
    assert (
        observed.texts("violation")[0]
        == "passes while rack-1 is observed: 10.99.0.0/24 is allocated to nobody"
    )
    observed.hear(NODE, NOBODYS)
    assert len(observed.texts("violation")) == 2
    assert {row["count"] for row in observed.violations.rows()} == {1}


def test_a_node_that_the_ipam_comes_to_know_is_no_violation_any_more_without_an_event(
    observed: Picture,
) -> None:
    observed.hear(UNKNOWN, NOBODYS)
    known = {"node-9": (["10.2.0.99"], ["10.99.0.0/24"])}
    observed.allocations = allocations(known)
    observed.reassess()
    assert passing(observed) == set()
    assert observed.passing() == {"rack-1": 0}


def test_turning_enforcing_on_ends_what_passed_and_tells_what_is_rejected(observed: Picture) -> None:
    observed.hear(UNKNOWN, NOBODYS)
    observed.rules = Rules(instance())
    assert observed.leaks() == {UNKNOWN}
    observed.hear(UNKNOWN, NOBODYS, accepted=False)
    assert passing(observed) == set()
    assert observed.active() == {("10.99.0.0/24", "unknown-node")}
    assert observed.leaks() == observed.withheld() == set()
    assert observed.passing() == {}


def test_turning_enforcing_off_makes_what_was_rejected_pass(observed: Picture) -> None:
    lenient, observed.rules = observed.rules, Rules(instance())
    observed.hear(UNKNOWN, NOBODYS, accepted=False)
    observed.rules = lenient
    assert observed.withheld() == set()
    observed.hear(UNKNOWN, NOBODYS)
    assert passing(observed) == {("10.99.0.0/24", "10.2.0.99", "unknown-node")}
    assert [row["enforced"] for row in observed.violations.rows() if row["active"]] == [False]


def test_a_node_of_an_observed_rack_that_reflects_its_prefix_keeps_it(observed: Picture) -> None:
    observed.hear(NODE, OWN, originator_id="10.9.9.9")
    assert observed.suspended() == frozenset()
    assert passing(observed) == {("10.244.1.0/24", "10.2.0.11", "reflected")}
    assert observed.leaks() == set()


def test_a_withdrawal_ends_what_passed(observed: Picture) -> None:
    observed.hear(UNKNOWN, NOBODYS)
    observed.apply(RouteGone(UNKNOWN, NOBODYS))
    assert passing(observed) == set()
    assert observed.passing() == {"rack-1": 0}


def test_who_announces_a_vip_is_known_once_everything_was_looked_at(view: Picture) -> None:
    exactly, pool = PrefixMatch.hosts_of(VIP), PrefixMatch.hosts_of(networks("10.100.0.0/24")[0])
    view.become(OTHER, "established")
    view.hear(NODE, VIP, accepted=False)
    view.hear(OTHER, VIP_2)
    assert view.announcers(frozenset({exactly})) is None
    view.complete = True
    assert view.announcers(frozenset({exactly})) == {NODE}
    assert view.announcers(frozenset({pool})) == {NODE, OTHER}
    assert view.announcers(frozenset({PrefixMatch.hosts_of(FOREIGN)})) == set()
    view.counting = True
    assert view.announcers(frozenset({exactly})) is None, "at a cold start of many routes are only counted"
    view.counting = False
    view.restarted()
    assert view.announcers(frozenset({exactly})) is None


def test_until_then_whoever_announces_more_than_was_heard_of_may_announce_it_too(view: Picture) -> None:
    exactly = frozenset({PrefixMatch.hosts_of(VIP)})
    view.become(OTHER, "established")
    view.hear(NODE, VIP, accepted=False)
    view.hear(OTHER, VIP_2)
    assert view.announcers(exactly, {NODE: 1, OTHER: 2, UNKNOWN: 1}) == {NODE, OTHER, UNKNOWN}
    view.counting = True
    assert view.announcers(exactly, {NODE: 1, OTHER: 1, UNKNOWN: 0}) == {NODE, OTHER, UNKNOWN}
    view.counting = False
    assert view.announcers(exactly) is None
    assert view.announcers(exactly, {NODE: 1, OTHER: 1, UNKNOWN: 0}) == {NODE}
    assert view.announcers(exactly) == {NODE}, (
        "nobody announces more than was heard of, so nobody needs to be asked"
    )
