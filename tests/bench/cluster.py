"""An API server for the benchmark, with Nodes as large as real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.bench.process import BenchError
from tests.lab.kube_objects import Object, node

PORT = 16443
IMAGES = 50
"""That a node has; with them a Node is about 12 KB of JSON."""


def large_node(name: str, address: str, prefixes: Iterable[str]) -> Object:
    """A Node with what kubelets write into it."""
    made = node(name, address, cidrs=list(prefixes))
    digest = "a" * 64
    made["metadata"]["annotations"]["example.com/state"] = "x" * 2000
    made["status"]["images"] = [
        {
            "names": [
                f"registry.example/team/app-{n}@sha256:{digest}",
                f"registry.example/team/app-{n}:v1.2.{n}",
            ],
            "sizeBytes": 123_456_789,
        }
        for n in range(IMAGES)
    ]
    return made


class Cluster:
    """The stand-in as a process of its own, on loopback."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "tests.lab.kube_serve", "127.0.0.1", str(PORT)]
        with (folder / "kube-api.log").open("w") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self._answer())))
        self.kubeconfig.chmod(0o600)

    @property
    def source(self) -> dict[str, object]:
        """The source in rr.yaml."""
        return {"type": "kubernetes", "kubeconfig": str(self.kubeconfig)}

    def tell(self, **what: Any) -> None:
        """Have it do something, and wait until it has."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise BenchError("the stand-in for the API server ended: see kube-api.log")
        return line.strip()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _kubeconfig(server: str) -> Object:
    return {
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {"token": "bench"}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
