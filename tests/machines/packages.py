"""Other versions of the appliance's package, to upgrade to."""

import re
import tempfile
from pathlib import Path

from tests.lab.process import run

PACK_SECONDS = 120


def another(package: Path, folder: Path, version: str, *, daemon: str = "", validation: str = "") -> Path:
    """The same package under another version.

    `daemon` is a statement with which its controller begins, `validation` one with which the reading of rr.yaml does.
    """
    with tempfile.TemporaryDirectory(prefix="rr-another-") as scratch:
        tree = Path(scratch, "tree")
        run(["dpkg-deb", "--raw-extract", package, tree])
        _replace(tree / "DEBIAN/control", r"(?m)^Version: .*$", f"Version: {version}")
        code = tree / "usr/lib/rr-appliance/rr"
        _replace(code / "__init__.py", r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"')
        if daemon:
            _replace(code / "daemon.py", r"(?m)^def main\(.*$", rf"\g<0>\n    {daemon}")
        if validation:
            _replace(code / "config/load.py", r"(?m)^def _load\(.*$", rf"\g<0>\n    {validation}")
        made = (
            folder
            / f"rr-appliance_{version}_{run(['dpkg-deb', '--field', package, 'Architecture']).strip()}.deb"
        )
        run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made], timeout=PACK_SECONDS)
    return made


def _replace(file: Path, pattern: str, by: str) -> None:
    text, found = re.subn(pattern, by, file.read_text(), count=1)
    assert found, f"{file} has nothing like {pattern}"
    file.write_text(text)
