"""No request that would harm the engine is ever sent, and a call to a dead or hung engine ends in time."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from rr.engine import client, speaker
from rr.engine import policy as encode
from rr.engine.client import EXPORT, IMPORT, Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.process import EngineProcess
from rr.errors import EngineRefused, EngineUnavailable
from rr.policy.model import PrefixMatch
from tests.engine.conftest import free_port
from tests.engine.speaker import eventually

NODE = ip_address("127.2.1.11")
NOWHERE = ip_network("127.2.9.0/24")


def nameless_family() -> pb.Peer:
    return pb.Peer(
        conf=pb.PeerConf(neighbor_address="127.3.1.1", peer_asn=1),
        afi_safis=[pb.AfiSafi(config=pb.AfiSafiConfig())],
    )


def watching(peer: str) -> pb.WatchEventRequest:
    kind = pb.WatchEventRequest.Table.Filter
    table = pb.WatchEventRequest.Table(filters=[kind(type=kind.TYPE_ADJIN, peer_address=peer)])
    return pb.WatchEventRequest(table=table)


def neighbor_set() -> pb.DefinedSet:
    return pb.DefinedSet(defined_type=pb.DEFINED_TYPE_NEIGHBOR, name="node/x", list=["127.2.1.11/32"])


POLICIES = [encode.policy_message(IMPORT, ()), encode.policy_message(EXPORT, ())]
LISTENER = pb.Global(asn=64512, router_id="10.0.0.11", listen_port=179)
Call = Callable[[Engine], Awaitable[Any]]
DANGEROUS: dict[str, tuple[Call, str]] = {
    "policies without the one for export": (lambda e: e.set_policies([], POLICIES[:1]), "open the filter"),
    "a policy of another name": (lambda e: e.set_policies([], [*POLICIES, pb.Policy(name="x")]), "open the filter"),
    "no policy at all": (lambda e: e.set_policies([], []), "open the filter"),
    "a peer without an address": (lambda e: e.add_peer(pb.Peer()), "'' is not an IP address"),
    "a change of a peer without an address": (lambda e: e.update_peer(pb.Peer()), "'' is not an IP address"),
    "a deletion of no peer": (lambda e: e.delete_peer(""), "'' is not an IP address"),  # type: ignore[arg-type]
    "a deletion of all": (lambda e: e.delete_peer("all"), "'all' is not an IP address"),  # type: ignore[arg-type]
    "a reset of every peer": (lambda e: e.reset("", "x"), "'' is not an IP address"),  # type: ignore[arg-type]
    "a shutdown of every peer": (lambda e: e.shut_down("", "x"), "'' is not an IP address"),  # type: ignore[arg-type]
    "every peer disabled": (lambda e: e.disable("", "x"), "'' is not an IP address"),  # type: ignore[arg-type]
    "a soft reset of all": (lambda e: e.refresh_in("all"), "'all' is not an IP address"),  # type: ignore[arg-type]
    "a soft reset of nobody": (lambda e: e.refresh_out(""), "'' is not an IP address"),  # type: ignore[arg-type]
    "a table of nobody": (lambda e: e.adj_in("", speaker.FAMILIES["ipv4"]), "'' is not an IP address"),  # type: ignore[arg-type]
    "a range of an unknown group": (lambda e: e.add_range(NOWHERE, "nodes/x"), "no peer group nodes/x"),
    "the end of a range of an unknown group": (lambda e: e.delete_range(NOWHERE, "nodes/x"), "no peer group"),
    "a peer with a nameless family": (lambda e: e.add_peer(nameless_family()), "would crash the engine"),
    "a change to a nameless family": (lambda e: e.update_peer(nameless_family()), "would crash the engine"),
    "a group with a nameless family": (
        lambda e: e.add_group(pb.PeerGroup(afi_safis=[pb.AfiSafi()])), "would crash the engine",
    ),
    "a changed group with a nameless family": (
        lambda e: e.update_group(pb.PeerGroup(afi_safis=[pb.AfiSafi()])), "would crash the engine",
    ),
    "a start without an address": (lambda e: e.start(LISTENER), "no address to listen on"),
    "a start at no address": (
        lambda e: e.start(pb.Global(router_id="10.0.0.11", listen_addresses=["everywhere"])), "'everywhere' is not",
    ),
    "a start without a router id": (
        lambda e: e.start(pb.Global(listen_addresses=["127.0.0.1"])), "'' is not an IP address",
    ),
    "a watch of a bad address": (lambda e: anext(e.watch(watching("nobody"))), "'nobody' is not an IP address"),
    "a longer neighbor set": (lambda e: e.extend_set(neighbor_set()), "no prefix set"),
    "a shorter neighbor set": (lambda e: e.shrink_set(neighbor_set()), "no prefix set"),
    "an edit of nothing": (lambda e: e.shrink_set(encode.prefix_set("x", frozenset())), "names no prefix"),
}  # fmt: skip


@pytest.fixture
def sent(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to the engine, by the name of the call; questions are not told."""
    found: list[str] = []
    for name in vars(engine._stub):
        if not name.startswith(("List", "Get")):
            monkeypatch.setattr(engine._stub, name, lambda *_, _name=name, **__: found.append(_name))
    return found


@pytest.mark.parametrize("what", DANGEROUS)
async def test_a_dangerous_request_is_refused_before_it_is_sent(
    engine: Engine, sent: list[str], what: str
) -> None:
    call, why = DANGEROUS[what]
    with pytest.raises(EngineRefused) as refused:
        await call(engine)
    assert why in str(refused.value)
    assert sent == []
    await engine.ping()


async def test_an_odd_prefix_in_an_edit_is_not_sent(engine: Engine, sent: list[str]) -> None:
    edit = pb.DefinedSet(defined_type=pb.DEFINED_TYPE_PREFIX, name="x", prefixes=[pb.Prefix(ip_prefix="bad")])
    with pytest.raises(ValueError, match="bad"):
        await engine.extend_set(edit)
    assert sent == []


async def test_what_the_engine_itself_refuses_is_not_tried_again(engine: Engine) -> None:
    began = time.monotonic()
    with pytest.raises(EngineRefused, match="the engine refused DeletePeerRequest"):
        await engine.delete_peer(NODE)
    assert time.monotonic() - began < client.RETRY_FOR


async def test_an_engine_that_is_not_there_is_given_up_in_time(short_dir: Path) -> None:
    engine = Engine(short_dir / "gobgpd.sock")
    began = time.monotonic()
    with pytest.raises(EngineUnavailable):
        await engine.groups()
    took = time.monotonic() - began
    await engine.close()
    assert client.RETRY_FOR <= took < client.RETRY_FOR + 1.5


async def test_an_engine_that_comes_within_the_patience_is_reached(
    short_dir: Path, engine_process: EngineProcess
) -> None:
    link = short_dir / "later.sock"
    engine = Engine(link)
    asked = asyncio.create_task(engine.groups())
    await asyncio.sleep(0.3)
    assert not asked.done()
    link.symlink_to(engine_process.socket)
    assert await asked == []
    await engine.close()


def stopped(pid: int) -> bool:
    """Whether each thread of a process is in state T (proc(5), /proc/pid/stat)."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


async def test_a_hung_engine_is_unavailable_after_the_deadline(
    engine: Engine, engine_process: EngineProcess
) -> None:
    await engine.ping()
    pid = engine_process.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    # The signal is on its way for a moment, thread by thread.
    await eventually(lambda: stopped(pid), "all of its threads have stopped")
    began = time.monotonic()
    with pytest.raises(EngineUnavailable, match="deadline_exceeded"):
        await engine.ping(deadline=0.5)
    assert time.monotonic() - began < 2.0
    os.kill(pid, signal.SIGCONT)
    await engine.ping(deadline=5.0)


async def test_the_end_of_the_stream_is_told(engine: Engine, engine_process: EngineProcess) -> None:
    await engine.start(
        speaker.global_message(speaker.Identity(64512, "10.0.0.11", free_port(), frozenset({"127.0.0.1"})))
    )
    stream = engine.watch(pb.WatchEventRequest(peer=pb.WatchEventRequest.Peer()))
    await anext(stream)
    await engine_process.kill()
    with pytest.raises(EngineUnavailable):
        await asyncio.wait_for(anext(stream), 5)


async def test_an_edit_reaches_the_set_in_use_and_an_emptied_one_matches_nothing(engine: Engine) -> None:
    """Read back here; that the policy follows is in test_agreement."""
    one, two = (frozenset({PrefixMatch.exactly(ip_network(p))}) for p in ("10.244.1.0/24", "fd00:10:1::/64"))
    await engine.set_policies([encode.prefix_set("node/x/4", one)], POLICIES)

    async def held() -> frozenset[PrefixMatch]:
        (found,) = await engine.defined_sets(pb.DEFINED_TYPE_PREFIX, "node/x/4")
        return encode.read_prefix_set(found)

    assert await held() == one
    await engine.shrink_set(encode.prefix_set("node/x/4", one))
    assert await held() == frozenset()
    await engine.extend_set(encode.prefix_set("node/x/4", two))
    assert await held() == two
