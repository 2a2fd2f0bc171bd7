"""The live picture as the rows that the API and rrctl show. The keys are a contract: `rr.api.keys` documents them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from rr.net import Address, Network
from rr.view import clock
from rr.view.live import Heard, LiveView, Peer, Role

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Path:
    """An accepted path, with what decides where it goes."""

    peer: Peer
    heard: Heard
    rack: str | None
    kind: str | None
    """`pod` or `vip`; None for a ToR's route."""
    lent: bool = False
    """It came over the other half, and so with a lower LOCAL_PREF."""

    @property
    def preference(self) -> tuple[bool, bool, int, int, int]:
        """How the engine breaks a tie once the rules have levelled all else (RFC 4271, section 9.1.2.2)."""
        router_id = int(IPv4Address(self.peer.router_id)) if self.peer.router_id else 0
        return (
            self.lent,
            self.heard.announcement.next_hop is None,
            router_id,
            self.peer.address.version,
            int(self.peer.address),
        )


def accepted_paths(view: LiveView) -> dict[Network, list[Path]]:
    """The accepted paths of every prefix, the best first."""
    found: dict[Network, list[Path]] = defaultdict(list)
    for peer, heard in view.heard():
        if heard.accepted:
            kind = None if view.role(peer.address) is Role.TOR else _kind(view, heard)
            lent = peer.address == view.rules.pair
            path = Path(peer, heard, view.rack_behind(heard.announcement), kind, lent)
            found[heard.announcement.prefix].append(path)
    for paths in found.values():
        if len(paths) > 1:
            paths.sort(key=lambda path: path.preference)
    return found


def _kind(view: LiveView, heard: Heard) -> str:
    """What the engine's rules make of it; in an observed rack a host route need not be a VIP to be accepted."""
    prefix, known = heard.announcement.prefix, view.allocations
    if prefix.prefixlen < prefix.max_prefixlen or known.owner_of(prefix):
        return "pod"
    return "vip" if not heard.reason or known.vip_pool_of(prefix) else "pod"


def routes(view: LiveView, prefix: str | None) -> list[Row]:
    """Accepted routes, by prefix, the best path first."""
    found = accepted_paths(view)
    chosen = [p for p in found if prefix is None or str(p) == prefix]
    rows = []
    for network in sorted(chosen, key=_order):
        rows += [_route(view, path, best=place == 0) for place, path in enumerate(found[network])]
    return rows


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _route(view: LiveView, path: Path, *, best: bool) -> Row:
    announcement = path.heard.announcement
    node = view.origin(announcement)
    return {
        "instance": view.instance,
        "prefix": str(announcement.prefix),
        "node": node.name if node and path.kind else None,
        "rack": path.rack,
        "next_hop": str(announcement.next_hop),
        "kind": path.kind,
        "best": best,
        "since": clock.text(path.heard.since),
        "peer": str(path.peer.address),
        "stale": path.heard.stale,
        "observed": path.heard.observed,
    }


def peers(view: LiveView) -> list[Row]:
    """Sessions, nodes last; a configured ToR is listed also while it is down, and so is the other half."""
    advertised = Advertised(view)
    known: dict[Address, Peer] = {address: Peer(address) for address in view.rules.configured()}
    known |= view.peers
    ordered = sorted(
        known.values(), key=lambda p: (view.role(p.address) is Role.NODE, p.address.version, int(p.address))
    )
    return [_peer(view, peer, advertised.to(peer)) for peer in ordered]


def _peer(view: LiveView, peer: Peer, advertised: int) -> Row:
    node = view.allocations.node_at(peer.address)
    accepted = sum(heard.accepted for heard in peer.heard.values())
    return {
        "instance": view.instance,
        "address": str(peer.address),
        "node": node.name if node and view.role(peer.address) is Role.NODE else None,
        "rack": view.rack(peer.address),
        "role": str(view.role(peer.address)),
        "state": peer.state,
        "since": clock.text(peer.since),
        "received": len(peer.heard),
        "accepted": accepted,
        "rejected": len(peer.heard) - accepted,
        "advertised": advertised,
        "stale": sum(heard.stale for heard in peer.heard.values()),
        "observed": sum(heard.observed for heard in peer.heard.values()),
    }


class Advertised:
    """How many routes the export rules send to a peer, counted once for all peers.

    The engine could be asked, but it would evaluate its export policy for every route and peer under its main lock.
    """

    def __init__(self, view: LiveView) -> None:
        self.view = view
        self.reflect = view.rules.instance.reflect
        self.paths = accepted_paths(view)
        self.best: Counter[tuple[str | None, str | None]] = Counter()
        """Prefixes by kind and rack of their best path."""
        self.own_best: Counter[tuple[Address, str | None]] = Counter()
        for found in self.paths.values():
            best = found[0]
            self.best[best.kind, best.rack] += 1
            self.own_best[best.peer.address, best.kind] += 1

    def to(self, peer: Peer) -> int:
        """Routes that this peer is sent; to a ToR with add-path, every path counts."""
        if not peer.up:
            return 0
        rack = self.view.rack(peer.address)
        if peer.address == self.view.rules.pair:
            return sum(not found[0].lent for p in self.view.lacking or () if (found := self.paths.get(p)))
        if self.view.role(peer.address) is Role.TOR:
            return self._to_tor(peer, rack)
        pods = self._in_reach("pod", self.reflect.nodes, peer, rack)
        vips = self._in_reach("vip", self.reflect.vips, peer, rack)
        return pods + vips + self.best[None, rack]

    def _in_reach(self, kind: str, reach: str, peer: Peer, rack: str | None) -> int:
        if reach == "none":
            return 0
        everything = sum(count for (k, _), count in self.best.items() if k == kind)
        total = everything if reach == "all" else self.best[kind, rack]
        return total - self.own_best[peer.address, kind]

    def _to_tor(self, peer: Peer, rack: str | None) -> int:
        width = self.view.rules.add_paths(peer.address)
        total = 0
        for found in self.paths.values():
            sent = found if width else found[:1]
            total += min(sum(self._reaches_tor(path, rack) for path in sent), width or 1)
        return total

    def _reaches_tor(self, path: Path, rack: str | None) -> bool:
        reach = self.reflect.tor_vips if path.kind == "vip" else self.reflect.tors
        return path.kind is not None and (reach == "all" or path.rack == rack)


def counts(views: Iterable[LiveView]) -> Mapping[str, list[Row]]:
    """The figures that metrics are made of."""
    peers_: Counter[tuple[str, str | None, str, str]] = Counter()
    routes_: Counter[tuple[str, str]] = Counter()
    rejected: Counter[tuple[str, str]] = Counter()
    totals: Counter[tuple[str, str, bool]] = Counter()
    observed: Counter[tuple[str, str, str]] = Counter()
    for view in views:
        for address in view.rules.configured():
            if address not in view.peers:
                peers_[view.instance, view.rack(address), str(view.role(address)), "idle"] += 1
        for peer in view.peers.values():
            peers_[view.instance, view.rack(peer.address), str(view.role(peer.address)), peer.state] += 1
        for peer, heard in view.heard():
            if heard.accepted:
                routes_[view.instance, _kind(view, heard)] += 1
                if heard.reason:
                    observed[view.instance, view.rack(peer.address) or "", str(heard.reason)] += 1
            elif heard.reason:
                rejected[view.instance, str(heard.reason)] += 1
        for (reason, enforced), count in view.violations.totals.items():
            totals[view.instance, str(reason), enforced] += count
    return {
        "peers": [
            {"instance": i, "rack": rack or "", "role": role, "state": state, "count": count}
            for (i, rack, role, state), count in peers_.items()
        ],
        "routes": [{"instance": i, "kind": kind, "count": count} for (i, kind), count in routes_.items()],
        "rejected": [{"instance": i, "reason": reason, "count": n} for (i, reason), n in rejected.items()],
        "violations": _totals(totals, enforced=True),
        "observed_violations": _totals(totals, enforced=False),
        "observed": [
            {"instance": i, "rack": rack, "reason": reason, "count": n}
            for (i, rack, reason), n in observed.items()
        ],
    }


def _totals(totals: Mapping[tuple[str, str, bool], int], *, enforced: bool) -> list[Row]:
    return [
        {"instance": i, "reason": reason, "count": n}
        for (i, reason, rejected), n in totals.items()
        if rejected is enforced
    ]
