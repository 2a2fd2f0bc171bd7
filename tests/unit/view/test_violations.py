"""Violations: counted, ended, and bounded."""

from ipaddress import ip_address, ip_network

import pytest

from rr.policy.verdict import Reason
from rr.view import violations
from rr.view.violations import Violations

PEER = ip_address("10.2.0.11")
PREFIX = ip_network("10.244.2.0/24")


def seen(kept: Violations, number: int = 0, reason: Reason = Reason.FOREIGN_PREFIX, at: float = 1.0) -> bool:
    prefix = ip_network((int(PREFIX.network_address) + 256 * number, 24))
    return kept.seen(PEER, prefix, "node-1", reason, "why", at) is not None


def test_the_first_of_its_kind_is_news_and_the_next_is_counted() -> None:
    kept = Violations("main")
    assert seen(kept, at=1.0)
    assert not seen(kept, at=5.0)
    (row,) = kept.rows()
    assert (row["count"], row["active"]) == (2, True)
    assert (row["first_seen"], row["last_seen"]) == ("1970-01-01T00:00:01.000Z", "1970-01-01T00:00:05.000Z")
    assert kept.totals[Reason.FOREIGN_PREFIX, True] == 2


def test_another_reason_ends_the_one_before() -> None:
    kept = Violations("main")
    seen(kept)
    seen(kept, reason=Reason.NEXT_HOP)
    kept.ended(PEER, PREFIX, but=(Reason.NEXT_HOP, True))
    assert {row["reason"]: row["active"] for row in kept.rows()} == {
        "foreign-prefix": False,
        "next-hop": True,
    }


def test_what_passed_and_is_rejected_now_is_another_kind() -> None:
    kept = Violations("main")
    assert kept.seen(PEER, PREFIX, None, Reason.NOT_ALLOCATED, "why", 1.0, enforced=False)
    assert kept.seen(PEER, PREFIX, None, Reason.NOT_ALLOCATED, "why", 2.0)
    kept.ended(PEER, PREFIX, but=(Reason.NOT_ALLOCATED, True))
    assert [(row["enforced"], row["active"]) for row in kept.rows()] == [(True, True), (False, False)]
    kept.ended(PEER, PREFIX)
    assert not any(row["active"] for row in kept.rows())


def test_the_oldest_ended_ones_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(violations, "REMEMBERED", 3)
    kept = Violations("main")
    for number in range(3):
        seen(kept, number, at=float(number))
    kept.ended(PEER, ip_network("10.244.3.0/24"))
    seen(kept, 3, at=3.0)
    assert [row["prefix"] for row in kept.rows()] == ["10.244.5.0/24", "10.244.4.0/24", "10.244.2.0/24"]
    seen(kept, 4, at=4.0)
    assert [row["prefix"] for row in kept.rows()] == ["10.244.6.0/24", "10.244.5.0/24", "10.244.4.0/24"]
    assert kept.totals[Reason.FOREIGN_PREFIX, True] == 5
