"""What every BGP speaker of the lab has in common: where it connects, what it announces, what it holds."""

import abc
import contextlib
import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.lab.network import Host, Network
from tests.lab.process import Process
from tests.lab.wait import eventually

Family = Literal["ipv4", "ipv6"]
Transport = Literal["ipv4", "ipv6", "both"]
Origin = Literal["igp", "egp", "incomplete"]
BOTH_FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Unsupported(NotImplementedError):
    """This BGP implementation cannot do what the scenario asks; use another kind of peer."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A speaker to connect to: its addresses (one per IP version at most), AS number and TCP port."""

    addresses: tuple[str, ...]
    asn: int
    port: int = 179

    def address(self, version: int) -> str | None:
        """Its address of an IP version."""
        of_version = (a for a in self.addresses if ipaddress.ip_address(a).version == version)
        return next(of_version, None)


@dataclass(frozen=True, slots=True)
class Session:
    """One BGP session as a peer configures it. Times are in seconds."""

    local: str
    remote: str
    remote_asn: int
    port: int = 179
    families: tuple[Family, ...] = BOTH_FAMILIES
    password: str | None = None
    add_paths: bool = False
    passive: bool = False
    ttl_security: bool = False
    """GTSM (RFC 5082): send with TTL 255, take nothing else."""
    hold_time: int = 9
    restart_time: int | None = 120
    """Restart time that graceful restart announces; None: without graceful restart."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A route that a peer originates, with whatever attributes a scenario wants to try."""

    prefix: str
    next_hop: str | None = None
    """None: whatever the implementation puts in by itself."""
    communities: tuple[str, ...] = ()
    as_path: tuple[int, ...] = ()
    originator_id: str | None = None
    cluster_list: tuple[str, ...] = ()
    med: int | None = None
    local_pref: int | None = None
    origin: Origin = "igp"

    @property
    def family(self) -> Family:
        return family_of(self.prefix)


@dataclass(frozen=True, slots=True)
class Path:
    """One path that a peer holds for a prefix, as it came in.

    An IPv4-mapped next hop is written as the IPv4 address, as GoBGP prints it. Well-known communities have
    names: no-export, no-advertise, graceful-shutdown; others are `high:low`.
    """

    next_hop: str
    originator_id: str | None = None
    cluster_list: tuple[str, ...] = ()
    as_path: tuple[int, ...] = ()
    communities: frozenset[str] = field(default_factory=frozenset)
    local_pref: int | None = None
    med: int | None = None
    origin: str | None = None
    """igp, egp or incomplete."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One line of a peer's own log: a route came (or was replaced), or was taken back."""

    kind: Literal["update", "withdraw"]
    prefix: str
    line: str


def family_of(prefix: str) -> Family:
    """The address family of a prefix."""
    return "ipv4" if ipaddress.ip_network(prefix).version == 4 else "ipv6"


def normal(prefix: str) -> str:
    """A prefix the way `routes()` spells it."""
    return str(ipaddress.ip_network(prefix))


def unmapped(next_hop: str) -> str:
    """An address in its normal spelling, `::ffff:a.b.c.d` as the IPv4 address inside."""
    address = ipaddress.ip_address(next_hop)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


WELL_KNOWN_COMMUNITIES = {
    0xFFFF0000: "graceful-shutdown",
    0xFFFFFF01: "no-export",
    0xFFFFFF02: "no-advertise",
}


def community_text(number: int) -> str:
    """A community as `high:low`, or by its name if it is a well-known one."""
    return WELL_KNOWN_COMMUNITIES.get(number, f"{number >> 16}:{number & 0xFFFF}")


def community_number(text: str) -> int:
    """The 32 bits of a community that `community_text` would write like this."""
    for number, name in WELL_KNOWN_COMMUNITIES.items():
        if text == name:
            return number
    high, _, low = text.partition(":")
    return int(high) << 16 | int(low)


class Peer(abc.ABC):
    """A BGP speaker on a host of its own.

    `add_paths` asks for every path (receive only). `over` is the transport: with "both" there are two
    sessions, each with the family of its transport; otherwise one session with all `families`. `listen_port`
    is where it takes connections.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        *addresses: str,
        to: Remote | Sequence[Remote],
        asn: int | None = None,
        over: Transport | None = None,
        families: tuple[Family, ...] = BOTH_FAMILIES,
        password: str | None = None,
        add_paths: bool = False,
        passive: bool = False,
        ttl_security: bool = False,
        hold_time: int = 9,
        restart_time: int | None = 120,
        listen_port: int = 179,
        start: bool = True,
    ) -> None:
        remotes = (to,) if isinstance(to, Remote) else tuple(to)
        self._seen: tuple[Mapping[str, str], float] = ({}, 0.0)
        self.name = name
        self.host: Host = network.host(name, *addresses)
        self.asn = asn if asn is not None else remotes[0].asn
        self.listen_port = listen_port
        self.router_id = self.host.address(4) or f"192.0.2.{len(network.hosts)}"
        self.sessions: tuple[Session, ...] = tuple(
            Session(
                local=self._local(version),
                remote=address,
                remote_asn=remote.asn,
                port=remote.port,
                families=((("ipv4" if version == 4 else "ipv6"),) if over == "both" else families),
                password=password,
                add_paths=add_paths,
                passive=passive,
                ttl_security=ttl_security,
                hold_time=hold_time,
                restart_time=restart_time,
            )
            for remote in remotes
            for version, address in self._ways(remote, over)
        )
        self.announced: dict[str, Announcement] = {}
        self.processes: list[Process] = []
        network.remember(self)
        if start:
            self.start()

    def _ways(self, remote: Remote, over: Transport | None) -> list[tuple[int, str]]:
        """The IP versions and addresses by which to reach a remote."""
        ways = [
            (version, address)
            for version in (4, 6)
            if self.host.address(version) and (address := remote.address(version))
        ]
        if over in ("ipv4", "ipv6"):
            ways = [way for way in ways if way[0] == (4 if over == "ipv4" else 6)]
        elif over is None:
            ways = ways[:1]
        if not ways:
            raise ValueError(f"{self.name} has no address to reach {remote.addresses} over {over or 'ip'}")
        return ways

    def _local(self, version: int) -> str:
        address = self.host.address(version)
        assert address is not None
        return address

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # What differs from one implementation to the next.

    @abc.abstractmethod
    def start(self) -> None:
        """Start the speaker and wait until it takes commands (not until sessions are up)."""

    @abc.abstractmethod
    def session_states(self) -> Mapping[str, str]:
        """The state of the session with each remote address, in lower case."""

    @abc.abstractmethod
    def routes(self) -> dict[str, list[Path]]:
        """Every path received from others that it holds and would use, by prefix."""

    @abc.abstractmethod
    def _announce(self, route: Announcement) -> None: ...

    @abc.abstractmethod
    def _withdraw(self, route: Announcement) -> None: ...

    def heard(self) -> list[Heard]:
        """Updates and withdrawals since the start, from the peer's own log."""
        raise Unsupported(f"{type(self).__name__} keeps no log of updates")

    def session_marks(self) -> Mapping[str, str]:
        """By remote address, a text that is another one as soon as that session was ever reset."""
        raise Unsupported(f"{type(self).__name__} does not tell how old its sessions are")

    # What is the same for all.

    def announce(
        self,
        prefix: str,
        *,
        next_hop: str | None = None,
        communities: Sequence[str] = (),
        as_path: Sequence[int] = (),
        originator_id: str | None = None,
        cluster_list: Sequence[str] = (),
        med: int | None = None,
        local_pref: int | None = None,
        origin: Origin = "igp",
    ) -> None:
        """Announce a prefix, or announce it again with other attributes. Needs no session yet."""
        route = Announcement(
            prefix=normal(prefix),
            next_hop=next_hop,
            communities=tuple(communities),
            as_path=tuple(as_path),
            originator_id=originator_id,
            cluster_list=tuple(cluster_list),
            med=med,
            local_pref=local_pref,
            origin=origin,
        )
        before = self.announced.get(route.prefix)
        self.announced[route.prefix] = route
        try:
            self._announce(route)
        except Exception:
            del self.announced[route.prefix]
            if before is not None:
                self.announced[route.prefix] = before
            raise

    def withdraw(self, prefix: str) -> None:
        """Take an announcement back."""
        self._withdraw(self.announced.pop(normal(prefix)))

    def paths(self, prefix: str) -> list[Path]:
        """The paths held for one prefix; empty without a route."""
        return self.routes().get(normal(prefix), [])

    def next_hops(self, prefix: str) -> frozenset[str]:
        """The next hops of the paths held for one prefix."""
        return frozenset(path.next_hop for path in self.paths(prefix))

    def removals(self, prefix: str | None = None) -> list[Heard]:
        """The withdrawals that reached this peer, of one prefix or of all, from its own log."""
        wanted = normal(prefix) if prefix is not None else None
        return [h for h in self.heard() if h.kind == "withdraw" and wanted in (None, h.prefix)]

    def losses(self) -> list[Heard]:
        """The removals after which no path of the prefix was left."""
        return self.removals()

    def same_for(self) -> float:
        """Seconds for which its sessions are known to be as they are: since it was first asked about those."""
        marks, now = dict(self.session_marks()), time.monotonic()
        if marks != self._seen[0]:
            self._seen = (marks, now)
        return now - self._seen[1]

    def established(self) -> bool:
        """Tell whether every session is up."""
        states = self.session_states()
        return all(states.get(session.remote) == "established" for session in self.sessions)

    def stop(self) -> None:
        """End it politely: others hear a NOTIFICATION (or what the implementation does at SIGTERM)."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def kill(self) -> None:
        """End it without a word, as a crash does."""
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        self.processes.clear()


def all_established(*peers: Peer, timeout: float = 20.0) -> None:
    """Wait until every session of every peer is up."""
    eventually(
        lambda: all(peer.established() for peer in peers),
        timeout,
        f"sessions up at {', '.join(peer.name for peer in peers)}",
        seen=lambda: {peer.name: dict(peer.session_states()) for peer in peers},
    )
