"""The light speakers as graceful-restart helpers (RFC 4724, section 4.2): what they keep, and what they remove."""

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.bench import rib as why
from tests.bench import wire
from tests.bench.fleet import Speaker
from tests.bench.rib import Rib

ONE, TWO = IPv4Network("10.128.1.0/24"), IPv4Network("10.128.2.0/24")
RESTART_TIME = 120
KEPT = wire.OpenReceived(90, True, RESTART_TIME, kept_forwarding=True)
NOT_KEPT = wire.OpenReceived(90, True, RESTART_TIME, kept_forwarding=False)
NOT_GRACEFUL = wire.OpenReceived(90, True)


def paths(*entries: tuple[IPv4Network, int]) -> bytes:
    return b"".join(struct.pack("!I", identifier) + wire.nlri(prefix) for prefix, identifier in entries)


def announce(rib: Rib, *entries: tuple[IPv4Network, int], now: float = 0.0) -> None:
    """Paths with identifiers come in."""
    rib.apply(bytes(4) + paths(*entries), True, now)


def withdraw(rib: Rib, *entries: tuple[IPv4Network, int], now: float = 0.0) -> None:
    """Paths with identifiers go."""
    field = paths(*entries)
    rib.apply(struct.pack("!H", len(field)) + field + bytes(2), True, now)


def end(rib: Rib, now: float = 0.0) -> None:
    """End-of-RIB comes in."""
    rib.apply(wire.END_OF_RIB_BODY, True, now)


def holding(*entries: tuple[IPv4Network, int], heard: wire.OpenReceived = KEPT) -> Speaker:
    """A speaker in its first session, which began at 0 and brought these paths."""
    speaker = Speaker("tor", IPv4Address("10.1.1.1"), b"", b"", heard=heard)
    speaker.session_up(0.0)
    announce(speaker.rib, *entries)
    return speaker


def back(speaker: Speaker, heard: wire.OpenReceived, now: float) -> None:
    """The next session is up, after this OPEN."""
    speaker.heard = heard
    speaker.session_up(now)


def test_what_comes_again_before_end_of_rib_was_never_removed() -> None:
    tor = holding((ONE, 1), (TWO, 1))
    tor.session_lost(10.0, notified=False)
    assert tor.rib.prefixes() == {ONE, TWO}
    assert (tor.rib.fresh_count, tor.rib.ended) == (0, None)
    back(tor, KEPT, 12.0)
    announce(tor.rib, (ONE, 1), (TWO, 1), now=13.0)
    end(tor.rib, 14.0)
    assert not tor.rib.removals
    assert tor.rib.fresh() == {ONE, TWO}
    assert (tor.rib.when(ONE), tor.rib.ended) == (13.0, 14.0)


def test_what_is_stale_at_end_of_rib_is_removed() -> None:
    tor = holding((ONE, 1), (TWO, 1))
    tor.session_lost(10.0, notified=False)
    back(tor, KEPT, 12.0)
    announce(tor.rib, (ONE, 1))
    end(tor.rib, 14.0)
    assert tor.rib.removals == {why.NOT_REFRESHED: 1}
    assert (tor.rib.prefixes(), tor.rib.departed(TWO)) == (frozenset({ONE}), 14.0)


def test_a_prefix_that_comes_under_another_path_identifier_is_not_removed_with_its_stale_path() -> None:
    tor = holding((ONE, 1))
    tor.session_lost(10.0, notified=False)
    back(tor, KEPT, 12.0)
    announce(tor.rib, (ONE, 7))
    end(tor.rib)
    assert (not tor.rib.removals, tor.rib.prefixes()) == (True, frozenset({ONE}))
    withdraw(tor.rib, (ONE, 7))
    assert tor.rib.removals == {why.WITHDRAWN: 1}


def test_a_stale_path_keeps_a_prefix_whose_other_path_is_withdrawn() -> None:
    tor = holding((ONE, 1), (ONE, 2))
    tor.session_lost(10.0, notified=False)
    back(tor, KEPT, 12.0)
    announce(tor.rib, (ONE, 1))
    withdraw(tor.rib, (ONE, 1))
    assert (not tor.rib.removals, ONE in tor.rib) == (True, True)
    withdraw(tor.rib, (ONE, 2), now=13.0)
    assert (tor.rib.removals, tor.rib.departed(ONE)) == ({why.WITHDRAWN: 1}, 13.0)


@pytest.mark.parametrize("heard", [NOT_KEPT, NOT_GRACEFUL], ids=["F bit not set", "no graceful restart"])
def test_a_speaker_that_kept_nothing_costs_everything_as_soon_as_it_is_back(heard: wire.OpenReceived) -> None:
    tor = holding((ONE, 1), (TWO, 1), (TWO, 2))
    tor.session_lost(10.0, notified=False)
    back(tor, heard, 12.0)
    assert (tor.rib.removals, tor.rib.departed(TWO)) == ({why.NOT_KEPT: 2}, 12.0)
    announce(tor.rib, (ONE, 1), now=13.0)
    assert (tor.rib.prefixes(), tor.rib.when(ONE)) == (frozenset({ONE}), 13.0)


@pytest.mark.parametrize(
    ("heard", "notified"), [(KEPT, True), (NOT_GRACEFUL, False)], ids=["NOTIFICATION", "no graceful restart"]
)
def test_nothing_is_kept_of_a_session_that_ended_otherwise(heard: wire.OpenReceived, notified: bool) -> None:
    tor = holding((ONE, 1), (TWO, 1), heard=heard)
    tor.session_lost(10.0, notified=notified)
    assert (tor.rib.removals, len(tor.rib)) == ({why.SESSION_LOST: 2}, 0)


def test_what_is_stale_when_the_session_is_lost_again_is_removed() -> None:
    tor = holding((ONE, 1), (TWO, 1))
    tor.session_lost(10.0, notified=False)
    back(tor, KEPT, 12.0)
    announce(tor.rib, (ONE, 1))
    tor.session_lost(13.0, notified=False)
    assert tor.rib.removals == {why.STALE_TWICE: 1}
    assert tor.rib.prefixes() == {ONE}


def test_stale_paths_go_at_the_end_of_the_restart_time() -> None:
    tor = holding((ONE, 1))
    tor.session_lost(10.0, notified=False)
    tor.look_at_clock(10.0 + RESTART_TIME - 1)
    assert not tor.rib.removals
    tor.look_at_clock(10.0 + RESTART_TIME)
    assert (tor.rib.removals, len(tor.rib)) == ({why.TOO_LATE: 1}, 0)


def test_a_speaker_that_is_back_in_time_is_waited_for_until_its_end_of_rib() -> None:
    tor = holding((ONE, 1))
    tor.session_lost(10.0, notified=False)
    back(tor, KEPT, 12.0)
    tor.look_at_clock(10.0 + RESTART_TIME + 1)
    assert (not tor.rib.removals, ONE in tor.rib) == (True, True)


def test_without_path_identifiers_a_prefix_has_one_path() -> None:
    rib = Rib()
    rib.apply(bytes(4) + wire.nlri(ONE), False, 1.0)
    rib.keep_as_stale(2.0)
    rib.apply(bytes(4) + wire.nlri(ONE), False, 3.0)
    end(rib)
    assert (not rib.removals, rib.when(ONE)) == (True, 3.0)
    rib.apply(struct.pack("!H", 4) + wire.nlri(ONE) + bytes(2), False, 4.0)
    assert (rib.removals, len(rib)) == ({why.WITHDRAWN: 1}, 0)
