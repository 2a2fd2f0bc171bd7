"""A stand-in for a Kubernetes API server: lists and watches over real TCP and TLS, with the faults of real ones.

It speaks the protocol as documented: resourceVersion, pages with `continue`, chunked watches, bookmarks, 410 as an
answer and in the stream, selectors whose objects come and go. It runs in a thread of this process; its socket may be
in a namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from tests.lab.kube_objects import Object

T = TypeVar("T")

PATHS = {
    "Node": "/api/v1/nodes",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "CiliumNode": "/apis/cilium.io/v2/ciliumnodes",
    "CiliumLoadBalancerIPPool": "/apis/cilium.io/v2/ciliumloadbalancerippools",
    "BlockAffinity": "/apis/crd.projectcalico.org/v1/blockaffinities",
    "IPAMBlock": "/apis/crd.projectcalico.org/v1/ipamblocks",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and how it was answered."""

    path: str
    parameters: dict[str, str]
    status: int

    @property
    def watch(self) -> bool:
        return "watch" in self.parameters


@dataclass(slots=True)
class Stored:
    """An object with its JSON."""

    key: str
    content: Object
    body: bytes


@dataclass(slots=True, eq=False)
class Watcher:
    """A watch that runs: lines for it, None to end it."""

    parameters: dict[str, str]
    transport: asyncio.Transport
    lines: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    deaf: bool = False


@dataclass(slots=True)
class Table:
    """All objects of a kind, what happened to them, and who watches."""

    kind: str
    objects: dict[str, Stored] = field(default_factory=dict)
    log: list[tuple[int, Stored | None, Stored | None]] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    forgotten: int = 0


@dataclass(slots=True)
class Faults:
    """What the server does wrong, from now on."""

    status: dict[str, int] = field(default_factory=dict)
    """By kind: the status with which everything is answered."""
    delay: float = 0.0
    """Seconds before each answer."""
    html: bool = False
    """A login page instead of every answer."""
    empty: set[str] = field(default_factory=set)
    """Kinds of which lists are empty, by mistake."""
    gone_in_stream: bool = True
    """410 as an event in the stream, as most servers say it, or as the answer."""
    old: bool = False
    """A server before 1.31, which knows no field selector for Services."""
    lost_pages: int = 0
    """So many times the second page of a list is answered with 410."""


class KubeApi:
    """Use as a context manager. `listen` opens its socket at a port, 0 for any; objects outlive `stop`."""

    def __init__(
        self,
        listen: Callable[[int], socket.socket] = lambda port: socket.create_server(("127.0.0.1", port)),
        *,
        tls: ssl.SSLContext | None = None,
        tokens: set[str] | None = None,
        without: tuple[str, ...] = (),
        bookmark_every: float = 60.0,
    ) -> None:
        self.tls = tls
        self.tokens = tokens
        """Those that are let in; None: anybody."""
        self.faults = Faults()
        self.asked: list[Asked] = []
        self.bookmark_every = bookmark_every
        self.tables = {path: Table(kind) for kind, path in PATHS.items() if kind not in without}
        self._listen = listen
        self._version = 1000
        self._pages: dict[str, tuple[int, list[Stored]]] = {}
        self._runner: web.AppRunner | None = None
        self._transports: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kube-api", daemon=True)
        self.address = ("", 0)

    def __enter__(self) -> KubeApi:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address[0]}:{self.address[1]}"

    # Its life.

    def start(self) -> None:
        """Listen, at the address of before."""
        listener = self._listen(self.address[1])
        self.address = listener.getsockname()[:2]
        self._run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, ssl_context=self.tls).start()

    def stop(self) -> None:
        """Listen no longer, and abort every connection: a server that dies."""
        self._run(self._end())

    async def _end(self) -> None:
        for watcher in self._watchers():
            watcher.lines.put_nowait(None)
        for transport in self._transports:
            with contextlib.suppress(
                AttributeError
            ):  # before Python 3.11.3, over TLS, where it is closed already
                transport.abort()
        self._transports.clear()
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()  # answers that were to be slow
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets one turn later

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        result: T = self._run(act())
        return result

    def _watchers(self, kind: str | None = None) -> list[Watcher]:
        tables = [table for table in self.tables.values() if kind in (None, table.kind)]
        return [watcher for table in tables for watcher in table.watchers]

    # What tests do to it.

    def apply(self, *objects: Object) -> None:
        """Create or replace objects, one after the other."""
        self._do(lambda: _each(self._put, objects))

    def delete(self, *objects: Object) -> None:
        """Delete objects."""
        self._do(lambda: _each(self._drop, objects))

    def forget(self) -> None:
        """Compact the history: who is behind must list again."""

        def act() -> None:
            self._version += 1
            self._pages.clear()
            for table in self.tables.values():
                table.log.clear()
                table.forgotten = self._version

        self._do(act)

    def cut(self, half_a_line: bool = False) -> None:
        """Abort every watch, in the middle of a line if wanted."""

        def act() -> None:
            for watcher in self._watchers():
                if half_a_line:
                    watcher.lines.put_nowait(b'{"type":"MODIFIED","object":{"kind":"Node","metadata":{"na')
                watcher.lines.put_nowait(None)

        self._do(act)

    def say(self, kind: str, line: bytes) -> None:
        """Send a line of any content to those who watch a kind."""
        self._do(lambda: _each(lambda watcher: watcher.lines.put_nowait(line), self._watchers(kind)))

    def hush(self) -> None:
        """Say nothing more on the watches that run, and leave them open: a path that swallows packets."""

        def act() -> None:
            for watcher in self._watchers():
                watcher.deaf = True

        self._do(act)

    def watching(self, kind: str) -> int:
        """How many watch a kind."""
        return len(self._watchers(kind))

    def lists(self, kind: str) -> list[Asked]:
        """The first pages of all lists of a kind that were asked for."""
        path = PATHS[kind]
        return [
            asked
            for asked in self.asked
            if asked.path == path and not asked.watch and "continue" not in asked.parameters
        ]

    def watches(self, kind: str) -> list[Asked]:
        """The watches of a kind that were asked for."""
        return [asked for asked in self.asked if asked.path == PATHS[kind] and asked.watch]

    # Objects.

    def _put(self, content: Object) -> None:
        table = self.tables[PATHS[content["kind"]]]
        key = _key(content)
        self._version += 1
        stored = self._stored(key, content)
        before = table.objects.get(key)
        table.objects[key] = stored
        self._tell(table, before, stored)

    def _drop(self, content: Object) -> None:
        table = self.tables[PATHS[content["kind"]]]
        before = table.objects.pop(_key(content))
        self._version += 1
        self._tell(table, self._stored(before.key, before.content), None)

    def _stored(self, key: str, content: Object) -> Stored:
        metadata = {**content["metadata"], "resourceVersion": str(self._version)}
        content = {**content, "metadata": metadata}
        return Stored(key, content, json.dumps(content, separators=(",", ":")).encode())

    def _tell(self, table: Table, before: Stored | None, after: Stored | None) -> None:
        table.log.append((self._version, before, after))
        for watcher in table.watchers:
            for line in _lines(watcher.parameters, before, after):
                watcher.lines.put_nowait(line)

    # Answers.

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if isinstance(request.transport, asyncio.Transport):
            self._transports.add(request.transport)
        await asyncio.sleep(self.faults.delay)
        path, parameters = f"/{request.match_info['path']}", dict(request.query)
        table = self.tables.get(path)
        status = self._status(request, table)
        if not table or status != 200:
            answer: web.StreamResponse = _refusal(status)
        elif self.faults.html:
            answer = web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")
        elif "watch" in parameters:
            return await self._watch(request, table, parameters)
        else:
            answer = self._list(table, parameters)
        self.asked.append(Asked(path, parameters, answer.status))
        return answer

    def _status(self, request: web.Request, table: Table | None) -> int:
        if self.tokens is not None and not self._known(request, self.tokens):
            return 401
        if not table:
            return 404
        if self.faults.old and "fieldSelector" in request.query:
            return 400
        return self.faults.status.get(table.kind, self.faults.status.get("*", 200))

    @staticmethod
    def _known(request: web.Request, tokens: set[str]) -> bool:
        if request.transport and request.transport.get_extra_info("peercert"):
            return True
        return request.headers.get("Authorization", "").removeprefix("Bearer ") in tokens

    def _list(self, table: Table, parameters: dict[str, str]) -> web.Response:
        token = parameters.get("continue")
        if token and (self.faults.lost_pages or token not in self._pages):
            self.faults.lost_pages = max(0, self.faults.lost_pages - 1)
            return _refusal(410)
        if token:
            version, found = self._pages.pop(token)
        else:
            version = self._version
            found = [one for one in table.objects.values() if _selected(parameters, one)]
            found = [] if table.kind in self.faults.empty else sorted(found, key=lambda one: one.key)
        limit = int(parameters.get("limit", 0)) or len(found)
        metadata: Object = {"resourceVersion": str(version)}
        if found[limit:]:
            metadata |= {
                "continue": f"page-{version}-{len(self._pages)}",
                "remainingItemCount": len(found[limit:]),
            }
            self._pages[metadata["continue"]] = version, found[limit:]
        head = json.dumps({"kind": f"{table.kind}List", "apiVersion": "v1", "metadata": metadata})
        body = head[:-1].encode() + b', "items": [' + b",".join(one.body for one in found[:limit]) + b"]}\n"
        return web.Response(body=body, content_type="application/json")

    async def _watch(
        self, request: web.Request, table: Table, parameters: dict[str, str]
    ) -> web.StreamResponse:
        since = int(parameters.get("resourceVersion") or 0)
        gone = since < table.forgotten
        if gone and not self.faults.gone_in_stream:
            self.asked.append(Asked(request.path, parameters, 410))
            return _refusal(410)
        self.asked.append(Asked(request.path, parameters, 200))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        with contextlib.suppress(ConnectionError):  # the client may be gone at any moment
            await response.prepare(request)
            await self._follow(request, response, table, parameters, since, gone=gone)
        return response

    async def _follow(
        self,
        request: web.Request,
        response: web.StreamResponse,
        table: Table,
        parameters: dict[str, str],
        since: int,
        *,
        gone: bool,
    ) -> None:
        if gone:
            await response.write(_event("ERROR", json.dumps(_status_object(410)).encode()))
            return
        if not isinstance(request.transport, asyncio.Transport):
            return  # the client is gone already
        watcher = Watcher(parameters, request.transport)
        for version, before, after in table.log:
            for line in _lines(parameters, before, after) if version > since else ():
                watcher.lines.put_nowait(line)
        table.watchers.append(watcher)
        try:
            async with asyncio.timeout(float(parameters.get("timeoutSeconds", 1800))):
                await self._stream(response, watcher, table)
        except TimeoutError:
            pass
        finally:
            table.watchers.remove(watcher)

    async def _stream(self, response: web.StreamResponse, watcher: Watcher, table: Table) -> None:
        while True:
            try:
                line = await asyncio.wait_for(watcher.lines.get(), self.bookmark_every)
            except TimeoutError:
                bookmark = {"kind": table.kind, "metadata": {"resourceVersion": str(self._version)}}
                line = _event("BOOKMARK", json.dumps(bookmark).encode())
            if line is None:
                watcher.transport.abort()
                return
            if not watcher.deaf:
                await response.write(line)


def _each(action: Callable[[T], None], items: Iterable[T]) -> None:
    for item in items:
        action(item)


def _key(content: Object) -> str:
    return f"{content['metadata'].get('namespace', '')}/{content['metadata'].get('name', '')}"


def _event(kind: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), body)


def _lines(parameters: dict[str, str], before: Stored | None, after: Stored | None) -> Iterator[bytes]:
    """What a watch with selectors is told: what comes into the selection is added, what leaves it is deleted."""
    was = before is not None and _selected(parameters, before)
    if after is not None and _selected(parameters, after):
        yield _event("MODIFIED" if was else "ADDED", after.body)
    elif before is not None and was:
        yield _event("DELETED", (after or before).body)


def _selected(parameters: dict[str, str], stored: Stored) -> bool:
    labels = stored.content["metadata"].get("labels") or {}
    for term in filter(None, parameters.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if (key.startswith("!") and key[1:] in labels) or (equals and labels.get(key) != value):
            return False
        if not equals and not key.startswith("!") and key not in labels:
            return False
    fields = parameters.get("fieldSelector", "")
    return not fields or stored.content["spec"].get("type") == fields.removeprefix("spec.type=")


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    410: "Expired",
    429: "TooManyRequests",
}


def _status_object(code: int) -> Object:
    reason = _REASONS.get(code, "InternalError")
    messages = {410: "too old resource version", 404: "the server could not find the requested resource"}
    message = messages.get(code, reason)
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _refusal(code: int) -> web.Response:
    body = json.dumps(_status_object(code))
    return web.Response(status=code, text=body, content_type="application/json")
