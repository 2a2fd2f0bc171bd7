"""Allocations from NetBox: a stand-in over TCP with NetBox's paging, filters, tokens and change log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web as aiohttp_web
from structlog.testing import capture_logs

from rr.config.sources.netbox import NetboxSettings
from rr.ipam.reading import Reading
from rr.ipam.sources.netbox import NetboxSource
from rr.ipam.sources.web import poll
from tests.lab import web
from tests.lab.netbox_api import CHANGES, DEVICES, PREFIXES, Netbox
from tests.lab.wait import eventually

OFTEN = 0.02
"""Seconds between questions in these tests."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "RETRY_FIRST", OFTEN)


@pytest.fixture
def netbox() -> Iterator[Netbox]:
    """Two nodes with a prefix each, one of them a virtual machine, and a pool of VIPs."""
    netbox = Netbox(web.listening())
    one = netbox.device("node-1", "10.2.0.11/24", "fd00:2::11/64")
    two = netbox.machine("node-2", "10.2.0.12/24")
    netbox.prefix("10.244.1.0/24", k8s_node=one)
    netbox.prefix("10.244.2.0/24", k8s_node=two)
    netbox.prefix("10.100.0.0/24", role="vip")
    yield netbox
    netbox.stop()


class Feed:
    """Readings as they come."""

    def __init__(self, netbox: Netbox, **settings: Any) -> None:
        given = {
            "type": "netbox",
            "url": netbox.url(),
            "nodes": {"role": "k8s-node"},
            "prefixes": {"role": "pod-cidr"},
            "owner": "k8s_node",
            "vips": {"role": "vip"},
            **settings,
        }
        self.readings = aiter(NetboxSource(NetboxSettings.model_validate(given), OFTEN))

        self._coming: asyncio.Future[Reading] | None = None

    def coming(self) -> asyncio.Future[Reading]:
        """The next reading, which may come later."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self.readings))
        return self._coming

    async def next(self, within: float = 10.0) -> Reading:
        reading = await asyncio.wait_for(self.coming(), within)
        self._coming = None
        return reading

    async def end(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        await self.readings.aclose()  # type: ignore[attr-defined]

    async def owned(self) -> dict[str, list[str]]:
        """The prefixes of each node in the next reading."""
        reading = await self.next()
        assert reading.allocations is not None, reading.trouble
        return {node.name: list(map(str, node.prefixes)) for node in reading.allocations.nodes.values()}

    async def trouble(self) -> str:
        found = (await self.next()).trouble
        assert found is not None
        return found


Follow: TypeAlias = Callable[..., Feed]


@pytest.fixture
async def follow(netbox: Netbox) -> AsyncIterator[Follow]:
    """Makes feeds, and closes them."""
    feeds: list[Feed] = []

    def made(**settings: Any) -> Feed:
        feeds.append(Feed(netbox, **settings))
        return feeds[-1]

    yield made
    for feed in feeds:
        await feed.end()


FIRST = {"node-1": ["10.244.1.0/24"], "node-2": ["10.244.2.0/24"]}


async def asked(netbox: Netbox, times: int) -> None:
    """Wait until it was asked so many times more."""
    goal = len(netbox.asked) + times
    await asyncio.to_thread(eventually, lambda: len(netbox.asked) >= goal, 5, f"{times} more questions")


async def quiet(feed: Feed, netbox: Netbox, questions: int = 5) -> None:
    """Assert that no reading comes while it is asked again."""
    coming = feed.coming()
    await asked(netbox, questions)
    assert not coming.done(), coming.result()


async def test_nodes_prefixes_and_vips_are_read(follow: Follow) -> None:
    reading = await follow().next()
    assert reading.allocations is not None, reading.trouble
    nodes = reading.allocations.nodes
    assert list(map(str, nodes["node-1"].addresses)) == ["10.2.0.11", "fd00:2::11"]
    assert list(map(str, nodes["node-2"].addresses)) == ["10.2.0.12"]
    assert {name: list(map(str, node.prefixes)) for name, node in nodes.items()} == FIRST
    [pool] = reading.allocations.vips
    assert (list(map(str, pool.prefixes)), pool.nodes) == (["10.100.0.0/24"], None)


async def test_what_changes_is_a_reading(follow: Follow, netbox: Netbox) -> None:
    feed = follow()
    assert await feed.owned() == FIRST
    [one], two = netbox.objects[DEVICES].values(), netbox.objects[PREFIXES]
    more = netbox.prefix("10.244.9.0/26", k8s_node="node-1")
    assert await feed.owned() == FIRST | {"node-1": ["10.244.1.0/24", "10.244.9.0/26"]}
    netbox.change(more, k8s_node="node-2")
    assert await feed.owned() == FIRST | {"node-2": ["10.244.2.0/24", "10.244.9.0/26"]}
    netbox.change(more, status="reserved")
    assert await feed.owned() == FIRST
    netbox.delete(next(item for item in two.values() if item["prefix"] == "10.244.1.0/24"))
    assert await feed.owned() == FIRST | {"node-1": []}
    netbox.delete(one)
    assert await feed.owned() == {"node-2": ["10.244.2.0/24"]}


async def test_while_nothing_changes_only_the_change_log_is_asked(follow: Follow, netbox: Netbox) -> None:
    feed = follow()
    await feed.next()
    first = len(netbox.asked)
    await quiet(feed, netbox)
    assert {request.path for request in netbox.asked[first:]} == {f"/api/{CHANGES}/"}


async def test_changes_of_other_things_cause_no_reading_of_everything(follow: Follow, netbox: Netbox) -> None:
    feed = follow()
    await feed.next()
    first = len(netbox.asked)
    netbox.changes.append({"id": 1000, "changed_object_type": "circuits.circuit"})
    await quiet(feed, netbox)
    assert {request.path for request in netbox.asked[first:]} == {f"/api/{CHANGES}/"}


async def test_a_change_that_was_numbered_earlier_than_the_newest_is_seen_too(
    follow: Follow, netbox: Netbox
) -> None:
    """A long transaction took its number in the log, and ends after others that took theirs later."""
    netbox.changes.append({"id": 500, "changed_object_type": "ipam.prefix"})
    feed = follow()
    await feed.next()
    netbox.prefix("10.244.3.0/24", k8s_node="node-1")
    assert netbox.changes[-1]["id"] < 500
    assert await feed.owned() == FIRST | {"node-1": ["10.244.1.0/24", "10.244.3.0/24"]}


async def test_without_the_change_log_everything_is_read_each_time(follow: Follow, netbox: Netbox) -> None:
    netbox.log_readable = False
    feed = follow()
    with capture_logs() as logs:
        await feed.next()
        await quiet(feed, netbox, 20)
    assert [entry["event"] for entry in logs] == [
        (
            "NetBox's change log may not be read, so everything is read each time; allow the token's owner to view "
            "object changes"
        )
    ]
    netbox.prefix("10.244.3.0/24", k8s_node="node-1")
    assert await feed.owned() == FIRST | {"node-1": ["10.244.1.0/24", "10.244.3.0/24"]}


async def test_what_bypasses_the_change_log_is_seen_at_the_next_full_reading(
    follow: Follow, netbox: Netbox
) -> None:
    feed = follow(reread=1)
    await feed.next()
    netbox.prefix("10.244.3.0/24", k8s_node="node-1")
    netbox.changes.pop()
    assert await feed.owned() == FIRST | {"node-1": ["10.244.1.0/24", "10.244.3.0/24"]}


async def test_all_pages_are_read(follow: Follow, netbox: Netbox) -> None:
    netbox.max_page_size = 7
    for number in range(10, 60):
        netbox.prefix(f"10.244.{number}.0/24", k8s_node="node-1")
    found = await follow().owned()
    assert found["node-1"] == ["10.244.1.0/24", *(f"10.244.{number}.0/24" for number in range(10, 60))]
    pages = [request for request in netbox.asked if request.path == f"/api/{PREFIXES}/"]
    assert len([page for page in pages if page.query["role"] == ["pod-cidr"]]) == 8


async def test_a_prefix_that_is_deleted_between_two_pages_hides_no_other(
    follow: Follow, netbox: Netbox
) -> None:
    """By offsets the first of the second page would become the last of the first one, and never be read."""
    netbox.log_readable = False
    netbox.max_page_size = 4
    prefixes = [netbox.prefix(f"10.244.{number}.0/24", k8s_node="node-1") for number in range(10, 18)]
    netbox.between_pages = lambda: netbox.delete(prefixes[0])
    found = await follow().owned()
    assert set(found["node-1"]) >= {f"10.244.{number}.0/24" for number in range(11, 18)}


async def test_what_changes_while_everything_is_read_is_in_the_same_reading(
    follow: Follow, netbox: Netbox
) -> None:
    netbox.max_page_size = 1

    def happens() -> None:
        netbox.prefix("10.244.8.0/24", k8s_node=netbox.device("node-8", "10.2.0.18/24"))

    netbox.between_pages = happens
    assert await follow().owned() == FIRST | {"node-8": ["10.244.8.0/24"]}


async def test_an_object_that_is_not_selected_never_counts_though_netbox_gives_it(
    follow: Follow, netbox: Netbox
) -> None:
    """NetBox ignores filters that it does not know, and finds text by a part of it."""
    netbox.custom_fields[PREFIXES]["cluster"] = None
    for item in netbox.objects[PREFIXES].values():
        item["custom_fields"]["cluster"] = "prod"
    netbox.prefix("10.244.3.0/24", k8s_node="node-1", cluster="preprod")
    netbox.prefix("10.244.4.0/24", k8s_node="node-1", cluster=None)
    assert await follow(prefixes={"fields": {"cluster": "prod"}, "role": "pod-cidr"}).owned() == FIRST
    del netbox.custom_fields[PREFIXES]["cluster"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (web.status(502), "{url} has a fault of its own (502 Bad Gateway); see the log of that server"),
        (web.login_page, "{url} does not answer like NetBox: it is a web page; see that `url` is where NetBox is"),
        (web.status(200, '{"results": 1}'), ("{url} does not answer like NetBox: it is no list of objects; see that "
         "`url` is where NetBox is")),
        (web.status(200, '{"count": 5, "next": null, "results": []}'), ("{url} does not answer like NetBox: it counts "
         "5 and gives 0; see that `url` is where NetBox is")),
        (web.status(200, "nodes: {}"), ("{url} does not answer like NetBox: it is no list of objects; see that `url` "
         "is where NetBox is")),
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_said_and_ends_by_itself(
    follow: Follow, netbox: Netbox, fault: web.Fault, sentence: str
) -> None:
    feed = follow()
    netbox.fault = fault
    assert await feed.trouble() == sentence.format(url=netbox.url(f"/api/{CHANGES}/"))
    netbox.fault = None
    assert await feed.owned() == FIRST


async def test_a_failure_in_the_middle_is_no_reading(follow: Follow, netbox: Netbox) -> None:
    feed = follow()
    await feed.next()

    async def fails(request: aiohttp_web.Request) -> aiohttp_web.StreamResponse:
        if PREFIXES in request.path:
            return await web.status(500)(request)
        return await netbox.answer(request)

    netbox.fault = fails
    netbox.prefix("10.244.3.0/24", k8s_node="node-1")
    assert "/api/ipam/prefixes/ has a fault of its own" in await feed.trouble()
    await quiet(feed, netbox)
    netbox.fault = None
    assert await feed.owned() == FIRST | {"node-1": ["10.244.1.0/24", "10.244.3.0/24"]}


async def test_a_server_that_ignores_where_a_page_begins_is_found_out(follow: Follow, netbox: Netbox) -> None:
    netbox.max_page_size = 1
    netbox.log_readable = False
    netbox.device("node-3", "10.2.0.13/24")

    async def deaf(request: aiohttp_web.Request) -> aiohttp_web.StreamResponse:
        return await netbox.answer(request.clone(rel_url=request.rel_url.without_query_params("id__gt")))

    netbox.fault = deaf
    assert "it does not list by id" in await follow().trouble()


async def test_a_role_that_is_not_there_is_said_by_netbox(follow: Follow, netbox: Netbox) -> None:
    netbox.roles.remove("pod-cidr")
    assert await follow().trouble() == (
        f"NetBox does not accept the selection for {netbox.url('/api/ipam/prefixes/')} (role: Select a valid "
        "choice. pod-cidr is not one of the available choices.); create in NetBox what it names, or correct the "
        "selection"
    )


async def test_a_custom_field_that_is_not_there_is_an_error_and_revokes_nothing(
    follow: Follow, netbox: Netbox
) -> None:
    feed = follow()
    await feed.next()
    for item in netbox.objects[PREFIXES].values():
        del item["custom_fields"]["k8s_node"]
    netbox.change(next(iter(netbox.objects[PREFIXES].values())))
    assert await feed.trouble() == (
        f"{netbox.url()} has no custom field k8s_node for the type prefix; create it there for that type, or "
        "correct `owner`"
    )


@pytest.mark.parametrize(
    ("value", "header"), [("0123abc", "Token 0123abc"), ("nbt_Ab.cd", "Bearer nbt_Ab.cd")]
)
async def test_both_kinds_of_tokens_are_sent_as_netbox_wants_them(
    follow: Follow, netbox: Netbox, tmp_path: Path, value: str, header: str
) -> None:
    netbox.authorization = header
    assert await follow(token_file=token(tmp_path, value)).owned() == FIRST


def token(folder: Path, value: str) -> str:
    path = folder / "token"
    path.write_text(f"{value}\n")
    path.chmod(0o600)
    return str(path)


async def test_a_token_that_is_exchanged_counts_at_once(
    follow: Follow, netbox: Netbox, tmp_path: Path
) -> None:
    """NetBox says 403 of a token that it does not know, and why."""
    netbox.authorization = "Token first"
    feed = follow(token_file=token(tmp_path, "first"))
    await feed.next()
    netbox.authorization = "Token second"
    assert await feed.trouble() == (
        f"{netbox.url('/api/dcim/devices/')} may not be read by us (403 Forbidden: Invalid v1 token); see that the "
        "token is right, and that its owner may view objects of that type"
    )
    token(tmp_path, "second")
    assert await feed.owned() == FIRST


async def test_what_is_left_out_is_said_with_each_reading(follow: Follow, netbox: Netbox) -> None:
    lost = netbox.prefix("10.244.3.0/24", k8s_node="node-9")
    feed = follow()
    url = netbox.url(f"/ipam/prefixes/{lost['id']}/")
    sentence = (
        f"prefix 10.244.3.0/24 ({url}) is for node-9, which is "
        "no node; see that `nodes` selects it and that it has an address"
    )
    assert (await feed.next()).left_out == (sentence,)
    netbox.prefix("10.244.4.0/24", k8s_node="node-1")
    assert (await feed.next()).left_out == (sentence,)
    netbox.prefix("10.244.5.0/24", k8s_node="node-8")
    assert len((await feed.next()).left_out) == 2
    netbox.device("node-8", "10.2.0.18/24")
    netbox.device("node-9", "10.2.0.19/24")
    while (reading := await feed.next()).left_out:
        pass
    assert reading.allocations is not None
    assert [str(p) for p in reading.allocations.nodes["node-9"].prefixes] == ["10.244.3.0/24"]
