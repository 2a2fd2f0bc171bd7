"""`/metrics`: the appliance's state, read when it is scraped, next to the daemon's own counters.

No label names a node, a peer or a prefix: the number of series grows with racks and instances only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rr.api.appliance import Appliance
from rr.api.health import reasons_not_ready
from rr.api.keys import DRAIN_STATES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """A metric as documented: what it says, its labels, and whether it only grows."""

    help: str
    labels: tuple[str, ...] = ()
    counter: bool = False


FAMILIES: Mapping[str, Family] = {
    "rr_info": Family("Always 1; who this is.", ("name", "version")),
    "rr_start_time_seconds": Family("When rrd started, in seconds since 1970."),
    "rr_ready": Family("1 when every policy is in force and every engine serves, as /readyz says."),
    "rr_problems": Family("Problems that `rrctl check` would name now.", ("severity",)),
    "rr_config_loaded_timestamp_seconds": Family("When the configuration in force was read."),
    "rr_engine_up": Family("1 when the instance's engine runs and answers.", ("instance",)),
    "rr_engine_info": Family("Always 1; the engine's version.", ("instance", "version")),
    "rr_drain_state": Family(
        "How far the instance is drained: 0 serving, 1 draining, 2 closing sessions, 3 drained.",
        ("instance",),
    ),
    "rr_policy_in_force": Family("1 when the engine holds the policy that the rules ask for.", ("instance",)),
    "rr_engine_restarts_total": Family(
        "Times that a running engine ended, whatever the cause, to be started again.",
        ("instance",),
        counter=True,
    ),
    "rr_engine_ends_total": Family(
        "Ends of an engine by cause: died, hung, memory, settings, asked.",
        ("instance", "cause"),
        counter=True,
    ),
    "rr_engine_memory_bytes": Family("Memory that the engine occupies.", ("instance",)),
    "rr_restart_missing_peers": Family(
        "Peers of the engine before this one that have not been back since, and are neither taken out of the IPAM nor "
        "said to be down.",
        ("instance",),
    ),
    "rr_policy_changes_total": Family(
        "Changes of an engine's policy, sets and peers that the rules asked for.", ("instance",), counter=True
    ),
    "rr_policy_repairs_total": Family(
        "Times that an engine was read back, held something else than asked for, and was repaired.",
        ("instance",),
        counter=True,
    ),
    "rr_policy_statements": Family("Statements of the policy in force.", ("instance",)),
    "rr_policy_verified_timestamp_seconds": Family(
        "When the engine's policy was last read back and found right.", ("instance",)
    ),
    "rr_sessions_up": Family("Established sessions.", ("instance", "role")),
    "rr_sessions_expected": Family("Sessions that should be there.", ("instance", "role")),
    "rr_peers": Family("Peers by the state of their session.", ("instance", "rack", "role", "state")),
    "rr_routes": Family("Routes that are announced and accepted now.", ("instance", "kind")),
    "rr_rejected_routes": Family("Routes that are announced and rejected now.", ("instance", "reason")),
    "rr_rack_observed": Family(
        "1 where a rack is only observed: what its nodes announce within bounds passes.", ("instance", "rack")
    ),
    "rr_observed_routes": Family(
        "Routes that pass now only because their rack is observed, by the reason that would reject them.",
        ("instance", "rack", "reason"),
    ),
    "rr_observed_violations_total": Family(
        "Announcements since the start that passed only because their rack is observed, by reason.",
        ("instance", "reason"),
        counter=True,
    ),
    "rr_violations_total": Family(
        "Rejected announcements since the start, by reason.", ("instance", "reason"), counter=True
    ),
    "rr_ipam_age_seconds": Family(
        "0 while the allocations in force are what every source says; else since when they last were.",
        ("source",),
    ),
    "rr_ipam_error": Family("1 when the source could not be read at the last try.", ("source",)),
    "rr_ipam_held": Family(
        "1 when a snapshot of the source is held back by the guard and waits for `rrctl ipam accept` or `reject`.",
        ("source",),
    ),
    "rr_ipam_source_age_seconds": Family(
        "0 while what the source says is in force; else since when it is not, or how old what is known of it is.",
        ("source",),
    ),
    "rr_ipam_source_up": Family("1 while the source answers and can be read.", ("source",)),
    "rr_ipam_source_nodes": Family("Nodes that the source knows, as last believed.", ("source",)),
    "rr_ipam_source_prefixes": Family("Prefixes that the source gives to nodes.", ("source",)),
    "rr_ipam_source_left_out": Family(
        "Things that the source says, nothing can be made of, and that grant nothing.", ("source",)
    ),
    "rr_ipam_conflicts": Family(
        "Things that sources say and that are refused, since somebody else has them."
    ),
    "rr_pair_reachable": Family(
        "1 when the other half of the pair answers over the health channel.", ("pair",)
    ),
    "rr_pair_heard_timestamp_seconds": Family("When the other half last answered.", ("pair",)),
    "rr_pair_differences": Family("Ways in which the halves do not do the same.", ("pair",)),
    "rr_pair_nodes": Family(
        "Nodes by the halves that they have a session with: both, one or none.", ("instance", "sessions")
    ),
    "rr_pair_tors": Family(
        "ToRs by the halves that they have a session with: both, one or none.", ("instance", "sessions")
    ),
    "rr_pair_lent_prefixes": Family(
        "Prefixes that the other half is given because it lacks them.", ("instance",)
    ),
    "rr_pair_certificate_end_timestamp_seconds": Family("When this half's certificate ends.", ("pair",)),
    "rr_ipam_allocations": Family("What the allocations in force hold.", ("kind",)),
    "rr_quarantined_nodes": Family("Nodes that are kept out now.", ("instance",)),
    "rr_quarantine_suspended": Family(
        "1 while so many nodes misbehave that nobody is kept out.", ("instance",)
    ),
    "rr_quarantines_total": Family(
        "Times that a node was quarantined, by reason.", ("instance", "reason"), counter=True
    ),
    "rr_slow_peer_resets_total": Family(
        "Sessions that were reset because the peer did not read.", ("instance",), counter=True
    ),
    "rr_ghosts_removed_total": Family(
        "Peers that connected, had no session, and were forgotten.", ("instance",), counter=True
    ),
}

_Labelled: TypeAlias = list[tuple[Sequence[str], float]]
_Samples: TypeAlias = Mapping[str, Iterable[tuple[Sequence[str], float]]]


class StateCollector(Collector):
    """Reads the appliance at scrape time."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance

    def describe(self) -> Iterable[Metric]:
        """Name the families without asking the appliance, which may not have started yet."""
        return [_family(name) for name in FAMILIES]

    def collect(self) -> Iterator[Metric]:
        """Yield every family with its samples of now."""
        samples = _samples(self._appliance)
        for name in FAMILIES:
            family = _family(name)
            for labels, value in samples.get(name, ()):
                family.add_metric(labels, value)
            yield family


class Metrics:
    """All that `/metrics` shows: the state, the daemon's own counters and its process."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance
        self._registry = CollectorRegistry()
        self._registry.register(StateCollector(appliance))
        # Without this every counter has a second series, for what rr_start_time_seconds says as well.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(namespace="rr", registry=self._registry)

    def page(self) -> bytes:
        """Answer the text exposition format."""
        return generate_latest(self._registry) + generate_latest(self._appliance.registry)


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    family = FAMILIES[name]
    if family.counter:
        return CounterMetricFamily(name, family.help, labels=family.labels)
    return GaugeMetricFamily(name, family.help, labels=family.labels)


def _samples(appliance: Appliance) -> _Samples:
    status, counts = appliance.status(), appliance.counts()
    problems = [problem["severity"] for problem in status["problems"]]
    return {
        "rr_info": [((status["name"], status["version"]), 1)],
        "rr_start_time_seconds": _moment((), status["started"]),
        "rr_ready": [((), not reasons_not_ready(status))],
        "rr_problems": [((severity,), problems.count(severity)) for severity in ("warning", "critical")],
        "rr_config_loaded_timestamp_seconds": _moment((), status["config"].get("loaded")),
        **_instance_samples(status["instances"]),
        **_ipam_samples(status["ipam"]),
        **_source_samples(counts["ipam_sources"]),
        **_pair_samples(status["pair"]),
        "rr_peers": _counted(counts["peers"], "instance", "rack", "role", "state"),
        "rr_routes": _counted(counts["routes"], "instance", "kind"),
        "rr_rejected_routes": _counted(counts["rejected"], "instance", "reason"),
        "rr_violations_total": _counted(counts["violations"], "instance", "reason"),
        "rr_observed_violations_total": _counted(counts["observed_violations"], "instance", "reason"),
        "rr_observed_routes": _counted(counts["observed"], "instance", "rack", "reason"),
        "rr_ipam_allocations": _counted(counts["allocations"], "kind"),
        "rr_quarantines_total": _counted(counts["quarantines"], "instance", "reason"),
        **_guard_samples(counts["guarded"]),
    }


def _instance_samples(instances: Sequence[Mapping[str, Any]]) -> _Samples:
    roles = [(row, role) for row in instances for role in ("nodes", "tors", "pair")]
    return {
        "rr_engine_up": [((row["instance"],), row["engine"]["state"] == "running") for row in instances],
        "rr_engine_info": [
            ((row["instance"], row["engine"]["version"]), 1)
            for row in instances
            if row["engine"].get("version")
        ],
        "rr_drain_state": [
            ((row["instance"],), DRAIN_STATES.index(row["drain"]["state"])) for row in instances
        ],
        "rr_rack_observed": [
            ((row["instance"], rack["rack"]), 1) for row in instances for rack in row["observed"]
        ],
        "rr_policy_in_force": [((row["instance"],), bool(row["policy"]["in_force"])) for row in instances],
        "rr_engine_restarts_total": _figure(instances, "engine", "restarts"),
        "rr_engine_ends_total": [
            ((row["instance"], cause), times)
            for row in instances
            for cause, times in row["engine"]["ends"].items()
        ],
        "rr_engine_memory_bytes": _figure(instances, "engine", "memory"),
        "rr_restart_missing_peers": _figure(instances, "restart", "missing"),
        "rr_policy_changes_total": _figure(instances, "policy", "changes"),
        "rr_policy_repairs_total": _figure(instances, "policy", "repairs"),
        "rr_policy_statements": _figure(instances, "policy", "statements"),
        "rr_policy_verified_timestamp_seconds": [
            sample
            for row in instances
            for sample in _moment((row["instance"],), row["policy"].get("verified"))
        ],
        "rr_sessions_up": [
            ((row["instance"], role.removesuffix("s")), row["sessions"][role]["up"]) for row, role in roles
        ],
        "rr_sessions_expected": [
            ((row["instance"], role.removesuffix("s")), row["sessions"][role]["expected"])
            for row, role in roles
        ],
    }


def _guard_samples(rows: Sequence[Mapping[str, Any]]) -> _Samples:
    figures = {
        "rr_quarantined_nodes": "quarantined",
        "rr_quarantine_suspended": "suspended",
        "rr_slow_peer_resets_total": "slow_resets",
        "rr_ghosts_removed_total": "ghosts",
    }
    return {name: [((row["instance"],), row[key]) for row in rows] for name, key in figures.items()}


def _figure(instances: Sequence[Mapping[str, Any]], part: str, key: str) -> _Labelled:
    return [((row["instance"],), row[part][key] or 0) for row in instances]


def _pair_samples(pair: Mapping[str, Any] | None) -> _Samples:
    if pair is None:
        return {}
    name, instances = (pair["name"],), pair["instances"]
    return {
        "rr_pair_reachable": [(name, pair["reachable"])],
        "rr_pair_heard_timestamp_seconds": _moment(name, pair["heard"]),
        "rr_pair_differences": [(name, len(pair["differences"]))],
        **{
            f"rr_pair_{who}": [
                ((row["instance"], sessions), row[who][sessions])
                for row in instances
                for sessions in ("both", "one", "none")
            ]
            for who in ("nodes", "tors")
        },
        "rr_pair_lent_prefixes": [((row["instance"],), row["lent"]) for row in instances],
        "rr_pair_certificate_end_timestamp_seconds": _moment(name, pair["certificate_ends"]),
    }


def _ipam_samples(ipam: Mapping[str, Any]) -> _Samples:
    source, age = ipam.get("source") or "none", ipam.get("age_seconds")
    return {
        "rr_ipam_age_seconds": [((source,), age)] if age is not None else [],
        "rr_ipam_error": [((source,), bool(ipam.get("error")))],
        "rr_ipam_conflicts": [((), ipam.get("conflicts") or 0)],
    }


def _source_samples(sources: Sequence[Mapping[str, Any]]) -> _Samples:
    return {
        "rr_ipam_held": [((row["source"],), row["state"] == "held") for row in sources],
        "rr_ipam_source_age_seconds": [((row["source"],), row["age_seconds"]) for row in sources],
        "rr_ipam_source_up": [
            ((row["source"],), row["state"] not in ("failing", "silent", "removed")) for row in sources
        ],
        "rr_ipam_source_nodes": [((row["source"],), row["nodes"]) for row in sources],
        "rr_ipam_source_prefixes": [((row["source"],), row["prefixes"]) for row in sources],
        "rr_ipam_source_left_out": [((row["source"],), row["left_out"]) for row in sources],
    }


def _counted(rows: Iterable[Mapping[str, Any]], *labels: str) -> _Labelled:
    return [([str(row[label] or "") for label in labels], row["count"]) for row in rows]


def _moment(labels: Sequence[str], time: str | None) -> _Labelled:
    return [(labels, datetime.fromisoformat(time).timestamp())] if time else []
