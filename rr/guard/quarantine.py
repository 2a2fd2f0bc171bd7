"""Who is kept out, and for how long: a pure function of what nodes did and of the time.

A node that does harm is kept out for a term that doubles each time. Where many nodes seem to do harm at once, the
fault is not theirs but ours or the network's: then nobody is kept out, and that is said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from rr.net import Address


class Offence(StrEnum):
    """What a node can do that hurts others."""

    MAX_PREFIXES = "max-prefixes"
    FLAPPING = "flapping"
    CHURN = "churn"
    GARBAGE = "garbage"
    SLOW = "slow"


OFFENCES: Mapping[Offence, str] = {
    Offence.MAX_PREFIXES: "it announced more prefixes than its rack's `max_prefixes`",
    Offence.FLAPPING: "its session was lost again and again",
    Offence.CHURN: "its routes changed all the time",
    Offence.GARBAGE: "it sent messages that are no BGP",
    Offence.SLOW: "it did not read what it was sent, again and again",
}
ENOUGH: Mapping[Offence, int] = {
    Offence.MAX_PREFIXES: 1,
    Offence.CHURN: 1,
    Offence.GARBAGE: 3,
    Offence.SLOW: 3,
}
"""How often within the window is enough; how often a session may be lost is configured."""
STRANGERS = 64
"""Peers of one instance that no node has and that are kept out at once at most: each costs half a megabyte."""
_LONGEST_EXPONENT = 40


class Settings(Protocol):
    """`rr.config.model.Quarantine`, or anything like it. Times are in seconds."""

    @property
    def enabled(self) -> bool:
        """Whether anybody is ever kept out."""
        ...

    @property
    def session_losses(self) -> int:
        """How many losses of a session within the window are enough."""
        ...

    @property
    def window(self) -> int:
        """How long an offence counts."""
        ...

    @property
    def first(self) -> int:
        """How long a node is kept out the first time."""
        ...

    @property
    def longest(self) -> int:
        """How long at most; and the time of good behaviour after which one quarantine is forgotten."""
        ...

    @property
    def max_share(self) -> float:
        """The share of an instance's nodes above which nobody is kept out."""
        ...


@dataclass(frozen=True, slots=True)
class Blame:
    """One thing that a node did. Times are in seconds since the epoch."""

    instance: str
    subject: str
    """The node's name, or the address of a peer that no node has."""
    addresses: frozenset[Address]
    """All addresses from which it may dial."""
    offence: Offence
    text: str
    """What it did, with the figures, as a part of a sentence."""
    time: float
    known: bool = True
    """Whether the IPAM has this node."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is held against one node in one instance."""

    instance: str
    subject: str
    addresses: frozenset[Address] = frozenset()
    seen: Mapping[Offence, tuple[float, ...]] = field(default_factory=dict)
    """When it did what; only what still counts."""
    said: Mapping[Offence, str] = field(default_factory=dict)
    strikes: int = 0
    """How often it was kept out and has not made good for."""
    since: float | None = None
    until: float | None = None
    """While it is kept out: since and until when."""
    offence: Offence | None = None
    text: str = ""
    """Why it is, or last was, kept out."""
    released: float = 0.0
    """When it was last let in again."""
    known: bool = True
    """Whether the IPAM has this node."""

    @property
    def kept_out(self) -> bool:
        """Whether it is kept out now."""
        return self.until is not None


Key = tuple[str, str]
"""Instance and subject."""


@dataclass(frozen=True, slots=True)
class Began:
    """A node is kept out from now on, for `term` seconds."""

    case: Case
    offence: Offence
    term: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A node is let in again; `lifted` where that is because too many would be kept out."""

    case: Case
    lifted: bool = False


@dataclass(frozen=True, slots=True)
class Suspended:
    """Too many nodes of an instance seem to do harm: nobody is kept out for it."""

    instance: str
    subjects: tuple[str, ...]
    limit: int
    population: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """No longer so."""

    instance: str


Step = Began | Ended | Suspended | Resumed


@dataclass(frozen=True, slots=True)
class Book:
    """All that is held against nodes."""

    cases: Mapping[Key, Case] = field(default_factory=dict)
    suspended: Mapping[str, Suspended] = field(default_factory=dict)
    """By instance: where nobody is kept out, since it would be too many."""

    def kept_out(self, instance: str | None = None) -> list[Case]:
        """The nodes that are kept out now, of one instance or of all."""
        return [c for c in self.cases.values() if c.kept_out and instance in (None, c.instance)]


def blame(book: Book, settings: Settings, blames: Iterable[Blame]) -> Book:
    """Note what nodes did. What a node did while it is kept out does not count: it is closed already."""
    cases = dict(book.cases)
    for one in blames:
        key = (one.instance, one.subject)
        case = cases.get(key) or Case(one.instance, one.subject)
        if case.kept_out:
            continue
        times = (*case.seen.get(one.offence, ()), one.time)[-_enough(one.offence, settings) :]
        cases[key] = replace(
            case,
            addresses=one.addresses,
            known=one.known,
            seen={**case.seen, one.offence: times},
            said={**case.said, one.offence: one.text},
        )
    return replace(book, cases=cases)


def decide(
    book: Book, settings: Settings, population: Mapping[str, int], now: float
) -> tuple[Book, list[Step]]:
    """Say who is kept out from now on and who no longer; `population` counts the nodes of each instance."""
    steps: list[Step] = []
    cases = {key: _aged(case, settings, now) for key, case in book.cases.items()}
    for key, case in cases.items():
        if case.until is not None and (case.until <= now or not settings.enabled):
            cases[key] = _let_in(case, now)
            steps.append(Ended(case))
    suspended = dict(book.suspended)
    for instance in {*population, *suspended, *(c.instance for c in cases.values())}:
        steps += _judge(instance, cases, suspended, settings, population.get(instance, 0), now)
    kept = {key: case for key, case in cases.items() if case.kept_out or case.strikes or case.seen}
    return Book(kept, suspended), steps


def release(book: Book, keys: Iterable[Key]) -> Book:
    """Let nodes in again and forget all that is held against them."""
    gone = set(keys)
    return replace(book, cases={key: case for key, case in book.cases.items() if key not in gone})


def term(strikes: int, settings: Settings) -> float:
    """How long a node is kept out when that happens for the `strikes`-th time, in seconds."""
    return float(min(settings.longest, settings.first * 2 ** min(strikes - 1, _LONGEST_EXPONENT)))


def limit(population: int, settings: Settings) -> int:
    """How many nodes of an instance may be kept out at once."""
    return max(1, int(population * settings.max_share))


def _enough(offence: Offence, settings: Settings) -> int:
    return ENOUGH.get(offence, settings.session_losses)


def _aged(case: Case, settings: Settings, now: float) -> Case:
    """What is older than the window counts no more, and good behaviour makes good for earlier terms."""
    oldest = now - settings.window
    # A clock that was set back must not keep anything for ever.
    seen = {
        o: kept for o, times in case.seen.items() if (kept := tuple(t for t in times if oldest < t <= now))
    }
    case = replace(case, seen=seen)
    if case.until is not None:
        return replace(case, until=min(case.until, now + settings.longest))
    good = now - case.released
    forgotten = int(good // settings.longest) if case.strikes and good > 0 else 0
    if not forgotten:
        return case
    return replace(
        case, strikes=max(0, case.strikes - forgotten), released=case.released + forgotten * settings.longest
    )


def _judge(
    instance: str,
    cases: dict[Key, Case],
    suspended: dict[str, Suspended],
    settings: Settings,
    population: int,
    now: float,
) -> Iterable[Step]:
    own = [case for case in cases.values() if case.instance == instance]
    yield from _judge_strangers([case for case in own if not case.known], cases, settings, now)
    involved = [case for case in own if case.known and (case.kept_out or _is_suspect(case, settings))]
    most = limit(population, settings)
    if settings.enabled and len(involved) > most:
        yield from _suspend(instance, involved, cases, suspended, most, population, settings, now)
        return
    if suspended.pop(instance, None):
        yield Resumed(instance)
    for case in involved:
        yield from _judge_one(case, cases, settings, now)


def _judge_strangers(
    strangers: list[Case], cases: dict[Key, Case], settings: Settings, now: float
) -> Iterable[Step]:
    """Peers that no node has own no route: keeping them out hurts nobody, and many of them can be one host's."""
    room = STRANGERS - sum(case.kept_out for case in strangers)
    guilty = [case for case in strangers if not case.kept_out and _guilty_of(case, settings)]
    for case in guilty[: max(0, room)]:
        yield from _judge_one(case, cases, settings, now)


def _judge_one(case: Case, cases: dict[Key, Case], settings: Settings, now: float) -> Iterable[Step]:
    offence = _guilty_of(case, settings)
    if settings.enabled and offence and not case.kept_out:
        kept_out = _keep_out(case, offence, settings, now)
        cases[case.instance, case.subject] = kept_out
        yield Began(kept_out, offence, term(kept_out.strikes, settings))


def _suspend(
    instance: str,
    involved: list[Case],
    cases: dict[Key, Case],
    suspended: dict[str, Suspended],
    most: int,
    population: int,
    settings: Settings,
    now: float,
) -> Iterable[Step]:
    """Keep nobody out; and let those in again who were kept out for what looks like the same event."""
    for case in involved:
        if case.since is not None and case.since > now - settings.window:
            # What it did still counts, or this would be over at once.
            cases[instance, case.subject] = replace(case, since=None, until=None, strikes=case.strikes - 1)
            yield Ended(case, lifted=True)
    step = Suspended(instance, tuple(sorted(case.subject for case in involved)), most, population)
    if instance not in suspended:
        yield step
    suspended[instance] = step


def _is_suspect(case: Case, settings: Settings) -> bool:
    """Whether a node is half way to being kept out."""
    return any(2 * len(times) >= _enough(offence, settings) for offence, times in case.seen.items())


def _guilty_of(case: Case, settings: Settings) -> Offence | None:
    found = (o for o in Offence if len(case.seen.get(o, ())) >= _enough(o, settings))
    return next(found, None)


def _keep_out(case: Case, offence: Offence, settings: Settings, now: float) -> Case:
    strikes = case.strikes + 1
    return replace(
        case,
        strikes=strikes,
        since=now,
        until=now + term(strikes, settings),
        offence=offence,
        text=case.said.get(offence, OFFENCES[offence]),
    )


def _let_in(case: Case, now: float) -> Case:
    return replace(case, since=None, until=None, seen={}, said={}, released=now)
