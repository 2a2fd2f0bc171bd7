"""Which engines there are to be: rrd lists them, and a unit with the right to do so starts and stops theirs.

rrd itself may not speak to systemd. It writes RUN_DIR/rrd.instances whenever that changes; rr-engines.path sees it, and
rr-engines.service runs `main` here as root. An engine that an operator stopped stays stopped until the list changes, or
rr.target is started: the list is written only where it differs.
"""

import re
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from rr import files

FILE = "rrd.instances"
_UNIT = re.compile(r"rr-engine@(.+)\.service")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LONGEST = 1 << 16
"""Bytes of the list that are read; it comes from a user with fewer rights."""


def write(run_dir: Path, names: Iterable[str]) -> None:
    """List the instances, one name a line, if the list says something else. Raises OSError."""
    file, text = run_dir / FILE, "".join(f"{name}\n" for name in sorted(names)).encode()
    if not file.exists() or file.read_bytes() != text:
        files.replace(file, text)


def read(file: Path) -> list[str]:
    """The names that are listed. Whatever could be something else in the name of a unit is left out."""
    with file.open("rb") as opened:
        lines = opened.read(_LONGEST).decode(errors="replace").splitlines()
    return [line for line in lines if _NAME.fullmatch(line)]


def unit(name: str) -> str:
    """The unit of an instance's engine."""
    return f"rr-engine@{name}.service"


def superfluous(units: Iterable[str], names: Collection[str]) -> list[str]:
    """Of the engines' units, those whose instance is not listed."""
    found = ((name, _UNIT.fullmatch(name)) for name in units)
    return [name for name, match in found if match and match[1] not in names]


def main() -> None:
    """Have systemd run the engines that are listed, and no other: `instances.py FILE`."""
    names = read(Path(sys.argv[1]))
    listed = _systemctl("list-units", "--plain", "--no-legend", "--full", "rr-engine@*.service")
    for verb, units in (
        ("stop", superfluous((line.split()[0] for line in listed.splitlines() if line), names)),
        ("start", [unit(name) for name in names]),
    ):
        if units:
            _systemctl(verb, "--no-block", "--", *units)


def _systemctl(*arguments: str) -> str:
    return subprocess.run(
        ["/usr/bin/systemctl", *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


if __name__ == "__main__":
    main()
