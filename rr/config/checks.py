"""What spans several values of rr.yaml: overlaps, an address in two racks, a range with the appliance in it.

These look at the document and skip what is not valid by itself: one misspelt key does not hide an overlap.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from rr.addresses import contains, network_of, order_of, overlaps
from rr.config import observing, scalars
from rr.config.document import Document, Route, dotted
from rr.config.model import Config, Http, Instance
from rr.config.observing import Placed
from rr.config.sourcechecks import SOURCE_RULES
from rr.config.urls import web_url
from rr.errors import Problem
from rr.net import Address, Network

T = TypeVar("T")
LONGEST_SOCKET = 107
"""Bytes in the path of a unix socket (unix(7): sun_path, less its closing zero)."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of nodes and where it stands."""

    route: Route
    network: Network


@dataclass(frozen=True, slots=True)
class Host:
    """An address of a ToR or of the appliance itself, and where it stands."""

    route: Route
    address: Address


def check(document: Document) -> list[Problem]:
    """Every mistake that no single value shows; the position of the later one, naming the earlier."""
    return list(chain.from_iterable(rule(document) for rule in _RULES))


def _valid(read: Callable[[Any], T], value: Any) -> T | None:
    try:
        return read(value)
    except ValueError:
        return None  # the schema says so


def _instances(document: Document) -> Iterator[Route]:
    yield from (route for route, _ in document.items("instances"))


def _racks(document: Document) -> Iterator[Route]:
    for instance in _instances(document):
        yield from (route for route, _ in document.items(*instance, "racks"))


def _ranges(document: Document) -> list[Range]:
    values = chain.from_iterable(document.items(*rack, "nodes", "ranges") for rack in _racks(document))
    found = ((route, _valid(scalars.node_range, value)) for route, value in values)
    return [Range(route, network) for route, network in found if network]


def _tors(document: Document) -> list[Host]:
    tors = chain.from_iterable(document.items(*rack, "tors") for rack in _racks(document))
    routes = ((*route, "address") for route, _ in tors)
    found = ((route, _valid(scalars.host_address, document.at(*route))) for route in routes)
    return [Host(route, address) for route, address in found if address]


def _listens(document: Document, instance: Route) -> list[Host]:
    route = (*instance, "listen")
    if document.at(*route) is None:
        values: Iterator[tuple[Route, Any]] = iter(
            [((*instance, "router_id"), document.at(*instance, "router_id"))]
        )
    else:
        values = document.items(*route)
    values = chain(values, document.items(*instance, "floating"))
    found = ((place, _valid(scalars.listen_address, value)) for place, value in values)
    return [Host(place, address) for place, address in found if address]


def _own(document: Document) -> list[Host]:
    """The appliance's own addresses: what it listens on, and its router ids."""
    found: list[Host] = []
    for instance in _instances(document):
        found += _listens(document, instance)
        router_id = _valid(scalars.router_id, document.at(*instance, "router_id"))
        if router_id and router_id not in [host.address for host in found]:
            found.append(Host((*instance, "router_id"), router_id))
    return found


def _where(document: Document, route: Route) -> str:
    return f"{dotted(route)} (line {document.place(route)[0]})"


def _port(document: Document, instance: Route) -> int | None:
    value = document.at(*instance, "port")
    default: int = Instance.model_fields["port"].default
    return default if value is None else _valid(scalars.integer(1, 65535, "a port"), value)


def ranges_apart(document: Document) -> Iterator[Problem]:
    """No two ranges overlap, in no two racks and no two instances: a node has one rack."""
    found = _ranges(document)
    for inside, outside in overlaps([order_of(item.network) for item in found]):
        first, second = sorted((inside, outside), key=lambda index: document.place(found[index].route))
        this, that = found[second], found[first]
        if this.network == that.network:
            wrong = f"{this.network} is already a range at {_where(document, that.route)}"
            yield document.problem(this.route, wrong, "keep it in one place")
        else:
            wrong = f"{this.network} overlaps {that.network} at {_where(document, that.route)}"
            yield document.problem(this.route, wrong, "give every rack ranges of its own")


def ranges_without_appliance(document: Document) -> Iterator[Problem]:
    """No range holds an address of the appliance itself."""
    own = _own(document)
    for item in _ranges(document):
        for host in own:
            if contains(item.network, host.address):
                whose = f"this appliance's own {_where(document, host.route)}"
                wrong = f"{item.network} contains {host.address}, {whose}"
                yield document.problem(item.route, wrong, "narrow the range so that only nodes are in it")
                break


def tors_outside_ranges(document: Document) -> Iterator[Problem]:
    """No ToR has an address that a node could have."""
    ranges = _ranges(document)
    for tor in _tors(document):
        for item in ranges:
            if contains(item.network, tor.address):
                wrong = (
                    f"{tor.address} is inside the node range {item.network} at {_where(document, item.route)}"
                )
                right = "split the range so that the ToR is outside, or the ToR could be taken for a node"
                yield document.problem(tor.route, wrong, right)


def tors_once(document: Document) -> Iterator[Problem]:
    """A ToR has one session per instance, stands in one rack, and is not the appliance."""
    own = {host.address: host for host in reversed(_own(document))}
    seen: dict[Address, list[Host]] = {}
    for tor in _tors(document):
        if tor.address in own:
            wrong = f"{tor.address} is this appliance's own {_where(document, own[tor.address].route)}"
            yield document.problem(tor.route, wrong, "write the address of the ToR")
        yield from _first(_same_tor(document, tor, other) for other in seen.get(tor.address, []))
        seen.setdefault(tor.address, []).append(tor)


def _first(found: Iterator[Problem | None]) -> Iterator[Problem]:
    """The first that is a problem, if any."""
    yield from [problem for problem in found if problem][:1]


def _same_tor(document: Document, tor: Host, other: Host) -> Problem | None:
    wrong = f"{tor.address} is already a ToR at {_where(document, other.route)}"
    if tor.route[1] == other.route[1]:
        return document.problem(
            tor.route, wrong, "keep it in one place: a speaker has one session with an address"
        )
    if tor.route[3] != other.route[3]:
        right = (
            "keep it in one rack, or give both the same name if they are one rack split over two instances"
        )
        return document.problem(tor.route, wrong, right)
    return None


def listen_once(document: Document) -> Iterator[Problem]:
    """No two speakers, nor a speaker and the HTTP server, share an address and port."""
    seen: dict[tuple[Address, int], Route] = {}
    for instance in _instances(document):
        port = _port(document, instance)
        for host in _listens(document, instance) if port else ():
            first = seen.setdefault((host.address, port or 0), host.route)
            if first[:2] == host.route[:2] and first != host.route:
                wrong = f"{host.address} is listed twice, first at {_where(document, first)}"
                yield document.problem(host.route, wrong, "keep one of them")
            elif first != host.route:
                wrong = f"{host.address} port {port} is already that of {_where(document, first)}"
                yield document.problem(
                    host.route, wrong, "give each instance an address or a port of its own"
                )
    yield from _http_apart(document, seen)


def _http_apart(document: Document, seen: dict[tuple[Address, int], Route]) -> Iterator[Problem]:
    value = document.at("http", "listen")
    http = _valid(scalars.host_port, value) if isinstance(value, str) else None
    for (address, port), route in seen.items():
        if http and http["port"] == port and http["host"] in (str(address), "0.0.0.0", "::"):
            wrong = f"port {port} of {address} is already that of {_where(document, route)}"
            yield document.problem(("http", "listen"), wrong, "choose another port")


def router_ids_apart(document: Document) -> Iterator[Problem]:
    """Two speakers of one AS never share a BGP identifier (RFC 6286)."""
    seen: dict[tuple[int, Address], Route] = {}
    for instance in _instances(document):
        asn = _valid(scalars.as_number, document.at(*instance, "asn"))
        router_id = _valid(scalars.router_id, document.at(*instance, "router_id"))
        if asn and router_id:
            route = (*instance, "router_id")
            first = seen.setdefault((asn, router_id), route)
            if first != route:
                wrong = f"{router_id} is already that of {_where(document, first)}, in the same AS {asn}"
                yield document.problem(route, wrong, "give each instance a router id of its own")


def reachable(document: Document) -> Iterator[Problem]:
    """Somebody listens in the family of each range and each ToR."""
    hosts = [Host(item.route, item.network.network_address) for item in _ranges(document)] + _tors(document)
    for host in hosts:
        listens = _listens(document, host.route[:2])
        if listens and host.address.version not in {listen.address.version for listen in listens}:
            wrong = (
                f"{document.at(*host.route)} is IPv{host.address.version}, and nothing listens in that family"
            )
            right = f"add an IPv{host.address.version} address to {dotted((*host.route[:2], 'listen'))}"
            yield document.problem(host.route, wrong, right)


def families_once(document: Document) -> Iterator[Problem]:
    """No family is listed twice, and each prefix in from_tors is of one that the sessions carry."""
    for instance in _instances(document):
        seen: dict[str, Route] = {}
        for route, family in document.items(*instance, "families"):
            if isinstance(family, str) and seen.setdefault(str(family), route) != route:
                yield document.problem(route, f"{family} is listed twice", "keep one of them")
        for rack, _ in document.items(*instance, "racks"):
            yield from _from_tors(document, rack, _carried(document, instance))


def _from_tors(document: Document, rack: Route, carried: set[str]) -> Iterator[Problem]:
    seen: dict[Network, Route] = {}
    for route, value in document.items(*rack, "from_tors"):
        network = _valid(scalars.tor_prefix, value)
        if network is None:
            continue
        if seen.setdefault(network, route) != route:
            wrong = f"{network} is listed twice, first at {_where(document, seen[network])}"
            yield document.problem(route, wrong, "keep one of them")
        family = f"ipv{network.version}"
        if carried and family not in carried:
            wrong = (
                f"{network} is {family}, and {dotted(rack[:2])} carries only {' and '.join(sorted(carried))}"
            )
            yield document.problem(route, wrong, f"add {family} to {dotted((*rack[:2], 'families'))}")


def observed_within_bounds(document: Document) -> Iterator[Problem]:
    """An observed rack says what may pass, and that is nothing which the network itself stands on."""
    hosts = [*_hosts(_tors(document), "the ToR"), *_hosts(_pair_peers(document), "the other half")]
    hosts += _hosts(_own(document), "this appliance's own")
    nodes = [Placed(item.route, item.network, f"the node range {item.network}") for item in _ranges(document)]
    hops = list(_placed(document, ("observe", "next_hops"), scalars.node_range, "the next hops"))
    sent = [
        p
        for p in _placed(document, ("from_tors",), scalars.tor_prefix, "what ToRs send,")
        if p.network.prefixlen
    ]
    bounds = list(_placed(document, ("observe", "prefixes"), scalars.bound, ""))
    for rack in _racks(document):
        yield from observing.stated(document, rack)
        own = [bound for bound in bounds if bound.route[:4] == rack]
        carried = _carried(document, rack[:2])
        yield from observing.bounds_clear(document, own, [*hosts, *nodes, *hops, *sent], carried)
        mine = [hop for hop in hops if hop.route[:4] == rack]
        foreign = [item for item in (*nodes, *hops) if item.route[3] != rack[3]]
        yield from observing.next_hops_own(document, mine, [*hosts, *foreign])


def _hosts(hosts: Iterable[Host], what: str) -> Iterator[Placed]:
    yield from (Placed(host.route, network_of(host.address), f"{what} {host.address}") for host in hosts)


def _placed(document: Document, keys: Route, read: Callable[[Any], Network], what: str) -> Iterator[Placed]:
    for rack in _racks(document):
        for route, value in document.items(*rack, *keys):
            if (network := _valid(read, value)) is not None:
                yield Placed(route, network, f"{what} {network}")


def _carried(document: Document, instance: Route) -> set[str]:
    """The address families of an instance's sessions."""
    named = {str(family) for _, family in document.items(*instance, "families") if isinstance(family, str)}
    return named or {f"ipv{r.network.version}" for r in _ranges(document) if r.route[:2] == instance}


def sockets_fit(document: Document) -> Iterator[Problem]:
    """The path of each engine's socket fits into what the kernel takes."""
    value = document.at("run_dir")
    run_dir = (
        Config.model_fields["run_dir"].default if value is None else _valid(scalars.absolute_path, value)
    )
    names = [str(route[1]) for route in _instances(document) if _valid(scalars.instance_name, str(route[1]))]
    if run_dir is None or not names:
        return
    longest = max(names, key=len)
    path = os.fsencode(run_dir / longest / "gobgpd.sock")
    if len(path) > LONGEST_SOCKET:
        wrong = f"makes the socket path {path.decode(errors='replace')}, {len(path)} bytes of at most {LONGEST_SOCKET}"
        right = f"shorten it, or the name {longest}, by {len(path) - LONGEST_SOCKET}"
        yield document.problem(("run_dir",) if value is not None else ("instances", longest), wrong, right)


def deferral_before_restart(document: Document) -> Iterator[Problem]:
    """A restarted engine stops waiting for nodes before its peers stop waiting for it."""
    for instance in _instances(document):
        times = [*instance, "graceful_restart"]
        restart, deferral = (
            _valid(scalars.integer(1, 65535, "a time"), document.at(*times, key) or default)
            for key, default in (("restart_time", "120"), ("deferral_time", "30"))
        )
        if restart and deferral and deferral >= restart:
            key = "deferral_time" if document.at(*times, "deferral_time") else "restart_time"
            wrong = f"peers keep routes for {restart} s, and the engine defers its own for {deferral} s"
            right = "make deferral_time shorter than restart_time, or a node that stays away costs everybody's routes"
            yield document.problem((*times, key), wrong, right)


def sources_once(document: Document) -> Iterator[Problem]:
    """No source is listed twice, and no two have one name."""
    seen: dict[tuple[str, str], Route] = {}
    for source, _ in document.items("ipam", "sources"):
        for key, read in (("path", scalars.absolute_path), ("url", web_url), ("name", scalars.name)):
            value = document.at(*source, key)
            found = _valid(read, value) if isinstance(value, str) else None
            if found is None or (key == "url" and document.at(*source, "name") is not None):
                continue  # two sources may ask one server for different things, if they have names of their own
            text = str(found).rstrip("/") if key == "url" else os.path.normpath(str(found))
            route = (*source, key)
            first = seen.setdefault((key, text), route)
            if first != route:
                what = "already the name of the source at" if key == "name" else "already the source at"
                wrong = f"{text} is {what} {_where(document, first)}"
                yield document.problem(route, wrong, _APART[key])


_APART = {
    "path": "keep one of them",
    "url": "keep one of them, or give both a `name`",
    "name": "name it otherwise",
}


def clusters_once(document: Document) -> Iterator[Problem]:
    """No Kubernetes cluster is read twice by one identity."""
    seen: dict[tuple[Any, ...], Route] = {}
    for source, _ in document.items("ipam", "sources"):
        if document.at(*source, "type") == "kubernetes":
            identity = (document.at(*source, "kubeconfig"), document.at(*source, "context"))
            first = seen.setdefault(identity, source)
            if first != source:
                wrong = f"the cluster is already the source at {_where(document, first)}"
                yield document.problem(
                    source, wrong, "keep one of them, or name another kubeconfig or context"
                )


def _pair_peers(document: Document) -> list[Host]:
    named = [(route, value) for route, value in document.items("pair", "peers") if isinstance(route[2], str)]
    found = ((route, _valid(scalars.host_address, value)) for route, value in named)
    return [Host(route, address) for route, address in found if address]


def pair_is_another(document: Document) -> Iterator[Problem]:
    """The other half is not this one."""
    name, other = (_valid(scalars.name, document.at(*route)) for route in (("name",), ("pair", "name")))
    if name and name == other:
        wrong = f"{other} is this appliance's own {_where(document, ('name',))}"
        yield document.problem(("pair", "name"), wrong, "write the name of the other half")
    ends = [_valid(scalars.host_port, document.at("pair", key)) for key in ("listen", "connect")]
    if all(ends) and ends[0] == ends[1]:
        wrong = f"{document.at('pair', 'connect')} is this half's own {_where(document, ('pair', 'listen'))}"
        yield document.problem(("pair", "connect"), wrong, "write the other half's `pair.listen`")


def pair_listens_apart(document: Document) -> Iterator[Problem]:
    """The health channel has an address and port of its own, and one that the other half can dial."""
    route = ("pair", "listen")
    own = _valid(scalars.host_port, document.at(*route))
    for (host, port), place in _listeners(document):
        if own is None:
            break
        anywhere = {"0.0.0.0", "::"} & {host, own["host"]}
        if port == own["port"] and (anywhere or host == own["host"]):
            wrong = f"port {port} of {own['host']} is already that of {_where(document, place)}"
            yield document.problem(route, wrong, "choose another port")
            break
    other = _valid(scalars.host_port, document.at("pair", "connect"))
    if other and other["host"] in ("0.0.0.0", "::"):
        wrong = f"{other['host']} means every address of a host"
        yield document.problem(("pair", "connect"), wrong, "write the address of the other half")


def _listeners(document: Document) -> Iterator[tuple[tuple[str, int], Route]]:
    """Address and port of the HTTP server and of every speaker."""
    value = document.at("http", "listen")
    http = _valid(scalars.host_port, str(Http().listen) if value is None else value)
    if http:
        yield (http["host"], http["port"]), ("http", "listen")
    for instance in _instances(document):
        port = _port(document, instance)
        for host in _listens(document, instance) if port else ():
            yield (str(host.address), port or 0), host.route


def pair_peers_fit(document: Document) -> Iterator[Problem]:
    """Each session between the halves is of an instance, runs to a speaker of the other half, and to nobody else."""
    instances = {str(route[1]): route for route in _instances(document)}
    for route, _ in document.items("pair", "peers"):
        if instances and isinstance(route[2], str) and route[2] not in instances:
            right = f"write one of {', '.join(instances)}"
            yield document.problem(route, f"there is no instance {route[2]}", right, at_key=True)
    seen: dict[tuple[Address, int | None], Route] = {}
    for peer in _pair_peers(document):
        yield from _somebody_else(document, peer)
        if instance := instances.get(str(peer.route[2])):
            first = seen.setdefault((peer.address, _port(document, instance)), peer.route)
            if first != peer.route:
                wrong = f"{peer.address} is already the other half of {_where(document, first)}"
                yield document.problem(peer.route, wrong, "write the address of the other half's speaker")
            listens = _listens(document, instance)
            if listens and peer.address.version not in {listen.address.version for listen in listens}:
                wrong = f"{peer.address} is IPv{peer.address.version}, and nothing listens in that family"
                right = f"add an IPv{peer.address.version} address to {dotted((*instance, 'listen'))}"
                yield document.problem(peer.route, wrong, right)


def _somebody_else(document: Document, peer: Host) -> Iterator[Problem]:
    right = "write the address of the other half's speaker"
    for host in _own(document):
        if host.address == peer.address:
            wrong = f"{peer.address} is this appliance's own {_where(document, host.route)}"
            yield document.problem(peer.route, wrong, right)
            break
    for tor in _tors(document):
        if tor.address == peer.address:
            wrong = f"{peer.address} is a ToR at {_where(document, tor.route)}"
            yield document.problem(peer.route, wrong, right)
            break
    for item in _ranges(document):
        if contains(item.network, peer.address):
            wrong = (
                f"{peer.address} is inside the node range {item.network} at {_where(document, item.route)}"
            )
            narrow = "narrow the range, or the other half could be taken for a node"
            yield document.problem(peer.route, wrong, narrow)


_RULES = (
    ranges_apart,
    ranges_without_appliance,
    tors_outside_ranges,
    tors_once,
    listen_once,
    router_ids_apart,
    reachable,
    families_once,
    observed_within_bounds,
    deferral_before_restart,
    sockets_fit,
    sources_once,
    clusters_once,
    *SOURCE_RULES,
    pair_is_another,
    pair_listens_apart,
    pair_peers_fit,
)
