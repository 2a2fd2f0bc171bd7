"""The figures that the daemon counts as it works, in a registry of their own; `/metrics` shows them too."""

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counters:
    """What only ever grows, and how long things took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.policy_changes = Counter(
            "rr_policy_changes",
            "Changes of an engine's policy that the rules asked for.",
            ["instance"],
            registry=registry,
        )
        self.policy_repairs = Counter(
            "rr_policy_repairs",
            "Differences found when an engine was read back, and repaired.",
            ["instance"],
            registry=registry,
        )
        self.engine_restarts = Counter(
            "rr_engine_restarts",
            "Times that an engine was started again after it died or hung.",
            ["instance"],
            registry=registry,
        )
        self.config_reloads = Counter(
            "rr_config_reloads",
            "Reloads of the configuration by result: applied, unchanged or refused.",
            ["result"],
            registry=registry,
        )
        self.ipam_readings = Counter(
            "rr_ipam_readings",
            "Readings of an IPAM source by result: good or error.",
            ["source", "result"],
            registry=registry,
        )
        self.grant_seconds = Histogram(
            "rr_grant_seconds",
            "From the reading that gives a node a prefix until the engine was told, soft reset included.",
            registry=registry,
            buckets=SECONDS,
        )
        self.revoke_seconds = Histogram(
            "rr_revoke_seconds",
            "From the reading that takes a prefix away until the engine was told, soft reset included.",
            registry=registry,
            buckets=SECONDS,
        )

    def know_instance(self, instance: str) -> None:
        """Let the instance's counters exist at zero, so that a rate over their first step is seen."""
        for counter in (self.policy_changes, self.policy_repairs, self.engine_restarts):
            counter.labels(instance=instance)
