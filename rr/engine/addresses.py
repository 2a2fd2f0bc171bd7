"""Watch this host's addresses: a listen address that goes away takes every session with it, and should be said.

The kernel tells of each change over netlink; what a change means is then tried by binding, which also sees
addresses that are local by a route and not by an interface.
"""

import errno
import socket
from collections.abc import AsyncIterator, Iterable

import structlog
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR

from rr.net import Address

_log = structlog.get_logger(__name__)


def missing(addresses: Iterable[Address]) -> frozenset[Address]:
    """Those of these addresses that are not this host's."""
    return frozenset(address for address in addresses if not _bindable(address))


def _bindable(address: Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.bind((str(address), 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


async def changes() -> AsyncIterator[None]:
    """Yield once at the beginning, and after every address that comes or goes."""
    async with AsyncIPRoute() as netlink:
        await netlink.bind(groups=RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
        yield
        while True:
            try:
                async for message in netlink.get():
                    if message["event"] in ("RTM_NEWADDR", "RTM_DELADDR"):
                        yield
            except NetlinkError as error:
                # An overrun of the socket's buffer: something was missed, so look again.
                _log.debug("netlink lost messages", why=str(error))
                yield
