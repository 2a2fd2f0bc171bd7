"""Every error that this project raises on purpose, at a glance.

    RRError                    .wrong says what is wrong, .right what would be right (the way out)
    ├── ProblemsError          a document with mistakes: .problems, all of them, sorted by position
    │   ├── ConfigError        rr.yaml
    │   └── AllocationsError   allocations, from a file or another IPAM source
    ├── SecretError            a password or token file that is missing, empty, too long or open to others
    ├── SourceError            a source of allocations that cannot be asked, or answers something else
    ├── StateError             a file in state_dir that cannot be read or written
    ├── EngineError            something between the controller and a gobgpd
    │   ├── EngineMissing      no gobgpd on this host
    │   ├── EngineTooOld       a gobgpd that this version does not drive (also: too new)
    │   ├── EngineUnavailable  it does not answer, or not in time: worth another try
    │   └── EngineRefused      it answered no, or the request would have crashed it: no use to try again
    ├── FarSideError           a ToR or node that cannot be configured the way rr.yaml asks for
    └── ControllerUnavailable  rrctl found no rrd at its socket

`str()` of each is text for a person: one sentence per problem, with the way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter


class RRError(Exception):
    """The base of all: `except RRError` at the outer edge prints a sentence, everything else is a bug."""

    def __init__(self, wrong: str, right: str = "") -> None:
        super().__init__(wrong, right)
        self.wrong = wrong
        self.right = right

    def __str__(self) -> str:
        return f"{self.wrong}; {self.right}" if self.right else self.wrong


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a document: where it is, what is wrong, what would be right.

    `line` and `column` count from 1; line 0 means the file as a whole. `key` is the full dotted key
    with list indexes from 0 (`instances.main.racks.rack-1.tors[0].address`), empty for the whole document.
    """

    file: str
    line: int
    column: int
    key: str
    wrong: str
    right: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        parts = [part for part in (place, self.key) if part]
        sentence = f"{self.wrong}; {self.right}" if self.right else self.wrong
        return ": ".join([*parts, sentence])

    def as_dict(self) -> dict[str, str | int]:
        """The same as a JSON object, with stable keys."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "key": self.key,
            "wrong": self.wrong,
            "right": self.right,
            "text": str(self),
        }


class ProblemsError(RRError):
    """A document that is refused as a whole; `problems` holds every mistake that was found, by position."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        ordered = sorted(set(problems), key=attrgetter("file", "line", "column", "key", "wrong"))
        self.problems: tuple[Problem, ...] = tuple(ordered)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[ProblemsError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class ConfigError(ProblemsError):
    """rr.yaml cannot be used; nothing of it is applied."""


class AllocationsError(ProblemsError):
    """Allocations cannot be used; the last good ones stay in force."""


class SecretError(RRError):
    """A password file that is missing, empty, unreadable, too long, or readable by others."""


class SourceError(RRError):
    """A source of allocations cannot be asked, or answers something else; the last good ones stay in force."""


class StateError(RRError):
    """A file in state_dir that cannot be read or written; the controller goes on without it."""


class EngineError(RRError):
    """Something went wrong between the controller and an engine (gobgpd)."""


class EngineMissing(EngineError):
    """No gobgpd was found on this host."""


class EngineTooOld(EngineError):
    """The gobgpd found is of a version that this controller does not drive."""


class EngineUnavailable(EngineError):
    """The engine does not answer, or not in time; another try may succeed."""


class EngineRefused(EngineError):
    """The engine refused the request, or would have crashed over it; another try will not help."""


class FarSideError(RRError):
    """No configuration of a ToR or a node's agent does what rr.yaml asks of it, or names what is asked for."""


class ControllerUnavailable(RRError):
    """Nothing answers at the controller's socket."""
