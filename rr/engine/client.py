"""An asynchronous client of one engine: a deadline and retries on every call, and no call that could harm it.

GoBGP 4.8 can be crashed, or its filter opened, by requests that are merely wrong (docs/engine.md lists them).
Each method here checks its arguments first and raises `EngineRefused` instead of sending such a request.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar, cast

import grpc
from google.protobuf.message import Message
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential, wait_random

from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.pb import gobgp_pb2_grpc as pb_grpc
from rr.errors import EngineRefused, EngineUnavailable
from rr.net import Address, Network

DEADLINE = 30.0
"""Seconds for a call that changes or reads one thing. An engine that takes nodes back may hold its main lock for long
(docs/engine.md); whether it hangs is for pings to find out."""
BULK_DEADLINE = 60.0
"""Seconds for a call whose cost grows with the number of nodes."""
RETRY_FOR = 2.0
"""Seconds for which a call is tried again while the engine is not reachable."""
ASSIGNMENT = "global"
IMPORT, EXPORT = "rr-import", "rr-export"
"""The only two policies. Their names never change: an assigned policy that vanishes opens the filter."""

_LONGEST_MESSAGE = 128
"""Bytes of an administrative message that every speaker shows; RFC 9003 allows 255, RFC 8203 before it 128."""

Response = TypeVar("Response", bound=Message)
Outcome = TypeVar("Outcome")


class Engine:
    """One gobgpd, reached over its unix socket. Raises `EngineUnavailable` and `EngineRefused`."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}",
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.enable_retries", 0),
                # The default pool shares connections by target: a restarted engine must get a new one.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._stub = pb_grpc.GoBgpServiceStub(self._channel)

    async def close(self) -> None:
        """Drop the connection; the engine does not notice."""
        await self._channel.close()

    async def _call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Message,
        deadline: float = DEADLINE,
        patience: float = RETRY_FOR,
    ) -> Response:
        async def once() -> Response:
            return await method(request, timeout=deadline)

        return await _tried_again(once, patience, type(request).__name__)

    async def _collect(
        self, method: Callable[..., AsyncIterable[Response]], request: Message, deadline: float = DEADLINE
    ) -> list[Response]:
        async def once() -> list[Response]:
            return [answer async for answer in method(request, timeout=deadline)]

        return await _tried_again(once, RETRY_FOR, type(request).__name__)

    # The speaker itself

    async def ping(self, deadline: float = 1.0) -> pb.Global:
        """Ask for the global settings, once; the cheapest call there is."""
        answer = await self._call(self._stub.GetBgp, pb.GetBgpRequest(), deadline, patience=0.0)
        return cast(pb.Global, getattr(answer, "global"))

    async def start(self, settings: pb.Global) -> None:
        """Start the speaker. It listens at once, but lets nobody in before a range or a peer is added."""
        for address in settings.listen_addresses:
            _address(address)
        _address(settings.router_id)
        if not settings.listen_addresses:
            raise EngineRefused("the engine was given no address to listen on")
        await self._call(self._stub.StartBgp, pb.StartBgpRequest(**{"global": settings}))

    # Policy

    async def set_policies(self, sets: Iterable[pb.DefinedSet], policies: Iterable[pb.Policy]) -> None:
        """Replace all sets, statements and policies in one step; sessions are not touched."""
        request = pb.SetPoliciesRequest(defined_sets=sets, policies=policies)
        if {policy.name for policy in request.policies} != {IMPORT, EXPORT}:
            raise EngineRefused(
                f"a policy other than {IMPORT} and {EXPORT}, or one missing, would open the filter"
            )
        await self._call(self._stub.SetPolicies, request, BULK_DEADLINE)

    async def assign(self, direction: "pb.PolicyDirection.ValueType", policy: str) -> None:
        """Put a policy in force for every route, with REJECT for what it does not accept."""
        assignment = pb.PolicyAssignment(
            name=ASSIGNMENT,
            direction=direction,
            policies=[pb.Policy(name=policy)],
            default_action=pb.ROUTE_ACTION_REJECT,
        )
        await self._call(self._stub.SetPolicyAssignment, pb.SetPolicyAssignmentRequest(assignment=assignment))

    async def assignment(self, direction: "pb.PolicyDirection.ValueType") -> pb.PolicyAssignment:
        """Read an assignment back, with all its statements."""
        request = pb.ListPolicyAssignmentRequest(name=ASSIGNMENT, direction=direction)
        answers = await self._collect(self._stub.ListPolicyAssignment, request, BULK_DEADLINE)
        return answers[0].assignment if answers else pb.PolicyAssignment()

    async def defined_sets(self, kind: "pb.DefinedType.ValueType", name: str = "") -> list[pb.DefinedSet]:
        """Read sets of one kind back: all, or the one of this name."""
        request = pb.ListDefinedSetRequest(defined_type=kind, name=name)
        return [a.defined_set for a in await self._collect(self._stub.ListDefinedSet, request, BULK_DEADLINE)]

    async def extend_set(self, addition: pb.DefinedSet) -> None:
        """Add members to a prefix set that statements already use."""
        _only_prefixes(addition)
        # replace=True would give the name a new set, and leave the old one in force.
        await self._call(
            self._stub.AddDefinedSet, pb.AddDefinedSetRequest(defined_set=addition, replace=False)
        )

    async def shrink_set(self, removal: pb.DefinedSet) -> None:
        """Take members out of a prefix set that statements already use."""
        _only_prefixes(removal)
        await self._call(
            self._stub.DeleteDefinedSet, pb.DeleteDefinedSetRequest(defined_set=removal, all=False)
        )

    # Groups, ranges, peers

    async def groups(self) -> list[pb.PeerGroup]:
        """All peer groups."""
        return [
            a.peer_group for a in await self._collect(self._stub.ListPeerGroup, pb.ListPeerGroupRequest())
        ]

    async def add_group(self, group: pb.PeerGroup) -> None:
        """Add a peer group."""
        _families_named(group)
        await self._call(self._stub.AddPeerGroup, pb.AddPeerGroupRequest(peer_group=group))

    async def update_group(self, group: pb.PeerGroup) -> None:
        """Change a peer group for the sessions that start from now on."""
        _families_named(group)
        await self._call(self._stub.UpdatePeerGroup, pb.UpdatePeerGroupRequest(peer_group=group))

    async def delete_group(self, name: str) -> None:
        """Remove a peer group that has no members."""
        await self._call(self._stub.DeletePeerGroup, pb.DeletePeerGroupRequest(name=name))

    async def ranges(self) -> list[pb.DynamicNeighbor]:
        """All prefixes from which a peer may dial in."""
        request = pb.ListDynamicNeighborRequest()
        return [a.dynamic_neighbor for a in await self._collect(self._stub.ListDynamicNeighbor, request)]

    async def add_range(self, prefix: Network, group: str) -> None:
        """Let peers of a prefix dial in, with the settings of a group."""
        await self._known_group(group)
        neighbor = pb.DynamicNeighbor(prefix=str(prefix), peer_group=group)
        request = pb.AddDynamicNeighborRequest(dynamic_neighbor=neighbor)
        await self._call(self._stub.AddDynamicNeighbor, request)

    async def delete_range(self, prefix: Network, group: str) -> None:
        """Let no more peers of a prefix in; the sessions that are up stay."""
        await self._known_group(group)
        request = pb.DeleteDynamicNeighborRequest(prefix=str(prefix), peer_group=group)
        await self._call(self._stub.DeleteDynamicNeighbor, request)

    async def _known_group(self, group: str) -> None:
        if group not in {known.conf.peer_group_name for known in await self.groups()}:
            raise EngineRefused(f"the engine has no peer group {group}")

    async def peers(self, address: Address | None = None) -> list[pb.Peer]:
        """All peers, or the one with this address, without counting what was advertised to them."""
        request = pb.ListPeerRequest(address=str(address) if address else "", enable_advertised=False)
        return [a.peer for a in await self._collect(self._stub.ListPeer, request, BULK_DEADLINE)]

    async def add_peer(self, peer: pb.Peer) -> None:
        """Add an explicit peer."""
        _address(peer.conf.neighbor_address)
        _families_named(peer)
        await self._call(self._stub.AddPeer, pb.AddPeerRequest(peer=peer))

    async def update_peer(self, peer: pb.Peer) -> None:
        """Change an explicit peer; whether its session survives depends on what changes (docs/engine.md)."""
        _address(peer.conf.neighbor_address)
        _families_named(peer)
        await self._call(self._stub.UpdatePeer, pb.UpdatePeerRequest(peer=peer))

    async def delete_peer(self, address: Address) -> None:
        """Close a peer's session and forget the peer."""
        await self._call(self._stub.DeletePeer, pb.DeletePeerRequest(address=_address(str(address))))

    async def refresh_in(self, address: Address) -> None:
        """Judge again what a peer has announced (a soft reset: the session stays)."""
        await self._soft_reset(address, pb.ResetPeerRequest.DIRECTION_IN)

    async def refresh_out(self, address: Address) -> None:
        """Decide again what a peer is sent (a soft reset: the session stays)."""
        await self._soft_reset(address, pb.ResetPeerRequest.DIRECTION_OUT)

    async def _soft_reset(
        self, address: Address, direction: "pb.ResetPeerRequest.Direction.ValueType"
    ) -> None:
        text = _address(str(address))
        request = pb.ResetPeerRequest(address=text, soft=True, direction=direction)
        await self._call(self._stub.ResetPeer, request, BULK_DEADLINE)

    async def reset(self, address: Address, message: str) -> None:
        """Close one peer's session; it may come back at once."""
        text = _address(str(address))
        await self._call(self._stub.ResetPeer, pb.ResetPeerRequest(address=text, communication=message))

    async def disable(self, address: Address, message: str) -> None:
        """Close a peer's session (Cease, Administrative Shutdown, RFC 9003) and let it stay closed."""
        _communication(message)
        request = pb.DisablePeerRequest(address=_address(str(address)), communication=message)
        await self._call(self._stub.DisablePeer, request)

    async def shut_down(self, address: Address, message: str) -> None:
        """Close a peer's session (Cease, Administrative Shutdown, RFC 9003); it may come back at once."""
        _communication(message)
        request = pb.ShutdownPeerRequest(address=_address(str(address)), communication=message)
        await self._call(self._stub.ShutdownPeer, request)

    async def adj_in(self, address: Address, family: pb.Family) -> list[pb.Path]:
        """What one peer announces in one family, before the policy, loops included."""
        # enable_filtered would corrupt the very table that it lists.
        request = pb.ListPathRequest(
            table_type=pb.TABLE_TYPE_ADJ_IN, name=_address(str(address)), family=family, enable_filtered=False
        )
        answers = await self._collect(self._stub.ListPath, request, BULK_DEADLINE)
        return [path for answer in answers for path in answer.destination.paths]

    async def add_own_path(self, path: pb.Path) -> None:
        """Put a path of our own into the Loc-RIB, or replace the one with its identifier."""
        await self._call(self._stub.AddPath, pb.AddPathRequest(table_type=pb.TABLE_TYPE_GLOBAL, path=path))

    async def delete_own_paths(self, family: pb.Family) -> None:
        """Take every path of our own of one family out of the Loc-RIB; peers' paths stay."""
        await self._call(
            self._stub.DeletePath, pb.DeletePathRequest(table_type=pb.TABLE_TYPE_GLOBAL, family=family)
        )

    # Watching

    async def count_paths(self, family: pb.Family) -> int:
        """How many paths of one family are in the Loc-RIB; the engine counts them in one walk over it."""
        request = pb.GetTableRequest(table_type=pb.TABLE_TYPE_GLOBAL, family=family)
        return (await self._call(self._stub.GetTable, request, BULK_DEADLINE)).num_path

    async def watch(self, request: pb.WatchEventRequest) -> AsyncGenerator[pb.WatchEventResponse, None]:
        """Yield the engine's events until the connection ends, which raises `EngineUnavailable`."""
        for table_filter in request.table.filters:
            if table_filter.peer_address:
                _address(table_filter.peer_address)
        try:
            async for event in self._stub.WatchEvent(request):
                yield event
        except grpc.aio.AioRpcError as error:
            raise _translated(error, "WatchEvent") from error
        raise EngineUnavailable("the engine ended the event stream")


async def _tried_again(once: Callable[[], Awaitable[Outcome]], patience: float, what: str) -> Outcome:
    attempts = AsyncRetrying(
        retry=retry_if_exception_type(EngineUnavailable),
        stop=stop_after_delay(patience),
        wait=wait_exponential(multiplier=0.05, max=0.5) + wait_random(0, 0.05),
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            try:
                return await once()
            except grpc.aio.AioRpcError as error:
                raise _translated(error, what) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _translated(error: grpc.aio.AioRpcError, what: str) -> EngineUnavailable | EngineRefused:
    gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
    if error.code() in gone:
        return EngineUnavailable(f"{what}: {error.code().name.lower()}: {error.details()}")
    return EngineRefused(f"the engine refused {what}: {error.details()}")


def _address(text: str) -> str:
    """Return the address in its plain form. An empty one means every peer to the engine, and can crash it."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise EngineRefused(f"{text!r} is not an IP address") from None


def _communication(message: str) -> None:
    if len(message.encode()) > _LONGEST_MESSAGE:
        raise EngineRefused(f"the message {message!r} is longer than {_LONGEST_MESSAGE} bytes")


def _families_named(settings: pb.Peer | pb.PeerGroup) -> None:
    for family in settings.afi_safis:
        if not family.HasField("config") or not family.config.HasField("family"):
            raise EngineRefused("an address family without its name would crash the engine")


def _only_prefixes(members: pb.DefinedSet) -> None:
    """Only prefix sets may be edited in place: a neighbor set that runs empty matches every neighbor."""
    if members.defined_type != pb.DEFINED_TYPE_PREFIX or not members.prefixes:
        raise EngineRefused(f"set {members.name} is no prefix set, or the edit names no prefix")
    for prefix in members.prefixes:
        ip_network(prefix.ip_prefix)
