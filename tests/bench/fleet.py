"""Many light BGP speakers in one thread: one epoll, prebuilt messages, and no more parsing than needed.

It has to cost far less than the system under test, which shares the machine with it. So a speaker is a socket and
a few fields: it answers the OPEN, says what it announces, sends keepalives, and of what it receives it
notes prefixes and the moment when each came. When a session is lost it keeps what it holds as a graceful-restart
helper does (RFC 4724, section 4.2), and dials again.
"""

from __future__ import annotations

import errno
import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from tests.bench import wire
from tests.bench.rib import NOT_KEPT, SESSION_LOST, TOO_LATE, Rib

BUFFER = bytearray(1 << 18)
REDIAL_AFTER = 0.5
"""Seconds before a speaker whose connection failed dials again, unless it has its own."""
IP_BIND_ADDRESS_NO_PORT = 24


@dataclass(slots=True, eq=False)
class Speaker:
    """One BGP speaker: where it dials from, what it says, and what became of it."""

    name: str
    address: IPv4Address
    opening: bytes
    announces: bytes
    redial_after: float = REDIAL_AFTER
    rib: Rib = field(default_factory=Rib)
    sock: socket.socket | None = None
    pending: bytearray = field(default_factory=bytearray)
    established: bool = False
    heard: wire.OpenReceived | None = None
    """The OPEN of the present connection."""
    received: int = 0
    since: float = 0.0
    """When the last session was established (time.monotonic)."""

    stale_until: float | None = None
    """Until when stale paths are kept for a far side that is not back (time.monotonic)."""

    def session_up(self, now: float) -> None:
        """A session was established: what is stale stays only if the far side kept forwarding by it."""
        self.established, self.since, self.stale_until = True, now, None
        if self.heard is None or not self.heard.kept_forwarding:
            self.rib.drop_stale(NOT_KEPT, now)

    def session_lost(self, now: float, *, notified: bool) -> None:
        """An established session is gone, `notified` with a NOTIFICATION."""
        self.established = False
        if notified or self.heard is None or self.heard.restart_time is None:
            self.rib.drop_all(SESSION_LOST, now)
        else:
            self.rib.keep_as_stale(now)
            self.stale_until = now + self.heard.restart_time

    def look_at_clock(self, now: float) -> None:
        """Give up what is stale once its time is over."""
        if self.stale_until is not None and now >= self.stale_until:
            self.stale_until = None
            self.rib.drop_stale(TOO_LATE, now)


class Notified(OSError):
    """The far side ended the session with a NOTIFICATION."""


class Fleet:
    """All speakers of one run. Nothing happens outside `run`."""

    def __init__(
        self, speakers: Sequence[Speaker], target: tuple[str, int], keepalive: float, dial_window: int
    ) -> None:
        self.speakers = speakers
        self.target = target
        self.established = 0
        self.redials = 0
        self.errors: dict[str, int] = {}
        self._window = dial_window
        self._dialing = 0
        self._to_dial: deque[Speaker] = deque(speakers)
        self._later: list[tuple[float, int, Speaker]] = []
        self._epoll = select.epoll()
        self._by_fd: dict[int, Speaker] = {}
        self._keepalive = keepalive
        self._beat = keepalive / 16
        self._next_beat = time.monotonic() + self._beat
        self._turn = 0
        self._woken_by: set[int] = set()

    def run(self, done: Callable[[], bool], timeout: float) -> bool:
        """Serve all sessions until `done()`; False if `timeout` (seconds) passed first."""
        deadline = time.monotonic() + timeout
        while not done():
            now = time.monotonic()
            if now >= deadline:
                return False
            self._dial_more(now)
            self._keep_alive(now)
            wait = max(0.0, min(deadline, self._next_beat) - time.monotonic())
            if self._later:
                wait = min(wait, max(0.0, self._later[0][0] - now))
            for fd, event in self._epoll.poll(wait, 1024):
                self._serve(fd, event)
        return True

    def pause(self, seconds: float) -> None:
        """Serve all sessions for a while."""
        self.run(lambda: False, seconds)

    def wake_on(self, fd: int) -> None:
        """Let `run` look at `done()` again when this descriptor (a pidfd, say) becomes readable."""
        self._woken_by.add(fd)
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def forget(self, fd: int) -> None:
        """Undo `wake_on`."""
        self._woken_by.discard(fd)
        self._epoll.unregister(fd)

    def announce(self, speaker: Speaker, update: bytes) -> float:
        """Announce something, now and in every later session; the moment before it was sent (time.monotonic)."""
        assert speaker.sock is not None, f"{speaker.name} has no session"
        speaker.announces = update + speaker.announces
        moment = time.monotonic()
        speaker.sock.sendall(update)
        return moment

    def close(self) -> None:
        """Close every session and the epoll."""
        for speaker in self.speakers:
            if speaker.sock is not None:
                speaker.sock.close()
                speaker.sock = None
        self._epoll.close()

    def _dial_more(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self._to_dial.append(heapq.heappop(self._later)[2])
        while self._to_dial and self._dialing < self._window:
            self._dial(self._to_dial.popleft())

    def _dial(self, speaker: Speaker) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((str(speaker.address), 0))
        speaker.sock = sock
        speaker.heard = None
        speaker.pending.clear()
        self._dialing += 1
        self._by_fd[sock.fileno()] = speaker
        result = sock.connect_ex(self.target)
        if result not in (0, errno.EINPROGRESS):
            self._epoll.register(sock, 0)
            self._lost(speaker, errno.errorcode.get(result, str(result)))
            return
        self._epoll.register(sock, select.EPOLLOUT)

    def _serve(self, fd: int, event: int) -> None:
        speaker = self._by_fd.get(fd)
        if speaker is None or speaker.sock is None:
            return
        try:
            if event & select.EPOLLOUT:
                self._connected(speaker, speaker.sock)
            else:
                self._read(speaker, speaker.sock)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._lost(speaker, str(error), notified=isinstance(error, Notified))

    def _connected(self, speaker: Speaker, sock: socket.socket) -> None:
        failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, errno.errorcode.get(failure, str(failure)))
        sock.send(speaker.opening)
        self._epoll.modify(sock, select.EPOLLIN)

    def _read(self, speaker: Speaker, sock: socket.socket) -> None:
        size = sock.recv_into(BUFFER)
        if not size:
            raise OSError("closed by the far side")
        speaker.received += size
        now = time.monotonic()
        speaker.pending += memoryview(BUFFER)[:size]
        for kind, body in wire.split(speaker.pending):
            self._take(speaker, sock, kind, body, now)

    def _take(self, speaker: Speaker, sock: socket.socket, kind: int, body: bytes, now: float) -> None:
        if kind == wire.UPDATE:
            assert speaker.heard is not None, f"{speaker.name} got an UPDATE before an OPEN"
            speaker.rib.apply(body, speaker.heard.sends_add_path, now)
        elif kind == wire.OPEN:
            sock.send(wire.KEEPALIVE_MESSAGE)
            speaker.heard = wire.parse_open(body)
            self._dialing -= 1
        elif kind == wire.KEEPALIVE and not speaker.established:
            speaker.session_up(now)
            self.established += 1
            sock.send(speaker.announces)
        elif kind == wire.NOTIFICATION:
            raise Notified(f"NOTIFICATION {body[0]}/{body[1]}")

    def _lost(self, speaker: Speaker, reason: str, *, notified: bool = False) -> None:
        assert speaker.sock is not None
        self._epoll.unregister(speaker.sock)
        del self._by_fd[speaker.sock.fileno()]
        speaker.sock.close()
        speaker.sock = None
        now = time.monotonic()
        if speaker.heard is None:
            self._dialing -= 1
        if speaker.established:
            self.established -= 1
            speaker.session_lost(now, notified=notified)
        self.redials += 1
        self.errors[reason] = self.errors.get(reason, 0) + 1
        heapq.heappush(self._later, (now + speaker.redial_after, self.redials, speaker))

    def _keep_alive(self, now: float) -> None:
        """Send keepalives in sixteen shares of the interval, so that they never come in one burst."""
        if now < self._next_beat:
            return
        for speaker in self.speakers:
            speaker.look_at_clock(now)
        self._next_beat = now + self._beat
        self._turn = (self._turn + 1) % 16
        for speaker in self.speakers[self._turn :: 16]:
            if speaker.established and speaker.sock is not None:
                try:
                    speaker.sock.send(wire.KEEPALIVE_MESSAGE)
                except OSError as error:
                    self._lost(speaker, str(error))
