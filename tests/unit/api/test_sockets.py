"""The file of the unix socket."""

import socket
import stat
from pathlib import Path

import pytest

from rr.api.sockets import SocketTaken, bind
from tests.unit.api.serving import serving


async def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert stat.S_IMODE(served.path.stat().st_mode) == 0o660
        assert [file.name for file in tmp_path.iterdir()] == ["rrd.sock"]
    assert not served.path.exists()


def test_a_socket_that_nobody_answers_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rrd.sock"
    _leave_stale(path)
    with bind(path) as bound:
        bound.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def _leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rrd.sock"
    with bind(path) as first:
        first.listen()
        with pytest.raises(SocketTaken, match="Another rrd answers on"):
            bind(path)
        assert path.is_socket()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rrd.sock"
    path.write_text("notes")
    with pytest.raises(SocketTaken, match="exists and is no socket; move it away or change run_dir"):
        bind(path)
    assert path.read_text() == "notes"


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SocketTaken, match=f"There is no directory {tmp_path}/run for the socket"):
        bind(tmp_path / "run" / "rrd.sock")


def test_a_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(SocketTaken, match="too long for a unix socket; choose a shorter run_dir"):
        bind(tmp_path / ("x" * 100) / "rrd.sock")


async def test_a_socket_that_another_server_has_made_is_not_removed_at_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.path.unlink()
        successor = bind(served.path)
    assert served.path.is_socket()
    successor.close()
