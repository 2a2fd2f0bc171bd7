"""Who is awaited after a restart, for how long, and when ToRs have to wait."""

from ipaddress import ip_address

from rr.continuity.comeback import SETTLED, SLACK, Comeback, Present
from rr.continuity.roster import Known

DUAL, SILENT, UNKNOWN, TOR = (ip_address(f"10.2.0.{n}") for n in (11, 12, 13, 1))
KNOWN = {
    DUAL: Known(DUAL, 0.0, ("ipv4", "ipv6"), ("ipv4", "ipv6")),
    SILENT: Known(SILENT, 0.0, ("ipv4",), ()),
    UNKNOWN: Known(UNKNOWN, 0.0),
    TOR: Known(TOR, 0.0, ("ipv4",), ()),
}
BOTH = frozenset({"ipv4", "ipv6"})


def started() -> Comeback:
    return Comeback(KNOWN, frozenset({TOR}), 100.0, 30.0)


def all_up(*but: object) -> list[Present]:
    return [Present(address, BOTH) for address in KNOWN if address not in but]


def test_it_is_over_when_everybody_is_back() -> None:
    comeback = started()
    comeback.see(all_up(TOR), 101.0)
    assert comeback.missing == comeback.awaited(101.0) == {TOR}
    assert not comeback.over(101.0)
    comeback.see(all_up(), 102.0)
    assert comeback.over(102.0)
    assert comeback.awaited(102.0) == set()


def test_it_is_not_over_while_a_node_that_is_back_may_lack_routes() -> None:
    comeback = Comeback({UNKNOWN: KNOWN[UNKNOWN]}, frozenset({TOR}), 100.0, 30.0)
    comeback.see([Present(UNKNOWN)], 101.0)
    assert not comeback.missing
    assert not comeback.over(101.0)
    comeback.see([Present(UNKNOWN)], 101.0 + SETTLED)
    assert comeback.over(101.0 + SETTLED)


def test_nodes_are_awaited_for_the_deferral_time_and_tors_a_little_longer() -> None:
    comeback = started()
    assert comeback.awaited(130.0) == set(KNOWN)
    assert comeback.awaited(130.1) == {TOR}
    assert not comeback.over(130.0 + SLACK)
    assert comeback.over(130.1 + SLACK)
    assert comeback.awaited(130.1 + SLACK) == set()


def test_nobody_known_is_nobody_awaited() -> None:
    comeback = Comeback()
    assert comeback.over(0.0)
    assert not comeback.holds_tors(0.0)


def test_tors_wait_for_every_end_of_rib_of_a_node() -> None:
    comeback = Comeback({DUAL: KNOWN[DUAL]}, frozenset({TOR}), 100.0, 30.0)
    assert comeback.holds_tors(100.0)
    comeback.see([Present(DUAL, frozenset({"ipv4"}))], 101.0)
    assert comeback.holds_tors(101.0)
    comeback.see([Present(DUAL, BOTH)], 101.1)
    assert not comeback.holds_tors(101.1)


def test_a_node_that_sends_no_end_of_rib_has_a_moment_for_its_routes() -> None:
    for node in (SILENT, UNKNOWN, DUAL):
        comeback = Comeback({node: KNOWN[node]}, frozenset({TOR}), 100.0, 30.0)
        comeback.see([Present(node)], 101.0)
        assert comeback.holds_tors(101.0)
        comeback.see([Present(node)], 101.0 + SETTLED)
        assert not comeback.holds_tors(101.0 + SETTLED)


def test_tors_wait_anew_for_a_node_that_went_again() -> None:
    comeback = Comeback({DUAL: KNOWN[DUAL]}, frozenset({TOR}), 100.0, 30.0)
    comeback.see([Present(DUAL, BOTH)], 101.0)
    comeback.see([], 102.0)
    assert comeback.holds_tors(110.0)


def test_tors_wait_no_longer_than_the_deferral_time() -> None:
    assert started().holds_tors(130.0)
    assert not started().holds_tors(130.1)


def test_tors_do_not_wait_for_one_another() -> None:
    comeback = Comeback({TOR: KNOWN[TOR]}, frozenset({TOR}), 100.0, 30.0)
    assert not comeback.holds_tors(100.0)


def test_who_comes_when_nobody_is_awaited_any_more_is_lost_no_longer_and_may_go_again() -> None:
    comeback = started()
    comeback.see(all_up(DUAL, SILENT), 101.0)
    comeback.see_late(frozenset({DUAL, ip_address("10.2.0.99")}))
    comeback.see_late(frozenset())
    assert comeback.lost == {SILENT}
    assert comeback.missing == {DUAL, SILENT}, "what was awaited stays as it was when it was over"


def test_nobody_waits_for_who_is_given_up() -> None:
    comeback = started()
    comeback.see(all_up(DUAL), 101.0)
    comeback.see(all_up(DUAL), 101.0 + SETTLED)
    assert comeback.holds_tors(103.0)
    comeback.give_up([DUAL, ip_address("10.2.0.99")])
    assert comeback.lost == comeback.missing == set()
    assert not comeback.holds_tors(103.0)
    assert comeback.over(103.0)
