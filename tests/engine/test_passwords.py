"""TCP-MD5 (RFC 2385): which passwords the listening socket asks for, after a drain, a restart, and a change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from rr.continuity.drain import Drain
from rr.engine import speaker
from rr.engine.client import Engine
from rr.engine.process import Program
from tests.engine.conftest import HOME, Reflector, loopback_instance, reflecting
from tests.engine.speaker import Speaker, eventually
from tests.unit.policy.worlds import allocations

NODE, OTHER, TOR = (ip_address(text) for text in ("127.2.1.11", "127.2.1.12", "127.3.1.1"))
OWNED = allocations({"node-1": (["127.2.1.11"], ["10.244.1.0/24"])})
DRAINED = Drain(1_764_000_000.0, 0.0, closed=True)


@asynccontextmanager
async def guarded(folder: Path, program: Program, tor: bool = False) -> AsyncIterator[tuple[Reflector, Path]]:
    """A reflector whose nodes, or whose ToR, have the password in a file, which is `first`."""
    secret = folder / "password"
    secret.write_text("first\n")
    secret.chmod(0o600)
    nodes: dict[str, Any] = {"ranges": ["127.2.1.0/24"]}
    peer: dict[str, Any] = {"address": str(TOR), "passive": True}
    (peer if tor else nodes)["password_file"] = secret
    instance = loopback_instance({"rack-1": {"nodes": nodes, "tors": [peer]}})
    async with reflecting(instance, folder, program, OWNED) as reflector:
        yield reflector, secret


async def rotate(reflector: Reflector, secret: Path, password: str) -> None:
    secret.write_text(f"{password}\n")
    reflector.configure()
    await reflector.applied()


async def answered(reflector: Reflector, peer: Speaker) -> bool:
    """Tell whether a connection is opened at all, whatever becomes of it."""
    try:
        (await peer._connect(HOME, reflector.instance.port)).close()
    except OSError:
        return False
    return True


async def refused(reflector: Reflector, address: Any, password: str) -> bool:
    """Tell whether somebody with this password gets no answer."""
    return not await answered(reflector, Speaker(address, password=password))


async def taken_back(reflector: Reflector, address: Any, password: str) -> None:
    """Let the engine know a node by its address, as it does after a restart."""
    plan = reflector.runner.plan
    (known,) = speaker.returning_nodes(plan, [address]).values()
    assert known.session.password == password
    engine = Engine(reflector.runner.process.socket)
    await engine.add_peer(
        speaker.peer_message(address, replace(known, session=replace(known.session, passive=True)))
    )
    await engine.close()


async def test_only_who_has_the_password_gets_in(short_dir: Path, program: Program) -> None:
    async with guarded(short_dir, program) as (reflector, _):
        await reflector.dial(NODE, password="first")
        for password in ("", "guessed"):
            assert await refused(reflector, OTHER, password)


async def test_a_drained_speaker_answers_who_has_the_password_so_that_he_tries_again_soon(
    short_dir: Path, program: Program
) -> None:
    """Unanswered, the kernel of a node would wait longer with each try, up to a minute past the end of the drain."""
    async with guarded(short_dir, program) as (reflector, _):
        node = await reflector.dial(NODE, password="first")
        reflector.runner.maintain(DRAINED)
        await eventually(lambda: reflector.runner.emptied, "nobody is left")
        assert await answered(reflector, node)
        assert not await node._try(HOME, reflector.instance.port, 0), "but nobody gets a session"
        for password in ("", "guessed"):
            assert await refused(reflector, OTHER, password)
        reflector.runner.maintain(replace(DRAINED, closed=False, ended=True))
        await eventually(lambda: reflector.runner.resent is not None, "it serves again")
        await node.dial(HOME, reflector.instance.port)
        assert await refused(reflector, OTHER, "")


async def test_a_password_that_changes_while_drained_is_the_one_that_counts_afterwards(
    short_dir: Path, program: Program
) -> None:
    """Also for a node that was taken back after a restart, and so had a key of its own."""
    async with guarded(short_dir, program) as (reflector, secret):
        await taken_back(reflector, NODE, "first")
        reflector.runner.maintain(DRAINED)
        await eventually(lambda: reflector.runner.emptied, "nobody is left")
        await rotate(reflector, secret, "second")
        reflector.runner.maintain(replace(DRAINED, closed=False, ended=True))
        await eventually(lambda: reflector.runner.resent is not None, "it serves again")
        await reflector.dial(NODE, password="second")
        assert await refused(reflector, OTHER, "first")


async def test_a_password_that_is_given_up_while_drained_is_not_asked_for_afterwards(
    short_dir: Path, program: Program
) -> None:
    async with guarded(short_dir, program) as (reflector, _):
        reflector.runner.maintain(DRAINED)
        await eventually(lambda: reflector.runner.emptied, "nobody is left")
        racks = reflector.instance.model_dump()["racks"]
        racks["rack-1"]["nodes"]["password_file"] = None
        reflector.configure(racks=racks)
        await reflector.applied()
        reflector.runner.maintain(replace(DRAINED, closed=False, ended=True))
        await eventually(lambda: reflector.runner.resent is not None, "it serves again")
        await reflector.dial(NODE)


@pytest.mark.parametrize("back", [False, True], ids=["never came back", "came back"])
async def test_a_node_that_a_restarted_engine_took_back_can_change_its_password(
    short_dir: Path, program: Program, back: bool
) -> None:
    """Its own entry in the engine had a key of its own, which would go before the range's."""
    async with guarded(short_dir, program) as (reflector, secret):
        await taken_back(reflector, NODE, "first")
        node = await reflector.dial(NODE, password="first") if back else None
        reflector.configure()
        await reflector.applied()
        await rotate(reflector, secret, "second")
        if node is not None:
            assert not node.closed.is_set(), "sessions that are up stay"
            await node.close()
        await reflector.dial(NODE, password="second")
        assert await refused(reflector, NODE, "first")


async def test_a_tor_whose_password_is_given_up_gets_in_without(short_dir: Path, program: Program) -> None:
    async with guarded(short_dir, program, tor=True) as (reflector, _):
        tor = await reflector.dial(TOR, password="first")
        racks = reflector.instance.model_dump()["racks"]
        racks["rack-1"]["tors"][0]["password_file"] = None
        reflector.configure(racks=racks)
        await reflector.applied()
        await eventually(tor.closed.is_set, "its session was reset")
        await reflector.dial(TOR)
