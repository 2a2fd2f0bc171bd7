"""Slow peers, ghosts, floods, stale routes and garbage, judged from plain data."""

import json
import os
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from rr.guard import garbage, ghosts, queues, stale
from rr.guard.garbage import TOLERATED_AT_ONCE, EngineLog
from rr.guard.ghosts import Entry, Ghosts
from rr.guard.queues import Queue, Stalls
from rr.guard.stale import Kept, StaleTimes
from rr.net import Address

HOME, PEER, OTHER = map(ip_address, ("10.0.0.11", "10.2.0.11", "10.2.0.12"))


def queue(pending: int, acknowledged: int, peer: Address = PEER, port: int = 40000) -> Queue:
    return Queue(peer, (179, port), HOME, pending, acknowledged)


def stalled(stalls: Stalls, now: float, *found: Queue) -> list[Address]:
    return [one.peer for one in stalls.judge(found, {PEER: 10.0, OTHER: 10.0}, now)]


def test_a_peer_that_acknowledges_nothing_while_something_waits_is_slow() -> None:
    stalls = Stalls()
    assert stalled(stalls, 0.0, queue(500, 100)) == []
    assert stalled(stalls, 9.0, queue(900, 100)) == []
    assert stalled(stalls, 10.0, queue(900, 100)) == [PEER]


def test_a_peer_that_acknowledges_a_little_is_not() -> None:
    stalls = Stalls()
    assert [stalled(stalls, float(now), queue(9000, 100 + now)) for now in range(0, 100, 5)] == [[]] * 20


def test_a_peer_with_nothing_waiting_is_not_and_begins_anew() -> None:
    stalls = Stalls()
    stalled(stalls, 0.0, queue(500, 100))
    assert stalled(stalls, 9.0, queue(0, 100)) == []
    assert stalled(stalls, 11.0, queue(500, 100)) == []


def test_another_connection_of_the_same_peer_begins_anew() -> None:
    stalls = Stalls()
    stalled(stalls, 0.0, queue(500, 100))
    assert stalled(stalls, 11.0, queue(500, 100, port=40001)) == []


def test_who_is_no_peer_is_not_looked_at() -> None:
    stalls, stranger = Stalls(), queue(500, 100, peer=ip_address("192.0.2.1"))
    stalled(stalls, 0.0, stranger)
    assert stalled(stalls, 100.0, stranger) == []


def test_the_kernel_tells_of_queues_of_both_families() -> None:
    for family, home in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with (
            socket.create_server((home, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]) as client,
            server.accept()[0],
        ):
            sent = fill(client)
            ports = client.getsockname()[1], server.getsockname()[1]
            (found,) = [q for q in queues.look() if q.ports == ports]
        assert found.peer == found.local == ip_address(home)
        assert found.pending > 0
        assert found.pending + found.acknowledged == sent + 1  # the SYN counts


def fill(client: socket.socket) -> int:
    client.setblocking(False)
    sent = 0
    while True:
        try:
            sent += client.send(b"x" * 65536)
        except BlockingIOError:
            return sent


def entry(address: Address, state: str, *, kept: bool = False) -> Entry:
    return Entry(address, state, kept)


def look(found: Ghosts, now: float, *entries: Entry) -> ghosts.Sweep:
    return found.look(entries, lambda address: "10.2.0.0/16", now)


def test_a_peer_without_a_session_is_a_ghost_after_a_while() -> None:
    found = Ghosts()
    assert look(found, 0.0, entry(PEER, "active")).ghosts == ()
    assert look(found, ghosts.IDLE_FOR, entry(PEER, "active")).ghosts == (PEER,)


def test_a_session_that_comes_up_has_longer_but_not_for_ever() -> None:
    found = Ghosts()
    look(found, 0.0, entry(PEER, "opensent"))
    assert look(found, ghosts.IDLE_FOR + 1, entry(PEER, "opensent")).ghosts == ()
    assert look(found, ghosts.SILENT_FOR, entry(PEER, "opensent")).ghosts == (PEER,)


def test_neither_a_session_nor_kept_routes_are_ever_touched() -> None:
    found = Ghosts()
    entries = entry(PEER, "established"), entry(OTHER, "active", kept=True)
    look(found, 0.0, *entries)
    assert look(found, 1e6, *entries) == ghosts.Sweep()


def test_of_a_flood_the_oldest_are_closed_and_young_ones_have_their_time() -> None:
    found = Ghosts()
    addresses = [ip_address(f"10.2.1.{n}") for n in range(1, 201)]
    old, young = addresses[:100], addresses[100:]
    look(found, 0.0, *(entry(a, "opensent") for a in old))
    sweep = look(found, ghosts.HANDSHAKE, *(entry(a, "opensent") for a in (*young, *old)))
    assert sweep.ghosts == ()
    assert set(sweep.flooded["10.2.0.0/16"]) <= set(old)
    assert len(sweep.flooded["10.2.0.0/16"]) == 200 - ghosts.HALF_OPEN
    start = Ghosts()
    assert look(start, 0.0, *(entry(a, "opensent") for a in addresses)).flooded == {}


def expired(times: StaleTimes, now: float, *kept: Kept, allowed: float = 60.0) -> list[Address]:
    return [one.address for one in times.look(kept, lambda address: allowed, now)]


def test_stale_routes_go_when_their_time_is_over() -> None:
    times, down = StaleTimes(), Kept(PEER, False, 2)
    assert expired(times, 0.0, down) == []
    assert expired(times, 59.9, down) == []
    assert expired(times, 60.0, down) == [PEER]


def test_with_a_time_of_zero_they_go_at_once() -> None:
    assert expired(StaleTimes(), 5.0, Kept(PEER, False, 2), allowed=0.0) == [PEER]


def test_a_node_that_is_back_has_time_to_announce_its_routes_again() -> None:
    times = StaleTimes()
    expired(times, 0.0, Kept(PEER, False, 2))
    assert expired(times, 59.0, Kept(PEER, True, 2)) == []
    assert expired(times, 61.0, Kept(PEER, True, 1)) == []
    assert expired(times, 59.0 + stale.CATCH_UP, Kept(PEER, True, 1)) == [PEER]


def test_a_node_that_goes_down_again_later_has_its_time_anew() -> None:
    times = StaleTimes()
    expired(times, 0.0, Kept(PEER, False, 2))
    expired(times, 30.0)
    assert expired(times, 61.0, Kept(PEER, False, 2)) == []


def write(path: Path, *messages: str, key: str = str(PEER)) -> None:
    with path.open("a") as file:
        file.writelines(
            json.dumps({"level": "WARN", "msg": m, "Topic": "Peer", "Key": key}) + "\n" for m in messages
        )


RESET = "Session will be reset due to malformed BGP message"
TOLERATED = "the received Update message was treated as withdraw"


def test_the_engines_log_tells_who_sends_garbage(tmp_path: Path) -> None:
    path = tmp_path / "gobgpd.log"
    write(path, RESET)
    log = EngineLog(path)
    assert log.news() == {}, "what was there before does not count"
    write(path, RESET, "Peer Up", RESET)
    write(path, RESET, key="not an address")
    with path.open("a") as file:
        file.write('Session will be reset due to malformed BGP message\n"malformed"\n{"msg": "Session wi')
    assert log.news() == {PEER: 2}
    assert log.news() == {}


@pytest.mark.parametrize("what", ["Header", "message", "update message"])
def test_every_kind_of_garbage_that_ends_a_session_counts(tmp_path: Path, what: str) -> None:
    path = tmp_path / "gobgpd.log"
    path.touch()
    log = EngineLog(path)
    log.news()
    write(path, f"Session will be reset due to malformed BGP {what}")
    assert log.news() == {PEER: 1}


def test_a_log_that_grows_too_large_is_begun_anew_and_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "LARGEST", 500)
    path = tmp_path / "gobgpd.log"
    path.touch()
    log = EngineLog(path)
    log.news()
    with path.open("a") as engine:
        line = json.dumps({"msg": RESET, "Key": str(PEER)}) + "\n"
        engine.write(line * 9)
        engine.flush()
        assert log.news() == {PEER: 9}
        assert path.stat().st_size == 0
        engine.write(line)
        engine.flush()
        assert log.news() == {PEER: 1}
        assert path.stat().st_size == len(line)


def test_a_line_that_is_written_in_two_parts_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "gobgpd.log"
    path.touch()
    log = EngineLog(path)
    log.news()
    line = json.dumps({"msg": RESET, "Key": str(PEER)})
    path.write_text(line[:30])
    assert log.news() == {}
    path.write_text(line + "\n")
    assert log.news() == {PEER: 1}


def test_tolerated_updates_count_by_the_hundred(tmp_path: Path) -> None:
    path = tmp_path / "gobgpd.log"
    path.touch()
    log = EngineLog(path)
    log.news()
    write(path, *[TOLERATED] * (TOLERATED_AT_ONCE - 1))
    assert log.news() == {}
    write(path, *[TOLERATED] * (TOLERATED_AT_ONCE + 1))
    assert log.news() == {PEER: 2}


def test_a_log_that_is_no_file_or_begins_anew_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "gobgpd.log"
    log = EngineLog(path)
    assert log.news() == {}
    write(path, *["Peer Up"] * 10)
    log.news()
    os.truncate(path, 0)
    write(path, RESET)
    assert log.news() == {PEER: 1}
