"""The checker of documented keys."""

from rr.api.keys import faults
from tests.unit.api.memory import event, peer


def test_documented_rows_have_no_faults() -> None:
    assert faults("peers", [peer(1), peer(2)]) == []


def test_each_fault_is_said_once() -> None:
    row = peer(1)
    del row["rack"]
    row |= {"color": "red", "role": None, "received": "two"}
    assert faults("peers", [row, row]) == [
        "peers: `color` is not documented",
        "peers: `rack` is missing",
        "peers: `role` is null",
        "peers: `received` is str, not number",
    ]


def test_one_object_is_checked_like_a_list_of_one() -> None:
    assert faults("events", event(1)) == []
    assert faults("ipam.accept", {}) == ["ipam.accept: `changed` is missing"]


def test_what_may_be_null_or_absent_may() -> None:
    assert faults("peers", [peer(1) | {"node": None, "since": None, "stale": 0}]) == []
