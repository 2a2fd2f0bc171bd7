"""What TCP refuses, and what no browser gets."""

import asyncio

import pytest

from rr.api.guard import own_names
from tests.unit.api.serving import Serving


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("resource", ["/api/v1/peers", "/", "/nothing"])
async def test_tcp_only_reads(served: Serving, method: str, resource: str) -> None:
    answer = await served.ask(resource, method, tcp=True)
    assert answer.status == 405
    assert answer.error == f"This listener only reads: {method} is not served, GET and HEAD are"
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("resource", ["config/reload", "config/diff", "ipam/accept"])
async def test_tcp_names_the_unix_socket_for_what_changes_something(
    served: Serving, method: str, resource: str
) -> None:
    answer = await served.ask(f"/api/v1/{resource}", method, tcp=True)
    assert answer.status == 403
    assert str(served.path) in answer.error
    assert served.appliance.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9632", "[::1]:9632", "10.0.0.11", "localhost:9632", "LOCALHOST."]
)
async def test_an_address_or_an_own_name_is_answered(served: Serving, host: str) -> None:
    assert (await served.ask("/api/v1/status", tcp=True, headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:9632", "", "localhost@evil.example"]
)
async def test_another_name_is_refused(served: Serving, host: str) -> None:
    answer = await served.ask("/api/v1/peers", tcp=True, headers={"Host": host})
    assert answer.status == 421
    assert answer.error.endswith("ask by its address or its own name")


async def test_a_request_without_a_host_is_refused_but_for_figures_and_health(served: Serving) -> None:
    for resource, status in (("/api/v1/peers", b"421"), ("/healthz", b"200")):
        reader, writer = await asyncio.open_connection(*served.api.tcp_address or ())
        writer.write(f"GET {resource} HTTP/1.0\r\n\r\n".encode())
        assert (await reader.read()).split()[1] == status
        writer.close()
        await writer.wait_closed()


def test_a_listener_on_ipv6_lets_no_empty_name_in() -> None:
    assert "" not in own_names("::1")


@pytest.mark.parametrize("resource", ["/metrics", "/healthz", "/readyz"])
async def test_figures_and_health_are_open_to_any_name(served: Serving, resource: str) -> None:
    assert (await served.ask(resource, tcp=True, headers={"Host": "rr-a.example"})).status == 200


@pytest.mark.parametrize("resource", ["/", "/metrics", "/api/v1/peers", "/nothing", "/api/v1/peers?x=1"])
async def test_every_answer_carries_the_security_headers(served: Serving, resource: str) -> None:
    headers = (await served.ask(resource, tcp=True)).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "rrd"
    assert "Access-Control-Allow-Origin" not in headers
