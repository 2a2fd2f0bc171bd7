"""Verdicts and a real engine agree: random networks over real TCP, before and after the allocations change.

What is announced is everything that a node could try; what must come of it is worked out from the verdicts alone.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rr.addresses import overlap
from rr.engine.client import Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.process import Program
from rr.engine.speaker import FAMILIES
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.net import Address, Network
from rr.policy.rules import PAIR_PREFERENCE, Rules
from rr.policy.verdict import Announcement, Reason, judge
from tests.engine import wire
from tests.engine.conftest import Reflector, loopback_instance, reflecting
from tests.engine.speaker import PATIENCE, Speaker
from tests.engine.wire import Attributes
from tests.unit.policy.worlds import networks

NODES = ("node-1", "node-2", "node-3")
HOSTS: tuple[Address, ...] = tuple(
    ip_address(text) for text in ("127.2.1.11", "127.2.1.12", "127.2.2.11", "127.2.2.12", "127.2.1.200")
)
"""Every node dials from one of these; the last is never anybody's."""
HALF: Address = ip_address("127.9.0.1")
"""The other half of the pair, which hands on what nodes announced to it."""
EXTRA: tuple[Address, ...] = tuple(ip_address(f"fd00:2::{number}") for number in (1, 2, 3))
"""Addresses that nodes have besides, to be next hops of IPv6 routes over the IPv4 sessions."""
OWNED = networks(
    "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/26", "10.102.0.8/32", "fd00:10:1::/64", "fd00:10:2::/64"
)
POOLS = networks("10.100.0.0/24", "10.102.0.7/32", "fd00:100::/112")
TRIED = networks(
    *map(str, OWNED),
    "0.0.0.0/0", "::/0", "10.244.1.0/25", "10.244.1.128/25", "10.244.0.0/23", "10.244.1.7/32", "10.99.0.0/24",
    "10.100.0.0/24", "10.100.0.1/32", "10.100.0.255/32", "10.102.0.7/32", "10.100.0.0/25",
    "fd00:10:1::/65", "fd00:10::/32", "fd00:100::5/128", "fd00:100::/112",
)  # fmt: skip
AS_PATHS: tuple[wire.Segments, ...] = (
    ((wire.SEQUENCE, (65001,)),),
    ((wire.SEQUENCE, (64512,)),),
    ((wire.SET, (65001, 65002)),),
    ((wire.CONFED_SEQUENCE, (65001, 65002)),),
    ((wire.CONFED_SET, (65001,)),),
    ((wire.CONFED_SEQUENCE, (65001,)), (wire.SEQUENCE, (65002,))),
)
WELL_KNOWN = ("65535:666", "64512:77", "65535:0")
SPOOFED = ("0:1", "0:1000", "0:0", "0:65535", "0:32768")


@dataclass(frozen=True)
class Trial:
    """Who owns what, what is said, and who owns what afterwards."""

    before: Allocations
    after: Allocations
    said: dict[tuple[Address, Network], Attributes] = field(repr=True)


@st.composite
def owned(draw: st.DrawFn, hosts: dict[str, tuple[Address, ...]]) -> Allocations:
    prefixes: dict[str, list[Network]] = {name: [] for name in NODES}
    pools = [*POOLS]
    candidates = [*OWNED, pools.pop(1)] if draw(st.booleans()) else [*OWNED]
    for prefix in candidates:
        if (owner := draw(st.sampled_from((*NODES, None)))) is not None:
            prefixes[owner].append(prefix)
    nodes = {name: NodeAllocation(name, hosts[name], tuple(prefixes[name])) for name in NODES}
    if draw(st.integers(0, 4)) == 0:
        del nodes[draw(st.sampled_from(NODES))]
    some: st.SearchStrategy[frozenset[str] | None] = st.one_of(
        st.none(), st.frozensets(st.sampled_from(NODES), max_size=2)
    )
    return Allocations(
        nodes, tuple(VipPool((pool,), draw(some)) for pool in pools if draw(st.integers(0, 3)))
    )


@st.composite
def attributes(draw: st.DrawFn, sender: Address, prefix: Network) -> Attributes:
    """Mostly as it should be, with one or two things wrong."""
    own: list[Address] = [sender, *EXTRA] if prefix.version == 4 else [*EXTRA]
    if sender == HALF:
        own = [*HOSTS, *EXTRA]
    hops = [h for h in own if h.version == prefix.version]
    odd: list[Address] = [IPv4Address("10.9.9.9"), *HOSTS] if prefix.version == 4 else [
        IPv6Address("fd00:9::9"), IPv6Address(f"::ffff:{sender}"),
    ]  # fmt: skip
    wrong = draw(st.sampled_from(("nothing", "nothing", "nothing", "hop", "path", "reflected", "loop")))
    if sender == HALF and wrong in ("reflected", "loop"):
        wrong = "nothing"  # a reflector's routes carry both
    return Attributes(
        next_hop=draw(st.sampled_from(odd if wrong == "hop" else hops)),
        as_path=draw(st.sampled_from(AS_PATHS)) if wrong == "path" else (),
        origin=draw(st.sampled_from((0, 1, 2))),
        med=draw(st.sampled_from((None, 0, 4000))),
        local_pref=draw(st.sampled_from((0, 100, 4294967295))),
        communities=draw(st.frozensets(st.sampled_from((*WELL_KNOWN, *SPOOFED)), max_size=4)),
        originator_id="10.9.9.9" if wrong == "reflected" else None,
        cluster_list=("10.0.0.11",) if wrong == "loop" else ("10.9.9.8",) if wrong == "reflected" else (),
    )


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    shuffled = draw(st.permutations(HOSTS[:4]))
    hosts: dict[str, tuple[Address, ...]] = {
        name: (*shuffled[at : at + 1], *((shuffled[3],) if at == 0 else ()), EXTRA[at])
        for at, name in enumerate(NODES)
    }
    said = {
        (sender, prefix): draw(attributes(sender, prefix))
        for sender in (*HOSTS, HALF)
        for prefix in draw(st.lists(st.sampled_from(TRIED), unique=True, min_size=3, max_size=10))
    }
    return Trial(draw(owned(hosts)), draw(owned(hosts)), said)


# What must come of it


@dataclass(frozen=True)
class Expected:
    """What the verdicts say of everything that is announced."""

    rules: Rules
    allocations: Allocations
    said: dict[tuple[Address, Network], Attributes]

    def verdicts(self) -> Iterator[tuple[Address, Network, Any]]:
        for (sender, prefix), said in self.said.items():
            announced = Announcement(
                sender, prefix, said.next_hop, said.as_text, said.originator_id, said.cluster_list
            )
            yield sender, prefix, judge(self.rules, self.allocations, announced)

    def accepted(self) -> dict[tuple[Address, Network], str]:
        """The rack of each accepted route. A prefix that a node also reflects is not its to announce for now."""
        found = list(self.verdicts())
        reflected = [(v.node, prefix) for _, prefix, v in found if v.reason is Reason.REFLECTED]
        return {
            (sender, prefix): v.rack
            for sender, prefix, v in found
            if v.accepted
            and not any(v.node == node and self._withheld(v, prefix, other) for node, other in reflected)
        }

    def _withheld(self, verdict: Any, prefix: Network, reflected: Network) -> bool:
        """A reflected VIP takes its whole pool from the node."""
        if verdict.kind == "pod":
            return prefix == reflected
        return any(
            overlap(pool, prefix) and overlap(pool, reflected)
            for pool in self.allocations.pools_for(verdict.node)
        )

    def at(self, receiver: Address) -> set[tuple[Address, Network]]:
        """What a ToR with enough paths must hold, by DESIGN: its own rack's routes, and every path of a VIP."""
        rack = self.rules.rack_of_tor(receiver)
        return {
            (sender, prefix)
            for (sender, prefix), home in self.accepted().items()
            if home == rack or self.allocations.vip_pool_of(prefix)
        }


async def table(engine: Engine) -> set[tuple[Address, Network]]:
    """Everything in the engine's global table."""
    found = set()
    for family in FAMILIES.values():
        request = pb.ListPathRequest(table_type=pb.TABLE_TYPE_GLOBAL, family=family)
        for answer in await engine._collect(engine._stub.ListPath, request):
            for path in answer.destination.paths:
                prefix = ip_network((path.nlri.prefix.prefix, path.nlri.prefix.prefix_len))
                found.add((ip_address(path.neighbor_ip), prefix))
    return found


@dataclass
class Check:
    """The running reflector and its peers; asks until all is as expected, or the time is up."""

    reflector: Reflector
    engine: Engine
    tors: list[Speaker]
    rules: Rules
    trial: Trial

    async def settled(self, allocations: Allocations) -> None:
        expected = Expected(self.rules, allocations, self.trial.said)
        accepted = set(expected.accepted())
        held: set[tuple[Address, Network]] = set()

        def same() -> bool:
            return held == accepted and all(self._at(tor) == expected.at(tor.address) for tor in self.tors)

        async def looks() -> None:
            held.clear()
            held.update(await table(self.engine))

        await looks()
        deadline = time.monotonic() + PATIENCE
        while not same() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            await looks()
        assert held == accepted
        for tor in self.tors:
            assert self._at(tor) == expected.at(tor.address), tor.address
            self._attributes_at(tor)

    def _sender(self, got: Attributes) -> Address:
        """Who announced a path: a reflector says so in ORIGINATOR_ID."""
        known = {speaker.router_id: speaker.address for speaker in self.reflector.speakers}
        # A reflected route is there for a moment under somebody else's id, until the policy is edited.
        return known.get(got.originator_id or "", ip_address("192.0.2.255"))

    def _at(self, tor: Speaker) -> set[tuple[Address, Network]]:
        return {(self._sender(got), prefix) for (prefix, _), got in tor.routes.items()}

    def _attributes_at(self, tor: Speaker) -> None:
        """Levelled, next hop untouched, our tags gone and others' communities kept, reflected by RFC 4456."""
        for (prefix, _), got in tor.routes.items():
            announced = self.trial.said[self._sender(got), prefix]
            kept = frozenset(c for c in announced.communities if not c.startswith("0:"))
            assert got == replace(
                announced,
                origin=0,
                med=0,
                local_pref=PAIR_PREFERENCE if self._sender(got) == HALF else 100,
                communities=kept,
                originator_id=got.originator_id,
                cluster_list=("10.0.0.11",),
            )


@given(trials())
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # each example takes an engine: none is tried again to be shrunk
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_engine_and_the_tors_hold_exactly_what_the_verdicts_accept(
    short_dir: Path, program: Program, trial: Trial
) -> None:
    asyncio.run(tried(short_dir, program, trial))


async def tried(short_dir: Path, program: Program, trial: Trial) -> None:
    instance = loopback_instance()
    async with AsyncExitStack() as stack:
        reflector = await stack.enter_async_context(
            reflecting(instance, short_dir, program, trial.before, HALF)
        )
        tors = [await reflector.dial(tor, add_paths=True) for tor in Rules(instance).tors()]
        speakers = {address: await reflector.dial(address) for address in (*HOSTS, HALF)}
        for (sender, prefix), said in trial.said.items():
            speakers[sender].announce(prefix, said)
        for speaker in speakers.values():
            speaker.end_of_rib()
        engine = Engine(reflector.runner.process.socket)
        stack.push_async_callback(engine.close)
        check = Check(reflector, engine, tors, Rules(instance, HALF), trial)
        await check.settled(trial.before)
        reflector.allocate(trial.after)
        await check.settled(trial.after)
        await reflector.applied()
        await check.settled(trial.after)
        for tor in tors:
            assert not [p for p in tor.ever if p.prefixlen == 0]
