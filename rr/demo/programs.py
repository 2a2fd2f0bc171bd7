"""Find the programs of this installation that the demo runs."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from rr.demo.errors import DemoError


def sibling(name: str) -> str:
    """The program `name` of this same installation (a virtual environment, /usr/bin). DemoError if none."""
    for folder in (Path(sys.argv[0]).resolve().parent, Path(sys.executable).parent):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    if found := shutil.which(name):
        return found
    raise DemoError(f"{name} is not installed next to {sys.argv[0]}; `make venv` installs it")


def typed(program: str) -> str:
    """How to type the program's path here: its name if PATH finds it, a relative path, or all of it."""
    path = Path(program)
    if shutil.which(path.name) == program:
        return path.name
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def gobgp_beside(gobgpd: str) -> str | None:
    """The gobgp command line that came with this gobgpd, or the one on PATH; None if there is none."""
    beside = Path(gobgpd).with_name("gobgp")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("gobgp")
