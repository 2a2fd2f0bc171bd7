"""Allocations from a URL: a real server over TCP and TLS, and everything that it can do wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web as aiohttp_web

from rr.config.sources.http import HttpSettings
from rr.ipam.reading import Reading
from rr.ipam.sources.http import HttpSource
from rr.ipam.sources.web import client, poll
from tests.lab import web
from tests.lab.authority import Authority
from tests.lab.http_source import AllocationsServer
from tests.lab.wait import eventually

OFTEN = 0.02
"""Seconds between questions in these tests."""


def text(number: int) -> str:
    return f"nodes: {{node-1: {{addresses: [10.2.0.11], prefixes: [10.244.{number}.0/24]}}}}\n"


def number(reading: Reading) -> int:
    assert reading.allocations is not None, reading.trouble
    return int(str(reading.allocations.nodes["node-1"].prefixes[0]).split(".")[2])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "RETRY_FIRST", OFTEN)


@pytest.fixture
def server() -> Iterator[AllocationsServer]:
    server = AllocationsServer(web.listening(), text=text(1))
    yield server
    server.stop()


class Feed:
    """Readings as they come."""

    def __init__(self, server: AllocationsServer, **settings: Any) -> None:
        given = {"type": "http", "url": server.url("/allocations"), **settings}
        self.readings = aiter(HttpSource(HttpSettings.model_validate(given), OFTEN))

    async def end(self) -> None:
        await self.readings.aclose()  # type: ignore[attr-defined]

    async def next(self, within: float = 10.0) -> Reading:
        return await asyncio.wait_for(anext(self.readings), within)

    async def trouble(self) -> str:
        found = (await self.next()).trouble
        assert found is not None
        return found


Follow: TypeAlias = Callable[..., Feed]


@pytest.fixture
async def follow() -> AsyncIterator[Follow]:
    """Makes feeds, and closes them."""
    feeds: list[Feed] = []

    def made(server: AllocationsServer, **settings: Any) -> Feed:
        feeds.append(Feed(server, **settings))
        return feeds[-1]

    yield made
    for feed in feeds:
        await feed.end()


async def asked(server: AllocationsServer, times: int) -> None:
    """Wait until the server was asked so many times more."""
    goal = len(server.asked) + times
    await asyncio.to_thread(eventually, lambda: len(server.asked) >= goal, 5, f"{times} more questions")


async def test_the_first_answer_is_a_reading_and_each_change_another(
    follow: Follow, server: AllocationsServer
) -> None:
    feed = follow(server)
    assert number(await feed.next()) == 1
    for step in (2, 3, 4):
        server.text = text(step)
        assert number(await feed.next()) == step


async def test_json_is_read_like_yaml(follow: Follow, server: AllocationsServer) -> None:
    node = {"addresses": ["10.2.0.11"], "prefixes": ["10.244.7.0/24"]}
    server.text, server.content_type = json.dumps({"nodes": {"node-1": node}}, indent=2), "application/json"
    assert number(await follow(server).next()) == 7


async def quiet(feed: Feed, server: AllocationsServer, questions: int = 5) -> None:
    """Assert that no reading comes while the server is asked again."""
    coming = asyncio.ensure_future(anext(feed.readings))
    await asked(server, questions)
    assert not coming.done()
    coming.cancel()
    with pytest.raises((asyncio.CancelledError, StopAsyncIteration)):
        await coming


@pytest.mark.parametrize("modified", [None, "Wed, 25 Nov 2026 10:00:00 GMT"])
async def test_an_unchanged_answer_costs_no_body_and_gives_no_reading(
    follow: Follow, server: AllocationsServer, modified: str | None
) -> None:
    server.modified = modified
    feed = follow(server)
    await feed.next()
    await quiet(feed, server)
    assert {answered.status for answered in server.asked[1:-1]} == {304}
    assert {answered.size for answered in server.asked[1:-1]} == {0}


async def test_a_server_without_conditional_requests_gives_no_reading_either(
    follow: Follow,
    server: AllocationsServer,
) -> None:
    server.conditional = False
    feed = follow(server)
    await feed.next()
    await quiet(feed, server)
    assert {answered.status for answered in server.asked[:-1]} == {200}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (web.status(500), "{url} has a fault of its own (500 Internal Server Error); see the log of that server"),
        (web.status(503), "{url} has a fault of its own (503 Service Unavailable); see the log of that server"),
        (web.status(404), "{url} is not there (404 Not Found); correct the URL"),
        (web.status(401), "{url} wants a token (401 Unauthorized); name the file that holds it: `token_file:`"),
        (web.status(403), ("{url} may not be read by us (403 Forbidden); allow it there to us, or name a token with "
         "`token_file:`")),
        (web.status(429), "{url} wants to be asked less often (429 Too Many Requests); raise `interval`"),
        (web.status(204, ""), "{url} answers 204 No Content, and not 200; see that it is the right URL"),
        (web.status(799), "{url} has a fault of its own (799); see the log of that server"),
        (web.cut, "{url} breaks off in the middle of its answer; see the log of that server"),
        (web.hang_up, "{url} closes the connection without an answer; see the log of that server"),
        (web.login_page, ("{url} answers with a web page, not with allocations; see whether it is a login page, or "
         "that of a proxy, and correct the URL or the token")),
        (web.redirect("https://login.example.net/?next=x"), ("{url} leads to another host, https://login.example.net, "
         "and we do not follow it there; write the URL that it leads to, if that is right")),
        (web.redirect("/allocations"), ("{url} leads from one place to the next without end; see how that server "
         "is set up")),
        (web.redirect("http://[broken"), ("{url} leads to http://[broken, which is no URL; see how that server "
         "is set up")),
        (web.silent, "{url} does not answer whole within 1 s; see why it is slow, or raise `timeout`"),
        (web.drip, "{url} does not answer whole within 1 s; see why it is slow, or raise `timeout`"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_said_and_ends_by_itself(
    follow: Follow, server: AllocationsServer, fault: web.Fault, sentence: str
) -> None:
    feed = follow(server, timeout=1)
    server.fault = fault
    assert await feed.trouble() == sentence.format(url=server.url("/allocations"))
    server.fault = None
    assert number(await feed.next(5)) == 1


async def test_one_lost_answer_is_no_news_and_two_are(follow: Follow, server: AllocationsServer) -> None:
    feed = follow(server)
    await feed.next()
    coming = asyncio.ensure_future(feed.next())
    lost = web.status(502)

    async def once(request: Any) -> Any:
        server.fault = None
        return await lost(request)

    server.fault = once
    await asked(server, 4)
    assert not coming.done()
    server.fault = lost
    assert "502 Bad Gateway" in str((await coming).trouble)


async def test_an_error_is_said_once_and_its_end_too_though_nothing_changed(
    follow: Follow,
    server: AllocationsServer,
) -> None:
    feed = follow(server)
    await feed.next()
    server.fault = web.status(500)
    assert (await feed.next()).error
    coming = asyncio.ensure_future(feed.next())
    await asked(server, 3)
    assert not coming.done()
    server.fault = None
    assert number(await coming) == 1


async def test_a_server_that_is_away_and_comes_back(follow: Follow, server: AllocationsServer) -> None:
    feed = follow(server)
    await feed.next()
    address = ("127.0.0.1", server.port)
    server.stop()
    url = server.url("/allocations")
    right = "see that the server runs and that nothing on the way blocks it"
    assert await feed.trouble() in (
        f"{url} cannot be reached (Connection refused); {right}",
        f"{url} cannot be reached (Connect call failed {address!r}); {right}",
    )
    other = AllocationsServer(socket.create_server(address), text=text(2))
    assert number(await feed.next(5)) == 2
    other.stop()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "{url}: is empty; see that it is the right file"),
        ("nodes: [\n", "{url}:2:1: the file ends in the middle of a value; see that it is complete"),
        ("nodes: {a: {addresses: [], prefixes: []}}", ("{url}:1:9: nodes.a.addresses: the node has no address; "
         "write the addresses that its sessions come from, such as `addresses: [10.2.0.11]`")),
        ('{"detail": "hello"}', "{url}:1:2: detail: is not a known key here; the keys here are nodes and vips"),
    ],
)  # fmt: skip
async def test_allocations_with_a_mistake_are_refused_at_their_place(
    follow: Follow, server: AllocationsServer, body: str, sentence: str
) -> None:
    server.text = body
    feed = follow(server)
    assert await feed.trouble() == sentence.format(url=server.url("/allocations"))
    server.text = text(2)
    assert number(await feed.next()) == 2


async def test_broken_allocations_stay_broken_while_the_server_says_not_modified(
    follow: Follow,
    server: AllocationsServer,
) -> None:
    server.text = "nodes: ["
    feed = follow(server)
    assert "ends in the middle" in await feed.trouble()
    await quiet(feed, server)
    assert {answered.status for answered in server.asked[1:-1]} == {304}


async def test_octets_that_are_no_text_are_refused(follow: Follow, server: AllocationsServer) -> None:
    async def latin(request: Any) -> Any:
        return aiohttp_web.Response(body="# café".encode("latin-1"), content_type="application/yaml")

    server.fault = latin
    assert await follow(server).trouble() == (
        f"{server.url('/allocations')}: byte 0xe9 is not UTF-8; serve it in UTF-8"
    )


async def test_an_answer_without_end_is_not_read_to_its_end(
    follow: Follow, server: AllocationsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_SIZE", 1 << 20)
    server.text = "#" * (2 << 20)
    assert await follow(server).trouble() == (
        f"{server.url('/allocations')} answers with more than 1 MiB; see that it is the right URL"
    )


async def test_a_packed_answer_is_bounded_by_its_unpacked_size(
    follow: Follow, server: AllocationsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_SIZE", 1 << 20)

    async def bomb(request: Any) -> Any:
        response = aiohttp_web.Response(body=b"#" * (8 << 20))
        response.enable_compression(aiohttp_web.ContentCoding.gzip)
        return response

    server.fault = bomb
    assert "more than 1 MiB" in await follow(server).trouble()


async def test_a_redirect_within_the_host_is_followed_and_the_token_goes_along(
    follow: Follow, server: AllocationsServer, tmp_path: Path
) -> None:
    server.authorization = "Bearer first"

    async def moved(request: Any) -> Any:
        if request.path == "/allocations":
            return await web.redirect("/v2/allocations", 301)(request)
        return await server.answer(request)

    server.fault = moved
    feed = follow(server, token_file=token(tmp_path, "first"))
    assert number(await feed.next()) == 1
    assert server.asked[1].path == "/v2/allocations"
    assert server.asked[1].headers["Authorization"] == "Bearer first"


async def test_the_token_never_goes_to_another_host(
    follow: Follow, server: AllocationsServer, tmp_path: Path
) -> None:
    other = AllocationsServer(web.listening(), text=text(9))
    server.fault = web.redirect(other.url("/allocations"))
    assert "leads to another host" in await follow(server, token_file=token(tmp_path, "first")).trouble()
    assert other.asked == []
    other.stop()


def token(folder: Path, value: str) -> str:
    path = folder / "token"
    path.write_text(f"{value}\n")
    path.chmod(0o600)
    return str(path)


async def test_a_token_that_is_exchanged_counts_at_once(
    follow: Follow, server: AllocationsServer, tmp_path: Path
) -> None:
    path = token(tmp_path, "first")
    server.authorization = "Bearer first"
    feed = follow(server, token_file=path)
    assert number(await feed.next()) == 1
    server.authorization = "Bearer second"
    assert await feed.trouble() == (
        f"{server.url('/allocations')} does not accept the token in {path} (401 Unauthorized); "
        "write a valid one into the file"
    )
    token(tmp_path, "second")
    server.text = text(2)
    assert number(await feed.next()) == 2


async def test_a_token_that_is_exchanged_while_it_is_on_its_way_is_no_error(
    follow: Follow, server: AllocationsServer, tmp_path: Path
) -> None:
    path = token(tmp_path, "first")
    server.authorization = "Bearer second"

    async def exchange(request: Any) -> Any:
        token(tmp_path, "second")
        server.fault = None
        return server.refusal()

    server.fault = exchange
    assert number(await follow(server, token_file=path).next()) == 1


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        ("a b", 0o600, ("what is in {path} is no token: one has no spaces and only ASCII; write the token alone into "
         "it, without a word such as Bearer before it")),
        ("", 0o600, "{path} is empty; write the token into it"),
        ("a", 0o644, ("{path} is open to others than its owner (mode 0644); chmod 600 {path}, and change the token if "
         "others could read it")),
    ],
)  # fmt: skip
async def test_a_token_file_that_cannot_be_used_is_an_error_and_nothing_is_asked(
    follow: Follow, server: AllocationsServer, tmp_path: Path, content: str, mode: int, sentence: str
) -> None:
    path = Path(token(tmp_path, content))
    path.chmod(mode)
    assert await follow(server, token_file=str(path)).trouble() == sentence.format(path=path)
    assert server.asked == []


class TestTls:
    """Whom we trust, and who trusts us."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    def serve(
        self, authority: Authority, *names: str, valid: timedelta = timedelta(days=1)
    ) -> AllocationsServer:
        context = authority.server_context(authority.issue(*names, valid=valid, file="server"))
        return AllocationsServer(web.listening(), context, text=text(1))

    async def test_a_certificate_of_the_named_ca_is_trusted(
        self, follow: Follow, authority: Authority
    ) -> None:
        server = self.serve(authority, "127.0.0.1")
        assert number(await follow(server, ca=str(authority.file)).next()) == 1
        server.stop()

    @pytest.mark.parametrize(
        ("names", "valid", "ca", "sentence"),
        [
            (["127.0.0.1"], 1, None, ("the certificate of 127.0.0.1 cannot be trusted (unable to get local issuer "
             "certificate); name the file with its CA: `ca:`")),
            (["127.0.0.1"], 1, "other", ("the certificate of 127.0.0.1 cannot be trusted (unable to get local issuer "
             "certificate); see that {folder}/other.pem is its CA")),
            (["127.0.0.1"], -1, "ca", ("the certificate of 127.0.0.1 cannot be trusted (certificate has expired); "
             "renew it there, or set the clock")),
            (["127.0.0.2"], 1, "ca", "the certificate of 127.0.0.1 is for another name; write the name that it is for"),
        ],
    )  # fmt: skip
    async def test_a_wrong_certificate_is_said(
        self,
        follow: Follow,
        authority: Authority,
        tmp_path: Path,
        names: list[str],
        valid: int,
        ca: str | None,
        sentence: str,
    ) -> None:
        Authority(tmp_path, "other")
        server = self.serve(authority, *names, valid=timedelta(days=valid))
        settings = {"ca": str(tmp_path / f"{ca}.pem")} if ca else {}
        assert await follow(server, **settings).trouble() == sentence.format(folder=tmp_path)
        assert server.asked == []
        server.stop()

    async def test_a_server_that_wants_our_certificate_gets_it(
        self, follow: Follow, authority: Authority, tmp_path: Path
    ) -> None:
        shown = authority.issue("127.0.0.1", file="server")
        server = AllocationsServer(
            web.listening(), authority.server_context(shown, wants_certificate=True), text=text(1)
        )
        url = server.url("/allocations")
        assert await follow(server, ca=str(authority.file)).trouble() == (
            f"{url} closes the connection without an answer; see the log of that server; if it asks for a "
            "certificate, name ours with `certificate:` and `key:`"
        )
        strangers = Authority(tmp_path, "other").issue("rr-a", file="stranger")
        settings = {
            "ca": str(authority.file),
            "certificate": str(strangers.certificate),
            "key": str(strangers.key),
        }
        assert await follow(server, **settings).trouble() == (
            f"{url} closes the connection without an answer; see the log of that server; it may not know the "
            f"CA of {strangers.certificate}"
        )
        ours = authority.issue("rr-a")
        settings |= {"certificate": str(ours.certificate), "key": str(ours.key)}
        assert number(await follow(server, **settings).next()) == 1
        ours.key.chmod(0o644)
        assert await follow(server, **settings).trouble() == (
            f"{ours.key} is open to others than its owner; chmod 600 {ours.key}"
        )
        server.stop()

    async def test_a_ca_that_is_exchanged_counts_without_a_restart(
        self, follow: Follow, authority: Authority, tmp_path: Path
    ) -> None:
        other = Authority(tmp_path, "other")
        server = self.serve(authority, "127.0.0.1")
        feed = follow(server, ca=str(other.file))
        assert "cannot be trusted" in await feed.trouble()
        other.file.write_bytes(authority.file.read_bytes())
        assert number(await feed.next()) == 1
        server.stop()

    async def test_a_plain_server_at_a_tls_url_is_said(
        self, follow: Follow, server: AllocationsServer
    ) -> None:
        url = server.url("/allocations").replace("http:", "https:")
        found = await follow(server, url=url).trouble()
        assert found.startswith(f"{url} does not speak TLS with us (")


async def test_it_closes_what_it_opened(follow: Follow, server: AllocationsServer) -> None:
    feed = follow(server)
    await feed.next()
    await feed.end()
    await asyncio.to_thread(eventually, lambda: not server.connections, 5, "no connection is left")
