"""The file system that every machine starts from: plain Debian, made once by debootstrap and kept between runs.

`python -m tests.machines` makes it ahead of the tests (about a minute) and says where it is. It lies in
$XDG_CACHE_HOME or /var/cache, under a name with the digest of its recipe: a changed recipe is another base.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.archive import keyring
from engine.sources import debian_mirrors
from tests.lab.process import CommandFailed, run

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd"),
    *("python3", "python3-apt", "sudo", "openssh-server", "ca-certificates"),
    *("iproute2", "iputils-ping", "procps"),
)
"""What an installed server has before anybody deploys to it. Nothing that the appliance's packages bring."""

EMPTIED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
)
"""Folders without whose contents a machine is the same, and smaller."""

HOST_KEYS = [f"ssh_host_{kind}_key{end}" for kind in ("rsa", "ecdsa", "ed25519") for end in ("", ".pub")]
CLONED = ("var/lib/dbus/machine-id", *(f"etc/ssh/{key}" for key in HOST_KEYS))
"""What two machines must not share."""

FINISH = 1
"""To be counted up with every change of `_finish`."""

BUILD_SECONDS = 600


def cache() -> Path:
    """The folder that outlives the runs; made if it is absent."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "rr-appliance-machines"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def digest() -> str:
    """Of the recipe: what the base is called, so that a changed recipe is made anew."""
    recipe = json.dumps([SUITE, PACKAGES, EMPTIED, CLONED, FINISH])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def finished() -> Path:
    """Where the base is once it is made."""
    return cache() / f"base-{digest()}"


def base() -> Path:
    """The base's folder, made first if need be; nobody writes to it.

    Raises CommandFailed with debootstrap's words, or NoMirror on a host that is no Debian.
    """
    folder, target = cache(), finished()
    with _alone(folder):
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
                root = Path(making, "root")
                _debootstrap(root, folder / "debs")
                _finish(root)
                root.rename(target)
            for old in set(folder.glob("base-*")) - {target}:
                shutil.rmtree(old)
    return target


class NoMirror(CommandFailed):
    """The host's apt sources name no mirror of Debian."""


def mirror() -> str:
    """The first Debian mirror in the host's own apt sources; raises NoMirror if there is none."""
    mirrors = debian_mirrors()
    if not mirrors:
        raise NoMirror(
            "no Debian mirror in /etc/apt/sources.list or sources.list.d: machines need Debian's packages"
        )
    return mirrors[0]


def _debootstrap(root: Path, debs: Path) -> None:
    debs.mkdir(exist_ok=True)
    options = (
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--keyring={keyring()}",
        f"--cache-dir={debs}",
    )
    run(["debootstrap", *options, SUITE, root, mirror()], timeout=BUILD_SECONDS)


def _finish(root: Path) -> None:
    for name in EMPTIED:
        for entry in (root / name).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    for name in CLONED:
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("")
    for sources in (root / "etc/apt").glob("sources.list*"):
        if sources.is_file():
            sources.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
