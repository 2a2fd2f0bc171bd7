"""The systems that are compared, each behind the same few methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tests.bench.topology import Allocated, Topology


class System(Protocol):
    """A reflector that can be started on a topology and measured."""

    name: str
    dial_window: int
    """How many nodes may wait for its OPEN at once: what its listen backlog bears without loss."""

    has_owners: bool
    """Whether it knows who owns which prefix, so that an allocation can change."""

    resends: bool
    """Whether it sends nodes again what they may lack, so that they can be waited for."""

    def require(self) -> None:
        """BenchError, with the way out, if a program that it needs is missing."""

    def start(self, topology: Topology, folder: Path) -> None:
        """Come up with its policy in force and listening; BenchError if it does not."""

    def restart(self) -> None:
        """Kill the speaker (SIGKILL), and start it again at once where nothing else does; called by another thread."""

    def stop(self) -> None:
        """End everything that was started; harmless when nothing was."""

    def engine(self) -> Sequence[int]:
        """Process ids of the BGP speaker."""

    def controller(self) -> Sequence[int]:
        """Process ids of whatever steers the speaker; empty if nothing does."""

    def allocate(self, allocated: Allocated) -> Callable[[], None] | None:
        """Prepare to have exactly this allocated beyond the start; calling the result is the change itself.

        None: this system has no owners.
        """

    def check_command(self) -> Sequence[str] | None:
        """The health check, None if there is none."""
