"""One GoBGP speaker of the demo, a node's or a ToR's, over its gRPC socket: announce, withdraw, listen."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import grpc
import grpc.aio

from rr.demo.errors import DemoError
from rr.demo.plan import Route
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.pb import gobgp_pb2_grpc as pb_grpc
from rr.net import Address, Network

CALL_SECONDS = 5.0
START_SECONDS = 15.0
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class Heard:
    """One path that a speaker was sent by the appliance, or its withdrawal (then without a next hop)."""

    prefix: Network
    path_id: int
    next_hop: Address | None
    at: float
    """When it was heard, in seconds of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Session:
    """A speaker's session with the appliance, as the speaker itself sees it."""

    up: bool
    since: int
    """Unix time at which it last came up."""
    keeps_stale: bool
    """It still keeps routes of a session before, until it knows which of them are gone (RFC 4724, section 4.2)."""


class Speaker:
    """A running gobgpd, named, with its API socket."""

    def __init__(self, name: str, socket: Path) -> None:
        self.name = name
        self.socket = socket
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=RECONNECT)
        self._stub = pb_grpc.GoBgpServiceStub(self._channel)

    async def ready(self) -> None:
        """Return once the speaker serves and has read its configuration; DemoError if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                answer = await self._stub.GetBgp(pb.GetBgpRequest(), timeout=1)
                if getattr(answer, "global").asn:
                    return
            except grpc.aio.AioRpcError as error:
                last = error.details()
                if time.monotonic() > deadline:
                    raise DemoError(f"the speaker of {self.name} does not serve: {last}") from error
            await asyncio.sleep(0.05)

    async def announce(self, route: Route) -> None:
        """Announce a route to the appliance."""
        await self._call(self._stub.AddPath(pb.AddPathRequest(path=_path(route)), timeout=CALL_SECONDS))

    async def withdraw(self, route: Route) -> None:
        """Take an announced route back."""
        await self._call(self._stub.DeletePath(pb.DeletePathRequest(path=_path(route)), timeout=CALL_SECONDS))

    async def session(self) -> Session:
        """How the session with the appliance is."""
        stream = self._stub.ListPeer(pb.ListPeerRequest(), timeout=CALL_SECONDS)
        try:
            (peer,) = [answer.peer async for answer in stream]
        except grpc.aio.AioRpcError as error:
            raise DemoError(f"the speaker of {self.name} does not answer: {error.details()}") from error
        return Session(
            up=peer.state.session_state == pb.PeerState.SESSION_STATE_ESTABLISHED,
            since=peer.timers.state.uptime.seconds,
            keeps_stale=peer.graceful_restart.peer_restarting,
        )

    async def listen(self) -> AsyncIterator[list[Heard]]:
        """Everything that the appliance sends to this speaker, as it arrives; endless."""
        kind = pb.WatchEventRequest.Table.Filter.TYPE_POST_POLICY
        filters = [pb.WatchEventRequest.Table.Filter(type=kind, init=True)]
        request = pb.WatchEventRequest(table=pb.WatchEventRequest.Table(filters=filters))
        try:
            async for event in self._stub.WatchEvent(request):
                at = time.monotonic()
                yield [_heard(path, at) for path in event.table.paths if path.nlri.HasField("prefix")]
        except grpc.aio.AioRpcError as error:
            raise DemoError(f"the watch stream of {self.name} broke: {error.details()}") from error

    async def close(self) -> None:
        """Close the connection to the speaker."""
        await self._channel.close()

    async def _call(self, call: Awaitable[object]) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise DemoError(f"the speaker of {self.name} refused: {error.details()}") from error


def _path(route: Route) -> pb.Path:
    prefix = route.prefix
    family = pb.Family(
        afi=pb.Family.AFI_IP if prefix.version == 4 else pb.Family.AFI_IP6, safi=pb.Family.SAFI_UNICAST
    )
    nlri = pb.NLRI(prefix=pb.IPAddressPrefix(prefix=str(prefix.network_address), prefix_len=prefix.prefixlen))
    origin = pb.Attribute(origin=pb.OriginAttribute(origin=0))
    if prefix.version == 4:
        next_hop = pb.Attribute(next_hop=pb.NextHopAttribute(next_hop=str(route.next_hop)))
    else:
        reach = pb.MpReachNLRIAttribute(family=family, next_hops=[str(route.next_hop)], nlris=[nlri])
        next_hop = pb.Attribute(mp_reach=reach)
    return pb.Path(family=family, nlri=nlri, pattrs=[origin, next_hop])


def _heard(path: pb.Path, at: float) -> Heard:
    nlri = path.nlri.prefix
    prefix = ip_network(f"{nlri.prefix}/{nlri.prefix_len}")
    next_hop = None if path.is_withdraw else _next_hop(path)
    return Heard(prefix, path.identifier, next_hop, at)


def _next_hop(path: pb.Path) -> Address:
    for attribute in path.pattrs:
        if attribute.HasField("next_hop"):
            return ip_address(attribute.next_hop.next_hop)
        if attribute.HasField("mp_reach"):
            return ip_address(attribute.mp_reach.next_hops[0])
    raise DemoError(f"a path of {path.nlri.prefix.prefix} has no next hop")
