"""BIRD 2 as a node or ToR. Its quirks, seen with 2.0.12: see `tests/lab/README.md`.

Announcements are static routes; their attributes are set by the export filter, because that is where BIRD
takes a next hop as final. A change is a new configuration file and `configure`, which resets no session.
"""

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.lab.peer import (
    BOTH_FAMILIES,
    Announcement,
    Family,
    Heard,
    Path,
    Peer,
    Session,
    community_number,
    community_text,
    normal,
    unmapped,
)
from tests.lab.wait import eventually

PROGRAM = "/usr/sbin/bird"

PATH_LINE = re.compile(r"^(?P<prefix>\S+/\d+)?\s+(?:\w+)?\s*\[(?P<protocol>\w+) ")
ATTRIBUTE_LINE = re.compile(r"^\s+(?:BGP\.)(\w+): ?(.*)$")
ROUTE_LOG = re.compile(r"(?P<session>rr\d+)\.ipv[46] > (?P<what>\w+) .*?(?P<prefix>\S+/\d+)")


class BirdError(AssertionError):
    """BIRD refused a command or a configuration."""


class Bird(Peer):
    """A bird daemon, driven through its control socket."""

    kernel = False

    def start(self) -> None:
        self.socket = self.host.folder / "bird.ctl"
        self.config = self.host.folder / "bird.conf"
        self.socket.unlink(missing_ok=True)
        self.config.write_text(self._config())
        files = ("-c", self.config, "-s", self.socket, "-P", self.host.folder / "bird.pid")
        process = self.host.start("bird", [PROGRAM, "-f", *files])
        self.processes.append(process)

        def serves() -> bool:
            process.must_run()
            return bool(self.birdc("show status"))

        eventually(serves, 10, f"bird of {self.name} takes commands")

    def birdc(self, command: str) -> str:
        """Give a command to BIRD and return the text of its answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(20)
            control.connect(str(self.socket))
            with control.makefile("rw") as stream:
                _answer(stream)
                stream.write(command + "\n")
                stream.flush()
                return _answer(stream)

    # Configuration.

    def _config(self) -> str:
        parts = [
            f'log "{self.host.folder / "routes.log"}" all;',
            f"router id {self.router_id};",
            "protocol device { scan time 1; }",
            "protocol direct { ipv4; ipv6; }",  # without it no iBGP next hop can be resolved
        ]
        for family in BOTH_FAMILIES:
            parts.append(self._statics(family))
            parts.append(self._export(family))
            if self.kernel:
                channel = f"{family} {{ import none; export where source = RTS_BGP; }};"
                parts.append(f"protocol kernel kernel_{family} {{ {channel} merge paths on limit 64; }}")
        parts += [self._protocol(number, session) for number, session in enumerate(self.sessions)]
        return "\n".join(parts) + "\n"

    def _statics(self, family: Family) -> str:
        routes = [r for r in self.announced.values() if r.family == family]
        lines = "".join(f"  route {route.prefix} blackhole;\n" for route in routes)
        return f"protocol static own_{family} {{\n  {family} {{ import all; }};\n{lines}}}"

    def _export(self, family: Family) -> str:
        routes = [r for r in self.announced.values() if r.family == family]
        lines = [f"filter announce_{family} {{", "  if source != RTS_STATIC then reject;"]
        for route in routes:
            settings = " ".join(_settings(route))
            if settings:
                lines.append(f"  if net = {route.prefix} then {{ {settings} }}")
        return "\n".join([*lines, "  accept;", "}"])

    def _protocol(self, number: int, session: Session) -> str:
        lines = [
            f"protocol bgp rr{number} {{",
            "  debug { routes, states, events };",
            f"  local {session.local} port {self.listen_port} as {self.asn};",
            f"  neighbor {session.remote} port {session.port} as {session.remote_asn};",
            f"  hold time {session.hold_time};",
            "  connect delay time 1; connect retry time 1; error wait time 1, 2;",
            f"  passive {'on' if session.passive else 'off'};",
        ]
        if session.password is not None:
            lines.append(f'  password "{session.password}";')
        if session.ttl_security:
            lines.append("  direct; ttl security on;")  # BIRD sends iBGP with TTL 64 otherwise
        if session.restart_time is None:
            lines.append("  graceful restart off;")
        else:
            lines.append(f"  graceful restart on; graceful restart time {session.restart_time};")
        for family in session.families:
            paths = " add paths rx;" if session.add_paths else ""
            lines.append(f"  {family} {{ import all; export filter announce_{family};{paths} }};")
        return "\n".join([*lines, "}"])

    def reconfigure(self) -> None:
        """Write the configuration again and have BIRD take it over."""
        self.config.write_text(self._config())
        self.birdc("configure")

    def set_password(self, remote: str, password: str) -> None:
        """Have another password with one remote; BIRD resets that session."""
        self.sessions = tuple(
            replace(session, password=password) if session.remote == remote else session
            for session in self.sessions
        )
        self.reconfigure()

    # The common shape.

    def session_states(self) -> Mapping[str, str]:
        states = {}
        for number, session in enumerate(self.sessions):
            shown = self.birdc(f"show protocols all rr{number}")
            match = re.search(r"BGP state:\s+(\w+)", shown)
            states[session.remote] = match[1].lower() if match else "idle"
        return states

    def session_marks(self) -> Mapping[str, str]:
        # Not `since`: BIRD works it out anew each time it is asked, and is a millisecond off now and then.
        log = (self.host.folder / "routes.log").read_text(errors="replace")
        states = self.session_states()
        return {
            session.remote: f"{states[session.remote]} {log.count(f'rr{number}: State changed to')}"
            for number, session in enumerate(self.sessions)
        }

    def routes(self) -> dict[str, list[Path]]:
        table: dict[str, list[Path]] = {}
        for number in range(len(self.sessions)):
            for prefix, path in parse_routes(self.birdc(f"show route all protocol rr{number}")):
                table.setdefault(prefix, []).append(path)
        return table

    def _announce(self, route: Announcement) -> None:
        self.reconfigure()

    def _withdraw(self, route: Announcement) -> None:
        self.reconfigure()

    def heard(self) -> list[Heard]:
        log = self.host.folder / "routes.log"
        return list(parse_log(log.read_text(errors="replace"))) if log.exists() else []

    def losses(self) -> list[Heard]:
        return [heard for heard in self.removals() if "removed [sole]" in heard.line]


class BirdNode(Bird):
    """A node that runs BIRD, as Calico's do."""


class BirdTor(Bird):
    """A ToR that runs BIRD: receives every path and keeps them as ECMP in the kernel."""

    kernel = True

    def __init__(self, *args: Any, add_paths: bool = True, **options: Any) -> None:
        super().__init__(*args, add_paths=add_paths, **options)

    def kernel_next_hops(self, prefix: str) -> frozenset[str]:
        """The next hops in the kernel's table: what the ToR really forwards by."""
        return self.host.kernel_next_hops(prefix)


def _settings(route: Announcement) -> Iterator[str]:
    if route.next_hop is not None:
        yield f"bgp_next_hop = {route.next_hop};"
    for community in route.communities:
        number = community_number(community)
        yield f"bgp_community.add(({number >> 16}, {number & 0xFFFF}));"
    for asn in reversed(route.as_path):
        yield f"bgp_path.prepend({asn});"
    if route.originator_id is not None:
        yield f"bgp_originator_id = {route.originator_id};"
    for cluster in route.cluster_list:  # add() puts it at the end, unlike prepend()
        yield f"bgp_cluster_list.add({cluster});"
    if route.med is not None:
        yield f"bgp_med = {route.med};"
    if route.local_pref is not None:
        yield f"bgp_local_pref = {route.local_pref};"
    if route.origin != "igp":
        yield f"bgp_origin = ORIGIN_{route.origin.upper()};"


def _answer(stream: Any) -> str:
    """Read one answer: lines `NNNN-text`, ` text`, up to `NNNN text`; 8xxx and 9xxx are errors."""
    lines = []
    for line in stream:
        code, more, text = line[:4], line[4:5], line[5:]
        if not code.isdigit():
            lines.append(line[1:])
            continue
        lines.append(text)
        if more == " ":
            if code[0] in "89":
                raise BirdError("".join(lines).strip())
            return "".join(lines)
    raise ConnectionError("BIRD closed its control socket")


def parse_routes(shown: str) -> Iterator[tuple[str, Path]]:
    """Read `show route all`."""
    prefix = ""
    attributes: dict[str, str] | None = None
    for line in shown.splitlines():
        start = PATH_LINE.match(line)
        if start:
            if attributes is not None:
                yield prefix, _to_path(attributes)
            prefix = normal(start["prefix"]) if start["prefix"] else prefix
            attributes = {}
            continue
        match = ATTRIBUTE_LINE.match(line)
        if match and attributes is not None:
            attributes[match[1]] = match[2].strip()
    if attributes is not None:
        yield prefix, _to_path(attributes)


def _to_path(attributes: Mapping[str, str]) -> Path:
    def number(name: str) -> int | None:
        return int(attributes[name]) if name in attributes else None

    communities = re.findall(r"\((\d+),(\d+)\)", attributes.get("community", ""))
    hops = attributes.get("next_hop", "").split()
    return Path(
        next_hop=unmapped(hops[0]) if hops else "",  # a second one is the link-local address
        originator_id=attributes.get("originator_id"),
        cluster_list=tuple(attributes.get("cluster_list", "").split()),
        as_path=tuple(int(word) for word in attributes.get("as_path", "").split() if word.isdigit()),
        communities=frozenset(community_text(int(high) << 16 | int(low)) for high, low in communities),
        local_pref=number("local_pref"),
        med=number("med"),
        origin=attributes.get("origin", "").lower() or None,
    )


def parse_log(text: str) -> Iterator[Heard]:
    """Read what `debug { routes }` logged of routes that came in."""
    for line in text.splitlines():
        match = ROUTE_LOG.search(line)
        if match:
            kind = "withdraw" if match["what"] in ("removed", "withdrawn") else "update"
            yield Heard(kind, normal(match["prefix"]), line)  # type: ignore[arg-type]
