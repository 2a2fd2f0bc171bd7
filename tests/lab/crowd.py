"""Hundreds of light nodes on one host: each has an address, a session and one prefix of its own.

They run as `python -m tests.lab.crowd` inside the host's namespace, in one thread (tests/bench/fleet.py).
"""

import sys
from ipaddress import IPv4Address, IPv4Network

import click

from tests.bench import wire
from tests.bench.fleet import Fleet, Speaker
from tests.lab.network import Network
from tests.lab.peer import Remote
from tests.lab.process import run

SPACE = IPv4Network("10.2.8.0/21")
PODS = IPv4Network("10.128.0.0/12")
HOLD_TIME, RESTART_TIME = 9, 120


def address(number: int) -> IPv4Address:
    """The address of the node with this number, from 1."""
    return SPACE[number]


def prefix(number: int) -> IPv4Network:
    """What the node with this number announces."""
    return IPv4Network((int(PODS.network_address) + (number << 8), 24))


class Crowd:
    """The nodes from 1 to `count`, dialing until they are stopped."""

    def __init__(
        self, network: Network, count: int, to: Remote, *, graceful: bool = True, end_of_rib: bool = True
    ) -> None:
        self.count = count
        self.host = network.host("crowd", str(SPACE[0]))
        run(["ip", "-n", self.host.namespace, "route", "add", "local", str(SPACE), "dev", "lo"])
        options = [] if graceful else ["--no-graceful"]
        options += [] if end_of_rib else ["--no-end-of-rib"]
        words = [to.addresses[0], str(to.port), str(to.asn), str(count), *options]
        self.process = self.host.start("crowd", [sys.executable, "-m", "tests.lab.crowd", *words])

    @property
    def addresses(self) -> list[str]:
        return [str(address(number)) for number in range(1, self.count + 1)]

    @property
    def prefixes(self) -> set[str]:
        return {str(prefix(number)) for number in range(1, self.count + 1)}

    def allocations(self) -> dict[str, dict[str, list[str]]]:
        """The nodes as allocations.yaml has them."""
        return {
            f"crowd-{n}": {"addresses": [str(address(n))], "prefixes": [str(prefix(n))]}
            for n in range(1, self.count + 1)
        }


@click.command()
@click.argument("target")
@click.argument("port", type=int)
@click.argument("asn", type=int)
@click.argument("count", type=int)
@click.option("--graceful/--no-graceful", default=True)
@click.option("--end-of-rib/--no-end-of-rib", default=True)
def main(target: str, port: int, asn: int, count: int, graceful: bool, end_of_rib: bool) -> None:
    """Be COUNT nodes of AS ASN until killed."""
    speakers = []
    for number in range(1, count + 1):
        own = address(number)
        opening = wire.open_message(asn, own, HOLD_TIME, restart_time=RESTART_TIME if graceful else 0)
        said = wire.announcement([prefix(number)], own) + (wire.END_OF_RIB if end_of_rib else b"")
        speakers.append(Speaker(f"crowd-{number}", own, opening, said))
    fleet = Fleet(speakers, (target, port), HOLD_TIME / 3, dial_window=256)
    while True:
        fleet.pause(3600)


if __name__ == "__main__":
    main()
