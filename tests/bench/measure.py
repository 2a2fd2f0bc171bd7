"""One measurement: one system on one topology, from the first dial to the last latency."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tests.bench import wire
from tests.bench.fleet import Fleet, Speaker
from tests.bench.process import BenchError, Memory, cpu_seconds, memory, wait_until_free
from tests.bench.restart import Restart, measure_restart
from tests.bench.systems import System
from tests.bench.topology import (
    ANNOUNCE_SLOT,
    ASN,
    AT_FIRST,
    BASE_SLOTS,
    GRANT_SLOT,
    REFLECTOR,
    TORS,
    VIP_PATHS,
    Allocated,
    Node,
    Topology,
)

RESTART_TIME = 120
"""Graceful restart time (seconds) that every speaker offers."""
STALLED = 4.0
"""Seconds without news at the ToRs after which what they still miss is called missing."""
LATECOMERS, RESENT = 5.0, 300.0
"""Seconds that nodes are given for what they still miss when all is quiet: for what may just be late, and where the
system sends nodes their routes again, slowly."""
GLANCE, QUIET, BUSY = 0.1, 1.0, 0.15
"""Settled: for QUIET seconds, no GLANCE (seconds) has seen the system use more of a CPU than BUSY."""
BETWEEN_TRIALS = 0.1
TRIAL_TIMEOUT = 30.0
CHECKS = 10


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of engine, controller and of the light speakers themselves."""

    engine: float
    controller: float
    speakers: float

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(
            self.engine - earlier.engine,
            self.controller - earlier.controller,
            self.speakers - earlier.speakers,
        )


NO_MEMORY = Memory(0.0, 0.0)


@dataclass(slots=True)
class Measurement:
    """What one run showed. Seconds, except where the name says otherwise; latencies in milliseconds."""

    system: str
    nodes: int
    start: float = 0.0
    converged: float = 0.0
    settled: float = 0.0
    start_cpu: Cpu = Cpu(0, 0, 0)
    converged_cpu: Cpu = Cpu(0, 0, 0)
    settled_cpu: Cpu = Cpu(0, 0, 0)
    idle_cpu: Cpu = Cpu(0, 0, 0)
    engine_memory: Memory = NO_MEMORY
    controller_memory: Memory = NO_MEMORY
    announce_ms: list[float] = field(default_factory=list)
    grant_ms: list[float] = field(default_factory=list)
    revoke_ms: list[float] = field(default_factory=list)
    leave_ms: list[float] = field(default_factory=list)
    join_ms: list[float] = field(default_factory=list)
    open_ms: list[float] = field(default_factory=list)
    close_ms: list[float] = field(default_factory=list)
    check_ms: list[float] = field(default_factory=list)
    redials: int = 0
    missing_at_tors: int = 0
    missing_at_nodes: int = 0
    withdrawals: int = 0
    nodes_whole: float | None = None
    """Every node held all routes of its rack; None: it never came to that."""
    node_megabytes: float = 0.0
    restart: Restart | None = None
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is measured, and how many seconds a system has for it."""

    converge: float
    restart: float
    """To be whole again after its speaker was killed; with 0 it is not killed."""
    restart_only: bool
    """Nothing is measured between the start and the restart."""


class Run:
    """The speakers dialing one system that is up, and the measurements in their order."""

    def __init__(self, system: System, topology: Topology, scope: Scope) -> None:
        self._system = system
        self._topology = topology
        self._timeout = scope.converge
        self._scope = scope
        self._nodes_patience = RESENT if system.resends else LATECOMERS
        self._tors = [self._tor(address) for address in TORS]
        self._nodes = {node.name: self._node(node) for node in topology.all_nodes}
        self._fleet = Fleet(
            [*self._tors, *self._nodes.values()],
            (str(REFLECTOR), 179),
            topology.hold_time / 3,
            system.dial_window,
        )
        self._ribs = [tor.rib for tor in self._tors]

    def _tor(self, address: IPv4Address) -> Speaker:
        hold = self._topology.hold_time
        opening = wire.open_message(
            ASN, address, hold, restart_time=RESTART_TIME, receive_add_path=self._topology.add_paths > 0
        )
        return Speaker(f"tor {address}", address, opening, wire.END_OF_RIB)

    def _node(self, node: Node) -> Speaker:
        opening = wire.open_message(ASN, node.address, self._topology.hold_time, restart_time=RESTART_TIME)
        said = wire.announcement([node.prefix(slot) for slot in BASE_SLOTS], node.address) + wire.END_OF_RIB
        return Speaker(node.name, node.address, opening, said, self._topology.redial)

    def measure(self, result: Measurement) -> None:
        """Fill in the result, step by step, so that a failure leaves what came before it."""
        gc.collect()
        gc.disable()
        try:
            self._converge(result)
            if not self._scope.restart_only:
                self._look_at_nodes(result)
                self._announce(result)
                self._grant(result)
                self._revoke(result)
                self._leave_and_join(result)
                self._open(result)
                self._close(result)
                self._check(result)
                self._idle(result)
        finally:
            result.redials = self._fleet.redials
            asked_for = len(result.revoke_ms) + len(result.close_ms) * self._vip_paths
            asked_for += len(result.leave_ms) * len(BASE_SLOTS)
            result.withdrawals = sum(rib.withdrawals for rib in self._ribs) - asked_for * len(self._ribs)
            result.faults += [f"{count} x {reason}" for reason, count in self._fleet.errors.items()]
            gc.enable()
        if self._scope.restart:
            self._restart(result)

    def close(self) -> None:
        """End all sessions."""
        self._fleet.close()

    def cpu(self) -> Cpu:
        """CPU used so far by everybody."""
        return Cpu(
            cpu_seconds(self._system.engine()), cpu_seconds(self._system.controller()), time.process_time()
        )

    def _converge(self, result: Measurement) -> None:
        self._began, before = time.monotonic(), self.cpu()
        began = self._began
        self._until_tors_hold_everything(began, result)
        result.converged_cpu = self.cpu() - before
        result.converged = max(rib.latest for rib in self._ribs) - began
        result.settled = self._settle() - began
        result.settled_cpu = self.cpu() - before
        result.engine_memory = memory(self._system.engine())
        result.controller_memory = memory(self._system.controller())
        result.node_megabytes = sum(speaker.received for speaker in self._nodes.values()) / 1e6

    def _until_tors_hold_everything(self, began: float, result: Measurement) -> None:
        """Serve until both ToRs have all, or all sessions are up and nothing more comes."""
        wanted, everybody = len(self._topology.expected), len(self._nodes) + len(self._tors)
        ribs = self._ribs

        def done() -> bool:
            if all(len(rib) >= wanted for rib in ribs):
                return True
            latest = max(began, *(rib.latest for rib in ribs))
            return self._fleet.established == everybody and time.monotonic() - latest > STALLED

        arrived = self._fleet.run(done, self._timeout)
        lacking = {tor.name: self._topology.expected - tor.rib.prefixes() for tor in self._tors}
        result.missing_at_tors = sum(map(len, lacking.values()))
        result.faults += [
            f"{name} never got {len(prefixes)} of {wanted} prefixes: {_some(prefixes)}"
            for name, prefixes in lacking.items()
            if prefixes
        ]
        if not arrived:
            raise BenchError(
                f"not converged after {self._timeout:.0f} s; {self._fleet.established} of {everybody} "
                f"sessions are up"
            )

    def _settle(self) -> float:
        """Serve until every session is up and the system is quiet; when the quiet began (time.monotonic)."""
        deadline = time.monotonic() + self._timeout
        everybody = len(self._nodes) + len(self._tors)
        quiet_since, before = time.monotonic(), self.cpu()
        while time.monotonic() < deadline:
            self._fleet.pause(GLANCE)
            now = self.cpu()
            used, before = now - before, now
            if used.engine + used.controller > BUSY * GLANCE or self._fleet.established < everybody:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= QUIET:
                return quiet_since
        raise BenchError(f"not quiet after {self._timeout:.0f} s; {self._fleet.established} sessions are up")

    def _look_at_nodes(self, result: Measurement) -> None:
        """Nodes hold the routes of their rack, or nothing; latecomers may still come."""
        lacking, surplus = self._nodes_differ()
        if lacking:
            missed = lacking
            self._fleet.run(lambda: self._nodes_hold(missed), self._nodes_patience)
            lacking, surplus = self._nodes_differ()
        result.missing_at_nodes = sum(map(len, lacking.values()))
        if not lacking:
            latest = max(node.rib.latest for node in self._nodes.values())
            result.nodes_whole = max(0.0, latest - self._began)
        elif self._system.resends:
            name, prefixes = next(iter(lacking.items()))
            result.faults.append(
                f"{len(lacking)} nodes miss routes of their rack: {name} {_some(prefixes)}, …"
            )
        if surplus:
            result.faults.append(
                f"{len(surplus)} nodes hold routes that are not of their rack: {surplus[0]}, …"
            )

    def _nodes_hold(self, prefixes: Mapping[str, frozenset[IPv4Network]]) -> bool:
        """Whether these nodes hold these prefixes."""
        return all(prefix in self._nodes[name].rib for name, wanted in prefixes.items() for prefix in wanted)

    def _nodes_differ(self) -> tuple[dict[str, frozenset[IPv4Network]], list[str]]:
        """What each node misses, and which nodes hold more than they should."""
        lacking, surplus = {}, []
        for rack in self._topology.racks:
            given = rack.nodes if self._topology.reflect_nodes == "rack" else ()
            routes = {node.name: {node.prefix(slot) for slot in BASE_SLOTS} for node in given}
            everything = frozenset[IPv4Network]().union(*routes.values())
            for node in rack.nodes:
                wanted, held = (
                    everything - routes.get(node.name, set()),
                    self._nodes[node.name].rib.prefixes(),
                )
                if wanted - held:
                    lacking[node.name] = wanted - held
                if held - wanted:
                    surplus.append(node.name)
        return lacking, surplus

    def _announce(self, result: Measurement) -> None:
        for node in self._topology.announcers:
            self._fleet.pause(BETWEEN_TRIALS)
            prefix = node.prefix(ANNOUNCE_SLOT)
            sent = self._fleet.announce(self._nodes[node.name], wire.announcement([prefix], node.address))
            result.announce_ms.append(self._until_tors_hold(prefix, sent))

    def _grant(self, result: Measurement) -> None:
        """Nodes announce what is not theirs; then one after the other the prefixes become theirs."""
        if not self._system.has_owners:
            return
        for node in self._topology.growers:
            self._fleet.announce(
                self._nodes[node.name], wire.announcement([node.prefix(GRANT_SLOT)], node.address)
            )
        self._fleet.pause(1.0)
        for node in self._topology.growers:
            if any(node.prefix(GRANT_SLOT) in rib for rib in self._ribs):
                result.faults.append(
                    f"{node.prefix(GRANT_SLOT)} of {node.name} reached a ToR before it was allocated"
                )
        grown = frozenset[str]()
        for node in self._topology.growers:
            grown |= {node.name}
            took = self._reallocate(Allocated(grown), node.prefix(GRANT_SLOT), self._until_tors_hold)
            result.grant_ms.append(took)

    def _revoke(self, result: Measurement) -> None:
        """One after the other the prefixes are taken away again, and their nodes go on announcing them."""
        if not self._system.has_owners:
            return
        grown = frozenset(node.name for node in self._topology.growers)
        for node in self._topology.growers:
            grown -= {node.name}
            took = self._reallocate(Allocated(grown), node.prefix(GRANT_SLOT), self._until_tors_lack)
            result.revoke_ms.append(took)

    def _leave_and_join(self, result: Measurement) -> None:
        """One node after the other is taken out of the allocations, and put in again; its session stays."""
        if not self._system.has_owners:
            return
        for node in self._topology.leavers:
            gone, last = Allocated(absent=frozenset({node.name})), node.prefix(BASE_SLOTS[-1])
            result.leave_ms.append(self._reallocate(gone, last, self._until_tors_lack))
            result.join_ms.append(self._reallocate(AT_FIRST, last, self._until_tors_hold))

    def _open(self, result: Measurement) -> None:
        """A few nodes announce VIPs that nobody may; then one after the other they are opened to every node."""
        if not self._system.has_owners:
            return
        for vip in self._topology.vips:
            for node in self._topology.vip_announcers(vip):
                self._fleet.announce(self._nodes[node.name], wire.announcement([vip], node.address))
        self._fleet.pause(1.0)
        early = [vip for vip in self._topology.vips if any(vip in rib for rib in self._ribs)]
        result.faults += [f"{vip} reached a ToR before it was opened" for vip in early]
        opened = frozenset[IPv4Network]()
        for vip in self._topology.vips:
            opened |= {vip}
            result.open_ms.append(self._reallocate(Allocated(vips=opened), vip, self._until_tors_hold_all))

    def _close(self, result: Measurement) -> None:
        """One after the other the VIPs are closed again, and their nodes go on announcing them."""
        if not self._system.has_owners:
            return
        opened = frozenset(self._topology.vips)
        for vip in self._topology.vips:
            opened -= {vip}
            result.close_ms.append(self._reallocate(Allocated(vips=opened), vip, self._until_tors_lack))

    @property
    def _vip_paths(self) -> int:
        """How many paths of a VIP each ToR is sent."""
        return min(VIP_PATHS, self._topology.nodes, self._topology.add_paths or 1)

    def _reallocate(
        self, allocated: Allocated, prefix: IPv4Network, wait: Callable[[IPv4Network, float], float]
    ) -> float:
        """Milliseconds from a change of the allocations until both ToRs know what it means for the prefix."""
        change = self._system.allocate(allocated)
        assert change is not None
        self._fleet.pause(BETWEEN_TRIALS)
        worker = threading.Thread(target=change)
        began = time.monotonic()
        worker.start()
        took = wait(prefix, began)
        worker.join()
        return took

    def _restart(self, result: Measurement) -> None:
        """The speaker is killed when nothing else goes on; last, since it leaves some systems with less than before."""
        gc.collect()
        gc.disable()
        try:
            result.restart = measure_restart(
                self._system, self._fleet, self._tors, self._scope.restart, self._nodes_patience
            )
        finally:
            gc.enable()
        if result.restart.surplus:
            result.faults.append(f"ToRs were sent {result.restart.surplus} routes more after the restart")

    def _until_tors_hold(self, prefix: IPv4Network, since: float) -> float:
        """Milliseconds from `since` until the later of the two ToRs had the prefix."""
        if not self._fleet.run(lambda: all(prefix in rib for rib in self._ribs), TRIAL_TIMEOUT):
            raise BenchError(f"{prefix} did not reach both ToRs within {TRIAL_TIMEOUT:.0f} s")
        arrived = [rib.when(prefix) or 0.0 for rib in self._ribs]
        return (max(arrived) - since) * 1000

    def _until_tors_hold_all(self, vip: IPv4Network, since: float) -> float:
        """Milliseconds from `since` until the later of the two ToRs had every path of the VIP."""
        if not self._fleet.run(
            lambda: all(rib.paths(vip) >= self._vip_paths for rib in self._ribs), TRIAL_TIMEOUT
        ):
            raise BenchError(f"not all of {vip} reached both ToRs within {TRIAL_TIMEOUT:.0f} s")
        return (time.monotonic() - since) * 1000

    def _until_tors_lack(self, prefix: IPv4Network, since: float) -> float:
        """Milliseconds from `since` until the later of the two ToRs had lost the prefix."""
        if not self._fleet.run(lambda: not any(prefix in rib for rib in self._ribs), TRIAL_TIMEOUT):
            raise BenchError(f"{prefix} did not leave both ToRs within {TRIAL_TIMEOUT:.0f} s")
        departed = [rib.departed(prefix) or 0.0 for rib in self._ribs]
        return (max(departed) - since) * 1000

    def _check(self, result: Measurement) -> None:
        command = self._system.check_command()
        if command is None:
            return
        answers = set()
        for _ in range(CHECKS):
            self._fleet.pause(BETWEEN_TRIALS)
            began = time.monotonic()
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                ended = self._until_exit(child.pid)
                answers.add((child.wait(), child.communicate()[0].strip()))
            result.check_ms.append((ended - began) * 1000)
        result.faults += [f"check says: {line}" for code, line in answers if code]

    def _until_exit(self, pid: int) -> float:
        fd = os.pidfd_open(pid)
        try:
            self._fleet.wake_on(fd)
            self._fleet.run(_readable(fd), TRIAL_TIMEOUT)
            return time.monotonic()
        finally:
            self._fleet.forget(fd)
            os.close(fd)

    def _idle(self, result: Measurement) -> None:
        """CPU of a few quiet seconds, scaled to a minute."""
        before, began = self.cpu(), time.monotonic()
        self._fleet.pause(5.0)
        used, scale = self.cpu() - before, 60 / (time.monotonic() - began)
        result.idle_cpu = Cpu(used.engine * scale, used.controller * scale, used.speakers * scale)


def _some(prefixes: frozenset[IPv4Network]) -> str:
    """The first few of them."""
    return ", ".join(map(str, sorted(prefixes)[:3])) + (", …" if len(prefixes) > 3 else "")


def _readable(fd: int) -> Callable[[], bool]:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return lambda: bool(poll.poll(0))


def measure(system: System, topology: Topology, folder: Path, scope: Scope) -> Measurement:
    """Start the system, measure it, stop it; BenchErrors become faults of the result."""
    result = Measurement(system.name, topology.nodes)
    folder.mkdir(parents=True)
    try:
        wait_until_free(179)
        began = time.monotonic()
        system.start(topology, folder)
        result.start = time.monotonic() - began
        result.start_cpu = Cpu(cpu_seconds(system.engine()), cpu_seconds(system.controller()), 0.0)
        with contextlib.closing(Run(system, topology, scope)) as run:
            run.measure(result)
    except BenchError as error:
        result.faults.append(str(error))
    finally:
        system.stop()
    return result
