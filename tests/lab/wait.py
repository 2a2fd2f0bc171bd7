"""Bounded waiting: poll until a check holds, or make sure that it never does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05


class NotInTime(AssertionError):
    """Something that had to happen within a bound did not."""


class HappenedAnyway(AssertionError):
    """Something that must not happen did."""


def eventually(
    check: Callable[[], T], timeout: float, what: str, *, seen: Callable[[], object] | None = None
) -> T:
    """Poll `check` until it returns something true, and return that.

    `timeout` is in seconds. A check may raise AssertionError, LookupError or OSError for "not yet".
    On failure the message has `what`, what the check gave last, and what `seen` (if given) shows now.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            value = check()
            if value:
                return value
            last: object = value
        except (AssertionError, LookupError, OSError) as error:
            last = error
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    raise NotInTime(f"not within {timeout:g} s: {what}\n  last check: {last!r}{_picture(seen)}")


def never(
    check: Callable[[], object], during: float, what: str, *, seen: Callable[[], object] | None = None
) -> None:
    """Poll `check` for `during` seconds; fail as soon as it returns something true.

    Errors are not caught: a check that cannot look has shown nothing.
    """
    deadline = time.monotonic() + during
    while True:
        value = check()
        if value:
            raise HappenedAnyway(f"must not happen: {what}\n  check gave: {value!r}{_picture(seen)}")
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_SECONDS)


def _picture(seen: Callable[[], object] | None) -> str:
    if seen is None:
        return ""
    try:
        return f"\n  seen: {seen()!r}"
    except Exception as error:  # the message must appear whatever state the network is in
        return f"\n  seen: (could not look: {error!r})"
