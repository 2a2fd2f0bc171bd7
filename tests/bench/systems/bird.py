"""BIRD 2 with the usual owner filter: dynamic neighbors by range, `case from` on who may announce what.

Channels keep what they received (`import table`), as gobgpd does, so that a changed filter can be applied to
routes that a node announced before without asking the node again.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import process
from tests.bench.topology import (
    ASN,
    AT_FIRST,
    DEFERRAL,
    REFLECTOR,
    TORS,
    VIP_SPACE,
    Allocated,
    Node,
    Rack,
    Topology,
)

NEWLINE = "\n"  # no backslash may stand inside an f-string expression before Python 3.12


def find_bird() -> str:
    """The bird on PATH, or where Debian puts it."""
    found = shutil.which("bird") or shutil.which("bird", path="/usr/sbin:/sbin")
    if found is None:
        raise process.BenchError("no bird: install the bird2 package, or leave it out with --systems")
    return found


class Bird:
    """One bird, reconfigured over its control socket."""

    name = "bird"
    has_owners = True
    resends = False
    dial_window = 8  # its listen backlog

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def require(self) -> None:
        find_bird()

    def start(self, topology: Topology, folder: Path) -> None:
        """Write the file, start, and wait until port 179 listens."""
        self._topology = topology
        self._file, self._socket = folder / "bird.conf", folder / "bird.ctl"
        self._file.write_text(configuration(topology, AT_FIRST))
        self._log = folder / "bird.log"
        self._process = self._launch()
        process.wait_until_listening(self._process, 179, self._log)

    def _launch(self, *options: str) -> subprocess.Popen[bytes]:
        files = ["-c", str(self._file), "-s", str(self._socket)]
        return process.start([find_bird(), "-f", *files, *options], self._log)

    def restart(self) -> None:
        """As a unit would; `-R` has it recover what peers kept of the one before."""
        assert self._process is not None
        process.stop(self._process, signal.SIGKILL)
        self._process = self._launch("-R")

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process, signal.SIGKILL)
            self._process = None

    def engine(self) -> Sequence[int]:
        return [self._process.pid] if self._process else []

    def controller(self) -> Sequence[int]:
        return []

    def allocate(self, allocated: Allocated) -> Callable[[], None] | None:
        """A new configuration file, and `configure`, which by itself reloads what the change concerns.

        `configure soft` and `reload in` of the one session takes as long.
        """
        fresh = self._file.with_suffix(".new")
        fresh.write_text(configuration(self._topology, allocated))

        def change() -> None:
            os.replace(fresh, self._file)
            answer = self._command("configure")
            if "Reconfigur" not in answer:
                raise process.BenchError(f"bird did not take the new configuration: {answer}")

        return change

    def check_command(self) -> Sequence[str] | None:
        return None

    def _command(self, text: str) -> str:
        """One command over the control socket; the text of the answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30.0)
            control.connect(str(self._socket))
            lines = control.makefile("r")
            lines.readline()
            control.sendall(text.encode() + b"\n")
            answer = []
            for line in lines:
                answer.append(line)
                if line[:4].isdigit() and line[4:5] == " ":
                    break
            return "".join(answer)


def configuration(topology: Topology, allocated: Allocated) -> str:
    """The whole bird.conf."""
    there = [node for node in topology.all_nodes if node.name not in allocated.absent]
    head = f"""router id {REFLECTOR};
ipv4 table master4;
graceful restart wait {DEFERRAL};
protocol device {{ scan time 3600; }}

filter owner {{
{_vips(allocated)}  case from {{
{NEWLINE.join(_owner_line(topology, node, allocated) for node in there)}
    else: reject;
  }}
  reject;
}}

"""
    return head + "\n".join(
        [*map(_tor, TORS, [topology] * 2), *(_rack(rack, topology) for rack in topology.racks)]
    )


def _owner_line(topology: Topology, node: Node, allocated: Allocated) -> str:
    prefixes = ", ".join(map(str, topology.owned(node, allocated)))
    return (
        f"    {node.address}: if net ~ [ {prefixes} ] && bgp_next_hop = from && bgp_path.len = 0 then accept;"
    )


def _vips(allocated: Allocated) -> str:
    if not allocated.vips:
        return ""
    prefixes = ", ".join(map(str, sorted(allocated.vips)))
    return f"  if net ~ [ {prefixes} ] && bgp_next_hop = from && bgp_path.len = 0 then accept;\n"


def _common(topology: Topology) -> str:
    return f"""  local {REFLECTOR} as {ASN};
  multihop;
  passive on;
  rr client;
  rr cluster id {REFLECTOR};
  graceful restart on;
  hold time {topology.hold_time};
  connect retry time 5;"""


def _tor(address: object, topology: Topology) -> str:
    name = f"tor_{str(address).rpartition('.')[2]}"
    return f"""protocol bgp {name} {{
{_common(topology)}
  neighbor {address} as {ASN};
  ipv4 {{ import none; export where source = RTS_BGP; add paths tx; }};
}}
"""


def _rack(rack: Rack, topology: Topology) -> str:
    own = f"where source = RTS_BGP && from ~ {rack.range} && !(net ~ [ {VIP_SPACE}+ ])"
    export = own if topology.reflect_nodes == "rack" else "none"
    name = f"rack_{rack.number + 1}"
    return f"""protocol bgp {name} {{
{_common(topology)}
  neighbor range {rack.range} as {ASN};
  dynamic name "{name}_";
  ipv4 {{ import table on; import filter owner; export {export}; }};
}}
"""
