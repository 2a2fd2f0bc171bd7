"""The questions of /api/v1, each a few lines: read the parameters, ask the appliance, answer."""

from aiohttp import web

from rr.api import query
from rr.api.answers import answer, answer_rows
from rr.api.appliance import Appliance, BadRequest
from rr.api.health import reasons_not_ready
from rr.api.keys import DIFF_STATES, DRAIN_LONGEST, KINDS, REASONS, ROLES, SOURCE_STATES, STATES
from rr.api.metrics import CONTENT_TYPE, Metrics
from rr.api.page import PAGE_HEADERS, render

WRITING = frozenset(
    {
        "/api/v1/config/reload",
        "/api/v1/config/diff",
        "/api/v1/ipam/accept",
        "/api/v1/ipam/reject",
        "/api/v1/drain",
        "/api/v1/undrain",
        "/api/v1/engine/restart",
        "/api/v1/engine/upgrade",
        "/api/v1/quarantine/release",
        "/api/v1/node/down",
    }
)
MAX_BODY = 4 << 20


class Handlers:
    """The appliance's answers as HTTP handlers."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance
        self._metrics = Metrics(appliance)

    def reading(self) -> list[web.RouteDef]:
        """List what both listeners serve."""
        return [
            web.get("/", self.page),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/api/v1/", self.index),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/check", self.check),
            web.get("/api/v1/peers", self.peers),
            web.get("/api/v1/routes", self.routes),
            web.get("/api/v1/violations", self.violations),
            web.get("/api/v1/explain", self.explain),
            web.get("/api/v1/events", self.events),
            web.get("/api/v1/allocations", self.allocations),
            web.get("/api/v1/ipam/sources", self.ipam_sources),
            web.get("/api/v1/ipam/diff", self.ipam_diff),
            web.get("/api/v1/topology", self.topology),
            web.get("/api/v1/pair", self.pair),
            web.get("/api/v1/config", self.config),
            web.get("/api/v1/quarantine", self.quarantine),
        ]

    def writing(self) -> list[web.RouteDef]:
        """List what only the unix socket serves."""
        return [
            web.post("/api/v1/config/reload", self.reload),
            web.post("/api/v1/config/diff", self.diff),
            web.post("/api/v1/ipam/accept", self.accept),
            web.post("/api/v1/ipam/reject", self.reject),
            web.post("/api/v1/drain", self.drain),
            web.post("/api/v1/undrain", self.undrain),
            web.post("/api/v1/engine/restart", self.restart_engine),
            web.post("/api/v1/engine/upgrade", self.upgrade_engine),
            web.post("/api/v1/quarantine/release", self.release),
            web.post("/api/v1/node/down", self.node_down),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Show a person how things stand."""
        query.read(request)
        return web.Response(text=render(self._appliance), content_type="text/html", headers=PAGE_HEADERS)

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Answer Prometheus; whatever parameters a scraper adds are its own affair."""
        return web.Response(body=self._metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """Say that rrd is alive: that this is answered is the answer."""
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """Say whether every policy is in force and every engine serves."""
        reasons = reasons_not_ready(self._appliance.status())
        return answer({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def index(self, request: web.Request) -> web.StreamResponse:
        """List what can be asked."""
        query.read(request)
        paths = sorted({route.path for route in self.reading()} | {"/api/v1/stream"})
        return answer({"read": paths, "unix_socket_only": sorted(WRITING)})

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Answer what the appliance is doing."""
        query.read(request)
        return answer(self._appliance.status())

    async def check(self, request: web.Request) -> web.StreamResponse:
        """Answer the line of the monitoring plugin, or only whether this half itself serves."""
        return answer(self._appliance.check(**query.read(request, serving=query.flag)))

    async def peers(self, request: web.Request) -> web.StreamResponse:
        """List sessions."""
        wanted = query.read(
            request,
            instance=query.text,
            address=query.text,
            node=query.text,
            rack=query.text,
            role=query.one_of(*ROLES),
            state=query.one_of(*STATES),
        )
        return await answer_rows(request, query.matching(self._appliance.peers(), wanted))

    async def routes(self, request: web.Request) -> web.StreamResponse:
        """List accepted routes: all, of exactly one prefix, or those that hold an address."""
        wanted = query.read(
            request,
            prefix=query.prefix_or_address,
            instance=query.text,
            node=query.text,
            rack=query.text,
            kind=query.one_of(*KINDS),
        )
        prefix = wanted.pop("prefix", None)
        if prefix is None or "/" in prefix:
            rows = self._appliance.routes(prefix)
        else:
            rows = query.covering(self._appliance.routes(None), prefix)
        return await answer_rows(request, query.matching(rows, wanted))

    async def violations(self, request: web.Request) -> web.StreamResponse:
        """List rejected announcements."""
        wanted = query.read(
            request,
            instance=query.text,
            node=query.text,
            peer=query.text,
            prefix=query.prefix,
            reason=query.one_of(*REASONS),
            enforced=query.flag,
        )
        return await answer_rows(request, query.matching(self._appliance.violations(), wanted))

    async def explain(self, request: web.Request) -> web.StreamResponse:
        """Judge one announcement."""
        asked = query.read(request, prefix=query.prefix, from_=query.text, instance=query.text)
        for name in ("prefix", "from"):
            if name not in asked:
                raise BadRequest(f"Parameter {name!r} is missing; ask like ?prefix=10.244.1.0/24&from=node-1")
        return answer(self._appliance.explain(asked["prefix"], asked["from"], asked.get("instance")))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """List remembered events."""
        asked = query.read(request, since=query.event_id, kind=query.text, subject=query.text)
        rows = self._appliance.events(asked.pop("since", 0))
        return await answer_rows(request, query.matching(rows, asked))

    async def allocations(self, request: web.Request) -> web.StreamResponse:
        """Answer who owns what."""
        query.read(request)
        return answer(self._appliance.allocations())

    async def ipam_sources(self, request: web.Request) -> web.StreamResponse:
        """List the sources of allocations."""
        wanted = query.read(request, source=query.text, state=query.one_of(*SOURCE_STATES))
        return await answer_rows(request, query.matching(self._appliance.ipam_sources(), wanted))

    async def ipam_diff(self, request: web.Request) -> web.StreamResponse:
        """List what is not as the sources say."""
        wanted = query.read(request, source=query.text, node=query.text, state=query.one_of(*DIFF_STATES))
        return await answer_rows(request, query.matching(self._appliance.ipam_diff(), wanted))

    async def topology(self, request: web.Request) -> web.StreamResponse:
        """Answer the tree of instances, racks, ToRs and nodes."""
        query.read(request)
        return answer(self._appliance.topology())

    async def pair(self, request: web.Request) -> web.StreamResponse:
        """Answer how the pair is."""
        query.read(request)
        return answer(self._appliance.pair())

    async def config(self, request: web.Request) -> web.StreamResponse:
        """Answer the configuration in force."""
        query.read(request)
        return answer(self._appliance.config())

    async def reload(self, request: web.Request) -> web.StreamResponse:
        """Read the configuration file again."""
        query.read(request)
        return answer(await self._appliance.reload())

    async def diff(self, request: web.Request) -> web.StreamResponse:
        """Compare the configuration in the body with what runs."""
        query.read(request)
        return answer(self._appliance.diff_config(await _text(request)))

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Let held allocations through, of one source or of all."""
        asked = query.read(request, source=query.text, digest=query.text)
        return answer(await self._appliance.accept(asked.get("source"), asked.get("digest")))

    async def reject(self, request: web.Request) -> web.StreamResponse:
        """Forget held allocations, of one source or of all."""
        asked = query.read(request, source=query.text)
        return answer(await self._appliance.reject(asked.get("source")))

    async def drain(self, request: web.Request) -> web.StreamResponse:
        """Take an instance, or all, out of use."""
        force = query.one_of("true", "false")
        asked = query.read(request, instance=query.text, wait=query.seconds(DRAIN_LONGEST), force=force)
        forced = asked.get("force") == "true"
        return answer(await self._appliance.drain(asked.get("instance"), asked.get("wait"), force=forced))

    async def undrain(self, request: web.Request) -> web.StreamResponse:
        """Let an instance, or all, serve again."""
        asked = query.read(request, instance=query.text)
        return answer(await self._appliance.undrain(asked.get("instance")))

    async def restart_engine(self, request: web.Request) -> web.StreamResponse:
        """Restart one instance's engine."""
        return await self._restart(request, upgrade=False)

    async def upgrade_engine(self, request: web.Request) -> web.StreamResponse:
        """Restart one instance's engine where it is not of the program that would be started now."""
        return await self._restart(request, upgrade=True)

    async def _restart(self, request: web.Request, *, upgrade: bool) -> web.StreamResponse:
        asked = query.read(request, instance=query.text, force=query.one_of("true", "false"))
        if "instance" not in asked:
            raise BadRequest("Parameter 'instance' is missing; name the instance whose engine is meant")
        force = asked.get("force") == "true"
        return answer(await self._appliance.restart_engine(asked["instance"], upgrade=upgrade, force=force))

    async def quarantine(self, request: web.Request) -> web.StreamResponse:
        """List the nodes that are kept out."""
        wanted = query.read(request, instance=query.text, node=query.text)
        return await answer_rows(request, query.matching(self._appliance.quarantine(), wanted))

    async def release(self, request: web.Request) -> web.StreamResponse:
        """Let a node in again that is kept out."""
        return answer(await self._appliance.release(_node(request)))

    async def node_down(self, request: web.Request) -> web.StreamResponse:
        """Close a dead node's sessions and drop its routes."""
        return answer(await self._appliance.node_down(_node(request)))


def _node(request: web.Request) -> str:
    asked = query.read(request, node=query.text)
    if "node" not in asked:
        raise BadRequest("Parameter 'node' is missing; name a node or an address, like ?node=node-1")
    return str(asked["node"])


async def _text(request: web.Request) -> str:
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8 text; send the configuration as YAML") from None
