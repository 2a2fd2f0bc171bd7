"""Where two halves differ, who has a session with both, and whether one can be spared."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from rr.continuity.pair.compare import Redundancy, differences, named, redundancy, refusal
from rr.continuity.pair.word import InstanceWord, NotUnderstood, Word, read, write

NODES = {f"node-{n}": (ip_address(f"10.2.0.{n}"), ip_address(f"fd00:2::{n}")) for n in range(1, 5)}
MAIN = InstanceWord(
    settings={"asn": "1", "racks": "2"}, policy="3", serving=True, restarting=False, drained=False,
    nodes=frozenset({ip_address("10.2.0.1")}), tors=frozenset({ip_address("10.1.0.1")}),
)  # fmt: skip
OWN = Word("rr-a", "1.0", 1000.0, "4", {"main": MAIN})
ALL = redundancy(NODES, frozenset(a for own in NODES.values() for a in own), frozenset())
NONE = Redundancy(frozenset(), frozenset(), frozenset(), frozenset())


def said(**changes: Any) -> list[str]:
    return list(differences(OWN, replace(OWN, name="rr-b", instances={"main": replace(MAIN, **changes)})))


def test_halves_that_do_the_same_do_not_differ() -> None:
    assert said() == []
    assert said(nodes=frozenset(), tors=frozenset(), drained=True) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"settings": {"asn": "1", "racks": "9"}},
            "the halves are configured differently: racks of instance main",
        ),
        (
            {"settings": {"asn": "0", "racks": "9"}},
            "the halves are configured differently: asn, racks of instance main",
        ),
        ({"policy": "9"}, "the halves enforce different rules in instance main"),
    ],
)
def test_a_difference_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert said(**changes) == [sentence]


def test_allocations_and_instances_are_compared() -> None:
    assert list(differences(OWN, replace(OWN, allocations="9"))) == ["the halves hold different allocations"]
    assert list(differences(OWN, replace(OWN, instances={}))) == ["the other half has no instance main"]
    assert list(differences(replace(OWN, instances={}), OWN)) == ["this half has no instance main"]


@pytest.mark.parametrize("changes", [{"serving": False}, {"serving": False, "policy": None}])
def test_rules_are_compared_only_where_both_enforce_some(changes: dict[str, Any]) -> None:
    assert said(policy="9") != []
    assert said(**{"policy": "9", **changes}) == []


def test_another_version_may_write_the_same_rules_differently() -> None:
    theirs = replace(OWN, version="1.1", instances={"main": replace(MAIN, policy="9")})
    assert list(differences(OWN, theirs)) == []


def test_a_setting_that_the_other_version_does_not_know_is_passed_over() -> None:
    assert said(settings={"asn": "1"}) == []


def test_a_node_counts_by_any_of_its_addresses() -> None:
    here = frozenset(map(ip_address, ("10.2.0.1", "fd00:2::2", "10.2.0.99")))
    there = frozenset(map(ip_address, ("fd00:2::1", "10.2.0.3")))
    found = redundancy(NODES, here, there)
    assert found == Redundancy(
        frozenset({"node-1"}), frozenset({"node-2"}), frozenset({"node-3"}), frozenset({"node-4"})
    )
    assert found.one == {"node-2", "node-3"}


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (None, "the other half has no instance main"),
        (replace(MAIN, serving=False), "main does not serve at the other half"),
        (replace(MAIN, drained=True), "main is drained at the other half"),
        (
            replace(MAIN, restarting=True),
            "main has just restarted at the other half, which still waits for its peers",
        ),
        (MAIN, None),
    ],
)
def test_a_half_is_spared_only_while_the_other_serves(there: InstanceWord | None, why: str | None) -> None:
    assert refusal("main", NONE, NONE, there) == why


def test_a_half_is_not_spared_while_somebody_has_a_session_with_it_alone() -> None:
    one = replace(NONE, here=frozenset({"node-1"}))
    assert refusal("main", one, NONE, MAIN) == "the other half has no session with the node node-1 of main"
    assert refusal("main", NONE, one, MAIN) == "the other half has no session with the ToR node-1 of main"
    many = "the 4 nodes node-1, node-2, node-3 and 1 more of main"
    assert refusal("main", ALL, NONE, MAIN) == f"the other half has no session with {many}"
    assert refusal("main", replace(NONE, there=frozenset({"node-1"})), NONE, MAIN) is None


def test_few_names_are_named() -> None:
    assert named(["b", "a"]) == "a, b"
    assert named(map(str, range(5))) == "0, 1, 2 and 2 more"


def test_a_word_is_read_as_it_was_written() -> None:
    assert read(write(OWN)) == OWN
    newer = write(OWN) | {"mood": "good"}
    newer["instances"]["main"]["mood"] = "good"
    assert read(newer) == OWN


@pytest.mark.parametrize(
    "data", [None, [], {}, {**write(OWN), "instances": []}, {**write(OWN), "time": "noon"},
             {**write(OWN), "instances": {"main": {**write(OWN)["instances"]["main"], "nodes": ["x"]}}}]
)  # fmt: skip
def test_what_is_no_word_is_not_understood(data: Any) -> None:
    with pytest.raises(NotUnderstood, match="what it answers is not understood"):
        read(data)
