"""Find a block of loopback addresses that nobody uses, and hold it, so that several demos can run at once."""

import errno
import socket
from dataclasses import dataclass

from rr.demo.errors import DemoError
from rr.demo.plan import BGP_PORT, FIRST_BLOCK, HTTP_PORT, Plan, plan


@dataclass(frozen=True, slots=True)
class Claim:
    """A plan whose addresses are this demo's until `lock`, an abstract unix socket, is closed."""

    plan: Plan
    lock: socket.socket


def claim() -> Claim:
    """Claim the first free block, from 127.2.0.0/16 upwards. DemoError if there is none."""
    for block in range(FIRST_BLOCK, 255):
        candidate = plan(block)
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0rr-demo-127.{block}")
            if _ports_free(candidate):
                return Claim(candidate, lock)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise DemoError(f"the loopback addresses cannot be used: {error.strerror}") from error
        lock.close()
    ports = f"{BGP_PORT} and {HTTP_PORT}"
    raise DemoError(f"no block of 127.0.0.0/8 has TCP ports {ports} free; stop what listens on 0.0.0.0 there")


def _ports_free(candidate: Plan) -> bool:
    wanted = [(str(candidate.appliance), BGP_PORT), (str(candidate.appliance), HTTP_PORT)]
    wanted += [(str(tor.address), BGP_PORT) for tor in candidate.tors]
    for address in wanted:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                raise
    return True
