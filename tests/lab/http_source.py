"""A web server that serves allocations, as an IPAM with an export would: with ETag and Last-Modified."""

import hashlib
from dataclasses import dataclass

from aiohttp import web

from tests.lab.web import WebServer


@dataclass
class AllocationsServer(WebServer):
    """Serves `text` at every path. `conditional` is false for a server that knows no ETag."""

    text: str = "nodes: {}\n"
    content_type: str = "application/yaml"
    conditional: bool = True
    modified: str | None = None
    """Last-Modified, for a server that has that and no ETag."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The text, or 304 where the client has it already."""
        headers = self._validators()
        if self._known(request, headers):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.text.encode(), content_type=self.content_type, headers=headers)

    def _validators(self) -> dict[str, str]:
        if not self.conditional:
            return {}
        if self.modified is not None:
            return {"Last-Modified": self.modified}
        return {"ETag": f'"{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"'}

    def _known(self, request: web.Request, validators: dict[str, str]) -> bool:
        if "ETag" in validators:
            return request.headers.get("If-None-Match") == validators["ETag"]
        return "Last-Modified" in validators and (
            request.headers.get("If-Modified-Since") == validators["Last-Modified"]
        )
