"""What the appliance says of itself: rows for status, problems, allocations, topology and explanations. Reads, only."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rr.config.model import Rack
from rr.continuity.drain import Phase, phase, seconds_left
from rr.guard.warden import Warden, suspension
from rr.instance.health import Cause, EngineState
from rr.instance.runner import InstanceRunner
from rr.ipam import rows
from rr.ipam.claims import Kind
from rr.ipam.keeper import Keeper
from rr.net import Address, Network
from rr.policy.verdict import Announcement, Verdict
from rr.text import FEW, duration, few
from rr.view import clock
from rr.view.live import ESTABLISHED, LiveView, Role

Row = dict[str, Any]
SOURCE_PATIENCE = 900.0
"""Seconds after which an IPAM source that does not answer is critical and no longer a warning."""
NODELESS = 60.0
"""Seconds without any node's session after which that is critical, where there were some."""
SILENCE = 10.0
"""Seconds that an IPAM source may take for its first word, where it is known what it said before."""
NAMED = 50
"""Missing peers that are named; the others are only counted."""


def instance(runner: InstanceRunner) -> Row:
    """One instance as `rrctl status` shows it."""
    view, engine = runner.view, runner.health
    up = [peer for peer in view.peers.values() if peer.up]
    nodes = [peer.address for peer in up if view.role(peer.address) is Role.NODE]
    halves = sum(peer.address == view.rules.pair for peer in up)
    heard = [entry for _, entry in view.heard()]
    missing = runner.continuity.missing
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
            "memory": engine.memory,
            "ends": {str(cause): engine.ends[cause] for cause in Cause},
        },
        "restart": {
            "under_way": runner.continuity.restarting,
            "awaited": len(runner.continuity.comeback.known),
            "missing": len(missing),
            "missing_peers": [str(address) for address in missing[:NAMED]],
        },
        "drain": drain(runner),
        "policy": {
            "in_force": engine.in_force,
            "digest": engine.digest,
            "statements": len(engine.policy.imports) if engine.policy else 0,
            "verified": clock.text(engine.verified),
            "changes": engine.changes,
            "repairs": engine.repairs,
        },
        "sessions": {
            "nodes": {
                "up": len(nodes),
                "known": sum(view.allocations.node_at(address) is not None for address in nodes),
                "expected": population(view),
            },
            "tors": {"up": len(up) - len(nodes) - halves, "expected": len(list(view.rules.tors()))},
            "pair": {"up": halves, "expected": int(view.rules.pair is not None)},
        },
        "routes": {
            "accepted": sum(entry.accepted for entry in heard),
            "rejected": sum(not entry.accepted for entry in heard),
            "observed": sum(entry.observed for entry in heard),
        },
        "observed": [{"rack": rack, "routes": routes} for rack, routes in view.passing().items()],
    }


def enforcing(runner: InstanceRunner, racks: Mapping[str, Rack]) -> Iterator[str]:
    """What becomes of routes that pass only because their rack is observed, where `racks` says that it no longer is."""
    for name, routes in runner.view.passing().items():
        if name in racks and not racks[name].bounds:
            what = f"no session is reset; routes that pass now and are rejected then: {routes}"
            yield f"{name} of {runner.name} is enforced: {what} (`rrctl violations --passing`)"


def drain(runner: InstanceRunner) -> Row:
    """How far an instance is on its way out of use."""
    left = seconds_left(runner, time.monotonic())
    decided = runner.drain if phase(runner) is not Phase.SERVING else None
    return {
        "instance": runner.name,
        "state": str(phase(runner)),
        "since": clock.text(decided.since if decided else None),
        "seconds_left": None if left is None else round(left, 1),
        "sessions": len(runner.view.established()),
    }


def population(view: LiveView) -> int:
    """How many nodes of the IPAM may dial into an instance."""
    return sum(any(map(view.rules.rack_of, node.addresses)) for node in view.allocations.nodes.values())


def ipam_problems(keeper: Keeper) -> list[Row]:
    """What is wrong with the allocations."""
    problems: list[Row] = []
    if not keeper.known:
        problems.append(critical("No allocations were ever known: no route is accepted"))
    problems += [critical(f"New allocations are {held.text}") for _, held in sorted(keeper.held.items())]
    for source in rows.source_names(keeper):
        problems += _source_problems(keeper, source)
    conflicts = [c.text for c in keeper.settled.conflicts if c.until is None]
    problems += [warning(f"IPAM conflict, the newcomer is refused: {text}") for text in conflicts[:FEW]]
    if len(conflicts) > FEW:
        problems.append(warning(f"{len(conflicts) - FEW} more IPAM conflicts: see `rrctl ipam diff`"))
    if keeper.state_error:
        problems.append(warning(f"The state is not kept: {keeper.state_error}"))
    return problems


def _source_problems(keeper: Keeper, source: str) -> Iterator[Row]:
    """One source that fails, that says nothing, or that goes on with what was rejected."""
    state, since = rows.state_of(keeper, source)
    age = keeper.clock() - since
    say = critical if age > SOURCE_PATIENCE else warning
    known = source in keeper.parts
    if source in keeper.leaving:
        if state != rows.HELD:
            yield warning(rows.staying(keeper, source))
    elif state == rows.REJECTED:
        yield warning(
            f"{source} still says what was rejected at {rows.moment(since)}: what was in force stays"
        )
    elif source in keeper.errors:
        stays = f"The allocations last known of {source} stay in force, since it fails"
        nothing = f"Nothing of {source} is allocated, since it fails"
        yield say(f"{stays if known else nothing}: {keeper.errors[source].trouble}")
    elif state == rows.SILENT and not known and keeper.known:
        yield say(f"Nothing of {source} is allocated: it has not said anything yet")
    elif state == rows.SILENT and known and keeper.clock() - keeper.started > SILENCE:
        yield say(f"The allocations of {source} are {duration(age)} old: it says nothing since rrd started")


def source_mistakes(mistakes: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """What sources say wrong: whatever that gave before is gone, and else nobody would notice."""
    for source, found in mistakes.items():
        if found:
            more = f" and {len(found) - 1} more (`rrctl ipam sources` names all)" if len(found) > 1 else ""
            yield warning(f"{source} says what cannot be used and counts for nothing: {found[0]}{more}")


def dropped_sources(keeper: Keeper, names: Sequence[str]) -> Iterator[str]:
    """What becomes of what sources say that are configured now, and would not be if these were."""
    parts, fresh = keeper.parts, [name for name in names if name not in keeper.parts]
    for source in [name for name in keeper.sources if name in parts and name not in names]:
        others = (rows.tokens(part.allocations) for name, part in parts.items() if name in names)
        alone = rows.tokens(parts[source].allocations).difference(*others)
        prefixes = len({claim.network for claim in alone if claim.kind is not Kind.ADDRESS})
        if fresh:
            has = "has" if len(fresh) == 1 else "have"
            fate = f"what it gives stays until {few(fresh)} {has} said something"
        else:
            fate = "what only it gives goes, if the guard does not hold it back"
        yield f"{source} is no longer read: {fate} (prefixes that no other source gives: {prefixes})"


def quarantine_problems(warden: Warden) -> list[Row]:
    """Who is kept out, and where nobody is although many misbehave."""
    problems = [critical(suspension(step)) for step in warden.book.suspended.values()]
    problems += [warning(f"{case.subject} is quarantined: {case.text}") for case in warden.book.kept_out()]
    if warden.state_error:
        problems.append(warning(f"Quarantine is not kept over a restart: {warden.state_error}"))
    return problems


def explanation(runner: InstanceRunner, peer: Address, prefix: Network) -> Row:
    """The verdict on what a peer announces, or would announce, and where it goes."""
    known = runner.view.peers.get(peer)
    heard = known.heard.get(prefix) if known else None
    announcement = heard.announcement if heard else Announcement(peer, prefix)
    verdict = runner.view.judge(announcement)
    return {
        "instance": runner.name,
        "prefix": str(prefix),
        "from": str(peer),
        "node": verdict.node,
        "rack": verdict.rack,
        "accepted": verdict.accepted,
        "reason": str(verdict.reason) if verdict.reason else None,
        "observed": verdict.observed,
        "objection": str(verdict.objection) if verdict.objection else None,
        "text": verdict.text,
        "announced": heard is not None,
        "checks": [
            {"check": check.name, "ok": check.ok, "text": check.text}
            for check in (*verdict.checks, *([verdict.bounds] if verdict.bounds else ()))
        ],
        "sent_to": _receivers(runner.view, verdict) if verdict.accepted else [],
    }


def critical(text: str) -> Row:
    """A problem that makes `check` critical."""
    return {"severity": "critical", "text": text}


def warning(text: str) -> Row:
    """A problem that makes `check` warn."""
    return {"severity": "warning", "text": text}


def instance_problems(runner: InstanceRunner) -> list[Row]:
    """What is wrong with one instance."""
    health, view, problems = runner.health, runner.view, []
    if health.state is not EngineState.RUNNING:
        problems.append(
            critical(f"Instance {runner.name}: the engine is {health.state}: {health.problem or ''}")
        )
    elif not health.in_force:
        problems.append(critical(f"Instance {runner.name}: the policy is not in force: {health.problem}"))
    elif runner.continuity.restarting:
        comeback = runner.continuity.comeback
        text = f"{len(comeback.known) - len(comeback.missing)} of {len(comeback.known)} peers are back"
        problems.append(warning(f"Instance {runner.name}: the engine was restarted, and {text}"))
    if health.memory > runner.memory_bound:
        text = f"the engine occupies {health.memory >> 20} MiB, more than {runner.memory_bound >> 20} MiB"
        problems.append(critical(f"Instance {runner.name}: {text}"))
    if runner.continuity.problem:
        unkept = f"the state is not kept: {runner.continuity.problem}"
        problems.append(warning(f"Instance {runner.name}: {unkept}"))
    down = [tor for tor in view.rules.tors() if tor not in view.peers or not view.peers[tor].up]
    if health.disagreeing:
        text = f"engine and rules disagree about the routes of {health.disagreeing} peers"
        problems.append(warning(f"Instance {runner.name}: {text}; please report it"))
    problems += [warning(sentence) for sentence in view.excesses()]
    if phase(runner) is not Phase.SERVING:
        problems.append(warning(_drain_problem(runner)))
    if health.state is EngineState.RUNNING and not runner.closed:
        problems += _nodeless(runner)
        problems += [warning(f"Instance {runner.name}: ToR {tor} has no session") for tor in down]
        half = view.rules.pair
        if half and not (half in view.peers and view.peers[half].up):
            problems.append(warning(f"Instance {runner.name}: the other half ({half}) has no BGP session"))
    return problems


def _nodeless(runner: InstanceRunner) -> list[Row]:
    """Nodes come and go, but not all of them."""
    presence, expected = runner.view.presence, population(runner.view)
    if not expected or presence.alone_for(time.monotonic()) < NODELESS:
        return []
    text = f"no node has a session, and {presence.most} of {expected} had one"
    return [critical(f"Instance {runner.name}: {text}")]


def _drain_problem(runner: InstanceRunner) -> str:
    row = drain(runner)
    since = f"since {row['since']}"
    if row["state"] == Phase.DRAINED:
        return f"Instance {runner.name} is drained {since}: `rrctl undrain {runner.name}` lets peers in again"
    if row["state"] == Phase.CLOSING:
        return (
            f"Instance {runner.name} is being drained {since}: sessions are ended, {row['sessions']} still up"
        )
    left = row["seconds_left"]
    when = "routes are being marked" if left is None else f"sessions end in {left:g} s"
    return f"Instance {runner.name} is being drained {since}: {when}"


def tree(runner: InstanceRunner) -> Row:
    """One instance's racks, ToRs and nodes."""
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
                "observed": rack.bounds is not None,
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
    to_tors = reflect.tors if verdict.kind == "pod" else reflect.tor_vips
    to_nodes = reflect.nodes if verdict.kind == "pod" else reflect.vips
    found = []
    for role, reach, who in (("tor", to_tors, "ToRs"), ("node", to_nodes, "nodes")):
        if reach == "all":
            found.append({"role": role, "rack": None, "text": f"the {who} of every rack"})
        elif reach == "rack":
            found.append({"role": role, "rack": rack, "text": f"the {who} of {rack}"})
    return found
