"""The communities by which the speaker remembers, inside itself, where a route came from.

They live in 0:0 to 0:65535, which RFC 1997 reserves, so that no operator has a use of his own for them. A node's
own are scrubbed before anything else looks at the route, and the speaker's are removed from whatever it sends:
nobody outside ever sees one.
"""

import zlib
from collections.abc import Iterable, Mapping

VIP = "0:1"
"""The prefix lies in a VIP pool."""
ALL_TAGS = r"^0:[0-9]+$"
"""Every tag, as the engine's regular expression."""
_FIRST, _SPAN = 1000, 30000
_FROM_TOR = 32768


def rack_tags(racks: Iterable[str]) -> Mapping[str, str]:
    """Give each rack a tag that depends on its name, so that adding a rack leaves the others' tags alone.

    Two names with the same hash are told apart by taking the next free number, in order of the names.
    """
    taken: dict[int, str] = {}
    for name in sorted(racks):
        number = zlib.crc32(name.encode()) % _SPAN
        while number in taken:
            number = (number + 1) % _SPAN
        taken[number] = name
    return {name: f"0:{_FIRST + number}" for number, name in taken.items()}


def from_tor(rack_tag: str) -> str:
    """The tag of routes that this rack's ToRs sent, made from the rack's own."""
    return f"0:{int(rack_tag.removeprefix('0:')) + _FROM_TOR - _FIRST}"
