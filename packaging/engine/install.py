"""What ``python3 packaging/engine`` does: take the machine's gobgpd, or bring Debian's.

The result is a directory (``.engine``) that holds

    bin/gobgpd, bin/gobgp     links to the engine in use, wherever it is
    dev                       link to the engine's published API files (with --dev)
    gobgpd_VERSION/ ...       what was brought from Debian, each complete or absent

A package is unpacked and tried under a temporary name and then renamed, under a
lock: an interrupted run leaves nothing half, and two runs do not meet.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine import sources, versions
from engine.archive import SUITE, Archive, unpack, without_credentials
from engine.errors import InstallError
from engine.versions import NEEDED, Version

ROOT = Path(__file__).resolve().parent.parent.parent
ENGINE = "gobgpd"
API = "golang-github-osrg-gobgp-dev"
API_PATH = Path("usr/share/gocode/src/github.com/osrg/gobgp/proto")
WAY_OUT = f"install gobgpd {NEEDED}, and put it on PATH or name it in GOBGPD"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the path of the engine (or of its API files); exit 1 with one sentence if there is none."""
    options = _parse(arguments)
    into = Path(os.path.abspath(options.into))
    try:
        print(
            in_place(into, dev=options.dev)
            or install(into, dev=options.dev, download=not options.no_download)
        )
    except (InstallError, OSError) as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("engine: interrupted, nothing was left half", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="packaging/engine",
        description=f"Find gobgpd ({NEEDED}) in $GOBGPD or on PATH, or bring Debian {SUITE}'s without root.",
    )
    parser.add_argument("--into", default=ROOT / ".engine", help="where to put it (default: %(default)s)")
    parser.add_argument(
        "--no-download", action="store_true", help="fail if this machine has none that will do"
    )
    parser.add_argument(
        "--dev", action="store_true", help="bring the API files of the engine as well, print their path"
    )
    return parser.parse_args(arguments)


def in_place(into: Path, *, dev: bool) -> Path | None:
    """What an earlier run left, if it is all that is wanted: found without a lock and without writing."""
    engine, api = into / "bin" / ENGINE, into / "dev" / API_PATH
    named = os.environ.get("GOBGPD")
    if (named and not _is_link_itself(named, engine)) or (dev and not api.is_dir()):
        return None
    version = version_of(engine)
    return (api if dev else engine) if version and version.supported else None


def install(into: Path, *, dev: bool, download: bool) -> Path:
    """Make the engine (and with ``dev`` its API files) available; return the path asked for."""
    into.mkdir(parents=True, exist_ok=True)
    with only_one(into):
        engine = ensure_engine(into, download=download)
        return ensure_api(into, engine, download=download) if dev else engine


def ensure_engine(into: Path, *, download: bool) -> Path:
    """The path ``into/bin/gobgpd``, pointing at an engine that will do."""
    link = into / "bin" / ENGINE
    named = os.environ.get("GOBGPD")
    if named and not _is_link_itself(named, link):
        use(into, _accept_named(named))
    elif not (version := version_of(link)) or not version.supported:
        use(into, _on_path(link, download=download) or bring(into, ENGINE, "usr/bin/gobgpd"))
    return link


def ensure_api(into: Path, engine: Path, *, download: bool) -> Path:
    """The directory of the engine's own .proto files, of the same version where Debian has it."""
    link = into / "dev"
    path = link / API_PATH
    if not path.is_dir():
        if not download:
            raise InstallError(
                f"the engine's API files are not in {into}; run without --no-download to bring them"
            )
        _replace_link(
            link, bring(into, API, str(API_PATH), like=version_of(engine)).parents[len(API_PATH.parts) - 1]
        )
    return path


def _is_link_itself(named: str, link: Path) -> bool:
    return os.path.abspath(named) == os.fspath(link)


def _accept_named(named: str) -> Path:
    program = shutil.which(named)
    if program is None:
        raise InstallError(f"GOBGPD names {named}, which is not a program; correct it or unset it")
    version = version_of(Path(program))
    if version is None or not version.supported:
        raise InstallError(
            f"GOBGPD names {named}, which is {_called(version)}; needed is {NEEDED}: correct or unset it"
        )
    return Path(os.path.abspath(program))


def _on_path(link: Path, *, download: bool) -> Path | None:
    """The engine on PATH, if it will do; None to bring one instead. Says so when it refuses one."""
    program = shutil.which(ENGINE, path=_path_without(link.parent))
    version = version_of(Path(program)) if program else None
    if program and version and version.supported:
        return Path(os.path.abspath(program))
    found = f"{program} is {_called(version)}, needed is {NEEDED}" if program else f"no {ENGINE} on PATH"
    if not download:
        raise InstallError(f"{found}; {WAY_OUT}, or run without --no-download to bring Debian's")
    print(
        f"engine: {found}; bringing one from Debian {SUITE}, nothing is installed on the machine",
        file=sys.stderr,
    )
    return None


def _called(version: Version | None) -> str:
    return f"version {version}" if version else "of no version that it tells"


def _path_without(directory: Path) -> str:
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if os.path.abspath(entry) != os.fspath(directory))


def version_of(program: Path) -> Version | None:
    """The version a gobgpd says it is; None if it is missing, does not run, or tells none."""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return versions.from_program(done.stdout)


def use(into: Path, program: Path) -> None:
    """Point bin/gobgpd at the program, and bin/gobgp at the one beside it."""
    for name in (ENGINE, "gobgp"):
        beside = program.with_name(name) if name != ENGINE else program
        link = into / "bin" / name
        link.parent.mkdir(exist_ok=True)
        if beside.exists():
            _replace_link(link, beside)
        else:
            link.unlink(missing_ok=True)


def _replace_link(link: Path, target: Path) -> None:
    """Make the link in one step; inside our own directory it is relative, so that the directory may move."""
    inside = target.is_relative_to(link.parent) or target.is_relative_to(link.parent.parent)
    text = os.path.relpath(target, link.parent) if inside else os.fspath(target)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(text)
    os.replace(fresh, link)


def bring(into: Path, package: str, wanted: str, like: Version | None = None) -> Path:
    """Bring a package from the first mirror that has it; return the path of the ``wanted`` file in it."""
    mirrors = sources.debian_mirrors()
    if not mirrors:
        raise InstallError(f"no Debian mirror in this machine's apt sources; {WAY_OUT}")
    failures: list[str] = []
    for mirror in mirrors:
        try:
            return _bring_from(Archive(into / "apt", mirror), into, package, wanted, like)
        except InstallError as error:
            failures.append(f"{without_credentials(mirror)}: {error}")
    raise InstallError(f"{package} could not be brought from Debian; {WAY_OUT}\n  " + "\n  ".join(failures))


def _bring_from(archive: Archive, into: Path, package: str, wanted: str, like: Version | None) -> Path:
    archive.update()
    offered = archive.versions(package)
    version = versions.best(offered, like)
    if version is None:
        raise InstallError(
            f"Debian {SUITE} has {package} {', '.join(offered) or 'not at all'}; needed is {NEEDED}"
        )
    with tempfile.TemporaryDirectory(prefix=".new-", dir=into) as scratch:
        tree = Path(scratch) / "tree"
        unpack(archive.download(package, version, Path(scratch)), tree)
        _try_out(tree / wanted)
        final = into / f"{package}_{version}"
        if final.exists():
            os.rename(final, Path(scratch) / "old")
        os.rename(tree, final)
    print(f"engine: {package} {version} from Debian {SUITE} is in {final}", file=sys.stderr)
    return final / wanted


def _try_out(path: Path) -> None:
    if not path.exists():
        raise InstallError(f"the package from Debian has no {path.name}")
    if path.name == ENGINE and version_of(path) is None:
        raise InstallError(
            f"Debian's {ENGINE} does not run on this machine: it needs libc6 2.34 or newer (Debian 12)"
        )


@contextlib.contextmanager
def only_one(into: Path) -> Iterator[None]:
    """Hold the directory's lock, and first clear what a killed run left behind."""
    with open(into / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("engine: another run is at work, waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in into.glob(".new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
