"""What stands before every request: errors become sentences, TCP only reads, no browser is made a spy."""

import socket
import threading
from collections.abc import Set
from ipaddress import ip_address
from pathlib import Path

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from rr.api.answers import error
from rr.api.appliance import BadRequest, NotFound, Refused
from rr.errors import ConfigError, RRError

log = structlog.get_logger(__name__)


NO_FRAMES = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "Server": "rrd",
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; {NO_FRAMES}",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OPEN_TO_ANY_NAME = frozenset({"/metrics", "/healthz", "/readyz"})
_STATUS: dict[type[Exception], int] = {BadRequest: 400, NotFound: 404, Refused: 409}


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Set the security headers that the answer did not set itself (a signal handler of aiohttp)."""
    for name, value in HEADERS.items():
        if name == "Server" or name not in response.headers:
            response.headers[name] = value


@web.middleware
async def sentences(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into `{error: sentence}` with the right status."""
    try:
        return await handler(request)
    except (BadRequest, NotFound, Refused) as refusal:
        return error(_STATUS[type(refusal)], str(refusal))
    except ConfigError as refusal:
        count = len(refusal.problems)
        said = f"The configuration has {count} problem{'s' * (count != 1)}; nothing was applied"
        return error(422, said, problems=[problem.as_dict() for problem in refusal.problems])
    except RRError as refusal:
        return error(409, str(refusal))
    except web.HTTPException as refusal:
        return _http_error(request, refusal)
    except ConnectionError:
        raise
    except Exception as fault:
        log.exception("A request failed.", path=request.path)
        return error(500, f"rrd failed to answer ({type(fault).__name__}); its log has the details")


def _http_error(request: web.Request, refusal: web.HTTPException) -> web.StreamResponse:
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        answer = error(405, f"{request.path} does not take {request.method}; it takes {allowed}")
        answer.headers[hdrs.ALLOW] = allowed
        return answer
    if refusal.status == 404:
        return error(404, f"There is nothing at {request.path}; /api/v1/ lists what there is")
    if refusal.status == 413:
        return error(413, "The request is too long: a configuration has at most 4 MiB")
    return error(refusal.status, f"{refusal.reason}")


def only_reading(unix_path: Path, writing: frozenset[str]) -> Middleware:
    """Refuse on TCP whatever is not a GET or HEAD, and name the unix socket for what changes something."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in writing:
            return error(
                403, f"{request.path} is only served on the unix socket {unix_path}; use rrctl on this host"
            )
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            answer = error(405, f"This listener only reads: {request.method} is not served, GET and HEAD are")
            answer.headers[hdrs.ALLOW] = "GET, HEAD"
            return answer
        return await handler(request)

    return middleware


def own_names(listen: str) -> set[str]:
    """List the names by which this host may be asked; the full one comes later, when the DNS has said it."""
    names = {name.lower().rstrip(".") for name in ("localhost", listen, socket.gethostname())}
    threading.Thread(target=lambda: names.add(socket.getfqdn().lower()), name="fqdn", daemon=True).start()
    return names


def only_own_names(names: Set[str]) -> Middleware:
    """Refuse a Host that is neither an address nor one of this host's names.

    A page on the Internet can have its own name point here (DNS rebinding) and would then read the answers
    through an operator's browser. Figures and health are open to any name, for Prometheus and load balancers.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = _host(request.headers.get(hdrs.HOST, ""))
        if request.path in OPEN_TO_ANY_NAME or _is_own(asked, names):
            return await handler(request)
        return error(421, f"This host is not called {asked!r}; ask by its address or its own name")

    return middleware


def _host(value: str) -> str:
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0].lower().rstrip(".")


def _is_own(host: str, names: Set[str]) -> bool:
    if host in names:
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
