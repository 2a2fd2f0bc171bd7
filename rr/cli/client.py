"""HTTP to rrd over its unix socket, with nothing but the standard library."""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from rr.errors import ControllerUnavailable, RRError

TIMEOUT = 10.0
STREAM_TIMEOUT = 45.0


class Rejected(RRError):
    """rrd answered that it cannot or will not; `problems` are those of a file, if that is why."""

    def __init__(self, status: int, sentence: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(sentence or f"rrd answered {status} and did not say why")
        self.status = status
        self.problems = problems


class NotUnderstood(ControllerUnavailable):
    """What answers at the socket does not speak like rrd."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("rrd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class Client:
    """Asks rrd; every failure is a ControllerUnavailable or a Rejected with a sentence."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, resource: str, timeout: float = TIMEOUT, **parameters: Any) -> Any:
        """Answer the JSON of `/api/v1/RESOURCE`; parameters that are None are left out."""
        return self._ask("GET", resource, timeout, parameters, None)

    def post(self, resource: str, body: str = "", timeout: float = 60.0, **parameters: Any) -> Any:
        """Ask for something to be done, answer the JSON that says what was; parameters that are None are left out."""
        return self._ask("POST", resource, timeout, parameters, body.encode())

    def stream(self, last: int | None) -> Iterator[Any]:
        """Yield events as they happen, those after `last` first; ends when rrd ends the stream."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(last)} if last is not None else {})
        connection = _UnixConnection(self.path, STREAM_TIMEOUT)
        try:
            connection.request("GET", "/api/v1/stream", headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _rejected(response.status, response.read())
            yield from _events(response)
        except (OSError, http.client.HTTPException, ValueError) as fault:
            raise self._unavailable(fault, STREAM_TIMEOUT) from fault
        finally:
            connection.close()

    def _ask(
        self, method: str, resource: str, timeout: float, parameters: dict[str, Any], body: bytes | None
    ) -> Any:
        asked = urlencode(
            {name.rstrip("_"): value for name, value in parameters.items() if value is not None}
        )
        connection = _UnixConnection(self.path, timeout)
        try:
            connection.request(method, f"/api/v1/{resource}" + (f"?{asked}" if asked else ""), body=body)
            response = connection.getresponse()
            content = response.read()
            answer = json.loads(content) if response.status < 400 else None
        except (OSError, http.client.HTTPException, ValueError) as fault:
            raise self._unavailable(fault, timeout) from fault
        finally:
            connection.close()
        if response.status >= 400:
            raise _rejected(response.status, content)
        return answer

    def _unavailable(self, fault: Exception, timeout: float) -> ControllerUnavailable:
        said = f"rrd does not answer on {self.path}"
        if isinstance(fault, FileNotFoundError):
            return ControllerUnavailable(
                f"{said}: there is no such socket; is rrd started, or --socket another one?"
            )
        if isinstance(fault, ConnectionRefusedError):
            return ControllerUnavailable(f"{said}: nobody listens there; start rrd (systemctl start rrd)")
        if isinstance(fault, PermissionError):
            return ControllerUnavailable(
                f"{said}: permission denied; run rrctl as root or as a member of its group"
            )
        if isinstance(fault, TimeoutError):
            return ControllerUnavailable(
                f"{said}: no answer within {timeout:g} s; see its log (journalctl -u rrd)"
            )
        if isinstance(fault, ConnectionError):
            return ControllerUnavailable(f"{said}: it hung up; see its log (journalctl -u rrd)")
        if isinstance(fault, OSError):
            return ControllerUnavailable(f"{said}: {fault.strerror or fault}; is --socket right?")
        return NotUnderstood(f"what answers on {self.path} is not rrd's HTTP; is --socket right?")


def _rejected(status: int, content: bytes) -> Rejected:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    problems = tuple(str(problem["text"]) for problem in answer.get("problems", ()) if "text" in problem)
    return Rejected(status, str(answer.get("error") or ""), problems)


def _events(response: http.client.HTTPResponse) -> Iterator[Any]:
    data: list[str] = []
    for line in response:
        text = line.decode().rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
        elif not text and data:
            yield json.loads("\n".join(data))
            data.clear()
