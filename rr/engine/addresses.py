"""Watch this host's addresses: a listen address that goes away takes every session with it, and should be said.

The kernel tells of each change over netlink; what a change means is then asked of its routing, which also knows
addresses that are local by a route and not by an interface. To bind would prove nothing: ip_nonlocal_bind allows that.
"""

from collections.abc import AsyncIterator, Collection

import structlog
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, rt_type

from rr.net import Address

_log = structlog.get_logger(__name__)


async def missing(addresses: Collection[Address]) -> frozenset[Address]:
    """Those of these addresses that are not this host's. Raises OSError where netlink cannot be used."""
    if not addresses:
        return frozenset()
    async with AsyncIPRoute() as netlink:
        return frozenset([address for address in addresses if not await _is_local(netlink, address)])


async def _is_local(netlink: AsyncIPRoute, address: Address) -> bool:
    try:
        routes = await netlink.route("get", dst=str(address))
    except NetlinkError:
        return False
    return any(route["type"] == rt_type["local"] for route in routes)


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
