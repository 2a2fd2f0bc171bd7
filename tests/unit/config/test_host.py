"""What this host cannot bind, tried on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from rr.config import host
from rr.config.host import check_host
from rr.config.load import parse
from rr.config.model import Config

TEXT = (Path(__file__).parent / "test_host.yaml").read_text()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def free_port() -> int:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port: int = other.getsockname()[1]
        return port


def config(port: int, http: int, **changes: str) -> Config:
    text = TEXT.replace("1179", str(port)).replace("9632", str(http))
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse(text)


def said(found: Config, **options: object) -> list[str]:
    return [str(problem) for problem in check_host(found, **options)]  # type: ignore[arg-type]


def test_a_host_that_has_all_is_fine() -> None:
    assert said(config(free_port(), free_port())) == []


def test_an_address_of_another_host_is_named() -> None:
    found = parse(TEXT.replace("[127.0.0.1]", "[127.0.0.1, 192.0.2.1]").replace("9632", str(free_port())))
    assert said(found, running={"main"}) == [
        (
            "rr.yaml:7:25: instances.main.listen[1]: 192.0.2.1 is not an address of this host; "
            "write one that `ip address` shows, or add it"
        )
    ]


def test_a_router_id_that_is_listened_on_by_default_is_named() -> None:
    found = parse(TEXT.replace("    listen: [127.0.0.1]\n", "").replace("127.0.0.1\n", "192.0.2.1\n"))
    assert (
        "rr.yaml:6:16: instances.main.router_id: 192.0.2.1 is not an address of this host" in said(found)[0]
    )


def test_a_port_that_somebody_else_has_is_named(taken: int) -> None:
    assert said(config(taken, free_port())) == [
        (
            f"rr.yaml:8:11: instances.main.port: port {taken} of 127.0.0.1 is taken by another process; "
            f"stop it (`ss -ltnp sport = :{taken}` names it), or choose another port"
        )
    ]


def test_a_port_that_our_own_engine_has_is_fine(taken: int) -> None:
    assert said(config(taken, free_port()), running={"main"}) == []
    assert said(config(taken, free_port()), own={(ip_address("127.0.0.1"), taken)}) == []


def test_the_http_port_is_looked_at_likewise(taken: int) -> None:
    found = config(free_port(), taken)
    assert said(found)[0].startswith(f"rr.yaml:2:16: http.listen: port {taken} of 127.0.0.1 is taken")
    assert said(found, serving=found.http.listen) == []


def test_a_low_port_without_the_capability_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    monkeypatch.setattr(host, "_try", lambda _, port: errno.EACCES if port == 179 else 0)
    found = config(179, free_port())
    assert said(found) == [
        (
            "rr.yaml:8:11: instances.main.port: port 179 of 127.0.0.1 needs the capability CAP_NET_BIND_SERVICE; grant "
            "it, lower the sysctl net.ipv4.ip_unprivileged_port_start, or choose a port from 1024"
        )
    ]
    assert said(found, privileged=True) == []
