"""What a source says at one moment: a snapshot, or why there is none."""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, field

from rr.errors import ProblemsError, RRError
from rr.ipam.allocations import Allocations


@dataclass(frozen=True, slots=True)
class Found:
    """What a source's answer means."""

    allocations: Allocations
    left_out: tuple[str, ...] = ()
    """A sentence about each thing in it that nothing can be made of, and that grants nothing."""
    mistakes: tuple[str, ...] = ()
    """Those of them that are wrong, and not just unfinished or nobody's: somebody should put them right."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Either `allocations` or `error` is set. `time` is in seconds since the epoch."""

    source: str
    allocations: Allocations | None = None
    error: RRError | None = None
    time: float = field(default_factory=clock.time)
    left_out: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()
    """Both as in `Found`."""

    @property
    def trouble(self) -> str | None:
        """The error in one line: the first problem, and how many more there are."""
        if self.error is None:
            return None
        problems = self.error.problems if isinstance(self.error, ProblemsError) else ()
        more = len(problems) - 1
        first = str(problems[0]) if problems else str(self.error)
        return f"{first} (and {more} more problem{'s' if more > 1 else ''})" if more > 0 else first
