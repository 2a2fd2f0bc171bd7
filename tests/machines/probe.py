"""Runs inside the cage of a unit and says, as JSON, what it may do there. Only what a bare Python has is used."""

import ctypes
import json
import mmap
import os
import socket
import stat
import sys
from collections.abc import Callable

CLONE_NEWUSER = 0x10000000
FAMILIES = {
    "unix": socket.AF_UNIX,
    "inet": socket.AF_INET,
    "inet6": socket.AF_INET6,
    "netlink": 16,
    "packet": 17,
}
NONE = 0


def attempt(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return os.strerror(error.errno or NONE)
    return "allowed"


def opened(family: int) -> None:
    kind = socket.SOCK_RAW if family in (16, 17) else socket.SOCK_STREAM
    socket.socket(family, kind).close()


def bound(port: int) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))


def write_and_execute() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def call(number: str, *arguments: int) -> Callable[[], None]:
    def act() -> None:
        library = ctypes.CDLL(None, use_errno=True)
        if getattr(library, number)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), number)

    return act


def writable() -> list[str]:
    """Every folder and file below / that could be written; devices, sockets and the kernel's own views aside."""
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/dev/pts")]
        places = [folder, *(os.path.join(folder, name) for name in files)]
        found += [place for place in places if _kept_by(place) and os.access(place, os.W_OK)]
    return sorted(found)


def _kept_by(place: str) -> bool:
    """Whether what is written there stays there."""
    mode = os.lstat(place).st_mode
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def mounted_writable() -> list[str]:
    """Where a mount could be written by root, the kernel's own views and those of the test's container aside."""
    with open("/proc/self/mountinfo") as file:
        mounts = {line.split()[4]: line.split()[5].split(",") for line in file}
    aside = ("/proc", "/sys", "/dev", "/run/host", "/run/systemd")
    return sorted(
        place for place, options in mounts.items() if "rw" in options and not place.startswith(aside)
    )


def executed(folder: str) -> None:
    program = os.path.join(folder, "program")
    with open("/bin/true", "rb") as source, open(program, "wb") as copy:
        copy.write(source.read())
    os.chmod(program, 0o700)
    try:
        os.waitpid(os.posix_spawn(program, [program], {}), 0)
    finally:
        os.unlink(program)


def status() -> dict[str, str]:
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {key: lines[key] for key in ("Uid", "CapBnd", "CapEff", "NoNewPrivs", "Seccomp")}


def main() -> None:
    secret, own = sys.argv[1:]
    said = {
        "families": {name: attempt(lambda f=number: opened(f)) for name, number in FAMILIES.items()},  # type: ignore[misc]
        "port": attempt(lambda: bound(1)),
        "writable": writable(),
        "mounted_writable": mounted_writable(),
        "execute": attempt(lambda: executed(os.path.dirname(own))),
        "read": attempt(lambda: open(secret).close()),
        "mount": attempt(call("mount", 0, 0, 0, 0, 0)),
        "namespace": attempt(call("unshare", CLONE_NEWUSER)),
        "root": attempt(lambda: os.setuid(0)),
        "memory": attempt(write_and_execute),
        "clock": attempt(call("sethostname", 0, 0)),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()),
        "status": status(),
    }
    with open(own, "w") as file:
        json.dump(said, file)


main()
