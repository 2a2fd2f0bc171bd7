"""The light speakers' messages."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.bench import wire

ADDRESS = IPv4Address("10.2.0.2")


def bodies(data: bytes) -> list[tuple[int, bytes]]:
    return list(wire.split(bytearray(data)))


def test_an_open_says_hold_time_and_capabilities() -> None:
    [(kind, body)] = bodies(
        wire.open_message(4200000001, ADDRESS, 90, restart_time=120, receive_add_path=True)
    )
    assert kind == wire.OPEN
    assert body[:9] == b"\x04" + (23456).to_bytes(2, "big") + (90).to_bytes(2, "big") + ADDRESS.packed
    assert b"\x41\x04" + (4200000001).to_bytes(4, "big") in body
    assert b"\x40\x06\x00\x78\x00\x01\x01\x80" in body
    assert b"\x45\x04\x00\x01\x01\x01" in body


@pytest.mark.parametrize(("mode", "sends"), [(1, False), (2, True), (3, True)])
def test_path_identifiers_come_only_from_who_says_that_it_sends_them(mode: int, sends: bool) -> None:
    capability = bytes((69, 4, 0, 1, 1, mode))
    body = b"\x04" + bytes(2) + (9).to_bytes(2, "big") + bytes(4) + bytes((8, 2, 6)) + capability
    assert wire.parse_open(body) == wire.OpenReceived(9, sends)


@pytest.mark.parametrize(
    ("families", "restart_time", "kept"),
    [
        (b"\0\1\1\x80", 120, True),
        (b"\0\1\1\0", 120, False),
        (b"\0\2\1\x80\0\1\1\0", 120, False),
        (b"\0\2\1\x80", None, False),
        (b"", None, False),
    ],
    ids=["kept", "not kept", "IPv6 kept", "IPv6 alone", "no family"],
)
def test_graceful_restart_is_read_for_ipv4(families: bytes, restart_time: int | None, kept: bool) -> None:
    capability = bytes((64, 2 + len(families))) + b"\x80\x78" + families
    parameter = bytes((2, len(capability))) + capability
    body = b"\x04" + bytes(2) + (9).to_bytes(2, "big") + bytes(4) + bytes((len(parameter),)) + parameter
    assert wire.parse_open(body) == wire.OpenReceived(9, False, restart_time, kept)


@pytest.mark.parametrize(
    "prefix", ["0.0.0.0/0", "10.0.0.0/8", "10.128.0.0/9", "10.128.1.0/24", "10.1.2.3/32"]
)
def test_what_is_announced_is_what_is_read(prefix: str) -> None:
    network = IPv4Network(prefix)
    [(kind, body)] = bodies(wire.announcement([network], ADDRESS))
    assert kind == wire.UPDATE
    assert wire.parse_update(body, add_path=False) == ([], [(wire.nlri(network), b"")])


def test_withdrawals_and_path_identifiers_are_read() -> None:
    one, two = wire.nlri(IPv4Network("10.128.1.0/24")), wire.nlri(IPv4Network("10.128.0.0/17"))
    withdrawn = b"\0\0\0\7" + one
    body = len(withdrawn).to_bytes(2, "big") + withdrawn + b"\0\0" + b"\0\0\0\1" + one + b"\0\0\0\2" + two
    assert wire.parse_update(body, add_path=True) == (
        [(one, b"\0\0\0\7")],
        [(one, b"\0\0\0\1"), (two, b"\0\0\0\2")],
    )


def test_messages_are_taken_whole_and_the_rest_waits() -> None:
    buffer = bytearray(wire.KEEPALIVE_MESSAGE + wire.END_OF_RIB[:10])
    assert list(wire.split(buffer)) == [(wire.KEEPALIVE, b"")]
    buffer += wire.END_OF_RIB[10:]
    assert list(wire.split(buffer)) == [(wire.UPDATE, bytes(4))]
    assert not buffer


def test_a_length_that_no_message_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="18 bytes"):
        list(wire.split(bytearray(wire.MARKER + b"\x00\x12\x04")))
