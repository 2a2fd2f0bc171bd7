"""Plain policy as a value: comparable, with a digest that is the same everywhere."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr.net import Address
from rr.policy.model import Action, Match, PolicySet, PrefixMatch, Statement
from tests.unit.policy.worlds import EXAMPLES, World, addresses, networks, worlds

DIGEST = """
from rr.policy.rules import Rules
from tests.unit.policy.worlds import EXAMPLES, allocations, instance
owned = allocations(
    {"node-1": (["10.2.0.11", "10.2.0.12"], ["10.244.1.0/24", "10.244.2.0/24"])},
    (["10.100.0.0/24", "10.101.0.0/24"], None),
)
print(Rules(instance()).build(owned).digest())
"""


def test_the_digest_is_the_same_in_every_process() -> None:
    """Sets come in another order where strings hash otherwise."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 16


@given(worlds(), st.randoms(use_true_random=False))
@EXAMPLES
def test_the_order_of_sets_does_not_count(world: World, random) -> None:  # type: ignore[no-untyped-def]
    policy = world.rules.build(world.allocations)

    def shuffled(sets: Any) -> Any:
        items = list(sets.items())
        random.shuffle(items)
        return dict(items)

    kinds = ("prefix_sets", "neighbor_sets", "community_sets", "as_path_sets")
    again = PolicySet(
        **{kind: shuffled(getattr(policy, kind)) for kind in kinds},
        imports=policy.imports,
        exports=policy.exports,
    )
    assert again == policy
    assert again.digest() == policy.digest()


BASE = Statement("name", Action.ACCEPT)
OTHERS: dict[str, object] = {
    "name": "other",
    "action": Action.REJECT,
    "prefixes": "set",
    "neighbors": "set",
    "communities": "set",
    "communities_match": Match.ALL,
    "next_hops": frozenset(addresses("10.2.0.11")),
    "empty_as_path": True,
    "add_community": "0:1",
    "remove_communities": "0:1",
    "neutral": True,
    "local_pref": 1,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Statement)])
def test_every_part_of_a_statement_is_in_the_digest(name: str) -> None:
    one, other = (PolicySet(imports=(s,)) for s in (BASE, replace(BASE, **{name: OTHERS[name]})))  # type: ignore[arg-type]
    assert one.digest() != other.digest()


def test_sets_and_the_direction_of_statements_are_in_the_digest() -> None:
    member = PrefixMatch.exactly(networks("10.244.1.0/24")[0])
    policies = [
        PolicySet(),
        PolicySet(imports=(BASE,)),
        PolicySet(exports=(BASE,)),
        PolicySet(prefix_sets={"a": frozenset()}),
        PolicySet(prefix_sets={"a": frozenset({member})}),
        PolicySet(prefix_sets={"a": frozenset({replace(member, longest=32)})}),
        PolicySet(neighbor_sets={"a": frozenset(networks("10.2.0.11/32"))}),
        PolicySet(community_sets={"a": frozenset({"10.2.0.11/32"})}),
        PolicySet(as_path_sets={"a": frozenset({"10.2.0.11/32"})}),
    ]
    assert len({policy.digest() for policy in policies}) == len(policies)


def test_a_prefix_match_covers_its_lengths_alone() -> None:
    pool, own = networks("10.100.0.0/24", "10.244.1.0/24")
    hosts, exactly = PrefixMatch.hosts_of(pool), PrefixMatch.exactly(own)
    inside, outside, longer, shorter, other = networks(
        "10.100.0.9/32", "10.100.1.9/32", "10.244.1.0/25", "10.244.0.0/23", "::/24"
    )
    assert hosts.covers(inside)
    assert not any(map(hosts.covers, (outside, pool, other)))
    assert exactly.covers(own)
    assert not any(map(exactly.covers, (longer, shorter, other)))


def test_addresses_are_compared_as_addresses_and_not_as_text() -> None:
    full, short = addresses("fd00:0:0:0:0:0:0:1", "fd00::1")

    def hop(address: Address) -> PolicySet:
        return PolicySet(imports=(replace(BASE, next_hops=frozenset({address})),))

    assert hop(full).digest() == hop(short).digest()
