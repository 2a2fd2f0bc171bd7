"""What the demo counts: the numbers of `rrctl demo --once --json`."""

from dataclasses import asdict, dataclass

HIJACKS = 3


@dataclass(slots=True)
class Counts:
    """The demo's result. A route is one path: a prefix with one next hop, at one ToR."""

    expected: int
    """Routes that the ToRs together should hold at the end."""
    accepted: int = 0
    """Those of them that the ToRs do hold at the end."""
    rejected: int = 0
    """Hijack announcements (there are 3) that the appliance rejected and lists as violations."""
    leaked: int = 0
    """Routes that a ToR or another node was sent at any time against the allocations."""
    vip_paths: int = 0
    """Paths of the virtual IP at the ToR that has the fewest (each of the 6 nodes announces it)."""
    grant_ms: float | None = None
    """Milliseconds from the allocations file that gives a PodCIDR to its route at the ToR."""
    revoke_ms: float | None = None
    """Milliseconds from the allocations file that takes it away to the withdrawal at the ToR."""

    restart_removed: int | None = None
    """Routes that the ToRs lost when the engine was killed, none of which they should lose."""
    restart_seconds: float | None = None
    """Seconds from that kill until every session was back and nobody kept a stale route."""
    controller_removed: int | None = None
    """Routes that the ToRs lost while the controller was killed and came back."""

    def as_dict(self) -> dict[str, int | float | None]:
        """The JSON object."""
        return asdict(self)

    def complete(self, vip_paths: int) -> bool:
        """True if nothing leaked, nothing is missing, and nothing was lost on the way."""
        return (
            self.leaked == 0
            and self.accepted == self.expected
            and self.rejected == HIJACKS
            and self.vip_paths == vip_paths
            and self.grant_ms is not None
            and self.revoke_ms is not None
            and self.restart_removed == 0
            and self.restart_seconds is not None
            and self.controller_removed == 0
        )
