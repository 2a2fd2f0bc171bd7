"""Keeps the book on who is kept out: takes blames, decides, says what changes, and remembers it on disk."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from rr.errors import StateError
from rr.guard import quarantine, store
from rr.guard.quarantine import Began, Blame, Book, Case, Ended, Offence, Settings, Step, Suspended
from rr.net import Address
from rr.view import clock

_log = structlog.get_logger(__name__)
Say = Callable[[str, str, str], None]
"""Called with kind, subject and one sentence."""
KIND = "quarantine"


class Warden:
    """Who is kept out, of all instances."""

    def __init__(
        self, state_dir: Path, settings: Settings, say: Say, now: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.state_error: str | None = None
        self.counts: dict[tuple[str, Offence], int] = {}
        """How often nodes were quarantined since the start, by instance and offence."""
        self._path = state_dir / store.FILE
        self._say = say
        self._now = now
        self.book = self._load()
        self._saved: Mapping[quarantine.Key, Case] = self._lasting()

    def _load(self) -> Book:
        try:
            return store.load(self._path)
        except StateError as error:
            self.state_error = str(error)
            self._say(KIND, "state", str(error))
            return Book()

    def blame(self, blames: Iterable[Blame]) -> None:
        """Take note of what nodes did."""
        self.book = quarantine.blame(self.book, self.settings, blames)

    def decide(self, population: Mapping[str, int]) -> None:
        """Keep out and let in again; `population` counts the nodes of each instance."""
        self.book, steps = quarantine.decide(self.book, self.settings, population, self._now())
        for step in steps:
            self._tell(step)

    def _tell(self, step: Step) -> None:
        if isinstance(step, Began):
            case = step.case
            count = self.counts.get((case.instance, step.offence), 0)
            self.counts[case.instance, step.offence] = count + 1
            self._say(KIND, case.subject, f"{case.subject} is quarantined for {step.term:.0f} s: {case.text}")
        elif isinstance(step, Ended):
            why = ": too many nodes would be quarantined for it to be their fault" if step.lifted else ""
            self._say(KIND, step.case.subject, f"{step.case.subject} is let in again{why}")
        elif isinstance(step, Suspended):
            self._say(KIND, step.instance, suspension(step))
        else:
            self._say(KIND, step.instance, f"quarantine works again in {step.instance}")

    def release(self, wanted: str, address: Address | None) -> list[Case]:
        """Let a node in again, by its name or one of its addresses, and forget what it did."""
        found = [
            case
            for case in self.book.kept_out()
            if case.subject == wanted or (address is not None and address in case.addresses)
        ]
        self.book = quarantine.release(self.book, [(case.instance, case.subject) for case in found])
        for case in found:
            self._say(KIND, case.subject, f"{case.subject} is let in again: released by hand")
        return found

    @property
    def unsaved(self) -> bool:
        """Whether who is kept out has changed since it was last written."""
        return self._lasting() != self._saved

    def save(self) -> None:
        """Write who is kept out; a failure is said, and no more."""
        lasting = self._lasting()
        try:
            store.save(self._path, self.book)
        except StateError as error:
            if self.state_error != str(error):
                _log.error(str(error))
            self.state_error = str(error)
        else:
            self._saved, self.state_error = lasting, None

    def _lasting(self) -> Mapping[quarantine.Key, Case]:
        return {key: case for key, case in self.book.cases.items() if case.strikes or case.kept_out}

    def rows(self) -> list[dict[str, Any]]:
        """Who is kept out, as `rrctl quarantine list` shows it."""
        return [
            {
                "instance": case.instance,
                "node": case.subject,
                "addresses": sorted(map(str, case.addresses)),
                "reason": str(case.offence),
                "text": case.text,
                "since": clock.text(case.since),
                "until": clock.text(case.until),
                "strikes": case.strikes,
            }
            for case in sorted(self.book.kept_out(), key=lambda case: (case.instance, case.subject))
        ]


def suspension(step: Suspended) -> str:
    """Why nobody is kept out in an instance, as a sentence."""
    shown = ", ".join(step.subjects[:5]) + (
        f" and {len(step.subjects) - 5} more" if len(step.subjects) > 5 else ""
    )
    return (
        f"nobody is quarantined in {step.instance}: {len(step.subjects)} of {step.population} nodes misbehave "
        f"({shown}), more than {step.limit}, so the fault is hardly theirs; look at the network and at this host"
    )
