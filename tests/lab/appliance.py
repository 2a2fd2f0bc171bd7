"""The product itself on a host of the network: `rrd` with its engines, its files, and `rrctl`."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.lab.gobgp import engine_environment
from tests.lab.network import Network, processes_in
from tests.lab.peer import Remote
from tests.lab.process import CommandFailed, Process, end, run
from tests.lab.wait import eventually

RRCTL = "import sys; from rr.cli import main; sys.exit(main())"


class Told(NamedTuple):
    """What a command line tool answered."""

    exit: int
    stdout: str
    stderr: str


class Appliance:
    """`rrd` in a namespace, with engines that it starts itself.

    `instances` and `allocations` are what rr.yaml and allocations.yaml contain, as Python data; more keys
    of rr.yaml can be given as `settings`. Starts at once unless `start=False`.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        *addresses: str,
        instances: Mapping[str, Any],
        allocations: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        start: bool = True,
    ) -> None:
        self.name = name
        self.host = network.host(name, *addresses)
        folder = self.host.folder
        self.config_file = folder / "rr.yaml"
        self.allocations_file = folder / "allocations.yaml"
        self.run_dir = folder / "run"
        self.state_dir = folder / "state"
        self.state_dir.mkdir(mode=0o700)
        self.run_dir.mkdir(mode=0o700)
        self.settings = dict(settings or {})
        self.process: Process | None = None
        self.set_config(instances)
        if allocations is not None:
            self.set_allocations(allocations)
        network.remember(self)
        if start:
            self.start()

    # Files.

    def set_config(self, instances: Mapping[str, Any]) -> None:
        """Write rr.yaml; a running daemon takes it over at `reload()`."""
        self.instances = instances
        config = {
            "name": self.name,
            "state_dir": str(self.state_dir),
            "run_dir": str(self.run_dir),
            "http": {"listen": "127.0.0.1:9632"},
            "instances": instances,
            "ipam": {"sources": [{"type": "file", "path": str(self.allocations_file)}]},
            **self.settings,
        }
        replace_file(self.config_file, yaml.safe_dump(config, sort_keys=False))

    def set_allocations(self, allocations: Mapping[str, Any]) -> None:
        """Replace allocations.yaml by an atomic rename; the daemon sees it by itself."""
        replace_file(self.allocations_file, yaml.safe_dump(allocations, sort_keys=False))

    # Processes.

    def start(self, *options: str, timeout: float = 20) -> None:
        """Start `rrd` and wait until it answers `rrctl status` and is ready."""
        self.process = self.host.start(
            "rrd",
            [sys.executable, "-m", "rr.daemon", "--config", self.config_file, *options],
            environment=engine_environment(),
        )
        eventually(self.ready, timeout, f"rrd of {self.name} is ready", seen=self._last_words)

    def ready(self) -> bool:
        """Tell whether policy is in force in every instance and engines serve."""
        assert self.process is not None
        self.process.must_run()
        return bool(self.rrctl("status").get("ready"))

    def _last_words(self) -> str:
        return self.process.log.read_text(errors="replace")[-1500:] if self.process else "not started"

    def reload(self) -> Any:
        """`rrctl config reload`; returns what it said."""
        return self.rrctl("config", "reload")

    def stop(self, *, stop_engines: bool = True) -> None:
        """SIGTERM to the daemon; engines go on by the product's rule, and are ended here if wanted."""
        if self.process is not None:
            self.process.stop()
            self.process = None
        if stop_engines:
            end(self.engines())

    def kill(self) -> None:
        """SIGKILL to the daemon alone."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def engines(self) -> list[int]:
        """The pids of the engines that run on this host."""
        return [
            pid
            for pid in processes_in([self.host.namespace])
            if Path(f"/proc/{pid}/comm").read_text().strip() == "gobgpd"
        ]

    # Questions.

    def rrctl(self, *words: str, timeout: float = 20) -> Any:
        """Run `rrctl --output json` and return what it printed, parsed."""
        options = ("--socket", self.run_dir / "rrd.sock", "--output", "json")
        printed = run([sys.executable, "-c", RRCTL, *options, *words], timeout=timeout)
        try:
            return json.loads(printed)
        except ValueError as error:
            raise CommandFailed(f"rrctl {' '.join(words)} printed no JSON: {printed[:500]!r}") from error

    def tell(self, *words: str, timeout: float = 20) -> Told:
        """Run `rrctl` as a person would, and return all that it said, whatever its exit code."""
        command = [sys.executable, "-c", RRCTL, "--socket", str(self.run_dir / "rrd.sock"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        return Told(done.returncode, done.stdout, done.stderr)

    def violations(self, **wanted: str | bool) -> list[dict[str, Any]]:
        """Violations whose keys have these values, for example `reason="more-specific"`."""
        found: list[dict[str, Any]] = self.rrctl("violations")
        return [v for v in found if all(v.get(key) == value for key, value in wanted.items())]

    def remote(self, instance: str = "main") -> Remote:
        """Where peers of an instance connect to."""
        settings = self.instances[instance]
        listen: Sequence[str] = settings.get("listen", [settings["router_id"]])
        return Remote(tuple(str(a) for a in listen), settings["asn"], settings.get("port", 179))


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.rename(path)
