"""GoBGP as a node or ToR, and as a plain reflector without any filter to prove this library against.

What it does by itself (4.8, seen on the wire): see `tests/lab/README.md`.
"""

import functools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from tests.lab.network import Host, Network
from tests.lab.peer import (
    BOTH_FAMILIES,
    Announcement,
    Family,
    Path,
    Peer,
    Remote,
    Session,
    Unsupported,
    community_text,
    unmapped,
)
from tests.lab.process import Process, run
from tests.lab.wait import eventually

REPOSITORY = FilePath(__file__).resolve().parents[2]

ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES = 1, 2, 3, 4, 5, 8
ORIGINATOR_ID, CLUSTER_LIST, MP_REACH = 9, 10, 14

ORIGINS = ("igp", "egp", "incomplete")


@functools.cache
def engine_program(name: str) -> FilePath:
    """Find `gobgpd` or `gobgp`: beside $GOBGPD, else where `make engine` puts it, else on PATH."""
    named = os.environ.get("GOBGPD")
    fetched = REPOSITORY / ".engine/bin" / name
    if named:
        return FilePath(named) if name == "gobgpd" else FilePath(named).with_name(name)
    if fetched.exists():
        return fetched
    if found := shutil.which(name):
        return FilePath(found)
    raise FileNotFoundError(f"no {name}: run `make engine`, put one on PATH, or name gobgpd in GOBGPD")


def engine_environment() -> dict[str, str]:
    """PATH with the engine's folder in front."""
    return {"PATH": f"{engine_program('gobgpd').parent}:{os.environ['PATH']}"}


def toml_families(
    table: str, families: Sequence[Family], *, restart: bool, receive: bool = False, send_max: int = 0
) -> str:
    """The `afi-safis` tables of a neighbor or peer group."""
    parts = []
    for family in families:
        parts.append(f'[[{table}.afi-safis]]\n[{table}.afi-safis.config]\nafi-safi-name = "{family}-unicast"')
        if restart:
            parts.append(f"[{table}.afi-safis.mp-graceful-restart.config]\nenabled = true")
        if receive or send_max:
            on = "true" if receive else "false"
            parts.append(f"[{table}.afi-safis.add-paths.config]\nreceive = {on}\nsend-max = {send_max}")
    return "\n".join(parts)


class Gobgp(Peer):
    """A gobgpd with a configuration file; routes are announced through its own command line tool."""

    def start(self) -> None:
        self.socket = self.host.folder / "gobgp.sock"
        self.socket.unlink(missing_ok=True)  # a socket left by SIGKILL would start it without an API
        config = self.host.folder / "gobgpd.toml"
        config.write_text(self._config())
        self.processes.append(start_gobgpd(self.host, config, self.socket))
        for route in self.announced.values():
            self._announce(route)

    def _config(self) -> str:
        head = f'[global.config]\nas = {self.asn}\nrouter-id = "{self.router_id}"\nport = {self.listen_port}'
        return "\n\n".join([head, *(self._neighbor(session) for session in self.sessions)]) + "\n"

    def _neighbor(self, session: Session) -> str:
        lines = [
            "[[neighbors]]",
            "[neighbors.config]",
            f'neighbor-address = "{session.remote}"',
            f"peer-as = {session.remote_asn}",
            *([f'auth-password = "{session.password}"'] if session.password else []),
            "[neighbors.transport.config]",
            f'local-address = "{session.local}"',
            f"remote-port = {session.port}",
            f"passive-mode = {'true' if session.passive else 'false'}",
            *(
                ["[neighbors.ttl-security.config]", "enabled = true", "ttl-min = 255"]
                if session.ttl_security
                else []
            ),
            "[neighbors.timers.config]",
            f"hold-time = {session.hold_time}",
            f"keepalive-interval = {max(1, session.hold_time // 3)}",
            "connect-retry = 1",
            "idle-hold-time-after-reset = 1",
        ]
        if session.restart_time is not None:
            lines += ["[neighbors.graceful-restart.config]", "enabled = true"]
            lines += [f"restart-time = {session.restart_time}"]
        restart = session.restart_time is not None
        families = toml_families("neighbors", session.families, restart=restart, receive=session.add_paths)
        return "\n".join([*lines, families])

    def cli(self, *words: str) -> str:
        """Run gobgp's command line tool against this speaker."""
        return run([engine_program("gobgp"), "--target", f"unix://{self.socket}", *words])

    def session_states(self) -> Mapping[str, str]:
        return neighbor_states(self.cli("neighbor", "-j"))

    def session_marks(self) -> Mapping[str, str]:
        marks = {}
        for neighbor in json.loads(self.cli("neighbor", "-j")):
            state, timers = neighbor["state"], neighbor["timers"]["state"]
            marks[state["neighbor_address"]] = f"{state.get('session_state')} since {timers.get('uptime')}"
        return marks

    def routes(self) -> dict[str, list[Path]]:
        remotes = {session.remote for session in self.sessions}
        table: dict[str, list[Path]] = {}
        for family in BOTH_FAMILIES:
            for prefix, entries in json.loads(self.cli("global", "rib", "-a", family, "-j")).items():
                paths = [to_path(entry) for entry in entries if entry.get("peer-address") in remotes]
                if paths:
                    table[prefix] = paths
        return table

    def _announce(self, route: Announcement) -> None:
        if route.originator_id or route.cluster_list:
            raise Unsupported("gobgp's command line sets no ORIGINATOR_ID and no CLUSTER_LIST")
        # Its own default is "incomplete", which FRR would not put into one ECMP group with others' "igp".
        words = ["global", "rib", "add", "-a", route.family, route.prefix, "origin", route.origin]
        if route.as_path:
            words += ["aspath", ",".join(str(asn) for asn in route.as_path)]
        if route.next_hop:
            words += ["nexthop", route.next_hop]
        if route.med is not None:
            words += ["med", str(route.med)]
        if route.local_pref is not None:
            words += ["local-pref", str(route.local_pref)]
        if route.communities:
            words += ["community", ",".join(route.communities)]
        self.cli(*words)

    def _withdraw(self, route: Announcement) -> None:
        self.cli("global", "rib", "del", "-a", route.family, route.prefix)


class GobgpNode(Gobgp):
    """A node that runs GoBGP."""


class GobgpTor(Gobgp):
    """A ToR that runs GoBGP: asks for every path, keeps no kernel table."""

    def __init__(self, *args: Any, add_paths: bool = True, **options: Any) -> None:
        super().__init__(*args, add_paths=add_paths, **options)


class BareReflector:
    """A plain gobgpd as reflector, without any filter: what this library is proven against.

    `nodes` are ranges whose members may dial in, `tors` are dialled and get every path of a prefix.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        *addresses: str,
        asn: int,
        nodes: Sequence[str] = (),
        tors: Sequence[str] = (),
        families: tuple[Family, ...] = BOTH_FAMILIES,
        password: str | None = None,
        add_paths: int = 16,
    ) -> None:
        self.name = name
        self.host = network.host(name, *addresses)
        self.asn = asn
        self.families = families
        self.password = password
        self.socket = self.host.folder / "gobgp.sock"
        config = self.host.folder / "gobgpd.toml"
        config.write_text(self._config(nodes, tors, add_paths))
        self.process = start_gobgpd(self.host, config, self.socket)

    @property
    def remote(self) -> Remote:
        """Where peers connect to."""
        return Remote(self.host.addresses, self.asn)

    def _config(self, nodes: Sequence[str], tors: Sequence[str], add_paths: int) -> str:
        router_id = self.host.address(4) or "192.0.2.1"
        parts = [f'[global.config]\nas = {self.asn}\nrouter-id = "{router_id}"\nport = 179']
        parts += [self._settings("peer-groups", 'peer-group-name = "nodes"', passive=True, send_max=0)]
        parts += [
            self._settings("neighbors", f'neighbor-address = "{address}"', passive=False, send_max=add_paths)
            for address in tors
        ]
        for prefix in nodes:
            dynamic = '[[dynamic-neighbors]]\n[dynamic-neighbors.config]\npeer-group = "nodes"\n'
            parts.append(f'{dynamic}prefix = "{prefix}"')
        return "\n\n".join(parts) + "\n"

    def _settings(self, table: str, key: str, *, passive: bool, send_max: int) -> str:
        router_id = self.host.address(4) or "192.0.2.1"
        lines = [
            f"[[{table}]]",
            f"[{table}.config]",
            key,
            f"peer-as = {self.asn}",
            *([f'auth-password = "{self.password}"'] if self.password else []),
            f"[{table}.transport.config]",
            f"passive-mode = {'true' if passive else 'false'}",
            f"[{table}.timers.config]",
            "hold-time = 9\nkeepalive-interval = 3\nconnect-retry = 1\nidle-hold-time-after-reset = 1",
            f"[{table}.route-reflector.config]",
            f'route-reflector-client = true\nroute-reflector-cluster-id = "{router_id}"',
            f"[{table}.graceful-restart.config]",
            "enabled = true\nrestart-time = 120",
        ]
        families = toml_families(table, self.families, restart=True, send_max=send_max)
        return "\n".join([*lines, families])

    def session_states(self) -> Mapping[str, str]:
        """The state of the session with each peer that there is."""
        command: list[str | FilePath] = [
            engine_program("gobgp"),
            "--target",
            f"unix://{self.socket}",
            "neighbor",
            "-j",
        ]
        return neighbor_states(run(command))


def start_gobgpd(host: Host, config: FilePath, socket: FilePath) -> Process:
    """Start a gobgpd and wait until its API serves."""
    process = host.start(
        "gobgpd",
        [
            engine_program("gobgpd"),
            *("-f", config, "--api-hosts", f"unix://{socket}"),
            *("--pprof-disable", "--metrics-path=", "-l", "info"),
        ],
    )
    target = ["--target", f"unix://{socket}"]

    def serves() -> bool:
        process.must_run()
        return socket.exists() and bool(run([engine_program("gobgp"), *target, "global", "-j"]))

    eventually(serves, 10, f"gobgpd of {host.name} serves")
    return process


def neighbor_states(listing: str) -> dict[str, str]:
    """Read `gobgp neighbor -j`."""
    # The command line tool writes enum numbers; 6 is SESSION_STATE_ESTABLISHED.
    names = {1: "idle", 2: "connect", 3: "active", 4: "opensent", 5: "openconfirm", 6: "established"}
    states = {}
    for neighbor in json.loads(listing):
        state = neighbor["state"]
        states[state["neighbor_address"]] = names.get(state.get("session_state", 0), "idle")
    return states


def to_path(entry: Mapping[str, Any]) -> Path:
    """Read one path of `gobgp … rib -j`."""
    attributes = {attribute["type"]: attribute for attribute in entry["attrs"]}
    next_hop = attributes.get(MP_REACH, attributes.get(NEXT_HOP, {})).get("nexthop", "")
    segments = attributes.get(AS_PATH, {}).get("as_paths") or []
    communities = attributes.get(COMMUNITIES, {}).get("communities") or []
    cluster_list = attributes.get(CLUSTER_LIST, {}).get("value") or []
    return Path(
        next_hop=unmapped(next_hop),
        originator_id=attributes.get(ORIGINATOR_ID, {}).get("value"),
        cluster_list=tuple(cluster_list),
        as_path=tuple(asn for segment in segments for asn in segment.get("asns", [])),
        communities=frozenset(community_text(number) for number in communities),
        local_pref=attributes.get(LOCAL_PREF, {}).get("value"),
        med=attributes.get(MED, {}).get("metric"),
        origin=ORIGINS[attributes.get(ORIGIN, {}).get("value", 0)],
    )
