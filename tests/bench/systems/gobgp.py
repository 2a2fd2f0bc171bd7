"""Bare gobgpd: the appliance's peer groups and the same reflection, and no filter on announcements.

The import policy does no more than reflection needs: it tags each route with the rack of its sender. The
export policy is the appliance's: ToRs are given what has any rack's tag, nodes what has their own rack's tag,
and the tags stay inside.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import process
from tests.bench.topology import ASN, DEFERRAL, REFLECTOR, TORS, Allocated, Rack, Topology

ALL_TAGS = "^0:[0-9]+$"
REPOSITORY = Path(__file__).resolve().parents[3]


def find_gobgpd() -> str:
    """$GOBGPD, the engine that `make engine` brought, or the one on PATH."""
    brought = REPOSITORY / ".engine" / "bin" / "gobgpd"
    for candidate in (os.environ.get("GOBGPD"), str(brought), "gobgpd"):
        if candidate and (found := shutil.which(candidate)):
            return found
    raise process.BenchError("no gobgpd: set GOBGPD, or run `make engine`")


class Gobgp:
    """One gobgpd, configured by a file."""

    name = "gobgpd"
    has_owners = False
    resends = False
    dial_window = 256

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def require(self) -> None:
        find_gobgpd()

    def start(self, topology: Topology, folder: Path) -> None:
        """Write the file, start, and wait until it listens and has read the whole file."""
        self._folder = folder
        (folder / "gobgpd.toml").write_text(configuration(topology))
        log, socket = folder / "gobgpd.log", folder / "gobgpd.sock"
        self._process = self._launch()
        process.wait_until_listening(self._process, 179, log)
        process.wait_for(
            lambda: _knows_tors(socket), 60.0, f"gobgpd does not take its file: see {log}", every=0.05
        )

    def _launch(self, *options: str) -> subprocess.Popen[bytes]:
        socket = self._folder / "gobgpd.sock"
        arguments = ["--api-hosts", f"unix://{socket}", "--pprof-disable", "--metrics-path=", "-l", "warn"]
        file = str(self._folder / "gobgpd.toml")
        return process.start([find_gobgpd(), *arguments, "-f", file, *options], self._folder / "gobgpd.log")

    def restart(self) -> None:
        """As a unit would: the socket left behind is removed, and `-r` says that forwarding state was kept."""
        assert self._process is not None
        process.stop(self._process, signal.SIGKILL)
        (self._folder / "gobgpd.sock").unlink(missing_ok=True)
        self._process = self._launch("-r")

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process, signal.SIGKILL)
            self._process = None

    def engine(self) -> Sequence[int]:
        return [self._process.pid] if self._process else []

    def controller(self) -> Sequence[int]:
        return []

    def allocate(self, allocated: Allocated) -> Callable[[], None] | None:
        return None

    def check_command(self) -> Sequence[str] | None:
        return None


def _knows_tors(socket: Path) -> bool:
    """It listens before it has read who may dial in; the ToRs come last."""
    client = Path(find_gobgpd()).with_name("gobgp")
    command = [str(client), "--target", f"unix://{socket}", "neighbor"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return all(str(address) in answer.stdout for address in TORS)


def configuration(topology: Topology) -> str:
    """The TOML file."""
    parts = [_global(), _group("nodes", topology, 0), _group("tors", topology, topology.add_paths)]
    parts += [_tor(str(address)) for address in TORS]
    parts += [_dynamic(str(rack.range)) for rack in topology.racks]
    parts += [_neighbor_set("tors", [f"{address}/32" for address in TORS])]
    parts += [_neighbor_set(rack.name, [str(rack.range)]) for rack in topology.racks]
    parts += [_community_set("racks", [_tag_of(rack) for rack in topology.racks])]
    parts += [_community_set(rack.name, [_tag_of(rack)]) for rack in topology.racks]
    parts.append('[[policy-definitions]]\nname = "tag-racks"\n')
    parts += [_tagging(rack) for rack in topology.racks]
    parts.append('[[policy-definitions]]\nname = "reflect"\n')
    parts.append(_reflecting("tors", "racks"))
    if topology.reflect_nodes == "rack":
        parts += [_reflecting(rack.name, rack.name) for rack in topology.racks]
    return "\n".join(parts)


def _tag_of(rack: Rack) -> str:
    return f"0:{1000 + rack.number}"


def _global() -> str:
    return f"""[global.config]
as = {ASN}
router-id = "{REFLECTOR}"
port = 179
local-address-list = ["{REFLECTOR}"]
[global.apply-policy.config]
import-policy-list = ["tag-racks"]
default-import-policy = "accept-route"
export-policy-list = ["reflect"]
default-export-policy = "reject-route"
"""


def _group(name: str, topology: Topology, send_max: int) -> str:
    return f"""[[peer-groups]]
[peer-groups.config]
peer-group-name = "{name}"
peer-as = {ASN}
[peer-groups.route-reflector.config]
route-reflector-client = true
route-reflector-cluster-id = "{REFLECTOR}"
[peer-groups.timers.config]
hold-time = {topology.hold_time}
keepalive-interval = {topology.hold_time / 3}
[peer-groups.transport.config]
passive-mode = true
[peer-groups.graceful-restart.config]
enabled = true
restart-time = 120
deferral-time = {DEFERRAL}
[[peer-groups.afi-safis]]
[peer-groups.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[peer-groups.afi-safis.mp-graceful-restart.config]
enabled = true
[peer-groups.afi-safis.add-paths.config]
send-max = {send_max}
"""


def _tor(address: str) -> str:
    return f"""[[neighbors]]
[neighbors.config]
neighbor-address = "{address}"
peer-group = "tors"
[neighbors.transport.config]
passive-mode = true
"""


def _dynamic(prefix: str) -> str:
    return f'[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = "{prefix}"\npeer-group = "nodes"\n'


def _quoted(members: Sequence[str]) -> str:
    return ", ".join(f'"{member}"' for member in members)


def _neighbor_set(name: str, members: Sequence[str]) -> str:
    head = "[[defined-sets.neighbor-sets]]\n"
    return f'{head}neighbor-set-name = "{name}"\nneighbor-info-list = [{_quoted(members)}]\n'


def _community_set(name: str, members: Sequence[str]) -> str:
    head = "[[defined-sets.bgp-defined-sets.community-sets]]\n"
    exactly = [f"^{member}$" for member in members]
    return f'{head}community-set-name = "{name}"\ncommunity-list = [{_quoted(exactly)}]\n'


STATEMENT = "policy-definitions.statements"


def _tagging(rack: Rack) -> str:
    return _statement(f"tag-{rack.name}", rack.name) + _communities("add", _tag_of(rack))


def _reflecting(neighbors: str, communities: str) -> str:
    condition = f"[{STATEMENT}.conditions.bgp-conditions.match-community-set]\n"
    return (
        _statement(f"to-{neighbors}", neighbors)
        + f'{condition}community-set = "{communities}"\n'
        + _communities("remove", ALL_TAGS)
    )


def _statement(name: str, neighbors: str) -> str:
    return (
        f'[[{STATEMENT}]]\nname = "{name}"\n'
        f'[{STATEMENT}.conditions.match-neighbor-set]\nneighbor-set = "{neighbors}"\n'
        f'[{STATEMENT}.actions]\nroute-disposition = "accept-route"\n'
    )


def _communities(how: str, which: str) -> str:
    action = f"{STATEMENT}.actions.bgp-actions.set-community"
    return f'[{action}]\noptions = "{how}"\n[{action}.set-community-method]\ncommunities-list = ["{which}"]\n'
