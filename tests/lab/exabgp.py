"""ExaBGP as a node: routes with any attribute, spoofed ones included. Quirks: see `tests/lab/README.md`.

Commands go in through a FIFO that ExaBGP's helper process (`cat`) hands over; what ExaBGP receives comes
out as JSON lines. It keeps no table of its own, so the table here is folded from those lines.
"""

import ipaddress
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.lab.peer import Announcement, Heard, Path, Peer, Session, community_text, normal, unmapped
from tests.lab.wait import eventually

PROGRAM = "/usr/sbin/exabgp"

WELL_KNOWN = {"graceful-shutdown": "65535:0"}


class Exabgp(Peer):
    """An exabgp process. It never dials out twice within a second, and it takes no kernel routes."""

    _commands = -1

    def start(self) -> None:
        folder = self.host.folder
        self.fifo, self.lines = folder / "commands.fifo", folder / "exabgp.json"
        self.lines.write_text("")
        if not self.fifo.exists():
            os.mkfifo(self.fifo)
        self._commands = os.open(self.fifo, os.O_RDWR)  # read-write: neither end ever sees end of file
        config = folder / "exabgp.conf"
        config.write_text(self._config())
        environment = {
            "exabgp.daemon.user": "root",
            "exabgp.api.cli": "false",
            "exabgp.log.level": "INFO",
            "exabgp.tcp.delay": "0",
            "exabgp.tcp.port": str(self.listen_port),
            "exabgp.tcp.bind": " ".join(s.local for s in self.sessions if s.passive),
        }
        self.processes.append(self.host.start("exabgp", [PROGRAM, config], environment=environment))
        self.command("version")
        for route in self.announced.values():
            self._announce(route)

    def _config(self) -> str:
        script = self.host.folder / "helper.sh"
        # The shell would give a background `cat` no standard input, hence descriptor 3.
        script.write_text(f"#!/bin/sh\nexec 3<&0\ncat <&3 >>{self.lines} &\nexec cat {self.fifo}\n")
        script.chmod(0o755)
        helper = f"process lab {{\n  run {script};\n  encoder json;\n}}\n"
        return helper + "\n".join(self._neighbor(session) for session in self.sessions) + "\n"

    def _neighbor(self, session: Session) -> str:
        families = "".join(f" {family} unicast;" for family in session.families)
        add_paths = " add-path receive;" if session.add_paths else ""
        restart = f" graceful-restart {session.restart_time};" if session.restart_time is not None else ""
        lines = [
            f"neighbor {session.remote} {{",
            f"  router-id {self.router_id};",
            f"  local-address {session.local};",
            f"  local-as {self.asn};",
            f"  peer-as {session.remote_asn};",
            f"  hold-time {session.hold_time};",
            f"  {'listen' if session.passive else 'connect'} {session.port};",
            *(["  passive true;"] if session.passive else []),
            *(["  outgoing-ttl 255;", "  incoming-ttl 255;"] if session.ttl_security else []),
            *([f"  md5-password '{session.password}';"] if session.password else []),
            f"  family {{{families} }}",
            f"  capability {{ route-refresh;{add_paths}{restart} }}",
            "  api { processes [ lab ]; neighbor-changes; receive { parsed; update; notification; } }",
            "}",
        ]
        return "\n".join(lines)

    def command(self, text: str) -> None:
        """Give an API command (its answer is `done` or an error) and wait for the answer."""
        before = len(self._answers())
        os.write(self._commands, text.encode() + b"\n")

        def answered() -> list[str]:
            self.processes[-1].must_run()
            return self._answers()[before:]

        answers = eventually(answered, 15, f"exabgp of {self.name} answers {text!r}")
        if answers[0] != "done":
            raise AssertionError(f"exabgp refused {text!r}: {answers}")

    def _answers(self) -> list[str]:
        # Plain-text answers stand between the JSON lines.
        return [line for line in self.lines.read_text().splitlines() if line in ("done", "error")]

    def _messages(self) -> Iterator[dict[str, Any]]:
        for line in self.lines.read_text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def session_states(self) -> Mapping[str, str]:
        states = {session.remote: "idle" for session in self.sessions}
        for message in self._messages():
            if message["type"] == "state":
                neighbor = message["neighbor"]
                up = neighbor["state"] == "up"
                states[neighbor["address"]["peer"]] = "established" if up else "idle"
        return states

    def session_marks(self) -> Mapping[str, str]:
        changes = Counter(m["neighbor"]["address"]["peer"] for m in self._messages() if m["type"] == "state")
        return {session.remote: str(changes[session.remote]) for session in self.sessions}

    def routes(self) -> dict[str, list[Path]]:
        table: dict[str, dict[tuple[str, int], Path]] = {}
        for message in self._messages():
            peer = message.get("neighbor", {}).get("address", {}).get("peer", "")
            if message["type"] == "state" and message["neighbor"]["state"] == "down":
                for paths in table.values():
                    for key in [key for key in paths if key[0] == peer]:
                        del paths[key]
            for heard, path_id, path in read_update(message):
                paths = table.setdefault(heard.prefix, {})
                paths.pop((peer, path_id), None)
                if path is not None:
                    paths[peer, path_id] = path
        return {prefix: list(paths.values()) for prefix, paths in table.items() if paths}

    def heard(self) -> list[Heard]:
        return [heard for message in self._messages() for heard, _, _ in read_update(message)]

    def _announce(self, route: Announcement) -> None:
        words = ["announce", "route", route.prefix, "next-hop", self._next_hop(route), "origin", route.origin]
        if route.as_path:
            words += ["as-path", "[", *(str(asn) for asn in route.as_path), "]"]
        if route.communities:
            words += ["community", "[", *(WELL_KNOWN.get(c, c) for c in route.communities), "]"]
        if route.originator_id is not None:
            words += ["originator-id", route.originator_id]
        if route.cluster_list:
            words += ["cluster-list", "[", *route.cluster_list, "]"]
        if route.med is not None:
            words += ["med", str(route.med)]
        words += ["local-preference", str(route.local_pref if route.local_pref is not None else 100)]
        self.command(" ".join(words))

    def _withdraw(self, route: Announcement) -> None:
        self.command(f"withdraw route {route.prefix} next-hop {self._next_hop(route)}")

    def _next_hop(self, route: Announcement) -> str:
        """`self` is wrong for IPv6 over an IPv4 session (four octets on the wire), so name the address."""
        own = self.host.address(4 if route.family == "ipv4" else 6)
        return route.next_hop or own or "self"

    def stop(self) -> None:
        super().stop()
        self._close()

    def kill(self) -> None:
        super().kill()
        self._close()

    def _close(self) -> None:
        if self._commands >= 0:
            os.close(self._commands)
            self._commands = -1


class ExabgpNode(Exabgp):
    """A node that runs ExaBGP: the one for announcements that no honest node would make."""


class ExabgpTor(Exabgp):
    """A ToR that runs ExaBGP: an exact record of every update and withdrawal, no kernel table."""

    def __init__(self, *args: Any, add_paths: bool = True, **options: Any) -> None:
        super().__init__(*args, add_paths=add_paths, **options)


def read_update(message: Mapping[str, Any]) -> Iterator[tuple[Heard, int, Path | None]]:
    """The routes of one JSON line, each with its path identifier; no path: withdrawn."""
    update = message.get("neighbor", {}).get("message", {}).get("update", {})
    line = json.dumps(update)
    for prefix, path_id in _prefixes(update.get("withdraw", {})):
        yield Heard("withdraw", prefix, line), path_id, None
    attributes = update.get("attribute", {})
    for announced in update.get("announce", {}).values():
        for next_hop, listed in announced.items():
            if next_hop == "null":  # End-of-RIB
                continue
            for prefix, path_id in _prefixes({"": listed}):
                yield Heard("update", prefix, line), path_id, to_path(next_hop, attributes)


def _prefixes(by_family: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for listed in by_family.values():
        for entry in listed:
            if "nlri" in entry:
                path_id = entry.get("path-information", "0.0.0.0")
                yield normal(entry["nlri"]), int(ipaddress.IPv4Address(path_id))


def to_path(next_hop: str, attributes: Mapping[str, Any]) -> Path:
    """Read the attributes of one JSON update."""
    communities = attributes.get("community", [])
    segments = attributes.get("as-path", [])
    return Path(
        next_hop=unmapped(next_hop),
        originator_id=attributes.get("originator-id"),
        cluster_list=tuple(attributes.get("cluster-list", ())),
        as_path=tuple(int(asn) for asn in segments),
        communities=frozenset(community_text(int(high) << 16 | int(low)) for high, low in communities),
        local_pref=attributes.get("local-preference"),
        med=attributes.get("med"),
        origin=attributes.get("origin"),
    )
