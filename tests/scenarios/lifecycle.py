"""What the lifecycle scenarios share: a small fabric that stands, and a record of what nobody may disturb."""

from collections.abc import Callable, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from tests.lab import (
    Appliance,
    BirdNode,
    BirdTor,
    FrrNode,
    FrrTor,
    GobgpNode,
    Network,
    Peer,
    Unsupported,
    all_established,
    eventually,
)
from tests.lab.appliance import Told
from tests.lab.peer import Heard

NODES = {"node-1": "10.2.0.11", "node-2": "10.2.0.12", "node-3": "10.2.0.13"}
PODS = {"node-1": "10.244.1.0/24", "node-2": "10.244.2.0/24", "node-3": "10.244.3.0/24"}
VIP = "10.100.0.1/32"
TORS = ("10.2.1.1", "10.2.1.2")
KINDS: dict[str, type[Peer]] = {"node-1": FrrNode, "node-2": BirdNode, "node-3": GobgpNode}
ROUTES = {*PODS.values(), VIP}
"""What the fabric's ToRs hold."""

Config: TypeAlias = dict[str, Any]


def instances() -> Config:
    """One instance with one rack, whose ToRs are given the routes of all racks."""
    rack = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": address} for address in TORS]}
    main = {"asn": 64512, "router_id": "10.0.0.11", "racks": {"rack-1": rack}, "reflect": {"tors": "all"}}
    return {"main": main}


def allocations() -> Config:
    """A pod prefix for every node, and a VIP pool for all."""
    nodes = {name: {"addresses": [NODES[name]], "prefixes": [PODS[name]]} for name in NODES}
    return {"nodes": nodes, "vips": [{"prefixes": ["10.100.0.0/24"]}]}


@dataclass(frozen=True)
class Fabric:
    """An appliance with an FRR and a BIRD ToR, and a node each of FRR, BIRD and GoBGP."""

    net: Network
    appliance: Appliance
    frr: FrrTor
    bird: BirdTor
    nodes: dict[str, Peer]

    @property
    def tors(self) -> tuple[Peer, Peer]:
        return self.frr, self.bird

    @property
    def everyone(self) -> tuple[Peer, ...]:
        return (*self.tors, *self.nodes.values())


def build(
    net: Network,
    *,
    settings: Config | None = None,
    speaker: Config | None = None,
    password: str | None = None,
    hold_time: int = 9,
) -> Fabric:
    """Set the fabric up and wait until the ToRs hold all of its routes.

    `settings` are more keys of rr.yaml, `speaker` more of its instance, `password` is the nodes', `hold_time` all
    peers' (in seconds).
    """
    config = instances()
    config["main"] |= speaker or {}
    if password is not None:
        secret = net.folder / "password"
        secret.write_text(f"{password}\n")
        secret.chmod(0o600)
        config["main"]["racks"]["rack-1"]["nodes"]["password_file"] = str(secret)
    appliance = Appliance(
        net, "rr-a", "10.0.0.11", instances=config, allocations=allocations(), settings=settings
    )
    return populate(net, appliance, password, hold_time)


def populate(net: Network, appliance: Appliance, password: str | None = None, hold_time: int = 9) -> Fabric:
    """Give an appliance its ToRs and nodes, and wait until the ToRs hold all routes."""
    remote = appliance.remote()
    tors = (
        FrrTor(net, "tor-1", TORS[0], to=remote, hold_time=hold_time),
        BirdTor(net, "tor-2", TORS[1], to=remote, hold_time=hold_time),
    )
    nodes = {
        name: KINDS[name](net, name, address, to=remote, password=password, hold_time=hold_time)
        for name, address in NODES.items()
    }
    fabric = Fabric(net, appliance, *tors, nodes)
    all_established(*fabric.everyone)
    for name, node in nodes.items():
        node.announce(PODS[name])
        node.announce(VIP)
    tors_hold(fabric, ROUTES)
    return fabric


def tors_hold(fabric: Fabric, prefixes: Set[str], within: float = 5) -> None:
    """Wait until both ToRs hold exactly these prefixes."""
    eventually(
        lambda: all(set(tor.routes()) == prefixes for tor in fabric.tors),
        within,
        f"both ToRs hold exactly {sorted(prefixes)}",
        seen=lambda: {tor.name: sorted(tor.routes()) for tor in fabric.tors},
    )


def unwell(fabric: Fabric) -> Told:
    """What `rrctl check` says, once it is not all well; for `eventually`."""
    told = fabric.appliance.tell("check")
    assert told.exit, told.stdout
    return told


def sessions(appliance: Appliance) -> dict[str, str]:
    """Since when each established session is up, as `rrctl peers` says."""
    return {p["address"]: p["since"] for p in appliance.rrctl("peers") if p["state"] == "established"}


AFTERMATH = 2.5
"""Seconds in which GoBGP may dial once more where both sides dialed at once, and reset what is up (docs/engine.md)."""


@dataclass
class Calm:
    """From its making on, remembers what peers had: no session may be reset, no route may be taken back."""

    peers: tuple[Peer, ...]
    marks: dict[Peer, Mapping[str, str]] = field(init=False)
    before: dict[Peer, int] = field(init=False)
    lost_before: dict[Peer, int] = field(init=False)

    def __post_init__(self) -> None:
        eventually(
            lambda: min([peer.same_for() for peer in self.peers], default=AFTERMATH) >= AFTERMATH,
            20,
            "no session changes any more",
            seen=lambda: {peer.name: dict(peer.session_marks()) for peer in self.peers},
        )
        self.marks = {peer: dict(peer.session_marks()) for peer in self.peers}
        self.before = {peer: len(_prefixes(peer.removals)) for peer in self.peers}
        self.lost_before = {peer: len(_prefixes(peer.losses)) for peer in self.peers}

    def removed(self) -> dict[str, set[str]]:
        """What was taken back since, by the name of the peer whose log says so."""
        found = {peer.name: set(_prefixes(peer.removals)[self.before[peer] :]) for peer in self.peers}
        return {name: prefixes for name, prefixes in found.items() if prefixes}

    def lost(self) -> dict[str, set[str]]:
        """What was taken back since until nothing was left of it; paths may change places (docs/continuity.md)."""
        found = {peer.name: set(_prefixes(peer.losses)[self.lost_before[peer] :]) for peer in self.peers}
        return {name: prefixes for name, prefixes in found.items() if prefixes}

    def check(self, *, gone: Set[str] = frozenset()) -> None:
        """Assert that every session is the same, and that nothing but `gone` was taken back from anybody."""
        reset = {
            peer.name: (before, now)
            for peer, before in self.marks.items()
            if (now := dict(peer.session_marks())) != before
        }
        assert not reset
        assert {name: found - gone for name, found in self.removed().items() if found - gone} == {}


@contextmanager
def undisturbed(fabric: Fabric, *, gone: Set[str] = frozenset()) -> Any:
    """Assert that what happens inside resets nobody's session, and takes no route back but `gone`."""
    calm, since = Calm(fabric.everyone), sessions(fabric.appliance)
    yield calm
    calm.check(gone=gone)
    now = sessions(fabric.appliance)
    younger = {
        a: (t, now.get(a)) for a, t in since.items() if a not in now or _seconds(now[a]) > _seconds(t) + 2
    }
    assert not younger


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _prefixes(heard: Callable[[], list[Heard]]) -> list[str]:
    try:
        return [one.prefix for one in heard()]
    except Unsupported:
        return []
