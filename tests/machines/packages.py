"""The package of the appliance for machines to install."""

import os
import subprocess
import sys
from pathlib import Path

from tests.lab.process import CommandFailed

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 300


def build(folder: Path) -> Path:
    """Build the package of the sources as they are; RR_PACKAGE names one that is built already."""
    if built := os.environ.get("RR_PACKAGE"):
        return Path(built)
    words = [sys.executable, str(ROOT / "packaging" / "deb.py"), str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"the package cannot be built: {done.stderr[-3000:]}")
    return Path(done.stdout.strip())
