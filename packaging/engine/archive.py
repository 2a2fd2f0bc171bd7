"""Debian packages of one suite, fetched with apt but apart from the machine's own apt state.

apt checks the signature of the suite and the hashes of what it downloads. Lists,
cache and configuration live in a directory of our own, so that no root is needed
and nothing of the machine's changes; only its ``Acquire`` settings (proxies,
certificates, retries) are taken over.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from engine.errors import InstallError

SUITE = "sid"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)
TIMEOUT = 600  # seconds for one call of apt
SETTINGS = """
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourceparts "/dev/null";
"""


class Archive:
    """The suite as one mirror offers it."""

    def __init__(self, directory: Path, mirror: str) -> None:
        self.directory = directory
        self.mirror = mirror

    def update(self) -> None:
        """Fetch the suite's package list. Raises InstallError if the mirror does not give it, signed."""
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        self._configure()
        self._apt("apt-get", "update")

    def versions(self, package: str) -> list[str]:
        """The versions on offer, newest first."""
        rows = (line.split("|") for line in self._apt("apt-cache", "madison", package).splitlines())
        return [row[1].strip() for row in rows if len(row) > 2 and row[0].strip() == package]

    def download(self, package: str, version: str, into: Path) -> Path:
        """Fetch one package file into the directory and return its path."""
        self._apt("apt-get", "download", f"{package}={version}", cwd=into)
        files = list(into.glob(f"{package}_*.deb"))
        if len(files) != 1:
            raise InstallError(f"apt-get download {package}={version} left {len(files)} files, expected one")
        return files[0]

    def _configure(self) -> None:
        source = self.directory / "debian.sources"
        fields = {
            "Types": "deb",
            "URIs": self.mirror,
            "Suites": SUITE,
            "Components": "main",
            "Architectures": run(["dpkg", "--print-architecture"]).strip(),
            "Signed-By": str(keyring()),
        }
        _write_private(source, "".join(f"{name}: {value}\n" for name, value in fields.items()))
        own = {
            "Dir::Etc::sourcelist": source,
            "Dir::State::lists": self.directory / "lists",
            "Dir::Cache": self.directory / "cache",
        }
        acquire = [line for line in run(["apt-config", "dump"]).splitlines() if line.startswith("Acquire::")]
        lines = [*acquire, SETTINGS, *(f'{name} "{path}";' for name, path in own.items())]
        _write_private(self.directory / "apt.conf", "\n".join(lines) + "\n")

    def _apt(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.directory / "apt.conf")}
        return run([program, "-q", *arguments], environment=environment, cwd=cwd)


def keyring() -> Path:
    """Debian's archive keyring on this machine. Raises InstallError if it is not installed."""
    for path in KEYRINGS:
        if path.exists():
            return path
    raise InstallError(
        "Debian's archive keyring is missing, so no download can be checked;"
        " install it with: apt-get install debian-archive-keyring"
    )


def unpack(package: Path, into: Path) -> None:
    """Unpack the files of a .deb below ``into``, running none of its scripts."""
    run(["dpkg-deb", "--extract", str(package), str(into)])


def run(command: Sequence[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program and return what it prints. Raises InstallError with its words if it fails."""
    environment = {**(environment or os.environ), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise InstallError(f"{command[0]} is not installed: this is not a Debian system") from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{command[0]} did not finish within {TIMEOUT} s") from error
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        said = " ".join(words) or done.stderr.strip() or f"exit status {done.returncode}"
        raise InstallError(f"{' '.join(command[:3])} failed: {without_credentials(said)}")
    return done.stdout


def without_credentials(text: str) -> str:
    """The text with user names and passwords taken out of its URLs."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read: a proxy's or mirror's URI may carry a password."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
