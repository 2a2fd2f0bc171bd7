"""Networks of namespaces: hosts joined by one bridge, all of it gone again when the test ends.

Every host is a network namespace with one interface, `eth0`, on a bridge in a hub namespace. Addresses get
the mask of the `segments` entry that contains them, so all hosts reach each other without a router;
pods' and VIPs' prefixes are meant to lie outside the segments. Needs root.
"""

import contextlib
import ctypes
import ipaddress
import itertools
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from tests.lab.process import Process, alive, end, run

T = TypeVar("T")

RUN_PREFIX = f"rrt{secrets.token_hex(2)}"
"""Begins every name that this test run makes; `sweep` removes nothing else."""

SEGMENTS = ("10.0.0.0/12", "fd00::/29")
CLONE_NEWNET = 0x40000000


class Stoppable(Protocol):
    """Something on the network that must be ended before the namespaces go."""

    def stop(self) -> None: ...


class Host:
    """One machine of the network: a namespace with `eth0`, addresses and a folder of its own."""

    def __init__(self, network: "Network", name: str, addresses: Sequence[str]) -> None:
        self.network = network
        self.name = name
        self.namespace = f"{network.prefix}-{name}"
        self.folder = network.folder / name
        self.folder.mkdir(mode=0o755)
        self.addresses: tuple[str, ...] = ()
        self.processes: list[Process] = []
        self.port = f"p{len(self.network.hosts)}"
        self._join()
        self.add_addresses(*addresses)

    def _join(self) -> None:
        lines = [
            f"netns add {self.namespace}",
            f"link add {self.port} netns {self.network.hub} type veth peer name eth0 netns {self.namespace}",
        ]
        run(["ip", "-batch", "-"], stdin="\n".join(lines))
        run(["ip", "-n", self.network.hub, "link", "set", self.port, "master", "br0", "up"])
        # FRR waits for a usable link-local address, and duplicate address detection would take a second.
        self.inside(lambda: Path("/proc/sys/net/ipv6/conf/eth0/accept_dad").write_text("0"))
        run(["ip", "-n", self.namespace, "-batch", "-"], stdin="link set lo up\nlink set eth0 up\n")

    def rejoin(self) -> None:
        """Join with a namespace made anew, without addresses: nothing of the old one is left but its MAC."""
        mac = json.loads(self.run("ip", "-json", "link", "show", "eth0"))[0]["address"]
        run(["ip", "-n", self.network.hub, "link", "del", self.port])
        remove_namespaces([self.namespace])
        self._join()
        self.run("ip", "link", "set", "eth0", "address", mac)

    def add_addresses(self, *addresses: str) -> None:
        """Add addresses, usable at once (no duplicate address detection)."""
        lines = []
        for address in addresses:
            nodad = " nodad" if ":" in address else ""
            lines.append(f"addr add {self.network.with_mask(address)} dev eth0{nodad}")
        run(["ip", "-n", self.namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")
        self.addresses += addresses

    def address(self, version: int) -> str | None:
        """The first address of an IP version."""
        of_version = (a for a in self.addresses if ipaddress.ip_address(a).version == version)
        return next(of_version, None)

    def start(self, name: str, command: Sequence[str | Path], **options: Any) -> Process:
        """Start a program here; its output goes to `NAME.log` in the host's folder."""
        process = Process(name, command, self.folder / f"{name}.log", namespace=self.namespace, **options)
        self.processes.append(process)
        return process

    def run(self, *command: str | Path, timeout: float = 20.0) -> str:
        """Run a short command here and return its output."""
        return run(["nsenter", f"--net=/run/netns/{self.namespace}", "--", *command], timeout=timeout)

    def inside(self, action: Callable[[], T]) -> T:
        """Call `action` in a thread that is in this namespace; sockets that it opens stay here."""
        results: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                with open(f"/run/netns/{self.namespace}", "rb") as namespace:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"setns to {self.namespace}")
                results.append(action())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def connect(
        self, address: str, port: int, *, source: str | None = None, timeout: float = 5.0
    ) -> socket.socket:
        """Open a TCP connection from here."""
        bound = (source, 0) if source is not None else None
        return self.inside(lambda: socket.create_connection((address, port), timeout, source_address=bound))

    def listen(self, port: int) -> socket.socket:
        """Listen on a TCP port here, on every address of both families."""
        return self.inside(
            lambda: socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        )

    def kernel_next_hops(self, prefix: str) -> frozenset[str]:
        """The next hops of the kernel's own route to `prefix`: empty without a route, several with ECMP."""
        network = ipaddress.ip_network(prefix)
        shown = run(["ip", "-n", self.namespace, f"-{network.version}", "-j", "route", "show", str(network)])
        hops: set[str] = set()
        for route in json.loads(shown or "[]"):
            for hop in route.get("nexthops", [route]):
                gateway = hop.get("gateway") or hop.get("via", {}).get("host")
                if gateway is not None:
                    hops.add(gateway)
        return frozenset(hops)

    def unplug(self) -> None:
        """Pull the cable: the hub's side goes down, nobody is told."""
        run(["ip", "-n", self.network.hub, "link", "set", self.port, "down"])

    def plug(self) -> None:
        """Put the cable back."""
        run(["ip", "-n", self.network.hub, "link", "set", self.port, "up"])


class Network:
    """Hosts on one bridge. Use as a context manager; leaving it removes everything, whatever happened."""

    _made = itertools.count(1)

    def __init__(self, *, segments: Sequence[str] = SEGMENTS) -> None:
        self.prefix = f"{RUN_PREFIX}n{next(self._made)}"
        self.segments = tuple(ipaddress.ip_network(segment) for segment in segments)
        self.hosts: dict[str, Host] = {}
        self.hub = f"{self.prefix}-hub"
        self._members: list[Stoppable] = []

    def __enter__(self) -> Self:
        # Not pytest's tmp_path: FRR drops root and must reach its folder, and socket paths must stay short.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-", dir="/tmp"))
        self.folder.chmod(0o755)
        try:
            run(["ip", "netns", "add", self.hub])
            bridge = "link add br0 type bridge forward_delay 0 mcast_snooping 0\nlink set br0 up\n"
            run(["ip", "-n", self.hub, "-batch", "-"], stdin=bridge)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def host(self, name: str, *addresses: str) -> Host:
        """Add a machine with these addresses (without masks)."""
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        host = Host(self, name, addresses)
        self.hosts[name] = host
        return host

    def with_mask(self, address: str) -> str:
        """Give an address the mask of its segment; a host mask outside all of them."""
        ip = ipaddress.ip_address(address)
        for segment in self.segments:
            if ip in segment:
                return f"{ip}/{segment.prefixlen}"
        return f"{ip}/{ip.max_prefixlen}"

    def remember(self, member: Stoppable) -> None:
        """Have `member.stop()` called at the end."""
        self._members.append(member)

    def logs(self, tail: int = 40) -> str:
        """The last lines of every log file, for a failed test's report."""
        parts = []
        for log in sorted(self.folder.glob("*/*.log")):
            lines = log.read_text(errors="replace").splitlines()
            if lines:
                parts.append("\n".join([f"--- {log.relative_to(self.folder)}", *lines[-tail:]]))
        return "\n".join(parts)

    def keep_logs(self, folder: Path) -> None:
        """Copy configurations and logs out, before they are removed with the network."""
        for path in self.folder.glob("*/*"):
            if path.is_file():
                target = folder / path.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)

    def close(self) -> None:
        """End every process, remove namespaces and folders. Safe to call twice."""
        for host in self.hosts.values():
            for process in host.processes:
                process.kill()  # nothing here needs a goodbye, and nodes' goodbyes would only cost time
        for member in reversed(self._members):
            with contextlib.suppress(Exception):
                member.stop()
        self._members.clear()
        names = [self.hub, *(host.namespace for host in self.hosts.values())]
        remove_namespaces(names)
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_namespaces(names: Sequence[str]) -> None:
    """End what still runs in these namespaces (engines outlive their controller), then delete them."""
    present = [name for name in names if Path("/run/netns", name).exists()]
    end([pid for pid in processes_in(present) if alive(pid)], patience=0.5)
    for name in present:
        with contextlib.suppress(AssertionError):
            run(["ip", "netns", "del", name])


def sweep() -> list[str]:
    """Remove whatever of this run's networks is left, and return its names. Normally there is nothing."""
    left = [path.name for path in Path("/run/netns").glob(f"{RUN_PREFIX}*")]
    remove_namespaces(left)
    for folder in Path("/tmp").glob(f"{RUN_PREFIX}*"):
        left.append(str(folder))
        shutil.rmtree(folder, ignore_errors=True)
    return left


def processes_in(names: Sequence[str]) -> Iterator[int]:
    """The pids of processes whose network namespace is one of these."""
    inodes = set()
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.stat(f"/run/netns/{name}").st_ino)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if os.stat(entry / "ns/net").st_ino in inodes:
                yield int(entry.name)
