"""Bare gobgpd: the appliance's peer groups, racks and export policy, and no filter on announcements.

Where rack-local reflection is asked for, the only import policy is the one that reflection needs: it tags
each route with its rack.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import process
from tests.bench.topology import ASN, REFLECTOR, TORS, Node, Rack, Topology

REPOSITORY = Path(__file__).resolve().parents[3]


def find_gobgpd() -> str:
    """$GOBGPD, the engine that `make engine` brought, or the one on PATH."""
    brought = REPOSITORY / ".engine" / "usr" / "bin" / "gobgpd"
    for candidate in (os.environ.get("GOBGPD"), str(brought), "gobgpd"):
        if candidate and (found := shutil.which(candidate)):
            return found
    raise process.BenchError("no gobgpd: set GOBGPD, or run `make engine`")


class Gobgp:
    """One gobgpd, configured by a file."""

    name = "gobgpd"
    has_owners = False
    dial_window = 256

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, topology: Topology, folder: Path) -> None:
        """Write the file, start, and wait until port 179 listens."""
        file = folder / "gobgpd.toml"
        file.write_text(configuration(topology))
        socket = folder / "gobgpd.sock"
        arguments = ["--api-hosts", f"unix://{socket}", "--pprof-disable", "--metrics-path=", "-l", "warn"]
        log = folder / "gobgpd.log"
        self._process = process.start([find_gobgpd(), *arguments, "-f", str(file)], log)
        process.wait_for(lambda: listening(179), 20.0, f"gobgpd does not listen: see {log}")

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process, signal.SIGKILL)
            self._process = None

    def engine(self) -> Sequence[int]:
        return [self._process.pid] if self._process else []

    def controller(self) -> Sequence[int]:
        return []

    def grant(self, node: Node) -> Callable[[], None] | None:
        return None

    def check_command(self) -> Sequence[str] | None:
        return None


def listening(port: int) -> bool:
    """Whether some IPv4 socket of this network namespace listens on the port."""
    wanted = f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)


def configuration(topology: Topology) -> str:
    """The TOML file."""
    parts = [_global(topology), _group("nodes", topology, 0), _group("tors", topology, topology.add_paths)]
    parts += [_tor(str(address)) for address in TORS]
    parts += [_dynamic(str(rack.range)) for rack in topology.racks]
    if topology.reflect_nodes == "rack":
        parts += [_rack_sets(rack) for rack in topology.racks]
        parts.append('[[policy-definitions]]\nname = "tag-racks"\n')
        parts += [_tag(rack) for rack in topology.racks]
    parts.append(_neighbor_set("nodes", [str(rack.range) for rack in topology.racks]))
    parts.append('[[policy-definitions]]\nname = "reflect"\n')
    if topology.reflect_nodes == "rack":
        parts.append(_statement("to-tors", neighbors="nodes", neighbors_are="invert", then="accept-route"))
        for rack in topology.racks:
            parts.append(
                _statement(f"to-{rack.name}", neighbors=rack.name, community=rack.name, then="accept-route")
            )
    parts.append(_statement("rest-of-nodes", neighbors="nodes", then="reject-route"))
    return "\n".join(parts)


def _tag_of(rack: Rack) -> str:
    return f"{ASN}:{rack.number + 1}"


def _global(topology: Topology) -> str:
    importing = '"tag-racks"' if topology.reflect_nodes == "rack" else ""
    return f"""[global.config]
as = {ASN}
router-id = "{REFLECTOR}"
port = 179
local-address-list = ["{REFLECTOR}"]
[global.apply-policy.config]
import-policy-list = [{importing}]
default-import-policy = "accept-route"
export-policy-list = ["reflect"]
default-export-policy = "accept-route"
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
deferral-time = 30
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


def _neighbor_set(name: str, members: Sequence[str]) -> str:
    listed = ", ".join(f'"{member}"' for member in members)
    return f'[[defined-sets.neighbor-sets]]\nneighbor-set-name = "{name}"\nneighbor-info-list = [{listed}]\n'


def _rack_sets(rack: Rack) -> str:
    community = f'community-set-name = "{rack.name}"\ncommunity-list = ["{_tag_of(rack)}"]\n'
    return (
        _neighbor_set(rack.name, [str(rack.range)])
        + f"[[defined-sets.bgp-defined-sets.community-sets]]\n{community}"
    )


def _tag(rack: Rack) -> str:
    head = _statement(f"tag-{rack.name}", neighbors=rack.name, then="accept-route")
    base = "policy-definitions.statements.actions.bgp-actions.set-community"
    method = f'[{base}.set-community-method]\ncommunities-list = ["{_tag_of(rack)}"]\n'
    return head + f'[{base}]\noptions = "add"\n' + method


def _statement(
    name: str, *, neighbors: str, then: str, neighbors_are: str = "any", community: str | None = None
) -> str:
    base = "policy-definitions.statements"
    text = (
        f'[[{base}]]\nname = "{name}"\n[{base}.conditions.match-neighbor-set]\nneighbor-set = "{neighbors}"\n'
    )
    text += f'match-set-options = "{neighbors_are}"\n'
    if community:
        text += f'[{base}.conditions.bgp-conditions.match-community-set]\ncommunity-set = "{community}"\n'
    return text + f'[{base}.actions]\nroute-disposition = "{then}"\n'
