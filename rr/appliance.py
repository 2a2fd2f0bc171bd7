"""The appliance as one object: configuration, allocations and instances, and the answers about them.

It holds no loop of its own: `rr.daemon` drives it, `rr.api` asks it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from rr import __version__, changes, report
from rr.api import health
from rr.api.appliance import NotFound, Refused
from rr.api.counters import Counters
from rr.config.host import check_host
from rr.config.load import load, parse
from rr.config.model import Config
from rr.config.secrets import read_secret
from rr.continuity.drain import FILE as DRAINS
from rr.continuity.drain import WAIT, Drains, Phase, phase
from rr.continuity.pair.watch import PairWatch
from rr.continuity.roster import Roster
from rr.engine import addresses
from rr.engine.client import Engine
from rr.engine.process import EngineProcess, Program, find_program, strays, try_out
from rr.engine.speaker import Plan, half_of, plan, read_identity
from rr.errors import ConfigError, EngineError, EngineUnavailable, RRError
from rr.guard import stale
from rr.guard.warden import Warden
from rr.instance import guarding
from rr.instance.health import EngineState
from rr.instance.runner import PING_DEADLINE, InstanceRunner
from rr.instance.wants import Setting
from rr.ipam import rows as rows_of_ipam
from rr.ipam.allocations import Changes
from rr.ipam.keeper import Decision, Keeper
from rr.net import Address
from rr.service import instances
from rr.service.allocating import Allocating
from rr.view import clock, rows
from rr.view.events import EventHistory
from rr.view.live import Role

_log = structlog.get_logger(__name__)
Row = dict[str, Any]
APPLY_PATIENCE = 15.0
"""Seconds that a reload waits for the engines to hold what is wanted, before it answers all the same."""
JUDGE_EVERY = 0.5
"""Seconds between looks at what nodes did."""


class Appliance:
    """Everything that one rrd looks after."""

    def __init__(self, file: Path, config: Config, program: Program | None) -> None:
        self.file = file
        self.settings = config
        self.program = program
        self.started = self.loaded = time.time()
        self.registry = CollectorRegistry()
        self.counters = Counters(self.registry)
        self.history = EventHistory(config.state_dir / "events.jsonl")
        self._background: set[asyncio.Task[object]] = set()
        self.allocating = Allocating(
            config, self.counters, self.history.add, self._enforce, self._in_background
        )
        self.drains = Drains(config.state_dir / DRAINS, self.history.add)
        self.warden = Warden(config.state_dir, config.quarantine, self.history.add)
        self.instances: dict[str, InstanceRunner] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.restart_http: asyncio.Event = asyncio.Event()
        self.http_problem: Callable[[], str | None] = lambda: None
        """Says why HTTP is not served over TCP; the daemon, who serves it, knows."""
        self.resume_sources: asyncio.Event = asyncio.Event()
        self._plans = plans(config)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing: frozenset[Address] = frozenset()
        self._here: frozenset[Address] = frozenset()
        """Floating addresses that this host has now."""
        self._pair: PairWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def keeper(self) -> Keeper:
        """What decides which allocations are in force."""
        return self.allocating.keeper

    # What the daemon drives

    async def end_strays(self) -> None:
        """End the engines of instances that were taken out of the configuration while no rrd looked."""
        for engine in strays(self.settings.run_dir, self.settings.instances) if self.program else ():
            await engine.stop()
            name = engine.directory.name
            self.history.add("engine", name, f"the engine of {name} was stopped: there is no such instance")

    async def recall_drains(self) -> None:
        """Learn which instances are not to serve."""
        engines = {name: EngineProcess(self.settings.run_dir / name) for name in self.settings.instances}
        await self.drains.recall({name: e.socket for name, e in engines.items() if e.pid() is not None})

    def start_instances(self) -> None:
        """Begin to look after every configured instance."""
        for name in self.settings.instances:
            self._add_instance(name)
        self._list_instances()
        self._watch_pair()

    def _list_instances(self) -> None:
        """Where systemd runs the engines, let it know which there are to be."""
        if self.program is not None:
            return
        try:
            instances.write(self.settings.run_dir, self.settings.instances)
        except OSError as error:
            text = f"systemd does not learn which engines to run ({error.strerror}); start and stop their units by hand"
            self.history.add("engine", str(self.settings.run_dir), text)

    def _watch_pair(self) -> None:
        """Begin to watch the other half, where there is one."""
        pair = self.settings.pair
        if pair is None:
            return
        self._pair = PairWatch(
            self.settings, pair, self.instances, self._allocations_digest, self.history.add
        )
        self._watching = asyncio.create_task(self._pair.run(), name="pair")
        self._watching.add_done_callback(self._instance_ended)

    def _allocations_digest(self) -> str:
        return self.keeper.allocations.digest()

    async def _leave_pair(self) -> None:
        if self._watching is not None:
            await self._let_go(self._watching)
        self._pair = self._watching = None

    async def _ask_pair(self) -> None:
        """What is known of the other half may be a second old, and so may be wrong just now."""
        if self._pair is not None:
            await self._pair.ask()

    def refusal(self, instance: str | None = None) -> str | None:
        """Why this half of a pair, or one instance of it, cannot be spared now; None where it can.

        Asked before a drain, a restart or an upgrade. Without a pair nothing is refused.
        """
        return self._pair.refusal(instance) if self._pair else None

    def _add_instance(self, name: str) -> None:
        setting = Setting(self.settings.instances[name], self._plans[name])
        roster = Roster(self.settings.state_dir / "roster" / f"{name}.json")
        runner = InstanceRunner(name, setting, self.settings.run_dir, self.program, self.history.add, roster)
        if self.keeper.known:
            runner.allocate(self.keeper.allocations)
        self._instruct(runner)
        self.instances[name] = runner
        self.drains.take_over(name, runner)
        self.tasks[name] = asyncio.create_task(runner.run(), name=f"instance {name}")
        self.tasks[name].add_done_callback(self._instance_ended)

    def _instance_ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends although nobody let it go is a fault, however it ends, and rrd ends with it."""
        error = None if task.cancelled() else task.exception()
        if not self.failed.done():
            self.failed.set_exception(
                error or RRError(f"the work on {task.get_name()} ended, and nobody asked for it")
            )

    async def _let_go(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.remove_done_callback(self._instance_ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Quarantine

    async def follow_nodes(self) -> None:
        """Keep out nodes that do harm, for as long as rrd runs."""
        while True:
            await asyncio.sleep(JUDGE_EVERY)
            for runner in self.instances.values():
                blames, runner.guard.blames = runner.guard.blames, []
                self.warden.blame(blames)
            if self.warden.book.cases or self.warden.book.suspended:
                self.warden.decide({name: report.population(r.view) for name, r in self.instances.items()})
            await self._apply_quarantine()

    async def _apply_quarantine(self) -> None:
        for runner in self.instances.values():
            self._instruct(runner)
        if self.warden.unsaved:
            await asyncio.to_thread(self.warden.save)

    def _instruct(self, runner: InstanceRunner) -> None:
        """Tell an instance whom it keeps out, and what else it needs to know to look after its peers."""
        view = runner.view
        kept_out = {address for case in self.warden.book.kept_out() for address in case.addresses}
        runner.keep_out(
            frozenset(a for a in kept_out if view.role(a) is Role.NODE and view.rules.rack_of(a) is not None)
        )
        runner.guard.window = float(self.settings.quarantine.window)
        runner.guard.stale_time = stale.ALONE if self.settings.pair is None else stale.PAIRED

    def quarantine(self) -> list[Row]:
        """Who is kept out."""
        return self.warden.rows()

    async def release(self, wanted: str) -> Row:
        """Let a node in again before its time."""
        found = self.warden.release(wanted, _address(wanted))
        if not found:
            raise Refused(f"{wanted} is not quarantined", "see `rrctl quarantine list`")
        await self._apply_quarantine()
        await self._applied()
        return {"released": [case.subject for case in found]}

    async def node_down(self, wanted: str) -> Row:
        """Close a dead node's sessions and drop its routes, in every instance."""
        addresses = self._addresses(wanted)
        closed: list[Row] = []
        for runner in self.instances.values():
            closed += await self._close(runner, addresses)
        for row in closed:
            kept = f" and its {row['routes']} routes are dropped" if row["routes"] else ""
            text = f"the session with {wanted} ({row['address']}) is closed{kept}: an administrator says it is down"
            self.history.add("node-down", wanted, text)
        return {"node": wanted, "closed": closed}

    async def _close(self, runner: InstanceRunner, addresses: Sequence[Address]) -> list[Row]:
        own = [a for a in addresses if runner.view.rules.rack_of(a) and runner.view.role(a) is Role.NODE]
        if not own:
            return []
        if runner.engine is None:
            raise Refused(
                f"the engine of {runner.name} does not run", "its sessions are down; try again soon"
            )
        heard = {a: len(peer.heard) for a in own if (peer := runner.view.peers.get(a))}
        try:
            closed = await guarding.close(runner.engine, own)
            runner.continuity.give_up(own)
        except EngineError as error:
            raise Refused(f"the engine of {runner.name} does not answer: {error}", "try again") from None
        for address in closed:
            runner.guard.excuse(address)
        runner.view.doubtful.update(closed)
        return [{"instance": runner.name, "address": str(a), "routes": heard.get(a, 0)} for a in closed]

    async def follow_addresses(self) -> None:
        """Notice listen addresses that come and go, for as long as the kernel tells."""
        try:
            async for _ in addresses.changes():
                await self._look_at_addresses()
        except OSError as error:
            _log.warning("addresses of this host are not watched", why=str(error))

    async def _look_at_addresses(self) -> None:
        instances = self.settings.instances.items()
        wanted = {a: name for name, i in instances for a in i.listen}
        floating = {a: name for name, i in instances for a in i.floating}
        missing = await addresses.missing(wanted)
        for address in missing - self._missing:
            self.history.add(
                "address", str(address), f"{address}, where {wanted[address]} listens, is gone from this host"
            )
        for address in (self._missing - missing) & wanted.keys():
            self.history.add("address", str(address), f"{address}, where {wanted[address]} listens, is back")
        self._missing = missing
        here = frozenset(floating) - await addresses.missing(floating)
        for address in here - self._here:
            self.history.add(
                "address", str(address), f"{address} of {floating[address]} is with this half now"
            )
        for address in (self._here - here) & floating.keys():
            self.history.add("address", str(address), f"{address} of {floating[address]} has left this half")
        self._here = here

    async def stop_instances(self, *, engines: bool) -> None:
        """Let go of the instances; with `engines`, end their engines in order too."""
        await self._leave_pair()
        await self._let_go(*self.tasks.values())
        if engines:
            await asyncio.gather(*(runner.stop_engine() for runner in self.instances.values()))

    def _enforce(self, decision: Decision) -> None:
        """Hand new allocations to the instances."""
        began = time.perf_counter()
        for runner in self.instances.values():
            runner.allocate(decision.allocations)
        self._in_background(self._measure(began, decision.changes))

    def _in_background(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _measure(self, began: float, moved: Changes) -> None:
        if await self._applied():
            took = time.perf_counter() - began
            if moved.granted:
                self.counters.grant_seconds.observe(took)
            if moved.revoked:
                self.counters.revoke_seconds.observe(took)

    async def _applied(self) -> bool:
        """Wait until every engine holds what is wanted; False when one takes too long."""
        waiting = [runner.applied.wait() for runner in self.instances.values()]
        try:
            async with asyncio.timeout(APPLY_PATIENCE):
                await asyncio.gather(*waiting)
        except TimeoutError:
            return False
        return True

    # Configuration

    def difference(self, config: Config) -> changes.Difference:
        """What going over to `config` would change."""
        found = changes.between(self.settings, config, self._plans, plans(config))
        told = [
            sentence
            for name, runner in self.instances.items()
            if name in config.instances
            for sentence in report.enforcing(runner, config.instances[name].racks)
        ]
        told += report.dropped_sources(self.keeper, [source.called for source in config.ipam.sources])
        return replace(found, changes=(*found.changes, *told))

    async def reload(self) -> Row:
        """Read the file again and apply what differs; nothing is applied from a file with any mistake."""
        try:
            config = await asyncio.to_thread(load, self.file)
            self._check_host(config)
            difference = self.difference(config)
        except RRError:
            self.counters.config_reloads.labels(result="refused").inc()
            raise
        self.loaded = time.time()
        result = "applied" if difference.changes else "unchanged"
        self.counters.config_reloads.labels(result=result).inc()
        await self._apply(config)
        await self._look_at_addresses()
        for sentence in difference.changes:
            self.history.add("config", str(self.file), sentence)
        await self._applied()
        return {"changed": list(difference.changes), "resets": list(difference.resets)}

    def _check_host(self, config: Config) -> None:
        own = {(a, i.port) for i in self.settings.instances.values() for a in i.bound}
        problems = check_host(
            config, own=own, serving=self.settings.http.listen, privileged=self.program is None
        )
        if problems:
            raise ConfigError(problems)

    async def _apply(self, config: Config) -> None:
        old, self.settings = self.settings, config
        self._plans = plans(config)
        self.warden.settings = config.quarantine
        for name in old.instances.keys() - config.instances.keys():
            await self._remove_instance(name)
        for name in config.instances:
            if name in self.instances:
                self.instances[name].configure(Setting(config.instances[name], self._plans[name]))
            else:
                self._add_instance(name)
        self._list_instances()
        if (old.pair, old.name) != (config.pair, config.name):
            await self._leave_pair()
            self._watch_pair()
        if old.http != config.http:
            self.restart_http.set()
        if old.ipam != config.ipam:
            self._change_sources(config)

    def _change_sources(self, config: Config) -> None:
        """Read the sources that are named now; what others said goes when every one has said something."""
        self.allocating.decided(self.allocating.configure(config))
        self.resume_sources.set()

    async def _remove_instance(self, name: str) -> None:
        task, runner = self.tasks.pop(name), self.instances.pop(name)
        await self.drains.forget(name)
        await self._let_go(task)
        await runner.stop_engine()

    def diff_config(self, text: str) -> Row:
        """What a configuration would change."""
        difference = self.difference(parse(text, str(self.file)))
        return {"changes": list(difference.changes), "resets": list(difference.resets)}

    def config(self) -> Row:
        """The configuration in force."""
        return {
            "file": str(self.file),
            "loaded": clock.text(self.loaded),
            "digest": self.settings.digest,
            "config": self.settings.model_dump(mode="json"),
        }

    # Answers

    def status(self) -> Row:
        """What the appliance is doing."""
        instances = [report.instance(runner) for runner in self.instances.values()]
        return {
            "name": self.settings.name,
            "version": __version__,
            "started": clock.text(self.started),
            "ready": bool(instances)
            and all(
                i["policy"]["in_force"] and i["engine"]["state"] == EngineState.RUNNING for i in instances
            ),
            "config": {
                "file": str(self.file),
                "loaded": clock.text(self.loaded),
                "digest": self.settings.digest,
            },
            "ipam": rows_of_ipam.status(self.keeper),
            "instances": instances,
            "listen": [
                {"instance": name, "address": str(a), "here": a not in self._missing}
                for name, i in self.settings.instances.items()
                for a in i.listen
            ],
            "floating": [
                {"instance": name, "address": str(a), "here": a in self._here}
                for name, i in self.settings.instances.items()
                for a in i.floating
            ],
            "pair": self._pair.row() if self._pair else None,
            "problems": self.problems(),
        }

    def problems(self) -> list[Row]:
        """What an operator should look at, the worst first."""
        found = [
            *report.ipam_problems(self.keeper),
            *report.source_mistakes(self.allocating.mistakes),
        ]
        if self.drains.problem:
            found.append(report.warning(f"The state is not kept: {self.drains.problem}"))
        found += report.quarantine_problems(self.warden)
        found += [
            report.critical(f"{a} is not an address of this host: no peer reaches it")
            for a in sorted(map(str, self._missing))
        ]
        for runner in self.instances.values():
            found += report.instance_problems(runner)
        if said := self.http_problem():
            found.append(report.warning(said))
        found += [report.warning(sentence) for sentence in self._pair.problems()] if self._pair else []
        return sorted(found, key=lambda problem: str(problem["severity"]))

    def check(self, *, serving: bool = False) -> Row:
        """The one line of a health check, or only whether this half itself serves."""
        return health.serving(self.status()) if serving else health.check(self.status())

    def peers(self) -> list[Row]:
        """All sessions."""
        return [
            {**row, "drain": phase(runner)}
            for runner in self.instances.values()
            for row in rows.peers(runner.view)
        ]

    def routes(self, prefix: str | None) -> list[Row]:
        """Accepted routes."""
        return [row for runner in self.instances.values() for row in rows.routes(runner.view, prefix)]

    def violations(self) -> list[Row]:
        """Rejected announcements, the latest first."""
        found = [row for runner in self.instances.values() for row in runner.view.violations.rows()]
        return sorted(found, key=lambda row: str(row["last_seen"]), reverse=True)

    def counts(self) -> Row:
        """The figures that metrics are made of."""
        allocations = self.keeper.allocations
        return {
            **rows.counts(runner.view for runner in self.instances.values()),
            "allocations": [
                {"kind": "node", "count": len(allocations.nodes)},
                {"kind": "node-prefix", "count": allocations.size},
                {"kind": "vip-pool", "count": len(allocations.vips)},
            ],
            "ipam_sources": self.ipam_sources(),
            "quarantines": [
                {"instance": instance, "reason": str(offence), "count": count}
                for (instance, offence), count in self.warden.counts.items()
            ],
            "guarded": self._guarded(),
        }

    def _guarded(self) -> list[Row]:
        """What was done about peers that do harm, by instance."""
        return [
            {
                "instance": name,
                "slow_resets": runner.guard.slow_resets,
                "ghosts": runner.guard.ghosts_removed,
                "quarantined": len(self.warden.book.kept_out(name)),
                "suspended": name in self.warden.book.suspended,
            }
            for name, runner in self.instances.items()
        ]

    def events(self, since: int) -> list[Row]:
        """Events after a number."""
        return self.history.since(since)

    def subscribe(self) -> AsyncIterator[Row]:
        """Events from now on."""
        return self.history.follow()

    def pair(self) -> Row:
        """The other half, and which nodes have no session with both."""
        if self._pair is None:
            raise NotFound("this appliance is no half of a pair", "rr.yaml names the other half with `pair:`")
        return {**self._pair.row(), "redundancy": self._pair.node_rows()}

    def allocations(self) -> Row:
        """Who owns what."""
        return rows_of_ipam.allocations(self.keeper)

    def topology(self) -> Row:
        """Instances, racks, ToRs and nodes as a tree."""
        return {
            "name": self.settings.name,
            "instances": [report.tree(runner) for runner in self.instances.values()],
        }

    def ipam_sources(self) -> list[Row]:
        """How each source of allocations is."""
        return self.allocating.sources()

    def ipam_diff(self) -> list[Row]:
        """What is not as the sources say."""
        return self.allocating.differences()

    async def accept(self, source: str | None = None, digest: str | None = None) -> Row:
        """Put held allocations in force, of one source or of all, or only those that a digest names."""
        self._must_be_held(source, "accept")
        if digest is not None and not self.keeper.held_of(source, digest):
            now = ", ".join(f"{one.digest} of {name}" for name, one in self.keeper.held_of(source).items())
            wrong = f"nothing is held back any more that has the digest {digest}, but {now}"
            raise Refused(wrong, "look at it with `rrctl ipam diff --state held`, then accept that")
        # What somebody is told to be decided outlives a kill of rrd: it is on disk before the answer.
        changed = self.allocating.accept(source, digest)
        await self.keeper.save(at_once=True)
        await self._applied()
        return {"changed": changed}

    async def reject(self, source: str | None = None) -> Row:
        """Forget held allocations, of one source or of all."""
        self._must_be_held(source, "reject")
        rejected = self.allocating.reject(source)
        await self.keeper.save(at_once=True)
        return {"rejected": rejected}

    def _must_be_held(self, source: str | None, verb: str) -> None:
        held, known = self.keeper.held, rows_of_ipam.source_names(self.keeper)
        if source is not None and source not in known:
            raise NotFound(f"there is no IPAM source {source}", f"it is one of {', '.join(known)}")
        if source is not None and source not in held:
            raise Refused(f"no allocations of {source} are held back", "see `rrctl ipam sources`")
        if not held:
            raise Refused("no allocations are held back", f"there is nothing to {verb}")

    async def restart_engine(self, instance: str, *, upgrade: bool, force: bool) -> Row:
        """End an engine for it to be started again, with graceful restart; see `rr.api.appliance`."""
        runner = self.instances.get(instance)
        if runner is None:
            raise NotFound(f"there is no instance {instance}", f"it is one of {', '.join(self.instances)}")
        program = await self._other_program(runner) if upgrade else None
        version = program.version if program else runner.health.version
        if upgrade and program is None:
            return {"instance": instance, "changed": False, "peers": 0, "version": version}
        await self._ask_pair()
        if not force and (reason := self._no_time_for_a_restart(runner)):
            raise Refused(reason, "wait until `rrctl status` has no problem, or use --force")
        peers = sum(peer.up for peer in runner.view.peers.values())
        what = f"upgraded to gobgpd {version}" if program else "restarted"
        await runner.restart_engine(f"it is {what}, as asked", program if self.program else None)
        return {"instance": instance, "changed": True, "peers": peers, "version": version}

    async def _other_program(self, runner: InstanceRunner) -> Program | None:
        """The gobgpd that is installed now, tried out; None where the engine was started from just that."""
        if self.program is None:
            return await asyncio.to_thread(runner.process.replaced_program)
        try:
            found = await asyncio.to_thread(find_program)
            if runner.process.runs(found.path):
                return None
            await asyncio.to_thread(try_out, found, self.settings.run_dir)
        except EngineError as error:
            raise Refused(error.wrong, error.right) from None
        self.program = found
        return found

    def _no_time_for_a_restart(self, runner: InstanceRunner) -> str | None:
        """Why a restart now could cost routes; None where it costs none."""
        for other in self.instances.values():
            if other.health.state is not EngineState.RUNNING or not other.health.in_force:
                return f"the engine of {other.name} is not in service"
            if other.continuity.restarting:
                return f"{other.name} is taking its peers back from the restart before"
        racks = runner.setting.instance.racks
        if any(rack.nodes.bfd or any(tor.bfd for tor in rack.tors) for rack in racks.values()):
            return f"BFD runs on sessions of {runner.name}, and peers drop its routes as soon as BFD packets stop"
        return self.refusal(runner.name)

    async def drain(self, instance: str | None, wait: float | None, *, force: bool) -> list[Row]:
        """Take one instance or all out of use."""
        wait = WAIT if wait is None else wait
        await self._ask_pair()
        serving = [runner.name for runner in self._named(instance) if phase(runner) is Phase.SERVING]
        for name in () if force else serving:
            if reason := self.refusal(name):
                raise Refused(reason, "see `rrctl pair`; wait until it can take over, or use --force")
        told = [(runner, await self.drains.begin(runner.name, wait)) for runner in self._named(instance)]
        return [{**report.drain(runner), "text": text} for runner, text in told]

    async def undrain(self, instance: str | None) -> list[Row]:
        """Let one instance or all serve again."""
        told = [(runner, await self.drains.end(runner.name)) for runner in self._named(instance)]
        await self._applied()
        return [{**report.drain(runner), "text": text} for runner, text in told]

    def _named(self, instance: str | None) -> list[InstanceRunner]:
        if instance is not None and instance not in self.instances:
            raise NotFound(f"there is no instance {instance}", f"it is one of {', '.join(self.instances)}")
        return [self.instances[instance]] if instance else list(self.instances.values())

    def explain(self, prefix: str, from_: str, instance: str | None) -> Row:
        """Judge an announcement, and say where the route would go."""
        runner, peer = self._asked(from_, instance)
        return report.explanation(runner, peer, ip_network(prefix))

    def _asked(self, from_: str, instance: str | None) -> tuple[InstanceRunner, Address]:
        chosen = self._named(instance)
        candidates = self._addresses(from_)
        for runner in chosen:
            for address in candidates:
                if runner.view.rack(address) or address == runner.view.rules.pair:
                    return runner, address
        return chosen[0], candidates[0]

    def _addresses(self, from_: str) -> Sequence[Address]:
        try:
            return (ip_address(from_),)
        except ValueError:
            node = self.keeper.allocations.nodes.get(from_)
        if node is None:
            raise NotFound(
                f"{from_} is neither an address nor a node that the IPAM knows", "see `rrctl ipam show`"
            )
        return node.addresses


def plans(config: Config) -> dict[str, Plan]:
    """The plan of every instance; raises SecretError where a password cannot be read."""
    return {
        name: plan(instance, _secret, half_of(config, name)) for name, instance in config.instances.items()
    }


async def held_by_strays(config: Config) -> frozenset[tuple[Address, int]]:
    """Addresses and ports that are as good as free: `Appliance.end_strays` ends whoever listens there.

    A stray that does not answer is ended at once: nobody could tell what it holds.
    """
    found: set[tuple[Address, int]] = set()
    for stray in strays(config.run_dir, config.instances):
        engine = Engine(stray.socket)
        try:
            if identity := read_identity(await engine.ping(deadline=PING_DEADLINE)):
                found |= {(ip_address(address), identity.port) for address in identity.listen}
        except EngineUnavailable:
            await stray.kill()
        finally:
            await engine.close()
    return frozenset(found)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _secret(file: Path | None) -> str:
    return read_secret(file) if file else ""
