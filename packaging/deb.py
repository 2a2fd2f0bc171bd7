"""Build the Debian package: `python packaging/deb.py [--arch ARCH] [--version VERSION] FOLDER`, as any user.

First the wheels that requirements.lock pins are brought (once, into build/wheelhouse), then everything is built from
them without a network. The package is for the Python of this system, /usr/bin/python3, whatever runs this. Two builds
of the same sources are the same to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from compile_proto import compile_proto

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path("/usr/bin/python3")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = (34, 31, 28, 27, 26, 17)
"""Newest and older minor versions of glibc 2 that wheels may ask for; the package depends on 2.34, as gobgpd does."""
LIBRARY = "/usr/lib/rr-appliance"
PROGRAMS = {
    "bin/rrd": "rr.daemon",
    "bin/rrctl": "rr.cli",
    "libexec/rr-appliance/follow-instances": "rr.service.instances",
    "libexec/rr-appliance/stop-engine": "rr.service.stop",
}
LAUNCHER = f"""#!{PYTHON} -I
import sys

sys.path.insert(0, "{LIBRARY}")
from {{module}} import main

main()
"""


def main() -> None:
    """Build, and name the package on stdout; what fails is said by the tool that failed."""
    asked = _arguments()
    missing = [str(name) for name in ("dpkg-buildpackage", "dh", PYTHON) if not shutil.which(name)]
    if missing:
        sys.exit(f"deb: {', '.join(missing)} missing; as root: apt-get install debhelper dpkg-dev python3")
    try:
        print(build(asked.folder, asked.arch, asked.version))
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)


def _arguments() -> argparse.Namespace:
    own = _output("dpkg", "--print-architecture")
    parser = argparse.ArgumentParser(description="Build the Debian package.")
    parser.add_argument("folder", type=Path, help="where the package goes")
    parser.add_argument("--arch", choices=list(MACHINES), default=own)
    parser.add_argument("--version", help="another version than that of the sources, for trials of upgrades")
    return parser.parse_args()


def build(folder: Path, arch: str, version: str | None = None) -> Path:
    """Build the package into a folder and answer its path; raises CalledProcessError."""
    wheels = _wheelhouse(arch)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rr-deb-") as scratch:
        tree = Path(scratch) / "rr-appliance"
        _sources(tree)
        if version is not None:
            _rename(tree, version)
        _prebuild(tree, arch, wheels)
        _run("dpkg-buildpackage", "-b", "-us", "-uc", "-d", f"--host-arch={arch}", cwd=tree)
        (made,) = Path(scratch).glob(f"rr-appliance_*_{arch}.deb")
        return Path(shutil.copy(made, folder / made.name))


def _wheelhouse(arch: str) -> Path:
    """The folder with the wheels that the lock pins for this system's Python, brought if need be."""
    lock = ROOT / "requirements.lock"
    version = _output(PYTHON, "-c", "import sys; print('%d%d' % sys.version_info[:2])")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    place = ROOT / "build" / "wheelhouse" / f"{arch}-{version}-{digest}"
    if not place.is_dir():
        print("deb: bringing the wheels of requirements.lock", file=sys.stderr)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as new:
            _pip(
                "download",
                "--require-hashes",
                f"--dest={new}/wheels",
                *_chosen(arch),
                f"--requirement={lock}",
            )
            try:
                os.replace(f"{new}/wheels", place)
            except OSError:
                if not place.is_dir():  # else another build brought the same meanwhile
                    raise
    return place


def _chosen(arch: str) -> list[str]:
    machine = MACHINES[arch]
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC]
    return ["--only-binary=:all:", *platforms, f"--platform=manylinux2014_{machine}"]


def _pip(*arguments: str) -> None:
    """Run this environment's pip by the system's Python: it then chooses what that one can load."""
    import pip

    _run(PYTHON, "-I", pip.__path__[0], "--quiet", "--disable-pip-version-check", "--no-input", *arguments)


def _sources(tree: Path) -> None:
    """Copy what is in git, or would be, as it is now; without git everything but what is made."""
    for name in _listed():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    shutil.copytree(tree / "packaging" / "debian", tree / "debian")


def _listed() -> Iterator[str]:
    try:
        listing = _output("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        yield from filter(None, listing.split("\0"))
    except (OSError, subprocess.CalledProcessError):
        made = {".venv", ".engine", "build", "dist", "pb", "__pycache__"}
        for path in sorted(ROOT.rglob("*")):
            name = path.relative_to(ROOT)
            if not made & set(name.parts):
                yield str(name)


def _rename(tree: Path, version: str) -> None:
    """Make it another version, in what it says of itself and in the changelog."""
    init, changelog = tree / "rr" / "__init__.py", tree / "debian" / "changelog"
    init.write_text(re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', init.read_text()))
    changelog.write_text(re.sub(r"\A(\S+) \([^)]*\)", rf"\1 ({version})", changelog.read_text()))


def _prebuild(tree: Path, arch: str, wheels: Path) -> None:
    """Make what the package holds besides its units: library, programs, manual pages and completions."""
    made = tree / "prebuilt"
    library = made / "lib" / "rr-appliance"
    lock = tree / "requirements.lock"
    offline = ["--no-index", f"--find-links={wheels}", "--require-hashes", "--no-compile"]
    _pip("install", *offline, *_chosen(arch), f"--target={library}", f"--requirement={lock}")
    shutil.rmtree(library / "bin", ignore_errors=True)
    shutil.copytree(tree / "rr", library / "rr")
    compile_proto(library / "rr" / "engine" / "pb")
    for stub in (library / "rr" / "engine" / "pb").glob("*.pyi"):
        stub.unlink()
    for path in list(library.rglob("*")):
        _tidy(path)
    for name, module in PROGRAMS.items():
        program = made / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(LAUNCHER.format(module=module))
        program.chmod(0o755)
    ours = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    # The generated code lies beside the sources only here.
    shutil.copytree(library / "rr" / "engine" / "pb", tree / "rr" / "engine" / "pb", dirs_exist_ok=True)
    _run(sys.executable, tree / "packaging" / "manpages.py", made / "man", env=ours)
    for shell, place in (
        ("bash", "bash-completion/completions/rrctl"),
        ("zsh", "zsh/vendor-completions/_rrctl"),
    ):
        script = made / "share" / place
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(_output(sys.executable, "-m", "rr.cli", "completion", shell, env=ours) + "\n")


def _tidy(path: Path) -> None:
    """Tests of other people's packages are of no use; nothing in a library is a program."""
    if path.is_dir() and path.name in ("tests", "testing", "__pycache__"):
        shutil.rmtree(path)
    elif path.is_file():
        path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
        if path.suffix == ".py" and path.read_bytes().startswith(b"#!"):
            path.write_bytes(re.sub(rb"\A#!.*\n", b"", path.read_bytes()))


def _run(*arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ran = subprocess.run(arguments, check=False, cwd=cwd, env=env, encoding="utf-8", **quiet)  # type: ignore[call-overload]
    if ran.returncode:
        print(ran.stdout[-4000:], file=sys.stderr)
        ran.check_returncode()


def _output(*arguments: str | Path, env: Mapping[str, str] | None = None) -> str:
    return subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, env=env, encoding="utf-8"
    ).stdout.rstrip("\n")


if __name__ == "__main__":
    os.umask(0o022)
    main()
