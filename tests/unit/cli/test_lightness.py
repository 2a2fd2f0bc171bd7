"""Starting rrctl costs next to nothing: monitoring runs it every few seconds."""

import json
import resource
import subprocess
import sys

import pytest

from tests.unit.cli.conftest import Background, Rrctl, environment

HEAVY = {
    "aiohttp", "asyncio", "grpc", "cryptography", "google.protobuf", "multiprocessing", "prometheus_client", "pydantic",
    "pyroute2", "rich", "structlog", "tenacity", "yaml",
}  # fmt: skip
LOADED = """
import json, sys
from rr.cli.main import guarded
code = guarded(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "command", ["check", "status", "peers", "routes", "violations", "events", "pair", "--help"]
)
def test_nothing_heavy_is_imported(rrd: Background, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "--socket", str(rrd.path), command],
        capture_output=True, encoding="utf-8", env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & HEAVY
    commands = {name for name in loaded if name.startswith("rr.cli.")}
    assert f"rr.cli.{command}" in commands or command == "--help"
    assert not commands & {"rr.cli.demo", "rr.cli.farside"}


def test_check_takes_little_cpu(rrd: Background, rrctl: Rrctl) -> None:
    rrctl("check")  # Once to have everything compiled.
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert rrctl("check").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.15
