"""What single objects of a cluster contribute to its allocations, in the terms of `rr.ipam`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from rr.addresses import NotValid, host_trouble, network_of, read_address, read_prefix, routed_trouble, shown
from rr.ipam.document import NODE_NAME
from rr.net import Address, Network


@dataclass(frozen=True, slots=True)
class Share:
    """What one object says of one node."""

    node: str
    addresses: tuple[Address, ...] = ()
    prefixes: tuple[Network, ...] = ()
    borrowed: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceVips:
    """The VIPs of a Service, as host routes; `local`: only nodes with an endpoint may announce them."""

    vips: tuple[Network, ...]
    local: bool


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A part of the endpoints of a service, by node: those that are ready, and those that end but still serve."""

    service: str
    ready: frozenset[str]
    ending: frozenset[str]


@dataclass(frozen=True, slots=True)
class OpenPool:
    """Prefixes out of which every node may announce VIPs."""

    prefixes: tuple[Network, ...]


Contribution: TypeAlias = tuple[Share, ...] | ServiceVips | Endpoints | OpenPool


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object's contribution (None: it has none), and what is wrong with it, each as the end of a sentence."""

    contribution: Contribution | None = None
    troubles: tuple[str, ...] = ()


@dataclass(slots=True)
class Careful:
    """Reads values one by one, and notes those that cannot be used instead of stopping at them."""

    troubles: list[str] = field(default_factory=list)

    def addresses(self, texts: Iterable[str], where: str) -> tuple[Address, ...]:
        """Those that a BGP session can come from, each once."""
        found: dict[Address, None] = {}
        for text in texts:
            try:
                address = read_address(text)
            except NotValid as error:
                self.troubles.append(f"{where}: {error.wrong}")
                continue
            if trouble := host_trouble(address):
                self.troubles.append(f"{where}: {address} {trouble}")
            else:
                found[address] = None
        return tuple(found)

    def prefixes(self, texts: Iterable[str], where: str) -> tuple[Network, ...]:
        """Those that can be routed to a node, each once."""
        found: dict[Network, None] = {}
        for text in texts:
            try:
                network = read_prefix(text)
            except NotValid as error:
                self.troubles.append(f"{where}: {error.wrong}")
                continue
            if self.routed(network, where):
                found[network] = None
        return tuple(found)

    def vips(self, texts: Iterable[str], where: str) -> tuple[Network, ...]:
        """Host routes of addresses."""
        hosts = (network_of(address) for address in self.addresses(texts, where))
        return tuple(host for host in hosts if self.routed(host, where))

    def routed(self, network: Network, where: str) -> bool:
        """Whether a prefix can be routed to a node."""
        if trouble := routed_trouble(network):
            self.troubles.append(f"{where}: {network} {trouble}")
            return False
        return True

    def node(self, name: str, where: str) -> bool:
        """Whether this can be the name of a node."""
        if NODE_NAME.fullmatch(name):
            return True
        self.troubles.append(f"{where}: {shown(name) if name else 'it'} is not the name of a node")
        return False

    def decoded(self, contribution: Contribution | None) -> Decoded:
        """What is made of the object."""
        return Decoded(contribution, tuple(self.troubles))
