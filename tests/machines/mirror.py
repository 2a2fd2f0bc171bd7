"""Debian's packages for machines that have no way out: the host's own mirror, served inside the network.

What never changes under its name (packages, indexes by their hash) is fetched once and kept between runs; the
rest is asked for anew, and served as it was last time if the mirror does not answer.
"""

import http.server
import re
import shutil
import socket
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path

from tests.lab.network import Host, Network
from tests.lab.process import run
from tests.machines.base import SUITE, cache, mirror

PORT = 3142
FETCH_SECONDS = 60
UNCHANGING = re.compile(r"\.deb$|/by-hash/")
PATH = re.compile(r"[\w.+~%:-]+(/[\w.+~%:-]+)*")


class Mirror:
    """Serves on `host` until the network ends; `sources()` is what a machine's apt needs."""

    def __init__(self, network: Network, host: Host) -> None:
        self.upstream = mirror().rstrip("/")
        self.kept = cache() / "mirror"
        self.kept.mkdir(exist_ok=True)
        self.url = f"http://{host.address(4)}:{PORT}/debian"
        self._server = _Server(self, host.listen(PORT))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        network.remember(self)

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def sources(self) -> str:
        """A deb822 file that names this mirror."""
        fields = {
            "Types": "deb",
            "URIs": self.url,
            "Suites": SUITE,
            "Components": "main",
            "Signed-By": "/usr/share/keyrings/debian-archive-keyring.gpg",
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items())

    @staticmethod
    def settings() -> str:
        """What the host's apt says of the age of lists: its mirror may be a snapshot of another day."""
        lines = run(["apt-config", "dump"]).splitlines(keepends=True)
        return "".join(line for line in lines if line.startswith("Acquire::Check-"))

    def file(self, path: str) -> Path:
        """A file of the mirror as a local one; raises HTTPError or another OSError."""
        local = self.kept / urllib.parse.quote(path, safe="")
        if UNCHANGING.search(path) and local.exists():
            return local
        try:
            self._fetch(path, local)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if not local.exists():
                raise
        return local

    def _fetch(self, path: str, local: Path) -> None:
        with (
            urllib.request.urlopen(f"{self.upstream}/{path}", timeout=FETCH_SECONDS) as answer,
            tempfile.NamedTemporaryFile(dir=self.kept, prefix=".", delete=False) as file,
        ):
            shutil.copyfileobj(answer, file)
        Path(file.name).rename(local)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, source: Mirror, listening: socket.socket) -> None:
        super().__init__(listening.getsockname()[:2], _Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.source = source


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.removeprefix("/debian/")
        if path == self.path or not PATH.fullmatch(path) or ".." in path:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            file = self.server.source.file(path)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)
            return
        except OSError as error:
            self.send_error(HTTPStatus.BAD_GATEWAY, str(error))
            return
        with file.open("rb") as body:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            shutil.copyfileobj(body, self.wfile)

    def log_message(self, *args: object) -> None:
        """Nothing: apt says itself what it cannot get."""
