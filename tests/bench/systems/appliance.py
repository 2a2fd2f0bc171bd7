"""This project's appliance: rrd with a managed engine, configured by files like an operator's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from tests.bench import process
from tests.bench.systems.gobgp import find_gobgpd
from tests.bench.topology import ASN, AT_FIRST, DEFERRAL, REFLECTOR, TORS, Allocated, Topology


class Appliance:
    """rrd and the engine that it starts."""

    name = "appliance"
    has_owners = True
    resends = True
    dial_window = 256

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._engine: list[int] = []

    def require(self) -> None:
        find_gobgpd()
        program("rrd")
        program("rrctl")

    def start(self, topology: Topology, folder: Path) -> None:
        """Write rr.yaml and allocations.yaml, start rrd, and wait until it says that it is ready."""
        self._topology = topology
        self._socket = folder / "run" / "rrd.sock"
        config = folder / "rr.yaml"
        source = self._source(topology, folder)
        config.write_text(yaml.safe_dump(configuration(topology, folder, source), sort_keys=False))
        log = folder / "rrd.log"
        engine_folder = str(Path(find_gobgpd()).parent)
        env = {**os.environ, "PATH": f"{engine_folder}:{os.environ.get('PATH', '')}", "GOBGPD": find_gobgpd()}
        self._process = process.start(
            [program("rrd"), "--config", str(config), "--engine", "managed"], log, env
        )
        process.wait_for(self._ready, 60.0, f"rrd does not get ready: see {log}", every=0.2)

    def _source(self, topology: Topology, folder: Path) -> Mapping[str, object]:
        """Have allocations ready, and say where: the source in rr.yaml."""
        self._allocations = folder / "allocations.yaml"
        self._allocations.write_text(allocations(topology, AT_FIRST))
        return {"type": "file", "path": str(self._allocations)}

    def restart(self) -> None:
        """Kill the engine; rrd starts another."""
        for pid in self._engine:
            os.kill(pid, signal.SIGKILL)
        self._engine = []

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(process.BenchError):
                self._engine = self._engine or self._engines_now()
            process.stop(self._process)
            self._process = None
        for pid in self._engine:
            process.end(pid)
        self._engine = []

    def engine(self) -> Sequence[int]:
        if self._process is not None and not self._engine:
            self._engine = self._engines_now()
        return self._engine

    def controller(self) -> Sequence[int]:
        return [self._process.pid] if self._process else []

    def allocate(self, allocated: Allocated) -> Callable[[], None] | None:
        """A new allocations file beside the old one; the change is the rename."""
        fresh = self._allocations.with_suffix(".new")
        fresh.write_text(allocations(self._topology, allocated))
        return lambda: os.replace(fresh, self._allocations)

    def check_command(self) -> Sequence[str] | None:
        return [program("rrctl"), "--socket", str(self._socket), "check"]

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise process.BenchError(f"rrd ended with exit code {self._process.returncode}")
        status = self._status()
        if not status.get("ready"):
            return False
        self._engine = self._engines_now()
        return bool(self._engine)

    def _engines_now(self) -> list[int]:
        engines = [instance.get("engine", {}) for instance in self._status().get("instances", [])]
        return [int(engine["pid"]) for engine in engines if engine.get("pid")]

    def _status(self) -> dict[str, list[dict[str, dict[str, int]]]]:
        command = [program("rrctl"), "--socket", str(self._socket), "--output", "json", "status"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        try:
            found = json.loads(answer.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def program(name: str) -> str:
    """One of the project's commands, from the virtual environment that runs the benchmark or from PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise process.BenchError(f"no {name} beside {sys.executable} or on PATH: run `make venv`")
    return found


def configuration(topology: Topology, folder: Path, source: Mapping[str, object]) -> dict[str, object]:
    """The contents of rr.yaml."""
    racks: dict[str, dict[str, object]] = {
        rack.name: {"nodes": {"ranges": [str(rack.range)]}, "tors": []} for rack in topology.racks
    }
    for number, address in enumerate(TORS):
        tors = racks[topology.tor_rack(number).name]["tors"]
        assert isinstance(tors, list)
        tors.append({"address": str(address), "passive": True, "add_paths": topology.add_paths})
    return {
        "name": "rr-bench",
        "state_dir": str(folder / "state"),
        "run_dir": str(folder / "run"),
        "http": {"listen": "127.0.0.1:9632"},
        "instances": {
            "main": {
                "asn": ASN,
                "router_id": str(REFLECTOR),
                "listen": [str(REFLECTOR)],
                "hold_time": topology.hold_time,
                "graceful_restart": {"deferral_time": DEFERRAL},
                "racks": racks,
                "reflect": {"nodes": topology.reflect_nodes, "tors": "all"},
            }
        },
        "ipam": {"sources": [source]},
    }


def allocations(topology: Topology, allocated: Allocated) -> str:
    """The text of allocations.yaml."""
    lines = ["nodes:"]
    for node in topology.all_nodes:
        if node.name in allocated.absent:
            continue
        prefixes = ", ".join(map(str, topology.owned(node, allocated)))
        lines += [f"  {node.name}:", f"    addresses: [{node.address}]", f"    prefixes: [{prefixes}]"]
    lines += ["vips:"] * bool(allocated.vips)
    lines += [f"  - {{prefixes: [{vip}]}}" for vip in sorted(allocated.vips)]
    return "\n".join(lines) + "\n"
