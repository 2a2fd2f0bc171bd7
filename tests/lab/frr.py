"""FRR (bgpd and zebra) as a node or ToR. Its quirks, seen with 8.4: see `tests/lab/README.md`.

The daemons drop to user `frr`, so their folder belongs to it. Commands go straight to the daemon's vty
socket: a `vtysh` process for each would cost a second a scenario.
"""

import json
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from tests.lab.peer import (
    BOTH_FAMILIES,
    Announcement,
    Family,
    Heard,
    Path,
    Peer,
    Session,
    Unsupported,
    normal,
    unmapped,
)
from tests.lab.wait import eventually

PROGRAMS = FilePath("/usr/lib/frr")
STATES = {"opensent": "opensent", "openconfirm": "openconfirm", "established": "established"}

UPDATE = re.compile(r"rcvd (?:UPDATE about )?(\S+/\d+)(?: IPv[46] unicast)?")


class VtyError(AssertionError):
    """FRR refused a command."""


class Frr(Peer):
    """A bgpd with its zebra: it knows its interfaces, and routes reach the namespace's own table."""

    def start(self) -> None:
        self.sequence = 0
        folder = self.host.folder
        config = folder / "frr.conf"
        config.write_text(self._config())
        for program in ("zebra", "bgpd"):
            (folder / f"{program}.vty").unlink(missing_ok=True)
        shutil.chown(folder, "frr", "frr")
        empty = folder / "zebra.conf"
        empty.write_text("")
        self._start_daemon("zebra", empty)
        self._start_daemon("bgpd", config)
        for route in self.announced.values():
            self._announce(route)

    def _start_daemon(self, program: str, config: FilePath) -> None:
        folder = self.host.folder
        words: list[str | FilePath] = [
            PROGRAMS / program,
            *("-f", config, "-i", folder / f"{program}.pid", "-z", folder / "zserv.api"),
            *("--vty_socket", folder, "-P", "0", "--log", f"file:{folder / 'frr.log'}"),
            *(("-p", str(self.listen_port)) if program == "bgpd" else ()),
        ]
        process = self.host.start(program, words)
        self.processes.append(process)

        def serves() -> bool:
            process.must_run()
            return bool(self.vty("show version", program=program))

        eventually(serves, 10, f"{program} of {self.name} takes commands")

    def start_bfd(self) -> None:
        """Start bfdd too, and run BFD (RFC 5880) on every session."""
        empty = self.host.folder / "bfdd.conf"
        empty.write_text("")
        self._start_daemon("bfdd", empty)
        self.configure(f"router bgp {self.asn}", *(f"neighbor {s.remote} bfd" for s in self.sessions))

    def bfd_up(self) -> bool:
        """Tell whether BFD is up on every session."""
        shown = json.loads(self.vty("show bfd peers json", program="bfdd") or "[]")
        up = {entry["peer"] for entry in shown if entry["status"] == "up"}
        return {session.remote for session in self.sessions} <= up

    def vty(self, *commands: str, program: str = "bgpd") -> str:
        """Give commands to a daemon, one after the other, and return what all of them printed."""
        with socket.socket(socket.AF_UNIX) as vty:
            vty.settimeout(20)
            vty.connect(str(self.host.folder / f"{program}.vty"))
            return "".join(_command(vty, command) for command in ("enable", *commands))

    def configure(self, *lines: str) -> None:
        """Give configuration lines, as `configure terminal` takes them."""
        self.vty("configure terminal", *lines)

    # Configuration.

    def _config(self) -> str:
        lines = [
            "debug bgp updates in",
            "debug bgp neighbor-events",
            f"router bgp {self.asn}",
            f" bgp router-id {self.router_id}",
            " no bgp ebgp-requires-policy",
            " no bgp default ipv4-unicast",
            " no bgp network import-check",
        ]
        for session in self.sessions:
            lines += self._neighbor(session)
        for family in BOTH_FAMILIES:
            lines += [f" address-family {family} unicast", "  maximum-paths ibgp 64"]
            for session in self.sessions:
                if family in session.families:
                    lines += [f"  neighbor {session.remote} activate"]
                    if not session.add_paths:
                        lines += [f"  neighbor {session.remote} disable-addpath-rx"]
            lines += [" exit-address-family"]
        return "\n".join([*lines, "!", ""])

    def _neighbor(self, session: Session) -> list[str]:
        peer = f" neighbor {session.remote}"
        lines = [
            f"{peer} remote-as {session.remote_asn}",
            f"{peer} update-source {session.local}",
            f"{peer} timers {max(1, session.hold_time // 3)} {session.hold_time}",
            f"{peer} timers connect 1",
            f"{peer} port {session.port}",
        ]
        if session.password is not None:
            lines.append(f"{peer} password {session.password}")
        if session.passive:
            lines.append(f"{peer} passive")
        if session.ttl_security:
            lines.append(f"{peer} ttl-security hops 1")
        if session.restart_time is None:
            lines.append(f"{peer} graceful-restart-disable")
        else:
            lines += [f" bgp graceful-restart restart-time {session.restart_time}"]
            lines += [" bgp graceful-restart preserve-fw-state", f"{peer} graceful-restart"]
        return lines

    # The common shape.

    def session_states(self) -> Mapping[str, str]:
        summary = json.loads(self.vty("show bgp neighbors json"))
        return {
            address: str(entry["bgpState"]).lower()
            for address, entry in summary.items()
            if isinstance(entry, dict) and "bgpState" in entry
        }

    def session_marks(self) -> Mapping[str, str]:
        neighbors = json.loads(self.vty("show bgp neighbors json"))
        return {
            address: f"{entry['bgpState']} {entry.get('connectionsEstablished')}"
            for address, entry in neighbors.items()
            if isinstance(entry, dict) and "bgpState" in entry
        }

    def routes(self) -> dict[str, list[Path]]:
        table: dict[str, list[Path]] = {}
        for family in BOTH_FAMILIES:
            for prefix, entry in self.table(family).items():
                listed = entry if isinstance(entry, list) else entry.get("paths", [])
                paths = [to_path(path) for path in listed if "sourced" not in path and _received(path)]
                if paths:
                    table[prefix] = paths
        return table

    def table(self, family: Family) -> dict[str, Any]:
        """FRR's own JSON of a whole table, in its detailed form."""
        shown = json.loads(self.vty(f"show bgp {family} unicast json detail") or "{}")
        routes: dict[str, Any] = shown.get("routes", {})
        return routes

    def _announce(self, route: Announcement) -> None:
        if route.cluster_list or route.originator_id:
            raise Unsupported("FRR sends no CLUSTER_LIST of one's own, and drops `set originator-id`")
        self.sequence += 1  # a new name each time: changing a route map in place would announce half of it
        name = f"ANNOUNCE-{self.sequence}"
        self.configure(
            f"route-map {name} permit 10",
            *_settings(route),
            "exit",
            f"router bgp {self.asn}",
            f"address-family {route.family} unicast",
            f"network {route.prefix} route-map {name}",
        )

    def _withdraw(self, route: Announcement) -> None:
        self.configure(
            f"router bgp {self.asn}",
            f"address-family {route.family} unicast",
            f"no network {route.prefix}",
        )

    def kernel_next_hops(self, prefix: str) -> frozenset[str]:
        """The next hops in the kernel's table: what this host really forwards by."""
        return self.host.kernel_next_hops(prefix)

    def heard(self) -> list[Heard]:
        log = self.host.folder / "frr.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        found = []
        for line in lines:
            match = UPDATE.search(line)
            if match:
                kind = "withdraw" if "withdrawn" in line else "update"
                found.append(Heard(kind, normal(match[1]), line))  # type: ignore[arg-type]
        return found


class FrrNode(Frr):
    """A node that runs FRR."""


class FrrTor(Frr):
    """A ToR that runs FRR: receives every path and keeps them as ECMP in the kernel."""

    def __init__(self, *args: Any, add_paths: bool = True, **options: Any) -> None:
        super().__init__(*args, add_paths=add_paths, **options)


def _command(vty: socket.socket, command: str) -> str:
    vty.sendall(command.encode() + b"\0")
    answer = b""
    while not (len(answer) >= 4 and answer[-4:-1] == b"\0\0\0"):  # three NULs and a status byte end it
        data = vty.recv(65536)
        if not data:
            raise ConnectionError(f"FRR closed its vty at {command!r}")
        answer += data
    text = answer[:-4].decode()
    if answer[-1] not in (0, 1):  # CMD_SUCCESS, CMD_WARNING
        raise VtyError(f"FRR refused {command!r}: {text.strip()}")
    return text


def _settings(route: Announcement) -> list[str]:
    lines = []
    if route.next_hop and ":" in route.next_hop:
        lines.append(f"set ipv6 next-hop global {route.next_hop}")
    elif route.next_hop:
        lines.append(f"set ip next-hop {route.next_hop}")
    if route.communities:
        lines.append(f"set community {' '.join(route.communities)}")
    if route.as_path:
        lines.append(f"set as-path prepend {' '.join(str(asn) for asn in route.as_path)}")
    if route.med is not None:
        lines.append(f"set metric {route.med}")
    if route.local_pref is not None:
        lines.append(f"set local-preference {route.local_pref}")
    if route.origin != "igp":
        lines.append(f"set origin {route.origin}")
    return lines


def _received(path: Mapping[str, Any]) -> bool:
    peer = path.get("peer", {}).get("peerId", "")
    return peer not in ("", "0.0.0.0", "::")


def to_path(path: Mapping[str, Any]) -> Path:
    """Read one path of FRR's JSON."""
    hops = [hop for hop in path.get("nexthops", []) if hop.get("scope") != "link-local"]
    communities = path.get("community", {}).get("list", [])
    cluster_list = path.get("clusterList", {}).get("list", [])
    as_path = path.get("aspath", {}).get("string", "") if isinstance(path.get("aspath"), dict) else ""
    return Path(
        next_hop=unmapped(hops[0]["ip"]) if hops else "",
        originator_id=path.get("originatorId"),
        cluster_list=tuple(cluster_list),
        as_path=tuple(int(word) for word in as_path.split() if word.isdigit()),
        communities=frozenset(_community(name) for name in communities),
        local_pref=path.get("locPrf", path.get("localpref")),
        med=path.get("metric", path.get("med")),
        origin=str(path["origin"]).lower() if "origin" in path else None,
    )


def _community(name: str) -> str:
    names = {"noExport": "no-export", "noAdvertise": "no-advertise", "gracefulShutdown": "graceful-shutdown"}
    return names.get(name, name)
