"""Waiting is bounded, and a failure tells what was seen."""

import time

import pytest

from tests.lab.wait import HappenedAnyway, NotInTime, eventually, never


def test_eventually_returns_the_first_true_value() -> None:
    values = iter([0, [], "yes"])
    assert eventually(lambda: next(values), 5, "a value") == "yes"


def test_eventually_tells_what_it_saw_last() -> None:
    def check() -> bool:
        raise LookupError("no route 10.244.1.0/24")

    with pytest.raises(NotInTime, match=r"not within 0.1 s: a route\n.*no route 10.*\n.*seen: 7"):
        eventually(check, 0.1, "a route", seen=lambda: 7)


def test_eventually_lets_other_errors_through() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0, 5, "anything")


def test_never_watches_for_the_whole_time() -> None:
    started = time.monotonic()
    never(lambda: False, 0.2, "nothing")
    assert time.monotonic() - started >= 0.2


def test_never_fails_as_soon_as_it_happens() -> None:
    with pytest.raises(HappenedAnyway, match="a leak"):
        never(lambda: ["10.244.1.0/25"], 60, "a leak")
