"""Tags: distinct, stable, and never of use to anybody else."""

import re
import zlib
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from rr.policy.tags import ALL_TAGS, VIP, from_tor, rack_tags
from tests.unit.policy.worlds import EXAMPLES


def colliding() -> tuple[str, str]:
    seen: dict[int, str] = {}
    for number in range(100_000):
        name = f"rack-{number}"
        if (other := seen.setdefault(zlib.crc32(name.encode()) % 30000, name)) != name:
            return other, name
    raise AssertionError("no two names collide")


def test_two_names_with_the_same_hash_get_two_tags_in_any_order() -> None:
    one, other = colliding()
    tags = rack_tags([one, other])
    assert len(set(tags.values())) == 2
    assert rack_tags([other, one]) == tags


def test_adding_a_rack_leaves_the_tags_of_the_others_alone() -> None:
    names = [f"rack-{number}" for number in range(20)]
    assert rack_tags([*names, "rack-20"]).items() >= rack_tags(names).items()


@given(st.sets(st.text("abc-0123456789", min_size=1, max_size=8), max_size=50))
@EXAMPLES
def test_every_tag_is_one_of_its_own_and_is_scrubbed(names: set[str]) -> None:
    racks = rack_tags(names)
    tags = [VIP, *racks.values(), *map(from_tor, racks.values())]
    assert all(one != other for one, other in combinations(tags, 2))
    assert all(re.search(ALL_TAGS, tag) and 0 <= int(tag[2:]) <= 65535 for tag in tags)


def test_a_community_of_somebody_else_is_never_taken_for_a_tag() -> None:
    for community in ("64512:0", "65535:65281", "10:1", "100:1000"):
        assert not re.search(ALL_TAGS, community)
