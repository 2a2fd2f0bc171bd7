"""BGP messages, as much as a light speaker needs (RFC 4271, 2918, 4724, 4760, 6793, 7911; IPv4). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

MARKER = b"\xff" * 16
HEADER = 19
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
AS_TRANS = 23456
IPV4_UNICAST = b"\x00\x01\x01"

_LENGTH_TYPE = struct.Struct("!HB")


def message(kind: int, body: bytes = b"") -> bytes:
    """A whole message with its header."""
    return MARKER + _LENGTH_TYPE.pack(HEADER + len(body), kind) + body


KEEPALIVE_MESSAGE = message(KEEPALIVE)
END_OF_RIB_BODY = bytes(4)
END_OF_RIB = message(UPDATE, END_OF_RIB_BODY)


def open_message(
    asn: int,
    identifier: IPv4Address,
    hold_time: int,
    *,
    restart_time: int = 0,
    receive_add_path: bool = False,
) -> bytes:
    """An OPEN with 4-octet AS, route refresh, and optionally graceful restart (seconds) and add-path."""
    capabilities = [(1, b"\x00\x01\x00\x01"), (2, b""), (65, struct.pack("!I", asn))]
    if restart_time:
        capabilities.append((64, struct.pack("!H", restart_time) + IPV4_UNICAST + b"\x80"))
    if receive_add_path:
        capabilities.append((69, IPV4_UNICAST + b"\x01"))
    encoded = b"".join(struct.pack("!BB", code, len(value)) + value for code, value in capabilities)
    parameters = struct.pack("!BB", 2, len(encoded)) + encoded
    two_octet = asn if asn < 1 << 16 else AS_TRANS
    fixed = struct.pack("!BHH4sB", 4, two_octet, hold_time, identifier.packed, len(parameters))
    return message(OPEN, fixed + parameters)


def nlri(prefix: IPv4Network) -> bytes:
    """A prefix as it stands in an UPDATE."""
    return bytes((prefix.prefixlen,)) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


def prefix_of(field: bytes) -> IPv4Network:
    """The prefix that stands in an UPDATE as `field`."""
    return IPv4Network((int.from_bytes(field[1:].ljust(4, b"\0"), "big"), field[0]))


def announcement(prefixes: Iterable[IPv4Network], next_hop: IPv4Address) -> bytes:
    """An iBGP UPDATE that announces prefixes which the speaker itself originates."""
    attributes = (
        b"\x40\x01\x01\x00"  # ORIGIN: IGP
        b"\x40\x02\x00"  # AS_PATH: empty
        b"\x40\x03\x04" + next_hop.packed + b"\x40\x05\x04\x00\x00\x00\x64"  # LOCAL_PREF: 100
    )
    return message(
        UPDATE,
        b"\x00\x00" + struct.pack("!H", len(attributes)) + attributes + b"".join(nlri(p) for p in prefixes),
    )


def withdrawal(prefixes: Iterable[IPv4Network]) -> bytes:
    """An UPDATE that takes prefixes back."""
    withdrawn = b"".join(nlri(p) for p in prefixes)
    return message(UPDATE, struct.pack("!H", len(withdrawn)) + withdrawn + b"\x00\x00")


@dataclass(frozen=True, slots=True)
class OpenReceived:
    """What of the far side's OPEN matters here."""

    hold_time: int
    """Seconds."""
    sends_add_path: bool
    """Whether it will send path identifiers for IPv4 unicast."""
    restart_time: int | None = None
    """Seconds that it may take to restart; None without graceful restart for IPv4 unicast (RFC 4724)."""
    kept_forwarding: bool = False
    """Whether it has kept its forwarding state for IPv4 unicast."""


def parse_open(body: bytes) -> OpenReceived:
    """Read the body of an OPEN."""
    sends_add_path, restart_time, kept = False, None, False
    for code, value in _capabilities(body[10:]):
        if code == 69:
            sends_add_path = any(mode & 2 for mode in _of_ipv4(value))
        elif code == 64 and (flags := _of_ipv4(value[2:])):
            restart_time = int.from_bytes(value[:2], "big") & 0x0FFF
            kept = any(flag & 0x80 for flag in flags)
    return OpenReceived(int.from_bytes(body[3:5], "big"), sends_add_path, restart_time, kept)


def _of_ipv4(families: bytes) -> list[int]:
    """What a capability that says one octet about each address family says about IPv4 unicast."""
    return [
        families[at + 3] for at in range(0, len(families) - 3, 4) if families[at : at + 3] == IPV4_UNICAST
    ]


def _capabilities(parameters: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(parameters):
        kind, length = parameters[at], parameters[at + 1]
        block, at = parameters[at + 2 : at + 2 + length], at + 2 + length
        inner = 0
        while kind == 2 and inner + 2 <= len(block):
            code, size = block[inner], block[inner + 1]
            yield code, block[inner + 2 : inner + 2 + size]
            inner += 2 + size


Path = tuple[bytes, bytes]
"""A prefix as in the NLRI field, and its path identifier (empty without add-path)."""


def parse_update(body: bytes, add_path: bool) -> tuple[list[Path], list[Path]]:
    """(withdrawn, announced) of one UPDATE."""
    withdrawn_end = 2 + int.from_bytes(body[:2], "big")
    nlri_start = withdrawn_end + 2 + int.from_bytes(body[withdrawn_end : withdrawn_end + 2], "big")
    return _paths(body, 2, withdrawn_end, add_path), _paths(body, nlri_start, len(body), add_path)


def _paths(body: bytes, at: int, end: int, add_path: bool) -> list[Path]:
    found: list[Path] = []
    while at < end:
        identifier = b""
        if add_path:
            identifier, at = body[at : at + 4], at + 4
        stop = at + 1 + (body[at] + 7) // 8
        found.append((body[at:stop], identifier))
        at = stop
    return found


def split(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole messages (type, body) off the front of a buffer; the beginning of the next one is left."""
    at = 0
    while len(buffer) - at >= HEADER:
        length = int.from_bytes(buffer[at + 16 : at + 18], "big")
        if length < HEADER:
            raise ValueError(f"message of {length} bytes")
        if len(buffer) - at < length:
            break
        yield buffer[at + 18], bytes(buffer[at + HEADER : at + length])
        at += length
    del buffer[:at]
