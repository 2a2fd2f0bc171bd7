"""What a status amounts to: is the appliance ready, does it serve, and the one line of `rrctl check`.

Pure functions of the row that `Appliance.status()` answers; the daemon may use them for its `check()`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rr.api.appliance import Row
from rr.api.keys import CLOSING, DRAINED

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def reasons_not_ready(status: Mapping[str, Any]) -> list[str]:
    """Say in sentences why the appliance is not ready; an empty list is ready."""
    instances = status.get("instances", [])
    reasons = [reason for instance in instances for reason in _instance_reasons(instance)]
    if not instances:
        reasons.append("No instance is configured or started yet.")
    if not status.get("ready", False) and not reasons:
        reasons.append("The appliance is still starting.")
    return reasons


def _instance_reasons(instance: Mapping[str, Any]) -> list[str]:
    name = instance["instance"]
    engine = instance["engine"]["state"]
    if engine != "running":
        return [f"Instance {name}: the engine is {engine}."]
    if not instance["policy"]["in_force"]:
        return [f"Instance {name}: the policy is not in force."]
    return []


def check(status: Mapping[str, Any]) -> Row:
    """Boil a status down to `{exit, line, perfdata}` after the monitoring-plugins convention."""
    problems: Sequence[Mapping[str, Any]] = status.get("problems", [])
    critical = [str(p["text"]) for p in problems if p["severity"] == "critical"]
    warning = [str(p["text"]) for p in problems if p["severity"] == "warning"]
    unready = [reason.rstrip(".") for reason in reasons_not_ready(status)]
    critical = list(dict.fromkeys([*critical, *unready]))
    code = CRITICAL if critical else WARNING if warning else OK
    said = "; ".join([*(critical + warning or [_summary(status)]), *_observed(status)])
    return {"exit": code, "line": f"RR {WORDS[code]} - {_one_line(said)}", "perfdata": _perfdata(status)}


def serving(status: Mapping[str, Any]) -> Row:
    """Say whether this half itself serves, in the same convention: what a floating address may depend on.

    What the IPAM, quarantine, peers and the other half say does not count: it is mostly so on both halves at once, and
    the address would be on neither. An instance without a floating address does not count either where another has one.
    """
    floating = {row["instance"]: None for row in status["floating"]}
    there = {instance["instance"]: instance for instance in status["instances"]}
    counting = list(floating or there)
    reasons = [] if counting else ["No instance is configured or started yet."]
    for name in counting:
        reasons += (
            _not_serving(there[name], status) if name in there else [f"Instance {name}: not started yet."]
        )
    code = CRITICAL if reasons else OK
    said = "; ".join(reason.rstrip(".") for reason in reasons) or f"serving: {', '.join(counting)}"
    return {"exit": code, "line": f"RR {WORDS[code]} - {_one_line(said)}", "perfdata": ""}


def _not_serving(instance: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    name, reasons = instance["instance"], _instance_reasons(instance)
    if instance["drain"]["state"] in (CLOSING, DRAINED):
        reasons.append(f"Instance {name}: a drain has closed it.")
    reasons += [
        f"Instance {name}: {row['address']} is not an address of this host."
        for row in status["listen"]
        if row["instance"] == name and not row["here"]
    ]
    return reasons


def _observed(status: Mapping[str, Any]) -> list[str]:
    """Racks whose filter is only observed: nobody's fault, and never to be forgotten."""
    return [
        f"{rack['rack']} of {instance['instance']} is only observed, routes that would be rejected: {rack['routes']}"
        for instance in status.get("instances", [])
        for rack in instance["observed"]
    ]


def _one_line(text: str) -> str:
    """Keep a sentence from breaking the plugin's single line, and from being taken for perfdata."""
    return " ".join(text.replace("|", "/").split())


def _totals(status: Mapping[str, Any]) -> dict[str, int]:
    totals = dict.fromkeys(
        ("nodes", "expected_nodes", "tors", "expected_tors", "accepted", "rejected", "observed", "restarts"),
        0,
    )
    for instance in status.get("instances", []):
        sessions, routes = instance["sessions"], instance["routes"]
        totals["nodes"] += sessions["nodes"]["up"]
        totals["expected_nodes"] += sessions["nodes"]["expected"]
        totals["tors"] += sessions["tors"]["up"]
        totals["expected_tors"] += sessions["tors"]["expected"]
        totals["accepted"] += routes["accepted"]
        totals["rejected"] += routes["rejected"]
        totals["observed"] += routes["observed"]
        totals["restarts"] += instance["engine"].get("restarts") or 0
    return totals


def _summary(status: Mapping[str, Any]) -> str:
    totals = _totals(status)
    return (
        f"{totals['nodes']}/{totals['expected_nodes']} nodes up, "
        f"{totals['tors']}/{totals['expected_tors']} ToRs up, "
        f"{totals['accepted']} routes accepted, {totals['rejected']} rejected"
    )


def _perfdata(status: Mapping[str, Any]) -> str:
    totals = _totals(status)
    age = status.get("ipam", {}).get("age_seconds")
    figures = [
        f"nodes={totals['nodes']};;;0;{totals['expected_nodes']}",
        f"tors={totals['tors']};;;0;{totals['expected_tors']}",
        f"routes={totals['accepted']};;;0",
        f"rejected={totals['rejected']};;;0",
        f"observed={totals['observed']};;;0",
        f"engine_restarts={totals['restarts']}c",
    ]
    if age is not None:
        figures.append(f"ipam_age={age:.0f}s;;;0")
    return " ".join(figures)
