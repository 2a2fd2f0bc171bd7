"""Read addresses and prefixes as people write them, and say what is wrong with those that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from rr.net import Address, Network

_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_MULTICAST = (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8"))
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_UNSPECIFIED = (IPv4Network("0.0.0.0/8"), IPv6Network("::/128"))
_BROADCAST = IPv4Network("255.255.255.255/32")
_LINK_LOCAL = IPv6Network("fe80::/10")


class NotValid(ValueError):
    """Text that is not what it should be: `wrong` and `right` are the two halves of the sentence."""

    def __init__(self, wrong: str, right: str) -> None:
        super().__init__(f"{wrong}; {right}")
        self.wrong = wrong
        self.right = right


@lru_cache(maxsize=65536)
def read_address(text: str) -> Address:
    """The one address that `text` is; raises NotValid."""
    if "/" in text:
        raise NotValid(f"{text} is a prefix, not an address", f"write {text.split('/')[0]}")
    if "%" in text:
        raise NotValid(f"{text} has a zone", "write an address that needs none, not a link-local one")
    try:
        found = ip_address(text)
    except ValueError:
        wrong = f"{shown(text)} is not an IP address"
        raise NotValid(wrong, "write one such as 10.2.0.11 or fd00:2::11") from None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        raise NotValid(f"{text} is an IPv4 address in IPv6 clothes", f"write {found.ipv4_mapped}")
    return found


@lru_cache(maxsize=65536)
def read_prefix(text: str) -> Network:
    """The prefix that `text` is, without bits set after its length; raises NotValid."""
    start, slash, length = text.partition("/")
    try:
        address = ip_address(start)
    except ValueError:
        wrong = f"{shown(text)} is not a prefix"
        raise NotValid(wrong, "write one such as 10.2.0.0/24 or fd00:2::/64") from None
    if "%" in start:
        raise NotValid(f"{text} has a zone", "write a prefix that needs none, not a link-local one")
    bits = address.max_prefixlen
    if not slash:
        right = f"write {text}/{bits} for this one address, or the prefix's length"
        raise NotValid(f"{text} has no length", right)
    if not _LENGTH.fullmatch(length):
        raise NotValid(f"{text} has a length that is not a number", _with_length(text, f"0 to {bits}"))
    if int(length) > bits:
        wrong = f"{text} is longer than an IPv{address.version} address"
        raise NotValid(wrong, f"write a length from 0 to {bits}")
    network = ip_network((address, int(length)), strict=False)
    _refuse_mapped(text, network)
    if network.network_address != address:
        right = f"write {network}, or {address}/{bits} for the one address"
        raise NotValid(f"{text} has bits set after its length", right)
    return network


def _with_length(text: str, lengths: str) -> str:
    try:
        return f"write {ip_network(text, strict=False)}"
    except ValueError:
        return f"write a length from {lengths}"


def _refuse_mapped(text: str, network: Network) -> None:
    inner = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if inner and network.prefixlen >= 96:
        plain = ip_network((inner, network.prefixlen - 96), strict=False)
        raise NotValid(f"{text} is an IPv4 prefix in IPv6 clothes", f"write {plain}")


def shown(text: str, most: int = 60) -> str:
    """Text as it may stand in a one-line message: bounded, with anything unprintable escaped."""
    short = text if len(text) <= most else f"{text[: most - 3]}..."
    return short if short and short.isprintable() and short == short.strip() else repr(short)


def host_trouble(address: Address) -> str | None:
    """Why a BGP session cannot run on this address, as the end of a sentence; None when it can."""
    return _trouble(network_of(address))


def range_trouble(network: Network) -> str | None:
    """Why no peers can live in this prefix, as the end of a sentence; None when they can."""
    return "is a default route" if network.prefixlen == 0 else _trouble(network)


def routed_trouble(network: Network) -> str | None:
    """Why a prefix cannot be handed to nodes or services; None when it can (a default route cannot)."""
    if trouble := range_trouble(network):
        return trouble
    return "is in the loopback range" if _touches(network, *_LOOPBACK) else None


def _trouble(network: Network) -> str | None:
    one = network.prefixlen == network.max_prefixlen
    if _touches(network, *_MULTICAST):
        return "is multicast" if one else "reaches into the multicast range"
    if _touches(network, *_UNSPECIFIED):
        return "is the unspecified address" if one else "reaches into the unspecified range"
    if _touches(network, _BROADCAST):
        return "is the broadcast address" if one else "holds the broadcast address"
    return "is link-local and needs an interface" if _touches(network, _LINK_LOCAL) else None


def _touches(network: Network, *others: Network) -> bool:
    return any(overlap(network, other) for other in others)


def overlap(one: Network, other: Network) -> bool:
    """Whether two prefixes share an address; prefixes of different families never do."""
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def contains(network: Network, address: Address) -> bool:
    """Whether the address is in the prefix; never across families."""
    return address.version == network.version and address in network


@lru_cache(maxsize=65536)
def network_of(address: Address) -> Network:
    """The host route of an address: /32 or /128."""
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)


Order: TypeAlias = tuple[int, int, int]
"""Version, first address and length: sorts a prefix before those inside it."""


def overlaps(orders: Sequence[Order]) -> list[tuple[int, int]]:
    """Pairs of indexes of prefixes that overlap: each that lies in another is named once, with that other.

    Of two equal prefixes the later lies in the earlier. Prefixes nest or are apart, so one sorted pass does.
    """
    found: list[tuple[int, int]] = []
    outer, outer_version, outer_last = -1, 0, -1
    for (version, first, length), index in sorted(zip(orders, range(len(orders)), strict=True)):
        if version == outer_version and first <= outer_last:
            found.append((index, outer))
        else:
            outer, outer_version = index, version
            outer_last = first | ((1 << ((32 if version == 4 else 128) - length)) - 1)
    return found


@lru_cache(maxsize=65536)
def order_of(network: Network) -> Order:
    """What `overlaps` sorts by."""
    return network.version, int(network.network_address), network.prefixlen
