"""Networks come up, and leave nothing behind."""

from pathlib import Path

import pytest

from tests.lab import GobgpNode, Network, RawSpeaker, Remote, eventually
from tests.lab.network import processes_in
from tests.lab.process import alive
from tests.lab.raw import EMPTY_AS_PATH, LOCAL_PREF_100, ORIGIN_IGP

pytestmark = pytest.mark.root


def test_hosts_reach_each_other_over_both_families(net: Network) -> None:
    one = net.host("one", "10.2.0.1", "fd00:2::1")
    two = net.host("two", "10.3.0.1", "10.3.0.2", "fd00:3::1")
    with two.listen(8000):
        for address in ("10.3.0.1", "10.3.0.2", "fd00:3::1"):
            one.connect(address, 8000).close()


def test_nothing_is_left_after_a_failure() -> None:
    pids: list[int] = []

    def scenario(net: Network) -> None:
        host = net.host("one", "10.2.0.1")
        host.start("sleep", ["sleep", "1000"])
        host.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")  # as an engine outlives its daemon
        eventually(lambda: len(list(processes_in([host.namespace]))) == 2, 5, "two processes")
        pids.extend(processes_in([host.namespace]))
        raise RuntimeError("scenario")

    network = Network()
    with pytest.raises(RuntimeError, match="scenario"), network:
        scenario(network)
    assert not any(alive(pid) for pid in pids)
    assert not network.folder.exists()
    assert not list(Path("/run/netns").glob(f"{network.prefix}*"))


def test_unplugged_host_is_cut_off_until_it_is_plugged_in(net: Network) -> None:
    one, two = net.host("one", "10.2.0.1"), net.host("two", "10.2.0.2")
    with two.listen(8000):
        two.unplug()
        with pytest.raises(OSError, match=r"timed out|route"):
            one.connect("10.2.0.2", 8000, timeout=0.5)
        two.plug()
        with eventually(lambda: one.connect("10.2.0.2", 8000), 5, "two answers"):
            pass


def test_raw_speaker_sends_and_shows_octets(net: Network) -> None:
    raw = RawSpeaker(net.host("rr", "10.0.0.11"), asn=64512)
    raw.listen()
    node = GobgpNode(net, "node-1", "10.2.0.11", to=Remote(("10.0.0.11",), 64512))
    raw.wait_established()
    hop = b"\x40\x03\x04\x0a\x02\x00\x63"
    raw.send_update(attributes=ORIGIN_IGP + EMPTY_AS_PATH + hop + LOCAL_PREF_100, nlri=b"\x18\x0a\xf4\x09")
    eventually(lambda: node.next_hops("10.244.9.0/24") == {"10.2.0.99"}, 5, "the route", seen=node.routes)
    node.announce("fd00:10:1::/64")
    mapped = bytes(10) + b"\xff\xff\x0a\x02\x00\x0b"
    eventually(lambda: raw.mp_next_hops() == {mapped}, 5, "an IPv4-mapped next hop", seen=raw.updates)
