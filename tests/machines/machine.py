"""One machine: real systemd as PID 1 in a container, on the network of tests/lab, with a disk that outlives reboots.

The disk is an overlay over the base file system; the network is the namespace of a lab host, which is made
anew at every start, so that nothing but the disk survives a power cut. Its own systemd-networkd gives it its
addresses. systemd-nspawn's flags are all needed: README.md says what each is for.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tests.lab.appliance import Told
from tests.lab.network import Host, Network
from tests.lab.process import CommandFailed, Process, alive, run
from tests.lab.wait import eventually
from tests.machines.base import base
from tests.machines.cgroups import Cgroup, v1_controllers
from tests.machines.mirror import Mirror

BOOT_SECONDS = 60
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "TERM": "dumb",
    "LC_ALL": "C.UTF-8",
}
NETWORK = "[Match]\nName=eth0\n\n[Network]\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n"
NSPAWN_LEAVES = Path("/run/systemd/nspawn/propagate")
UP = ("running", "degraded")
POWEROFF = signal.SIGRTMIN + 4
REBOOT = signal.SIGRTMIN + 5
"""What tell systemd to power off and to reboot. `systemctl` would be a process of ours, for whose end it then waits."""
UNSUITABLE = ("dev-hugepages.mount", "sys-fs-fuse-connections.mount")
"""Units that a container must not have."""

NSPAWN = (
    *("--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no"),
    *("--resolv-conf=off", "--timezone=off"),
    *("--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf"),
)


class Machine:
    """A machine with these addresses; boots at once unless `start=False`.

    `host` is its place on the network: what it connects to, its cable, its kernel's routes.
    """

    def __init__(
        self, network: Network, name: str, *addresses: str, mirror: Mirror | None = None, start: bool = True
    ) -> None:
        self.name = name
        self.network = network
        self.host: Host = network.host(name)
        self.host.addresses = addresses
        folder = self.host.folder / "machine"
        self._upper, self._work, self._root = folder / "upper", folder / "work", folder / "root"
        self._root.mkdir(parents=True)
        self._overlay = f"lowerdir={base()},upperdir={self._upper},workdir={self._work}"
        self.cgroup = Cgroup(self.host.namespace)
        self._nspawn: Process | None = None
        self.leader: int | None = None
        network.remember(self)
        self._prepare(mirror)
        if start:
            self.start()

    def _prepare(self, mirror: Mirror | None) -> None:
        """Put onto an empty disk what an installer would have asked for."""
        for path in (self._upper, self._work):
            path.mkdir()
        addresses = "".join(
            f"\n[Address]\nAddress={self.network.with_mask(address)}\nDuplicateAddressDetection=none\n"
            for address in self.host.addresses
        )
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {self.name}\n",
            "etc/systemd/network/eth0.network": NETWORK + addresses,
        }
        # The whole journal goes to console.log, so that a failed test shows it whatever state the machine is in.
        files["etc/systemd/journald.conf.d/console.conf"] = (
            "[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\n"
        )
        if mirror is not None:
            files["etc/apt/sources.list.d/debian.sources"] = mirror.sources()
            files["etc/apt/apt.conf.d/90host"] = mirror.settings()
        for name, text in files.items():
            self._install(name, text)
        self._link(
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "systemd-networkd.service"
        )
        wait_online = "systemd-networkd-wait-online.service"
        self._link(f"etc/systemd/system/network-online.target.wants/{wait_online}", wait_online)
        for unit in UNSUITABLE:
            self._link(f"etc/systemd/system/{unit}", None)
        (self._upper / "etc/ssh").mkdir()
        run(["ssh-keygen", "-q", "-A", "-f", self._upper])

    def _install(self, path: str, text: str) -> None:
        (self._upper / path).parent.mkdir(parents=True, exist_ok=True)
        (self._upper / path).write_text(text)

    def _link(self, path: str, unit: str | None) -> None:
        (self._upper / path).parent.mkdir(parents=True, exist_ok=True)
        (self._upper / path).symlink_to(f"/lib/systemd/system/{unit}" if unit else "/dev/null")

    # Power.

    def start(self, timeout: float = BOOT_SECONDS) -> None:
        """Switch it on, and wait until systemd has started all that it has to."""
        self.host.rejoin()
        script = [f"echo $$ > {shlex.quote(str(file))}" for file in self.cgroup.joins]
        script.append(f"mount -t overlay overlay -o {self._overlay} {self._root}")
        nspawn = [
            *(
                "systemd-nspawn",
                f"--directory={self._root}",
                f"--machine={self.host.namespace}",
                f"--hostname={self.name}",
            ),
            *(f"--network-namespace-path=/run/netns/{self.host.namespace}", f"--uuid={uuid.uuid4().hex}"),
            *NSPAWN,
            "systemd.show_status=no",
        ]
        script.append(f"exec {shlex.join(nspawn)}")
        # The mount is seen by nobody else and goes with the last process, whatever way that ends.
        self._nspawn = Process(
            "machine",
            ["unshare", "--mount", "--propagation", "slave", "sh", "-euc", "\n".join(script)],
            self.host.folder / "console.log",
            environment={"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
        )
        self.leader = eventually(self._find_leader, 10, f"PID 1 of {self.name}")
        self.wait_running(timeout)
        self._own_controllers(timeout)

    def wait_running(self, timeout: float = BOOT_SECONDS) -> str:
        """Wait until systemd has started everything; returns `running`, or `degraded` if a unit failed."""
        return eventually(self._up, timeout, f"{self.name} has booted", seen=self._units_that_hang)

    def _up(self) -> str:
        state = self.tell("systemctl", "is-system-running").stdout.strip()
        return state if state in UP else ""

    def _units_that_hang(self) -> str:
        return self.tell("systemctl", "list-jobs").stdout + self.tell("systemctl", "--failed").stdout

    def _find_leader(self) -> int | None:
        assert self._nspawn is not None
        self._nspawn.must_run()
        for child in Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            pids = next(line.split() for line in status.splitlines() if line.startswith("NSpid:"))
            if pids[-1] == "1" and Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        return None

    def _own_controllers(self, timeout: float) -> None:
        """Let its systemd write to the v1 controllers, without which MemoryMax and TasksMax are not enforced."""
        controllers = v1_controllers()
        if not controllers:
            return
        remount = "for c in $*; do mount -o remount,rw,bind /sys/fs/cgroup/$c; done"
        run(
            [
                "nsenter",
                f"--target={self.leader}",
                "--mount",
                "--cgroup",
                "sh",
                "-euc",
                remount,
                "-",
                *controllers,
            ]
        )
        self.run("systemctl", "daemon-reexec")
        self.wait_running(timeout)

    @property
    def running(self) -> bool:
        return self.leader is not None and alive(self.leader)

    def reboot(self, timeout: float = BOOT_SECONDS) -> None:
        """Reboot in order: units stop, then everything starts anew on the same disk."""
        self.shut_down(timeout)
        self.start(timeout)

    def reboot_itself(self, timeout: float = BOOT_SECONDS) -> None:
        """Reboot as `systemctl reboot` does: unlike with `reboot`, systemd knows that it comes back."""
        self.shut_down(timeout, REBOOT)
        self.start(timeout)

    def shut_down(self, timeout: float = BOOT_SECONDS, how: int = POWEROFF) -> None:
        """Switch it off in order, and wait until it is off."""
        assert self._nspawn is not None
        assert self.leader is not None
        os.kill(self.leader, how)
        self._nspawn.wait(timeout)
        self._gone()

    def power_cut(self) -> None:
        """Cut its power: the cable is dead at once, no process says a word. `start()` brings it back."""
        self.host.unplug()
        self._kill()

    def replace(self, mirror: Mirror | None = None) -> None:
        """Put another machine into its place: the same name and addresses, and an empty disk. It is not started yet."""
        self.power_cut()
        for path in (self._upper, self._work):
            shutil.rmtree(path)
        self._prepare(mirror)

    def _kill(self) -> None:
        if self.leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        if self._nspawn is not None:
            try:
                self._nspawn.wait(5)  # it tidies up after its PID 1
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
        self._gone()

    def _gone(self) -> None:
        if self.leader is not None:
            leader = self.leader
            eventually(lambda: not alive(leader), 10, f"PID 1 of {self.name} is gone")
        self._nspawn = self.leader = None

    def stop(self) -> None:
        """Remove it: processes by their pids, then its cgroups. The disk goes with the network's folder."""
        self._kill()
        self.cgroup.remove()
        shutil.rmtree(NSPAWN_LEAVES / self.host.namespace, ignore_errors=True)

    # Commands and files.

    def _words(self, *command: str | Path, user: str | None = None) -> list[str]:
        if self.leader is None:
            raise CommandFailed(f"{self.name} is switched off")
        enter = [
            "nsenter",
            f"--target={self.leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--",
        ]
        clean = ["env", "--ignore-environment", *(f"{key}={value}" for key, value in ENVIRONMENT.items())]
        become = ["runuser", "--user", user, "--"] if user else []
        return [*enter, *clean, *become, *map(str, command)]

    def run(
        self, *command: str | Path, stdin: str | None = None, user: str | None = None, timeout: float = 60
    ) -> str:
        """Run a command inside and return its output; raises CommandFailed if it fails."""
        return run(self._words(*command, user=user), stdin=stdin, timeout=timeout)

    def tell(self, *command: str | Path, user: str | None = None, timeout: float = 60) -> Told:
        """Run a command inside and return all that it said, whatever its exit code."""
        words = self._words(*command, user=user)
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
        return Told(done.returncode, done.stdout, done.stderr)

    def rrctl(self, *words: str, timeout: float = 20) -> Any:
        """Run `rrctl --output json` inside and return what it printed, parsed."""
        return json.loads(self.run("rrctl", "--output", "json", *words, timeout=timeout))

    def path(self, inside: str | PurePosixPath) -> Path:
        """A file of the running machine as this host sees it (absolute links inside lead astray)."""
        if self.leader is None:
            raise CommandFailed(f"{self.name} is switched off")
        return Path(f"/proc/{self.leader}/root") / str(inside).lstrip("/")

    def write(self, inside: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file into place by a rename; its folder is made if it is absent."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.chmod(mode)
        temporary.rename(target)

    def copy(self, local: Path, inside: str, mode: int = 0o644) -> None:
        """Copy a file of this host into the machine."""
        self.write(inside, local.read_bytes(), mode)

    def read(self, inside: str) -> str:
        """The text of a file of the machine."""
        return self.path(inside).read_text()

    # systemd.

    def unit(self, name: str) -> Mapping[str, str]:
        """A unit's properties, such as ActiveState, SubState, MainPID, NRestarts."""
        shown = self.run("systemctl", "show", name)
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def wait_active(self, *units: str, timeout: float = 30) -> None:
        """Wait until every unit is active."""
        eventually(
            lambda: all(self.unit(unit)["ActiveState"] == "active" for unit in units),
            timeout,
            f"{', '.join(units)} active on {self.name}",
            seen=lambda: self.tell("systemctl", "status", "--no-pager", *units).stdout[-3000:],
        )

    def failed_units(self) -> Sequence[str]:
        """The units that failed."""
        listed = self.run("systemctl", "list-units", "--state=failed", "--plain", "--no-legend")
        return [line.split()[0] for line in listed.splitlines() if line.strip()]

    def journal(self, *options: str) -> str:
        """What the journal says, for example `journal("--unit=rrd")`."""
        return self.run("journalctl", "--no-pager", "--output=cat", *options)
