"""Who does not read what it is sent: the kernel's socket diagnostics, and a judgement on two looks at them.

The engine's queue to a peer has no end, and no deadline writes to it: a peer that stops reading and goes on sending
keepalives would fill the engine's memory. RFC 9687 calls the time that is waited for it the SendHoldTime.

The kernel is asked over netlink (NETLINK_SOCK_DIAG, uapi/linux/inet_diag.h) and its answer is taken apart here:
pyroute2 decodes everything that it says of a socket, 50 µs each: a tenth of a second
for 2,000 sessions, and this takes 5 ms.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from rr.net import Address

_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_ESTABLISHED = 1 << 1
_HEADER = struct.Struct("=IHHII")
_ASK = struct.Struct("=BBBxI48x")
_ATTRIBUTE = struct.Struct("=HH")
_SOURCE, _TARGET, _QUEUE, _ATTRIBUTES = 8, 24, 60, 72
"""Where in an inet_diag_msg the addresses, idiag_wqueue and the attributes begin."""
_TCP_INFO = 2
_BYTES_ACKED = 120
"""Where in a tcp_info tcpi_bytes_acked is."""
_BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class Queue:
    """What the kernel still has to bring to a peer over one TCP connection."""

    peer: Address
    ports: tuple[int, int]
    """Ours and the peer's."""
    local: Address
    pending: int
    """Bytes that the peer has not acknowledged, sent or not."""
    acknowledged: int
    """Bytes that the peer ever acknowledged."""


def look() -> list[Queue]:
    """Ask the kernel which TCP connections of this network namespace have something pending; raises OSError."""
    return [queue for family in (socket.AF_INET, socket.AF_INET6) for queue in _dump(family)]


def _dump(family: int) -> Iterator[Queue]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.settimeout(5.0)
        ask = _ASK.pack(family, socket.IPPROTO_TCP, 1 << (_TCP_INFO - 1), _ESTABLISHED)
        length = _HEADER.size + len(ask)
        netlink.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST | _DUMP, 1, 0) + ask)
        while True:
            data = netlink.recv(_BUFFER)
            for kind, body in _messages(data):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "the kernel refused socket diagnostics")
                if pending := struct.unpack_from("=I", body, _QUEUE)[0]:
                    yield _read(family, body, pending)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _read(family: int, body: bytes, pending: int) -> Queue:
    width = 4 if family == socket.AF_INET else 16
    ours, theirs = struct.unpack_from("!HH", body, 4)
    local, peer = (_address(body[start : start + width]) for start in (_SOURCE, _TARGET))
    return Queue(peer, (ours, theirs), local, pending, _acknowledged(body))


def _address(octets: bytes) -> Address:
    found = ip_address(octets)
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _acknowledged(body: bytes) -> int:
    offset = _ATTRIBUTES
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if kind == _TCP_INFO and length >= _ATTRIBUTE.size + _BYTES_ACKED + 8:
            return int(struct.unpack_from("=Q", body, offset + _ATTRIBUTE.size + _BYTES_ACKED)[0])
        offset += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return 0


@dataclass(frozen=True, slots=True)
class Stalled:
    """A peer that has acknowledged nothing for a while, although something is pending."""

    peer: Address
    pending: int
    seconds: float


class Stalls:
    """Remembers since when each connection stands still."""

    def __init__(self) -> None:
        self._since: dict[tuple[Address, tuple[int, int]], tuple[int, float]] = {}

    def judge(self, queues: Iterable[Queue], patience: Mapping[Address, float], now: float) -> list[Stalled]:
        """Say which peers stand still for longer than `patience` says, in seconds; others are no peers."""
        before, self._since, found = self._since, {}, []
        for queue in queues:
            if queue.peer not in patience or not queue.pending:
                continue
            key = (queue.peer, queue.ports)
            acknowledged, since = before.get(key, (-1, now))
            if acknowledged != queue.acknowledged:
                since = now
            self._since[key] = (queue.acknowledged, since)
            if now - since >= patience[queue.peer]:
                found.append(Stalled(queue.peer, queue.pending, now - since))
        return found
