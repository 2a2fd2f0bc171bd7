"""What every ToR and node has been sent since the beginning, and what it should never have been sent.

The ledger is fed by the speakers' own streams, all the time: a route that appears for a moment is caught.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rr.demo.errors import DemoError
from rr.demo.plan import Plan, Route
from rr.demo.speaker import Heard
from rr.net import Network


@dataclass(frozen=True, slots=True)
class Leak:
    """A route that a listener was sent although the allocations of that moment do not allow it there."""

    listener: str
    route: Route

    def __str__(self) -> str:
        return f"{self.route} at {self.listener}"


EXCHANGE_SECONDS = 0.25
"""How long a path may be missing while paths change places: they come in one burst, in a few milliseconds."""


@dataclass(slots=True)
class Absence:
    """A route that went from a listener's table although the allocations give it the route."""

    listener: str
    route: Route
    gone: float
    """Seconds of the monotonic clock."""
    replaced: bool
    """Another path came in its place, under its path identifier (RFC 7911); nobody withdrew or flushed it."""
    back: float = math.inf
    """When the route was there again."""

    def __str__(self) -> str:
        return f"{self.route} at {self.listener}"

    @property
    def seconds(self) -> float:
        """How long it was missing."""
        return self.back - self.gone

    @property
    def exchange(self) -> bool:
        """Whether it only changed its place: a restarted engine gives out path identifiers anew."""
        return self.replaced and self.seconds < EXCHANGE_SECONDS


class Ledger:
    """The tables of all listeners, as heard; `plan` says what is allowed now."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.leaks: set[Leak] = set()
        self._absences: list[Absence] = []
        self.on_change: Callable[[str, Route, bool], None] = lambda listener, route, added: None
        self._held: dict[str, dict[tuple[Network, int], Route]] = {}
        self._last: dict[tuple[str, Route], float] = {}
        self._news = asyncio.Event()

    def hear(self, listener: str, news: Iterable[Heard]) -> None:
        """Note what `listener` was just sent."""
        table = self._held.setdefault(listener, {})
        for heard in news:
            key = heard.prefix, heard.path_id
            held = set(table.values())
            before = table.pop(key, None)
            if heard.next_hop is not None:
                route = table[key] = Route(heard.prefix, heard.next_hop)
                # What it holds and is sent again may have been on its way when the allocations changed.
                if route not in held and route not in self.plan.held_by(listener):
                    self.leaks.add(Leak(listener, route))
                if route != before:
                    self._note(listener, route, heard.at, added=True)
            if before is not None and before not in table.values():
                self._note(listener, before, heard.at, added=False)
                if before in self.plan.held_by(listener):
                    replaced = heard.next_hop is not None
                    self._absences.append(Absence(listener, before, heard.at, replaced))
        self._news.set()

    def routes(self, listener: str) -> frozenset[Route]:
        """What `listener` holds now."""
        return frozenset(self._held.get(listener, {}).values())

    def changed_at(self, listener: str, route: Route) -> float:
        """When `route` last appeared at or went from `listener` (seconds of the monotonic clock)."""
        return self._last[listener, route]

    def removed_at_tors(self, since: float, until: float = math.inf) -> list[Absence]:
        """What the ToRs lost in that time (monotonic seconds) of the routes that they should hold.

        A route that a ToR keeps while the appliance restarts (RFC 4724) is not lost; one that it had to flush is.
        """
        return [a for a in self._at_tors(since, until) if not a.exchange]

    def longest_exchange_at_tors(self, since: float) -> float:
        """For how many seconds, at most, a ToR lacked a path since then because it changed its identifier."""
        return max((a.seconds for a in self._at_tors(since, math.inf) if a.exchange), default=0.0)

    def _at_tors(self, since: float, until: float) -> list[Absence]:
        tors = {tor.name for tor in self.plan.tors}
        return [a for a in self._absences if a.listener in tors and since <= a.gone < until]

    def held_of(self, plan: Plan) -> int:
        """How many of the routes of `plan` the ToRs hold now."""
        return sum(len(self.routes(tor.name) & plan.held_by(tor.name)) for tor in plan.tors)

    def paths_of(self, prefix: Network) -> int:
        """The number of paths of `prefix` at the ToR that has the fewest."""
        return min(sum(route.prefix == prefix for route in self.routes(tor.name)) for tor in self.plan.tors)

    def lacking(self, listeners: Iterable[str]) -> str | None:
        """How the listeners' tables first differ from the plan, as a sentence; None if they do not."""
        for listener in listeners:
            planned, held = self.plan.held_by(listener), self.routes(listener)
            if missing := sorted(planned - held, key=str):
                return f"{listener} lacks {missing[0]}" + _more(len(missing) - 1)
            if surplus := sorted(held - planned, key=str):
                return f"{listener} still holds {surplus[0]}" + _more(len(surplus) - 1)
        return None

    def refuse_leaks(self) -> None:
        """DemoError if anything was ever sent to where it does not belong."""
        if self.leaks:
            raise DemoError(f"leaked against the allocations: {shortened(map(str, self.leaks))}")

    async def until(self, lack: Callable[[], str | None], seconds: float) -> None:
        """Wait until `lack` returns None; DemoError after `seconds`, or at the first leak."""
        deadline = time.monotonic() + seconds
        while sentence := lack():
            self.refuse_leaks()
            self._news.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                raise DemoError(f"after {seconds:.0f} s {sentence}") from None

    async def until_as_planned(self, listeners: Iterable[str], seconds: float) -> None:
        """Wait until the listeners hold exactly what they should."""
        names = tuple(listeners)
        await self.until(lambda: self.lacking(names), seconds)

    def _note(self, listener: str, route: Route, at: float, *, added: bool) -> None:
        self._last[listener, route] = at
        for absence in self._absences if added else ():
            if (absence.listener, absence.route, absence.back) == (listener, route, math.inf):
                absence.back = at
        self.on_change(listener, route, added)


def shortened(items: Iterable[str]) -> str:
    """The first few of them in their order, and how many more there are."""
    listed = sorted(items)
    return "; ".join(listed[:3]) + _more(len(listed) - 3)


def _more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""
