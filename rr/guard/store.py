"""Who is kept out, on disk: a restart of the controller lets nobody in."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rr import files
from rr.errors import StateError
from rr.guard.quarantine import Book, Case, Offence

FILE = "quarantine.json"
_VERSION = 1


def save(path: Path, book: Book) -> None:
    """Replace the file atomically; raises StateError, and then the old one is still whole."""
    cases = [_written(case) for case in book.cases.values() if case.strikes or case.kept_out]
    try:
        files.save(path, _VERSION, {"cases": cases})
    except OSError as error:
        wrong = f"who is kept out cannot be written to {path} ({error.strerror})"
        raise StateError(wrong, "make room and see that state_dir is writable") from error


def load(path: Path) -> Book:
    """What was saved, nobody when nothing was; raises StateError when the file is unreadable or corrupt."""
    try:
        content = files.load(path, _VERSION)
        cases = [_read(entry) for entry in content["cases"]] if content else []
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(path, "it is corrupt") from error
    return Book({(case.instance, case.subject): case for case in cases})


def _unusable(path: Path, why: str) -> StateError:
    wrong = f"who is kept out, in {path}, cannot be used ({why}), so everybody is let in"
    return StateError(wrong, "nothing to do: whoever does harm again is kept out again")


def _written(case: Case) -> Mapping[str, Any]:
    return {
        "instance": case.instance,
        "subject": case.subject,
        "addresses": sorted(map(str, case.addresses)),
        "strikes": case.strikes,
        "since": case.since,
        "until": case.until,
        "offence": case.offence,
        "text": case.text,
        "released": case.released,
        "known": case.known,
    }


def _read(entry: Mapping[str, Any]) -> Case:
    until = entry["until"]
    return Case(
        instance=str(entry["instance"]),
        subject=str(entry["subject"]),
        addresses=frozenset(map(ip_address, entry["addresses"])),
        strikes=int(entry["strikes"]),
        since=None if until is None else float(entry["since"]),
        until=None if until is None else float(until),
        offence=Offence(entry["offence"]) if entry["offence"] else None,
        text=str(entry["text"]),
        released=float(entry["released"]),
        known=bool(entry["known"]),
    )
