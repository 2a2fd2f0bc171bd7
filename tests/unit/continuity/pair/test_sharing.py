"""The digests that must be equal exactly where both halves do the same."""

from typing import Any

import pytest

from rr.config.model import Instance
from rr.continuity.pair.sharing import rules, settings
from rr.ipam.allocations import Allocations
from rr.net import Address
from rr.policy.rules import Rules
from tests.unit.policy.worlds import addresses, allocations, networks

HALF_A, HALF_B = addresses("10.0.0.11", "10.0.0.12")
OWNED = {"node-1": (["10.2.0.11"], ["10.244.1.0/24"]), "node-2": (["10.2.1.12"], ["10.244.2.0/24"])}


def instance(**changes: Any) -> Instance:
    rack = {
        "nodes": {"ranges": ["10.2.0.0/24", "10.2.1.0/24"], **changes.pop("nodes", {})},
        "tors": [{"address": "10.1.0.1"}, {"address": "10.1.0.2", **changes.pop("tor", {})}],
    }
    values = {"asn": 64512, "router_id": "10.0.0.11", "racks": {"rack-1": rack}, **changes}
    return Instance.model_validate(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"router_id": "10.0.0.12"},
        {"cluster_id": "10.0.0.99"},
        {"listen": ["10.0.0.12"]},
        {"families": ["ipv4"]},
        {"nodes": {"ranges": ["10.2.1.0/24", "10.2.0.0/24"]}},
        {"nodes": {"password_file": "/etc/rr/nodes"}},
        {"tor": {"password_file": "/etc/rr/tors"}},
    ],
    ids=str,
)
def test_what_is_each_halfs_own_is_in_no_digest(changes: dict[str, Any]) -> None:
    assert settings(instance(**changes)) == settings(instance())


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"asn": 64513}, "asn"),
        ({"port": 1179}, "port"),
        ({"floating": ["10.0.0.10"]}, "floating"),
        ({"families": ["ipv4", "ipv6"]}, "families"),
        ({"hold_time": 30}, "hold_time"),
        ({"graceful_restart": {"restart_time": 60}}, "graceful_restart"),
        ({"reflect": {"nodes": "all"}}, "reflect"),
        ({"nodes": {"ranges": ["10.2.0.0/24"]}}, "racks"),
        ({"nodes": {"max_prefixes": 9}}, "racks"),
        ({"tor": {"add_paths": 4}}, "racks"),
    ],
    ids=str,
)
def test_what_both_share_is_in_the_digest_of_its_part(changes: dict[str, Any], part: str) -> None:
    one, other = settings(instance()), settings(instance(**changes))
    assert {key for key in one if one[key] != other[key]} == {part}


def digest(half: Address | None, owned: Allocations, lacking: str | None = None, **changes: Any) -> str:
    lent = frozenset(networks(lacking)) if lacking else frozenset()
    return rules(Rules(instance(**changes), half).build(owned, lacking=lent), half)


def test_the_session_between_the_halves_is_in_no_digest_of_rules() -> None:
    owned = allocations(OWNED, (["10.100.0.0/24"], None))
    backwards = allocations(dict(reversed(OWNED.items())), (["10.100.0.0/24"], None))
    own = digest(HALF_B, owned)
    assert digest(HALF_A, backwards, "10.244.1.0/24", router_id="10.0.0.12") == own
    assert digest(None, owned) == own


@pytest.mark.parametrize(
    "other",
    [
        {"node-1": OWNED["node-1"]},
        {**OWNED, "node-2": (["10.2.1.12"], ["10.244.3.0/24"])},
        {**OWNED, "node-2": (["10.2.1.13"], ["10.244.2.0/24"])},
    ],
)
def test_other_owners_are_other_rules(other: dict[str, Any]) -> None:
    assert digest(HALF_A, allocations(other)) != digest(HALF_A, allocations(OWNED))


def test_another_way_to_reflect_is_another_rule() -> None:
    owned = allocations(OWNED)
    assert digest(HALF_A, owned, reflect={"nodes": "all"}) != digest(HALF_A, owned)
