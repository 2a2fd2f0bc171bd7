"""Whether this host can do what the configuration says: have the addresses, and open the ports."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Set
from dataclasses import dataclass
from ipaddress import ip_address

from rr.config.document import Route, dotted
from rr.config.model import Config
from rr.config.types import HostPort
from rr.errors import Problem
from rr.net import Address


@dataclass(frozen=True, slots=True)
class _Wanted:
    route: Route
    port_route: Route
    address: Address
    port: int
    in_use: bool


def check_host(
    config: Config,
    running: Set[str] = frozenset(),
    serving: HostPort | None = None,
    privileged: bool = False,
    own: Set[tuple[Address, int]] = frozenset(),
) -> list[Problem]:
    """What this host cannot bind, tried for real.

    `running` names instances whose engine already runs with these addresses and this port, `own` are addresses
    and ports that engines of ours hold, whichever they are, and `serving` is where this very process already
    serves HTTP: those ports are taken by ourselves. `privileged` says that
    whoever opens the BGP ports may open those below 1024 even if this process may not (systemd starts it).
    """
    problems: list[Problem] = []
    for wanted in _wanted(config, running, serving):
        ours = wanted.in_use or (wanted.address, wanted.port) in own
        number = _try(wanted.address, 0) or (0 if ours else _try(wanted.address, wanted.port))
        if number and not (number == errno.EACCES and privileged and wanted.route[0] == "instances"):
            problems.append(_problem(config, wanted, number))
    return problems


def _wanted(config: Config, running: Set[str], serving: HostPort | None) -> Iterator[_Wanted]:
    marks = config.places.marks
    for name, instance in config.instances.items():
        base = ("instances", name)
        listed = (*base, "router_id") not in marks or (*base, "listen", 0) in marks
        for index, address in enumerate(instance.listen):
            route: Route = (*base, "listen", index) if listed else (*base, "router_id")
            yield _Wanted(route, (*base, "port"), address, instance.port, name in running)
        for index, address in enumerate(instance.floating):
            floats: Route = (*base, "floating", index)
            yield _Wanted(floats, (*base, "port"), address, instance.port, name in running)
    listen: Route = ("http", "listen")
    http = config.http.listen
    yield _Wanted(listen, listen, ip_address(http.host), http.port, http == serving)


def _try(address: Address, port: int) -> int:
    """The error number of binding, 0 when it works; the socket is closed at once."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            attempt.bind((str(address), port))
            if port:
                attempt.listen(1)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _problem(config: Config, wanted: _Wanted, number: int) -> Problem:
    address, port = wanted.address, wanted.port
    if number == errno.EADDRNOTAVAIL and wanted.route[2] == "floating":
        sysctl = f"net.ipv{address.version}.ip_nonlocal_bind"
        wrong = f"{address} is not on this host now, and {sysctl} lets nobody listen on it before it is"
        return _at(config, wanted.route, wrong, f"set the sysctl: {sysctl} = 1")
    if number == errno.EADDRNOTAVAIL:
        wrong, right = (
            f"{address} is not an address of this host",
            "write one that `ip address` shows, or add it",
        )
        return _at(config, wanted.route, wrong, right)
    if number == errno.EAFNOSUPPORT:
        wrong = f"{address} needs IPv{address.version}, which this host has switched off"
        return _at(config, wanted.route, wrong, "switch it on, or leave the address out")
    if number == errno.EACCES:
        wrong = f"port {port} of {address} needs the capability CAP_NET_BIND_SERVICE"
        right = "grant it, lower the sysctl net.ipv4.ip_unprivileged_port_start, or choose a port from 1024"
        return _at(config, wanted.port_route, wrong, right)
    if number == errno.EADDRINUSE:
        wrong = f"port {port} of {address} is taken by another process"
        right = f"stop it (`ss -ltnp sport = :{port}` names it), or choose another port"
        return _at(config, wanted.port_route, wrong, right)
    wrong = f"port {port} of {address} cannot be opened ({errno.errorcode.get(number, number)})"
    return _at(config, wanted.route, wrong, "see that the address works on this host")


def _at(config: Config, route: Route, wrong: str, right: str) -> Problem:
    return Problem(config.places.file, *config.places.of(route), dotted(route), wrong, right)
