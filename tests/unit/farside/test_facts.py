"""What a far side must know, taken from the configuration."""

from ipaddress import ip_address

import pytest

from rr.errors import FarSideError
from rr.farside.facts import Neighbor, Owned
from tests.unit.farside.snippets import NODE, a_node, a_tor


def _met(neighbors: tuple[Neighbor, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(n.appliance, str(n.address), n.families) for n in neighbors]


BOTH = ("ipv4", "ipv6")


def test_a_tor_has_one_session_that_carries_all_families() -> None:
    side = a_tor("plain")
    assert _met(side.sessions.neighbors) == [("rr-a", "10.0.0.11", BOTH)]
    assert (side.sessions.asn, side.sessions.port, side.sessions.keepalive) == (64512, 179, 3)
    assert (side.paths, side.dials, side.sessions.password) == (16, False, None)


def test_a_pair_is_two_neighbors_and_twice_the_paths() -> None:
    side = a_tor("full")
    assert _met(side.sessions.neighbors) == [("rr-a", "10.0.0.11", BOTH), ("rr-b", "10.0.0.12", BOTH)]
    assert side.paths == 48


def test_the_other_halfs_address_of_the_other_ip_version_is_not_guessed() -> None:
    sessions = a_tor("full", "fd00:2:1::1").sessions
    assert _met(sessions.neighbors) == [("rr-a", "fd00::11", BOTH)]
    assert any("The IPv6 address of the other half rr-b is not known here" in note for note in sessions.notes)


def test_a_node_has_a_session_for_each_ip_version_where_both_ends_can() -> None:
    assert _met(a_node("full").sessions.neighbors) == [
        ("rr-a", "10.0.0.11", ("ipv4",)),
        ("rr-b", "10.0.0.12", ("ipv4",)),
        ("rr-a", "fd00::11", ("ipv6",)),
    ]
    assert _met(a_node("full", "rack-2").sessions.neighbors)[0] == ("rr-a", "10.0.0.11", BOTH)
    alone = Owned("node-1", (ip_address("fd00:2::11"),), ())
    assert _met(a_node("full", owned=alone).sessions.neighbors) == [("rr-a", "fd00::11", BOTH)]


def test_another_address_of_the_appliance_can_be_chosen() -> None:
    side = a_tor("full", address=ip_address("10.9.0.11"))
    assert _met(side.sessions.neighbors)[0] == ("rr-a", "10.9.0.11", BOTH)
    node = a_node("full", owned=NODE, address=ip_address("fd00::11"))
    assert _met(node.sessions.neighbors) == [("rr-a", "fd00::11", BOTH)]


def test_the_floating_address_is_the_only_neighbor() -> None:
    assert _met(a_node("full", "rack-2", address=ip_address("10.0.0.10")).sessions.neighbors) == [
        ("rr-a", "10.0.0.10", BOTH)
    ]


def test_a_tor_is_not_accepted_at_the_floating_address() -> None:
    with pytest.raises(FarSideError) as refused:
        a_tor("full", address=ip_address("10.0.0.10"))
    assert str(refused.value) == (
        "10.0.0.10 is a floating address, and an engine accepts ToRs at its own addresses alone; "
        "name one of 10.0.0.11, 10.9.0.11; a ToR has a session with each half"
    )
    assert not any("10.0.0.10" in note for note in a_tor("full").sessions.notes)


def test_an_address_that_nobody_listens_on_is_refused() -> None:
    with pytest.raises(FarSideError) as refused:
        a_tor("full", address=ip_address("10.0.0.99"))
    assert str(refused.value) == (
        "instance main does not listen on 10.0.0.99; name one of 10.0.0.11, fd00::11, 10.9.0.11, 10.0.0.10"
    )


def test_an_address_of_the_other_ip_version_is_refused() -> None:
    with pytest.raises(FarSideError) as refused:
        a_node("full", "rack-2", address=ip_address("fd00::11"))
    assert str(refused.value) == (
        "fd00::11 cannot be dialed by nodes of rack-2; name an IPv4 address of instance main"
    )
    with pytest.raises(FarSideError, match=r"fd00::11 cannot be dialed by the ToR 10\.2\.1\.1"):
        a_tor("full", address=ip_address("fd00::11"))


def test_stale_time_makes_the_nodes_restart_time_longer_but_never_shorter() -> None:
    assert a_node("full").restart_time == 300
    assert a_node("full", "rack-2").restart_time == 120


def test_the_password_is_only_there_for_whoever_asks_and_never_in_its_repr() -> None:
    silent, telling = a_node("full").sessions.password, a_node("full", text="s3cret").sessions.password
    assert silent is not None
    assert telling is not None
    assert (str(silent.file), silent.text, telling.text) == ("/etc/rr/secrets/rack-1", None, "s3cret")
    assert "s3cret" not in repr(telling)


def test_a_nodes_sessions_come_from_addresses_that_may_dial_in_from_the_rack() -> None:
    owned = Owned("node-1", (ip_address("192.0.2.1"), *NODE.addresses), ())
    side = a_node("full", owned=owned)
    assert side.sources == NODE.addresses
    assert str(side.router_id) == "10.2.0.11"
    with pytest.raises(
        FarSideError, match=r"listens on no address that node node-1 could dial from 10\.2\.0\.0/24"
    ):
        a_node("plain", owned=Owned("node-1", NODE.addresses[1:], ()))
