"""A BGP speaker of a hundred lines: to see the octets of what others send, and to send what nobody would."""

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass

from tests.lab.network import Host
from tests.lab.wait import eventually

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
ORIGIN_IGP = b"\x40\x01\x01\x00"
EMPTY_AS_PATH = b"\x40\x02\x00"
LOCAL_PREF_100 = b"\x40\x05\x04\x00\x00\x00\x64"
MP_REACH = 14
AFI = {"ipv4": 1, "ipv6": 2}


@dataclass(frozen=True, slots=True)
class Message:
    """One BGP message as it came in."""

    kind: int
    body: bytes


class RawSpeaker:
    """Speaks just enough BGP to keep a session: OPEN, KEEPALIVE. Everything else is up to the test.

    `families` and `restart_time` (seconds, None: no graceful restart) go into the OPEN. While `reading` is clear it
    takes nothing off its socket, whose `receive_buffer` is in bytes, but goes on sending keepalives. Sockets live in
    the host's namespace, the threads in this process.
    """

    def __init__(
        self,
        host: Host,
        *,
        asn: int,
        hold_time: int = 9,
        families: tuple[str, ...] = ("ipv4", "ipv6"),
        restart_time: int | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.host = host
        self.asn = asn
        self.hold_time = hold_time
        self.families = families
        self.restart_time = restart_time
        self.messages: list[Message] = []
        self.receive_buffer = receive_buffer
        self.established = threading.Event()
        self.reading = threading.Event()
        self.reading.set()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        host.network.remember(self)

    def dial(self, address: str, port: int = 179, *, source: str | None = None) -> None:
        """Connect, and go on to Established in the background."""
        self._serve(self.host.connect(address, port, source=source))

    def listen(self, port: int = 179) -> None:
        """Take connections in the background; each takes the place of the one before."""
        listener = self.host.listen(port)
        self._sockets.append(listener)
        self._limit(listener)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    self._serve(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()

    def wait_established(self, timeout: float = 15) -> None:
        """Wait until the session is up."""
        what = f"session of {self.host.name}"
        eventually(self.established.is_set, timeout, what, seen=lambda: self.messages)

    def send(self, kind: int, body: bytes = b"") -> None:
        """Send a message; the body is taken as it is."""
        self.send_octets(MARKER + struct.pack("!HB", 19 + len(body), kind) + body)

    def send_octets(self, octets: bytes) -> None:
        """Send anything at all."""
        with self._lock:
            self._connection.sendall(octets)

    def send_update(self, *, attributes: bytes = b"", nlri: bytes = b"", withdrawn: bytes = b"") -> None:
        """Send an UPDATE from its three parts."""
        lengths = struct.pack("!H", len(withdrawn)), struct.pack("!H", len(attributes))
        self.send(UPDATE, lengths[0] + withdrawn + lengths[1] + attributes + nlri)

    def updates(self) -> list[bytes]:
        """The bodies of the UPDATEs received."""
        return [message.body for message in self.messages if message.kind == UPDATE]

    def mp_next_hops(self) -> set[bytes]:
        """The next-hop octets of every MP_REACH_NLRI received (RFC 4760)."""
        return {hop for update in self.updates() for hop in mp_next_hops(update)}

    def stop(self) -> None:
        """Close the connection without a word."""
        for opened in self._sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            opened.close()
        self._sockets.clear()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(1.0)
        self._limit(connection)
        self._connection = connection
        self._sockets.append(connection)
        self.established.clear()
        self.send(OPEN, self._open())
        threading.Thread(target=self._receive, args=(connection,), daemon=True).start()

    def _limit(self, opened: socket.socket) -> None:
        if self.receive_buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)

    def _open(self) -> bytes:
        capabilities = b"".join(struct.pack("!BBHBB", 1, 4, AFI[family], 0, 1) for family in self.families)
        capabilities += struct.pack("!BBI", 65, 4, self.asn)
        if self.restart_time is not None:
            families = b"".join(struct.pack("!HBB", AFI[family], 1, 0) for family in self.families)
            capabilities += struct.pack("!BBH", 64, 2 + len(families), self.restart_time) + families
        options = struct.pack("!BB", 2, len(capabilities)) + capabilities
        asn = self.asn if self.asn < 65536 else 23456
        router_id = socket.inet_aton(self.host.address(4) or "192.0.2.9")
        return struct.pack("!BHH", 4, asn, self.hold_time) + router_id + bytes([len(options)]) + options

    def _receive(self, connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while True:
                if not self.reading.wait(1.0):
                    self.send(KEEPALIVE)
                    continue
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    if self.established.is_set():
                        self.send(KEEPALIVE)
                    continue
                if not data:
                    break
                buffer = self._take(buffer + data)
        if connection is self._connection:
            self.established.clear()

    def _take(self, buffer: bytes) -> bytes:
        while len(buffer) >= 19 and len(buffer) >= (length := struct.unpack("!H", buffer[16:18])[0]):
            message = Message(buffer[18], buffer[19:length])
            self.messages.append(message)
            if message.kind == OPEN:
                self.send(KEEPALIVE)
            elif message.kind == KEEPALIVE:
                if self.established.is_set():
                    self.send(KEEPALIVE)
                self.established.set()
            buffer = buffer[length:]
        return buffer


def mp_next_hops(update: bytes) -> list[bytes]:
    """The next-hop octets of MP_REACH_NLRI in the body of an UPDATE."""
    withdrawn = struct.unpack("!H", update[:2])[0]
    length = struct.unpack("!H", update[2 + withdrawn : 4 + withdrawn])[0]
    attributes = update[4 + withdrawn : 4 + withdrawn + length]
    found = []
    while attributes:
        flags, kind = attributes[0], attributes[1]
        head = 4 if flags & 0x10 else 3
        size = struct.unpack("!H", attributes[2:4])[0] if head == 4 else attributes[2]
        value, attributes = attributes[head : head + size], attributes[head + size :]
        if kind == MP_REACH:
            found.append(value[4 : 4 + value[3]])
    return found
