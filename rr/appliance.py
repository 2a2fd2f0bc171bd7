"""The appliance as one object: configuration, allocations and instances, and the answers about them.

It holds no loop of its own: `rr.daemon` drives it, `rr.api` asks it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from rr import __version__, changes
from rr.api import health
from rr.api.appliance import NotFound, Refused
from rr.api.counters import Counters
from rr.config.host import check_host
from rr.config.load import load, parse
from rr.config.model import Config
from rr.config.secrets import read_secret
from rr.engine import addresses
from rr.engine.process import Program
from rr.engine.runner import EngineState, InstanceRunner, Setting
from rr.engine.speaker import Plan, plan
from rr.errors import ConfigError, RRError
from rr.ipam.allocations import Changes
from rr.ipam.keeper import Decision, Keeper
from rr.ipam.reading import Reading
from rr.net import Address, Network
from rr.policy.verdict import Announcement, Verdict
from rr.view import clock, rows
from rr.view.events import EventHistory
from rr.view.live import ESTABLISHED, LiveView, Role

_log = structlog.get_logger(__name__)
Row = dict[str, Any]
APPLY_PATIENCE = 15.0
"""Seconds that a reload waits for the engines to hold what is wanted, before it answers all the same."""
_TOLD_ONE_BY_ONE = 50
"""Nodes that an IPAM change may concern for each to get an event of its own."""
SOURCE_PATIENCE = 900.0
"""Seconds after which an IPAM source that does not answer is critical and no longer a warning."""


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
        self.keeper = self._keeper(config)
        self.instances: dict[str, InstanceRunner] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.restart_http: asyncio.Event = asyncio.Event()
        self.resume_sources: asyncio.Event = asyncio.Event()
        self._plans = plans(config)
        self._background: set[asyncio.Task[object]] = set()
        self._missing: frozenset[Address] = frozenset()

    def _keeper(self, config: Config) -> Keeper:
        return Keeper(config.state_dir, config.ipam.guard, [source.name for source in config.ipam.sources])

    # What the daemon drives

    def start_instances(self) -> None:
        """Begin to look after every configured instance."""
        for name in self.settings.instances:
            self._add_instance(name)

    def _add_instance(self, name: str) -> None:
        setting = Setting(self.settings.instances[name], self._plans[name])
        runner = InstanceRunner(name, setting, self.settings.run_dir, self.program, self.history.add)
        if self.keeper.known:
            runner.allocate(self.keeper.allocations)
        self.instances[name] = runner
        self.tasks[name] = asyncio.create_task(runner.run(), name=f"instance {name}")

    async def follow_addresses(self) -> None:
        """Notice listen addresses that come and go, for as long as the kernel tells."""
        try:
            async for _ in addresses.changes():
                self._look_at_addresses()
        except OSError as error:
            _log.warning("addresses of this host are not watched", why=str(error))

    def _look_at_addresses(self) -> None:
        wanted = {a: name for name, i in self.settings.instances.items() for a in i.listen}
        missing = addresses.missing(wanted)
        for address in missing - self._missing:
            self.history.add(
                "address", str(address), f"{address}, where {wanted[address]} listens, is gone from this host"
            )
        for address in (self._missing - missing) & wanted.keys():
            self.history.add("address", str(address), f"{address}, where {wanted[address]} listens, is back")
        self._missing = missing

    async def stop_instances(self, *, engines: bool) -> None:
        """Let go of the instances; with `engines`, end their engines in order too."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        if engines:
            await asyncio.gather(*(runner.stop_engine() for runner in self.instances.values()))

    def read(self, reading: Reading) -> None:
        """Take what an IPAM source said."""
        result = "error" if reading.error else "good"
        self.counters.ipam_readings.labels(source=reading.source, result=result).inc()
        decision = self.keeper.consider(reading)
        if not decision.changed and (reading.error or decision.held):
            self.history.add("ipam", reading.source, decision.reason)
        self._enforce(decision)

    def _enforce(self, decision: Decision) -> None:
        """Hand new allocations to the instances, and say what they change."""
        if decision.changed:
            began = time.perf_counter()
            for runner in self.instances.values():
                runner.allocate(decision.allocations)
            self._in_background(self._measure(began, decision.changes))
            self._tell(decision)
        self._in_background(self.keeper.save())

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
            await asyncio.wait_for(asyncio.gather(*waiting), APPLY_PATIENCE)
        except TimeoutError:
            return False
        return True

    def _tell(self, decision: Decision) -> None:
        """One event for the whole, and one for each node where those are few enough to be read."""
        moved = decision.changes
        self.history.add("ipam", "allocations", decision.reason)
        if len(moved.nodes) > _TOLD_ONE_BY_ONE:
            return
        for kind, verb, pairs in (("grant", "is given", moved.granted), ("revoke", "loses", moved.revoked)):
            for node, prefixes in _by_node(pairs).items():
                self.history.add(kind, node, f"{node} {verb} {', '.join(map(str, prefixes))}")
        for name in moved.addresses_changed:
            now = ", ".join(map(str, decision.allocations.nodes[name].addresses))
            self.history.add("ipam", name, f"the addresses of {name} are now {now}")

    # Configuration

    def difference(self, config: Config) -> changes.Difference:
        """What going over to `config` would change."""
        return changes.between(self.settings, config, self._plans, plans(config))

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
        self._look_at_addresses()
        for sentence in difference.changes:
            self.history.add("config", str(self.file), sentence)
        await self._applied()
        return {"changed": list(difference.changes), "resets": list(difference.resets)}

    def _check_host(self, config: Config) -> None:
        new_plans = plans(config)
        same = {
            name
            for name, old in self._plans.items()
            if name in new_plans and new_plans[name].identity == old.identity
        }
        problems = check_host(
            config, running=same, serving=self.settings.http.listen, privileged=self.program is None
        )
        if problems:
            raise ConfigError(problems)

    async def _apply(self, config: Config) -> None:
        old, self.settings = self.settings, config
        self._plans = plans(config)
        for name in old.instances.keys() - config.instances.keys():
            await self._remove_instance(name)
        for name in config.instances:
            if name in self.instances:
                self.instances[name].configure(Setting(config.instances[name], self._plans[name]))
            else:
                self._add_instance(name)
        if old.http != config.http:
            self.restart_http.set()
        if old.ipam != config.ipam:
            self.keeper = self._keeper(config)
            self.resume_sources.set()

    async def _remove_instance(self, name: str) -> None:
        task, runner = self.tasks.pop(name), self.instances.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
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
        instances = [self._instance_status(runner) for runner in self.instances.values()]
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
            "ipam": self.keeper.status(),
            "instances": instances,
            "problems": self.problems(),
        }

    def _instance_status(self, runner: InstanceRunner) -> Row:
        view, engine = runner.view, runner.health
        up = [peer for peer in view.peers.values() if peer.up]
        nodes = [peer.address for peer in up if view.role(peer.address) is Role.NODE]
        heard = [entry for _, entry in view.heard()]
        return {
            "instance": runner.name,
            "asn": runner.setting.instance.asn,
            "router_id": str(runner.setting.instance.router_id),
            "engine": {
                "state": str(engine.state),
                "version": engine.version,
                "pid": engine.pid,
                "restarts": engine.restarts,
                "since": clock.text(engine.since),
            },
            "policy": {
                "in_force": engine.in_force,
                "digest": engine.policy.digest() if engine.policy else None,
                "statements": len(engine.policy.imports) if engine.policy else 0,
                "verified": clock.text(engine.verified),
                "changes": engine.changes,
                "repairs": engine.repairs,
            },
            "sessions": {
                "nodes": {
                    "up": len(nodes),
                    "known": sum(view.allocations.node_at(address) is not None for address in nodes),
                    "expected": self._expected(view),
                },
                "tors": {"up": len(up) - len(nodes), "expected": len(list(view.rules.tors()))},
            },
            "routes": {
                "accepted": sum(entry.accepted for entry in heard),
                "rejected": sum(not entry.accepted for entry in heard),
            },
        }

    def _expected(self, view: LiveView) -> int:
        return sum(any(map(view.rules.rack_of, node.addresses)) for node in view.allocations.nodes.values())

    def problems(self) -> list[Row]:
        """What an operator should look at, the worst first."""
        found = [*self._ipam_problems()]
        found += [
            _critical(f"{a} is not an address of this host: no peer reaches it.")
            for a in sorted(map(str, self._missing))
        ]
        for runner in self.instances.values():
            found += _instance_problems(runner)
        return sorted(found, key=lambda problem: str(problem["severity"]))

    def _ipam_problems(self) -> Sequence[Row]:
        status = self.keeper.status()
        problems = []
        if not self.keeper.known:
            problems.append(_critical("No allocations were ever known: no route is accepted."))
        problems += [_critical(f"New allocations are {held['reason']}") for held in status["held"] or ()]
        if status["error"]:
            say = _critical if status["age_seconds"] > SOURCE_PATIENCE else _warning
            problems.append(
                say(f"The allocations last known stay in force, since the IPAM fails: {status['error']}")
            )
        if status["state_error"]:
            problems.append(_warning(f"The state is not kept: {status['state_error']}"))
        return problems

    def check(self) -> Row:
        """The one line of a health check."""
        return health.check(self.status())

    def peers(self) -> list[Row]:
        """All sessions."""
        return [row for runner in self.instances.values() for row in rows.peers(runner.view)]

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
        }

    def events(self, since: int) -> list[Row]:
        """Events after a number."""
        return self.history.since(since)

    def subscribe(self) -> AsyncIterator[Row]:
        """Events from now on."""
        return self.history.follow()

    def allocations(self) -> Row:
        """Who owns what."""
        allocations, source = self.keeper.allocations, self.keeper.status()["source"]
        return {
            "nodes": [
                {
                    "node": node.name,
                    "addresses": [str(a) for a in node.addresses],
                    "prefixes": [str(p) for p in node.prefixes],
                    "source": source,
                }
                for node in allocations.nodes.values()
            ],
            "vips": [
                {
                    "prefixes": [str(p) for p in pool.prefixes],
                    "nodes": None if pool.nodes is None else sorted(pool.nodes),
                    "source": source,
                }
                for pool in allocations.vips
            ],
        }

    def topology(self) -> Row:
        """Instances, racks, ToRs and nodes as a tree."""
        return {
            "name": self.settings.name,
            "instances": [_instance_tree(runner) for runner in self.instances.values()],
        }

    async def accept(self) -> Row:
        """Put held allocations in force."""
        if not self.keeper.status()["held"]:
            raise Refused("no allocations are held back", "there is nothing to accept")
        decision = self.keeper.accept()
        self.history.add("ipam", "guard", "the held allocations were accepted by hand")
        self._enforce(decision)
        await self._applied()
        return {"changed": _sentences(decision.changes)}

    def explain(self, prefix: str, from_: str, instance: str | None) -> Row:
        """Judge an announcement, and say where the route would go."""
        runner, peer = self._asked(from_, instance)
        network = ip_network(prefix)
        known = runner.view.peers.get(peer)
        heard = known.heard.get(network) if known else None
        announcement = heard.announcement if heard else Announcement(peer, network)
        verdict = runner.view.judge(announcement)
        return {
            "instance": runner.name,
            "prefix": prefix,
            "from": str(peer),
            "node": verdict.node,
            "rack": verdict.rack,
            "accepted": verdict.accepted,
            "reason": str(verdict.reason) if verdict.reason else None,
            "text": verdict.text,
            "announced": heard is not None,
            "checks": [{"check": check.name, "ok": check.ok, "text": check.text} for check in verdict.checks],
            "sent_to": _receivers(runner.view, verdict) if verdict.accepted else [],
        }

    def _asked(self, from_: str, instance: str | None) -> tuple[InstanceRunner, Address]:
        if instance is not None and instance not in self.instances:
            raise NotFound(f"there is no instance {instance}", f"it is one of {', '.join(self.instances)}")
        chosen = [self.instances[instance]] if instance else list(self.instances.values())
        candidates = self._addresses(from_)
        for runner in chosen:
            for address in candidates:
                if runner.view.rack(address):
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
    return {name: plan(instance, _secret) for name, instance in config.instances.items()}


def _secret(file: Path | None) -> str:
    return read_secret(file) if file else ""


def _by_node(pairs: Sequence[tuple[str, Network]]) -> dict[str, list[Network]]:
    found: dict[str, list[Network]] = {}
    for node, prefix in pairs:
        found.setdefault(node, []).append(prefix)
    return found


def _sentences(moved: Changes) -> list[str]:
    said = [f"{node} is given {prefix}" for node, prefix in moved.granted]
    said += [f"{node} loses {prefix}" for node, prefix in moved.revoked]
    said += [f"{node} is no longer known" for node in moved.nodes_removed]
    return said + (["the VIP pools changed"] if moved.vips_changed else [])


def _critical(text: str) -> Row:
    return {"severity": "critical", "text": text}


def _warning(text: str) -> Row:
    return {"severity": "warning", "text": text}


def _instance_problems(runner: InstanceRunner) -> list[Row]:
    health_, view, problems = runner.health, runner.view, []
    if health_.state is not EngineState.RUNNING:
        problems.append(
            _critical(f"Instance {runner.name}: the engine is {health_.state}: {health_.problem or ''}")
        )
    elif not health_.in_force:
        problems.append(_critical(f"Instance {runner.name}: the policy is not in force: {health_.problem}"))
    down = [tor for tor in view.rules.tors() if tor not in view.peers or not view.peers[tor].up]
    if health_.disagreeing:
        text = f"engine and rules disagree about the routes of {health_.disagreeing} peers"
        problems.append(_warning(f"Instance {runner.name}: {text}; please report it."))
    problems += [_warning(sentence) for sentence in view.excesses()]
    if health_.state is EngineState.RUNNING:
        problems += [_warning(f"Instance {runner.name}: ToR {tor} has no session.") for tor in down]
    return problems


def _instance_tree(runner: InstanceRunner) -> Row:
    view = runner.view
    racks = []
    for name, rack in runner.setting.instance.racks.items():
        nodes = [
            {
                "node": node.name,
                "addresses": [str(a) for a in node.addresses],
                "state": _best_state(view, node.addresses),
            }
            for node in view.allocations.nodes.values()
            if any(view.rules.rack_of(address) == name for address in node.addresses)
        ]
        racks.append(
            {
                "rack": name,
                "ranges": [str(r) for r in rack.nodes.ranges],
                "tors": [
                    {"address": str(t.address), "state": _best_state(view, (t.address,))} for t in rack.tors
                ],
                "nodes": nodes,
            }
        )
    return {"instance": runner.name, "asn": runner.setting.instance.asn, "racks": racks}


def _best_state(view: LiveView, addresses: Sequence[Address]) -> str:
    states = [view.peers[address].state for address in addresses if address in view.peers]
    return ESTABLISHED if ESTABLISHED in states else states[0] if states else "idle"


def _receivers(view: LiveView, verdict: Verdict) -> list[Row]:
    """Whom an accepted route goes to, by the configuration of reflection."""
    reflect, rack = view.rules.instance.reflect, verdict.rack
    if verdict.kind == "tor":
        return [{"role": "node", "rack": rack, "text": f"the nodes of {rack}"}]
    to_tors = reflect.tors if verdict.kind == "pod" or reflect.tor_vips == "rack" else "all"
    to_nodes = reflect.nodes if verdict.kind == "pod" else reflect.vips
    found = []
    for role, reach, who in (("tor", to_tors, "ToRs"), ("node", to_nodes, "nodes")):
        if reach == "all":
            found.append({"role": role, "rack": None, "text": f"the {who} of every rack"})
        elif reach == "rack":
            found.append({"role": role, "rack": rack, "text": f"the {who} of {rack}"})
    return found
