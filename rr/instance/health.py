"""What is known of one engine: whether it runs, what it enforces, and how often it had to be helped."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from rr.policy.drain import draining
from rr.policy.model import PolicySet


class EngineState(StrEnum):
    """How the engine of an instance is."""

    STARTING = "starting"
    RUNNING = "running"
    DOWN = "down"


class Cause(StrEnum):
    """Why an engine's life ended."""

    DIED = "died"
    HUNG = "hung"
    MEMORY = "memory"
    SETTINGS = "settings"
    ASKED = "asked"


@dataclass(slots=True)
class Health:
    """What is known of the engine and of what it enforces."""

    state: EngineState = EngineState.STARTING
    since: float = field(default_factory=time.time)
    version: str | None = None
    pid: int | None = None
    restarts: int = 0
    ends: Counter[Cause] = field(default_factory=Counter)
    memory: int = 0
    """Bytes that the engine occupies."""
    in_force: bool = False
    policy: PolicySet | None = None
    verified: float | None = None
    problem: str | None = None
    repairs: int = 0
    disagreeing: int = 0
    """Peers about whose routes the engine and the rules disagree, twice in a row."""
    _digested: PolicySet | None = None
    _digest: str | None = None
    changes: int = 0

    @property
    def digest(self) -> str | None:
        """The digest of the policy in force, computed once per policy; a drain does not change it."""
        if self._digested is not self.policy:
            self._digested = self.policy
            self._digest = draining(self.policy, False).digest() if self.policy else None
        return self._digest

    def become(self, state: EngineState) -> None:
        """Enter a state, now."""
        if state is not self.state:
            self.state, self.since = state, time.time()
