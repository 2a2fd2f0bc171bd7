"""A cgroup of its own for a machine, in every hierarchy of the host (v1, v2 or both).

Without one, two machines' systemd would write into the same groups.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.lab.network import RUN_PREFIX
from tests.lab.wait import eventually

UNUSABLE = ("cpuset",)
"""Hierarchies whose groups take no process before they are given CPUs and memory nodes."""


class Cgroup:
    """The groups called `name`, below those that the tests themselves are in."""

    def __init__(self, name: str) -> None:
        self.folders = [parent / name for parent in own_groups()]
        for folder in self.folders:
            folder.mkdir(exist_ok=True)

    @property
    def joins(self) -> list[Path]:
        """Files to which a process writes its pid to be in these groups."""
        return [folder / "cgroup.procs" for folder in self.folders]

    def remove(self) -> None:
        """Remove them, and all that the machine made below; its processes must have ended."""
        for folder in self.folders:
            eventually(partial(remove, folder), 5, f"{folder} is empty")


def remove(folder: Path) -> bool:
    """Remove a group with those below it, and tell whether it is gone."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)
    return not folder.exists()


def sweep() -> list[str]:
    """Remove whatever groups of this run's machines are left, and return them. Normally there are none."""
    left = [group for parent in own_groups() for group in parent.glob(f"{RUN_PREFIX}*")]
    return [str(group) for group in left if remove(group)]


def own_groups() -> Iterator[Path]:
    """This process's own group in each hierarchy, as a folder."""
    mounts = {options: Path(where) for where, options in _mounts()}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in UNUSABLE and (mount := mounts.get(controllers)) is not None:
            yield mount / path.lstrip("/")


def v1_controllers() -> list[str]:
    """The v1 hierarchies that have a controller, as folders below /sys/fs/cgroup."""
    usable = [
        where for where, name in _mounts() if name and not name.startswith("name=") and name not in UNUSABLE
    ]
    return [Path(where).name for where in usable]


def _mounts() -> Iterator[tuple[str, str]]:
    """Where each hierarchy is mounted, and how /proc/self/cgroup calls it: "" is v2's name."""
    groups = Path("/proc/self/cgroup").read_text().splitlines()
    names = {frozenset(name.split(",")): name for name in (line.split(":")[1] for line in groups)}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, _, what = line.partition(" - ")
        kind, _, options = what.split(" ", 2)
        where = place.split()[4]
        if kind == "cgroup2":
            yield where, ""
        elif kind == "cgroup":
            yield from (
                (where, name) for words, name in names.items() if name and words <= set(options.split(","))
            )
