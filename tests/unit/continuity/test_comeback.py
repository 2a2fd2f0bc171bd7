"""Who is awaited after a restart, for how long, and when ToRs have to wait."""

from ipaddress import ip_address

from rr.continuity.comeback import SETTLED, SLACK, Comeback
from rr.continuity.roster import Known

GRACEFUL, SILENT, UNKNOWN, TOR = (ip_address(f"10.2.0.{n}") for n in (11, 12, 13, 1))
KNOWN = {
    GRACEFUL: Known(GRACEFUL, 0.0, ("ipv4",), ("ipv4",)),
    SILENT: Known(SILENT, 0.0, ("ipv4",), ()),
    UNKNOWN: Known(UNKNOWN, 0.0),
    TOR: Known(TOR, 0.0, ("ipv4",), ()),
}


def started() -> Comeback:
    return Comeback(KNOWN, 100.0, 30.0)


def test_it_is_over_when_everybody_is_back() -> None:
    comeback = started()
    comeback.see({GRACEFUL, SILENT, UNKNOWN}, 101.0)
    assert comeback.missing == {TOR}
    assert not comeback.over(101.0)
    comeback.see(set(KNOWN), 102.0)
    assert comeback.over(102.0)


def test_it_is_over_some_time_after_the_deferral_time_whoever_is_missing() -> None:
    comeback = started()
    assert not comeback.over(130.0 + SLACK)
    assert comeback.over(130.1 + SLACK)


def test_nobody_known_is_nobody_awaited() -> None:
    comeback = Comeback({}, 100.0, 30.0)
    assert comeback.over(100.0)
    assert not comeback.holds_tors(set(), 100.0)


def test_tors_wait_for_a_node_that_sends_no_end_of_rib_and_for_its_routes() -> None:
    comeback = started()
    assert comeback.holds_tors({TOR}, 100.0)
    comeback.see({SILENT}, 101.0)
    assert comeback.holds_tors({TOR}, 101.0 + SETTLED / 2)
    assert not comeback.holds_tors({TOR}, 101.0 + SETTLED)


def test_tors_wait_anew_for_such_a_node_that_went_again() -> None:
    comeback = started()
    comeback.see({SILENT}, 101.0)
    comeback.see(set(), 102.0)
    assert comeback.holds_tors({TOR}, 110.0)


def test_tors_wait_no_longer_than_the_deferral_time() -> None:
    assert not started().holds_tors({TOR}, 130.1)


def test_a_tor_without_graceful_restart_holds_no_other() -> None:
    comeback = Comeback({TOR: KNOWN[TOR], GRACEFUL: KNOWN[GRACEFUL]}, 100.0, 30.0)
    assert not comeback.holds_tors({TOR}, 100.0)
