"""A BGP speaker on loopback, in the test's own loop: says what it is told to, and remembers what it hears."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import TypeVar

from rr.net import Address, Network
from tests.bench.wire import KEEPALIVE, KEEPALIVE_MESSAGE, NOTIFICATION, OPEN, UPDATE, split
from tests.engine import wire
from tests.engine.wire import Attributes, Key

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds that anything may take on a busy machine before a test gives up."""
UNANSWERED = 0.5
"""Seconds after which a connection on loopback has no answer: nobody is there, or the password is wrong."""
TCP_MD5SIG = 14
"""Linux's socket option for RFC 2385; Python has no name for it."""


async def eventually(check: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Wait until `check` gives something true, and return that."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not (found := check()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}; last: {found!r}")
        await asyncio.sleep(0.01)
    return found


def md5_key(address: str, password: str) -> bytes:
    """The `struct tcp_md5sig` that signs what is said to an IPv4 address."""
    peer = struct.pack("=HH4s", socket.AF_INET, 0, IPv4Address(address).packed)
    return struct.pack("=128sBBHi80s", peer, 0, 0, len(password), 0, password.encode())


class Speaker:
    """One session, dialed from an address of its own."""

    def __init__(
        self, address: Address, *, asn: int = 64512, add_paths: bool = False, password: str = ""
    ) -> None:
        self.address = address
        self.password = password
        self.router_id = str(IPv4Address(int(address) & 0xFFFFFFFF or 1))
        self.asn = asn
        self.add_paths = add_paths
        self.established = asyncio.Event()
        self.closed = asyncio.Event()
        self.routes: dict[Key, Attributes] = {}
        """What is held of the far side's routes."""
        self.ever: set[Network] = set()
        """Every prefix that was ever announced to this speaker."""
        self.withdrawn: list[Network] = []
        self.notification: bytes | None = None
        self.updates = 0
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def dial(self, address: str, port: int, *, restart_time: int = 0) -> None:
        """Open the session and wait until it is up; the reflector may not let us in at once."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not await self._try(address, port, restart_time):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{self.address} gets no session with {address}:{port}")
            await asyncio.sleep(0.05)

    async def _try(self, address: str, port: int, restart_time: int) -> bool:
        await self.close()
        self.established.clear()
        self.closed.clear()
        try:
            reader, self._writer = await asyncio.open_connection(sock=await self._connect(address, port))
        except OSError:
            return False
        self._writer.write(
            wire.open_message(self.asn, self.router_id, add_paths=self.add_paths, restart_time=restart_time)
        )
        self._tasks = [asyncio.create_task(self._read(reader)), asyncio.create_task(self._keep_alive())]
        waits = [asyncio.create_task(self.established.wait()), asyncio.create_task(self.closed.wait())]
        await asyncio.wait(waits, timeout=2.0, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self.established.is_set() and not self.closed.is_set()

    async def _connect(self, address: str, port: int) -> socket.socket:
        """Open the connection; one that gets no answer, as with a wrong password, is given up."""
        dialing = socket.socket()
        try:
            dialing.setblocking(False)
            if self.password:
                dialing.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, md5_key(address, self.password))
            dialing.bind((str(self.address), 0))
            async with asyncio.timeout(UNANSWERED):
                await asyncio.get_running_loop().sock_connect(dialing, (address, port))
        except BaseException:
            dialing.close()
            raise
        return dialing

    async def _read(self, reader: asyncio.StreamReader) -> None:
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                buffer += data
                for kind, body in split(buffer):
                    self._take(kind, body)
        self.closed.set()

    def _take(self, kind: int, body: bytes) -> None:
        if kind == OPEN:
            self._write(KEEPALIVE_MESSAGE)
        elif kind == KEEPALIVE:
            self.established.set()
        elif kind == NOTIFICATION:
            self.notification = body
        elif kind == UPDATE:
            self.updates += 1
            withdrawn, announced, attributes = wire.read_update(body, self.add_paths)
            for key in withdrawn:
                self.withdrawn.append(key[0])
                self.routes.pop(key, None)
            for key in announced:
                assert attributes is not None
                self.ever.add(key[0])
                self.routes[key] = attributes

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._write(KEEPALIVE_MESSAGE)

    def _write(self, octets: bytes) -> None:
        assert self._writer is not None
        if not self._writer.is_closing():
            self._writer.write(octets)

    def announce(self, prefix: Network, attributes: Attributes | None = None) -> None:
        """Announce a prefix, by default as a node should."""
        self._write(wire.announcement(prefix, attributes or Attributes(self.address)))

    def withdraw(self, prefix: Network) -> None:
        """Take a prefix back."""
        self._write(wire.withdrawal(prefix))

    def end_of_rib(self) -> None:
        """Say that everything was announced."""
        self._write(wire.end_of_rib())

    def held(self, prefixes: Iterable[Network] = ()) -> dict[Network, list[Attributes]]:
        """The routes by prefix."""
        found: dict[Network, list[Attributes]] = {}
        for (prefix, _), attributes in self.routes.items():
            found.setdefault(prefix, []).append(attributes)
        return {p: a for p, a in found.items() if not prefixes or p in set(prefixes)}

    def abort(self) -> None:
        """Break the connection without a word, as a power cut does."""
        if self._writer is not None:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: RST
            self._writer.close()

    async def close(self) -> None:
        """End the session."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None
