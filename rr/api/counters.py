"""The figures that the daemon counts as it works, in a registry of their own; `/metrics` shows them too."""

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counters:
    """What only ever grows, and how long things took."""

    def __init__(self, registry: CollectorRegistry) -> None:
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
        self.ipam_errors = Counter(
            "rr_ipam_errors",
            "Readings of an IPAM source that were an error.",
            ["source"],
            registry=registry,
        )
        self.ipam_grants = Counter(
            "rr_ipam_grants",
            "Prefixes that nodes were given, by the source that says so.",
            ["source"],
            registry=registry,
        )
        self.ipam_revocations = Counter(
            "rr_ipam_revocations",
            "Prefixes that nodes lost, by the source that said so last.",
            ["source"],
            registry=registry,
        )
        self.grant_seconds = Histogram(
            "rr_grant_seconds",
            "From a prefix given to a node coming into force until the engine was told, soft reset included.",
            registry=registry,
            buckets=SECONDS,
        )
        self.revoke_seconds = Histogram(
            "rr_revoke_seconds",
            "From a prefix taken away coming into force until the engine was told, soft reset included.",
            registry=registry,
            buckets=SECONDS,
        )
