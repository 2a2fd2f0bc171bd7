"""What one instance should be, beside what it is: its setting, allocations, and what was decided about it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from rr.config.model import Instance
from rr.continuity.drain import FAREWELL, Drain
from rr.engine.speaker import Plan, closed
from rr.instance.continuity import Continuity
from rr.instance.guarding import Guard
from rr.ipam.allocations import Allocations, diff
from rr.net import Address, Network
from rr.policy.drain import draining
from rr.policy.model import PolicySet
from rr.policy.rules import Rules, Suspension, lent
from rr.view.live import LiveView


@dataclass(frozen=True, slots=True)
class Setting:
    """What an instance should be."""

    instance: Instance
    plan: Plan


class Wants:
    """Takes every change; whoever keeps the engine right looks here each time."""

    def __init__(
        self, name: str, setting: Setting, view: LiveView, continuity: Continuity, guard: Guard
    ) -> None:
        self.name = name
        self.setting = setting
        self.view = view
        self.continuity = continuity
        self.guard = guard
        self.kept_out: frozenset[Address] = frozenset()
        """Addresses from which nobody may dial for now."""
        self.allocated = False
        """Whether allocations were ever known; an adopted engine keeps its policy until they are."""
        self.drain: Drain | None = None
        self.ordered = False
        """Whether the engine's policy is as was decided about serving, and ToRs have been sent everything again."""
        self.resent: float | None = None
        self.emptied = False
        self.suspended: frozenset[Suspension] = frozenset()
        """What is withheld from nodes that reflect routes."""
        self.applied = asyncio.Event()
        """Set whenever the engine holds what is wanted."""
        self.wake = asyncio.Event()
        self.audit = True
        """Whether all that the engine holds is to be looked at next."""

    def configure(self, setting: Setting) -> None:
        """Take another configuration; what differs is applied at once."""
        self.setting = setting
        self.view.rules = Rules(setting.instance, setting.plan.pair)
        if setting.plan.pair is None:
            self.view.lacking = None
        self.audit = True
        self.poke()

    def allocate(self, allocations: Allocations) -> None:
        """Take other allocations; what differs is applied at once."""
        self.allocated = True
        self.view.revoked(iter(diff(self.view.allocations, allocations).revoked))
        self.view.allocations = allocations
        self.poke()

    def maintain(self, drain: Drain | None) -> None:
        """Take what was decided about serving; what differs is applied at once. See `rr.continuity.drain`."""
        self.drain, self.ordered, self.resent, self.emptied = drain, False, None, False
        if self.closed:
            self.continuity.await_nobody()
            self.guard.excuse_everybody()
        self.audit = True
        self.poke()

    @property
    def closed(self) -> bool:
        """Whether nobody may have a session."""
        return self.drain is not None and self.drain.closed

    @property
    def plan(self) -> Plan:
        """What the engine should be, besides its policy."""
        plan = replace(self.setting.plan, kept_out=self.kept_out)
        return closed(plan, FAREWELL) if self.closed else plan

    def keep_out(self, addresses: frozenset[Address]) -> None:
        """Let nobody dial from exactly these addresses."""
        if addresses != self.kept_out:
            self.kept_out = addresses
            self.poke()

    def lend(self, lacking: frozenset[Network]) -> None:
        """Give the other half these prefixes, which it does not get from their nodes."""
        if lacking != self.view.lacking:
            self.view.lacking = lacking
            self.poke()

    def poke(self) -> None:
        """Have the engine compared with what is wanted, now."""
        self.applied.clear()
        self.wake.set()

    def policy(self, reflecting: frozenset[Suspension]) -> Callable[[PolicySet | None], PolicySet]:
        """What the policy should be, given what is held: where no allocations were ever known, what is held stays."""

        def wanted(held: PolicySet | None) -> PolicySet:
            leaving = self.drain is not None and self.drain.on
            if held is not None and not self.allocated:
                return draining(held, leaving)
            lacking = lent(held) if self.view.lacking is None else self.view.lacking
            return self.view.rules.build(self.view.allocations, reflecting, lacking, leaving=leaving)

        return wanted
