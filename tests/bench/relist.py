"""python -m tests.bench.relist: what it costs the appliance when a whole cluster is listed anew."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.bench.cluster import Cluster, large_node
from tests.bench.process import cpu_seconds, end, memory, wait_for
from tests.bench.systems.appliance import program
from tests.bench.systems.gobgp import find_gobgpd
from tests.lab.kube_objects import Object, endpoint_slice, service

QUIET = 8.0
"""Seconds after a list in which whatever it sets off is counted too."""
ROUNDS = 2


def objects(nodes: int) -> list[Object]:
    """A cluster: Nodes with two prefixes, and a Service with an address and endpoints for every fifth of them."""
    made = [named(number) for number in range(nodes)]
    for number in range(nodes // 5):
        vip = f"10.200.{number // 250}.{number % 250 + 1}"
        made.append(service(f"web-{number}", vip, policy="Local" if number % 2 else "Cluster"))
        made.append(endpoint_slice(f"web-{number}", f"node-{number}", f"node-{number + 1}"))
    return made


def named(number: int, *more: str) -> Object:
    """The Node with this number."""
    prefixes = (f"10.{100 + number // 256}.{number % 256}.0/24", f"fd00:10:{number:x}::/64", *more)
    return large_node(f"node-{number}", f"10.16.{number // 250}.{number % 250 + 1}", prefixes)


def configuration(folder: Path, source: dict[str, object]) -> dict[str, object]:
    """One speaker on loopback, to whom nobody comes."""
    rack = {"nodes": {"ranges": ["10.16.0.0/16"]}, "tors": []}
    main = {
        "asn": 64512,
        "router_id": "127.9.0.1",
        "port": 11790,
        "families": ["ipv4", "ipv6"],
        "racks": {"r": rack},
    }
    return {
        "name": "rr-bench",
        "state_dir": str(folder / "state"),
        "run_dir": str(folder / "run"),
        "http": {"listen": "127.0.0.1:19632"},
        "instances": {"main": main},
        "ipam": {"sources": [source]},
    }


class Watched:
    """rrd and its engine, and what they have used."""

    def __init__(self, folder: Path, config: Path) -> None:
        gobgpd = find_gobgpd()
        path = f"{Path(gobgpd).parent}:{os.environ.get('PATH', '')}"
        self._socket = folder / "run" / "rrd.sock"
        with (folder / "rrd.log").open("w") as log:
            self.process = subprocess.Popen(
                [program("rrd"), "--config", str(config), "--engine", "managed", "--stop-engines"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path, "GOBGPD": gobgpd},
            )
        wait_for(self._ready, 120.0, f"rrd does not get ready: see {folder}/rrd.log", every=0.2)
        self.engine = int(self.status()["instances"][0]["engine"]["pid"])

    def status(self) -> Object:
        """`rrctl status`."""
        command = [program("rrctl"), "--socket", str(self._socket), "--output", "json", "status"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        found: Object = json.loads(done.stdout) if done.stdout else {}
        return found

    def _ready(self) -> bool:
        status = self.status()
        return bool(status.get("ready") and status["ipam"]["nodes"])

    def used(self) -> tuple[float, float]:
        """CPU seconds of both."""
        return cpu_seconds([self.process.pid]), cpu_seconds([self.engine])

    def stop(self) -> None:
        """End both."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        end(self.engine)


def _measure(watched: Watched, cluster: Cluster, what: str, **told: object) -> None:
    before = watched.used()
    cluster.tell(**told)
    time.sleep(QUIET)
    after = watched.used()
    print(f"{what:42} controller {after[0] - before[0]:5.2f} s CPU, engine {after[1] - before[1]:5.2f} s CPU")


def main(arguments: Sequence[str]) -> None:
    """Measure it, and print the figures."""
    p = argparse.ArgumentParser(prog="python -m tests.bench.relist", description=__doc__)
    p.add_argument("--nodes", type=int, default=5000, metavar="N", help="of the cluster (default 5000)")
    options = p.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rr-relist-") as name:
        folder = Path(name)
        cluster = Cluster(folder)
        try:
            for made in objects(options.nodes):
                cluster.tell(apply=[made])
            config = folder / "rr.yaml"
            config.write_text(yaml.safe_dump(configuration(folder, cluster.source), sort_keys=False))
            watched = Watched(folder, config)
            try:
                _rounds(watched, cluster, options.nodes)
            finally:
                watched.stop()
        finally:
            cluster.stop()


def _rounds(watched: Watched, cluster: Cluster, nodes: int) -> None:
    controller, engine = watched.used()
    print(f"{f'start with {nodes} nodes':42} controller {controller:5.2f} s CPU, engine {engine:5.2f} s CPU")
    time.sleep(QUIET)
    _measure(watched, cluster, f"{QUIET:g} s in which nothing happens")
    for number in range(ROUNDS):
        _measure(watched, cluster, "everything listed anew, nothing changed", forget=True)
        _measure(watched, cluster, "one Node changes", apply=[named(number, f"10.199.{number}.0/24")])
        again = {"apply": [named(number)], "forget": True}
        _measure(watched, cluster, "everything listed anew, one Node changed", **again)
    print(f"controller memory {memory([watched.process.pid]).rss:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
