"""UPDATE messages of both families with any attributes, written and read (RFC 4271, 4456, 4760, 7911). Pure."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from rr.net import Address, Network
from tests.bench.wire import AS_TRANS, OPEN, UPDATE, message

AFI = {4: 1, 6: 2}
VERSION = {1: 4, 2: 6}
SET, SEQUENCE, CONFED_SEQUENCE, CONFED_SET = 1, 2, 3, 4
Segments = tuple[tuple[int, tuple[int, ...]], ...]
BRACKETS = {
    SET: ("{", ",", "}"),
    SEQUENCE: ("", " ", ""),
    CONFED_SEQUENCE: ("(", " ", ")"),
    CONFED_SET: ("[", ",", "]"),
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an UPDATE says of its prefixes."""

    next_hop: Address
    as_path: Segments = ()
    origin: int = 0
    med: int | None = None
    local_pref: int | None = 100
    communities: frozenset[str] = frozenset()
    originator_id: str | None = None
    cluster_list: tuple[str, ...] = ()

    @property
    def as_text(self) -> str:
        """The AS_PATH as the product writes it."""
        words = []
        for kind, numbers in self.as_path:
            left, between, right = BRACKETS[kind]
            words.append(left + between.join(map(str, numbers)) + right)
        return " ".join(words)


def open_message(asn: int, router_id: str, *, add_paths: bool = False, restart_time: int = 0) -> bytes:
    """An OPEN for IPv4 and IPv6 with 4-octet AS numbers and route refresh."""
    capabilities = [(1, struct.pack("!HBB", afi, 0, 1)) for afi in (1, 2)]
    capabilities += [(2, b""), (65, struct.pack("!I", asn))]
    if restart_time:
        families = b"".join(struct.pack("!HBB", afi, 1, 0) for afi in (1, 2))
        capabilities.append((64, struct.pack("!H", restart_time) + families))
    if add_paths:
        capabilities.append((69, b"".join(struct.pack("!HBB", afi, 1, 1) for afi in (1, 2))))
    encoded = b"".join(struct.pack("!BB", code, len(value)) + value for code, value in capabilities)
    parameters = struct.pack("!BB", 2, len(encoded)) + encoded
    two_octet = asn if asn < 1 << 16 else AS_TRANS
    fixed = struct.pack("!BHH4sB", 4, two_octet, 90, IPv4Address(router_id).packed, len(parameters))
    return message(OPEN, fixed + parameters)


def announcement(prefix: Network, given: Attributes) -> bytes:
    """An UPDATE that announces one prefix."""
    octets = _attribute(0x40, 1, bytes([given.origin])) + _attribute(0x40, 2, _as_path(given.as_path))
    if prefix.version == 4:
        octets += _attribute(0x40, 3, given.next_hop.packed)
    if given.med is not None:
        octets += _attribute(0x80, 4, struct.pack("!I", given.med))
    if given.local_pref is not None:
        octets += _attribute(0x40, 5, struct.pack("!I", given.local_pref))
    if given.communities:
        numbers = (tuple(map(int, c.split(":"))) for c in sorted(given.communities))
        octets += _attribute(0xC0, 8, b"".join(struct.pack("!HH", *pair) for pair in numbers))
    if given.originator_id:
        octets += _attribute(0x80, 9, IPv4Address(given.originator_id).packed)
    if given.cluster_list:
        octets += _attribute(0x80, 10, b"".join(IPv4Address(c).packed for c in given.cluster_list))
    if prefix.version == 6:
        hop = given.next_hop.packed
        octets += _attribute(0x80, 14, struct.pack("!HBB", 2, 1, len(hop)) + hop + b"\0" + _nlri(prefix))
        return _update(octets)
    return _update(octets, _nlri(prefix))


def withdrawal(prefix: Network) -> bytes:
    """An UPDATE that takes one prefix back."""
    if prefix.version == 6:
        return _update(_attribute(0x80, 15, struct.pack("!HB", 2, 1) + _nlri(prefix)))
    octets = _nlri(prefix)
    return message(UPDATE, struct.pack("!H", len(octets)) + octets + b"\0\0")


def end_of_rib() -> bytes:
    """End-of-RIB for both families (RFC 4724)."""
    return _update(b"") + _update(_attribute(0x80, 15, struct.pack("!HB", 2, 1)))


def _update(attributes: bytes, nlri: bytes = b"") -> bytes:
    return message(UPDATE, b"\0\0" + struct.pack("!H", len(attributes)) + attributes + nlri)


def _attribute(flags: int, kind: int, value: bytes) -> bytes:
    if len(value) > 255:
        return struct.pack("!BBH", flags | 0x10, kind, len(value)) + value
    return struct.pack("!BBB", flags, kind, len(value)) + value


def _as_path(segments: Segments) -> bytes:
    return b"".join(
        struct.pack("!BB", kind, len(numbers)) + b"".join(struct.pack("!I", n) for n in numbers)
        for kind, numbers in segments
    )


def _nlri(prefix: Network) -> bytes:
    return bytes([prefix.prefixlen]) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


# Reading

Key = tuple[Network, int]
"""A prefix and its path identifier (0 without add-path)."""


def read_update(body: bytes, add_paths: bool) -> tuple[list[Key], list[Key], Attributes | None]:
    """What an UPDATE withdraws, what it announces, and with which attributes."""
    middle = 2 + int.from_bytes(body[:2], "big")
    last = middle + 2 + int.from_bytes(body[middle : middle + 2], "big")
    withdrawn = list(_keys(body[2:middle], 4, add_paths))
    announced = list(_keys(body[last:], 4, add_paths))
    values = dict(_attributes(body[middle + 2 : last]))
    hop: Address | None = ip_address(values[3]) if 3 in values else None
    if mp := values.get(14):
        length = mp[3]
        hop = ip_address(mp[4 : 4 + min(length, 16)])
        announced += _keys(mp[5 + length :], VERSION[int.from_bytes(mp[:2], "big")], add_paths)
    if mp := values.get(15):
        withdrawn += _keys(mp[3:], VERSION[int.from_bytes(mp[:2], "big")], add_paths)
    return withdrawn, announced, _read(values, hop) if hop is not None else None


def _read(values: dict[int, bytes], hop: Address) -> Attributes:
    return Attributes(
        next_hop=hop,
        as_path=tuple(_segments(values.get(2, b""))),
        origin=values[1][0],
        med=int.from_bytes(values[4], "big") if 4 in values else None,
        local_pref=int.from_bytes(values[5], "big") if 5 in values else None,
        communities=frozenset(f"{n >> 16}:{n & 65535}" for n in _words(values.get(8, b""))),
        originator_id=str(IPv4Address(values[9])) if 9 in values else None,
        cluster_list=tuple(str(IPv4Address(n)) for n in _words(values.get(10, b""))),
    )


def _words(octets: bytes) -> Iterable[int]:
    return struct.unpack(f"!{len(octets) // 4}I", octets)


def _segments(octets: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    while octets:
        end = 2 + 4 * octets[1]
        yield octets[0], tuple(_words(octets[2:end]))
        octets = octets[end:]


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    while octets:
        head = 4 if octets[0] & 0x10 else 3
        end = head + int.from_bytes(octets[2:head], "big")
        yield octets[1], octets[head:end]
        octets = octets[end:]


def _keys(octets: bytes, version: int, add_paths: bool) -> Iterator[Key]:
    width = 4 if version == 4 else 16
    while octets:
        identifier = 0
        if add_paths:
            identifier, octets = int.from_bytes(octets[:4], "big"), octets[4:]
        end = 1 + (octets[0] + 7) // 8
        start = octets[1:end].ljust(width, b"\0")
        address: Address = IPv4Address(start) if version == 4 else IPv6Address(start)
        yield ip_network((address, octets[0])), identifier
        octets = octets[end:]
