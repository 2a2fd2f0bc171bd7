"""Requests to an API server, with the kubeconfig's or the pod's own identity; what goes wrong as sentences."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import httpx2
import msgspec
import yaml
from lightkube import ConfigError, KubeConfig, SingleConfig
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SERVICE_ACCOUNT

from rr import __version__
from rr.ipam.sources.kubernetes.errors import (
    Gone,
    KubernetesError,
    NotAllowed,
    NotAnswering,
    NotThere,
    NotTrusted,
    NotUnderstood,
)
from rr.ipam.sources.kubernetes.objects import NotThis, read_status
from rr.ipam.sources.kubernetes.resources import Resource

Parameters: TypeAlias = Mapping[str, str]
_BAD, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE, _TOO_MANY = 400, 401, 403, 404, 410, 429
_LONGEST_WAIT = 30.0
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A server that lost power is noticed after 30 seconds, though nothing is said on most watches for hours."""
_PASSING = (
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)
"""Errors of TLS that say nothing of trust: a connection that ended, or waits."""
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # a list is megabytes, and both ends have better use for the CPU
    "User-Agent": f"rr-appliance/{__version__}",
}


class Client:
    """One resource's way to the API server: a connection that is kept, until `close`."""

    def __init__(
        self,
        kubeconfig: Path | None,
        context: str | None,
        timeout: float,
        service_account: Path = Path(SERVICE_ACCOUNT),
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout = timeout
        self._service_account = service_account
        self._http: httpx2.AsyncClient | None = None
        self.server = "the API server"

    async def close(self) -> None:
        """Close all connections; the next request reads kubeconfig, token and certificates anew."""
        http, self._http = self._http, None
        if http:
            await http.aclose()

    async def fetch(self, resource: Resource, path: str, parameters: Parameters) -> bytes:
        """The whole answer to one request; raises KubernetesError."""
        async with self._answer(resource, path, parameters, self._timeout) as response:
            return await response.aread()

    @asynccontextmanager
    async def lines(
        self, resource: Resource, path: str, parameters: Parameters, silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer as they come, until its end or `silence` seconds without any; raises KubernetesError.

        A line that was cut in its middle is none.
        """
        async with self._answer(resource, path, parameters, silence) as response:
            yield _lines(response)

    @asynccontextmanager
    async def _answer(
        self, resource: Resource, path: str, parameters: Parameters, patience: float
    ) -> AsyncIterator[httpx2.Response]:
        """A good answer, its body not read yet. Who is not known tries once more with what is on disk."""
        try:
            response = await self._send(path, parameters, patience)
            if response.status_code == _UNAUTHORIZED:
                await response.aclose()
                await self.close()
                response = await self._send(path, parameters, patience)
            try:
                if response.status_code != httpx2.codes.OK:
                    raise self._refusal(resource, response, await response.aread())
                yield response
            finally:
                await response.aclose()
        except (httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, OSError) as error:
            raise await self._failure(error) from error

    async def _send(self, path: str, parameters: Parameters, patience: float) -> httpx2.Response:
        http = self._http = self._http or self._connect()
        timeout = httpx2.Timeout(self._timeout, read=patience)
        request = http.build_request("GET", path, params=dict(parameters), headers=_HEADERS, timeout=timeout)
        async with asyncio.timeout(
            self._timeout
        ):  # also a watch begins with an answer, however silent it is then
            return await http.send(request, stream=True)

    def _connect(self) -> httpx2.AsyncClient:
        config = self._config()
        self.server = config.cluster.server
        try:
            options = ConnectionParams(timeout=httpx2.Timeout(self._timeout)).httpx_params(config)
        except (ConfigError, OSError, ssl.SSLError, ValueError) as error:
            wrong = f"{self._place}: the certificates or the credentials cannot be used ({error})"
            raise NotTrusted(
                wrong, "see that the files that it names are there and belong together"
            ) from error
        options["transport"] = httpx2.AsyncHTTPTransport(
            verify=options.pop("verify"), socket_options=_KEEP_ALIVE
        )
        return httpx2.AsyncClient(**options)

    @property
    def _place(self) -> str:
        return str(self._kubeconfig or self._service_account)

    def _config(self) -> SingleConfig:
        """Server and identity; raises NotTrusted."""
        right = "write a kubeconfig of mode 0600 there, as docs/sources-kubernetes.md shows"
        if not self._kubeconfig:
            right = "name a `kubeconfig:`, since this is not a pod with a service account"
        try:
            config = self._read()
        except FileNotFoundError as error:
            raise NotTrusted(f"there is no file {error.filename}", right) from error
        except OSError as error:
            raise NotTrusted(f"{self._place} cannot be read ({error.strerror})", right) from error
        except yaml.YAMLError as error:
            raise NotTrusted(f"{self._place} is not YAML", right) from error
        except (ConfigError, msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
            raise NotTrusted(f"{self._place} is no usable kubeconfig ({_words(error)})", right) from error
        return config

    def _read(self) -> SingleConfig:
        if self._kubeconfig is None:
            found = KubeConfig.from_service_account(self._service_account).get()
        else:
            os.stat(self._kubeconfig)
            found = KubeConfig.from_file(self._kubeconfig).get(self._context)
        assert found
        return found

    async def _failure(self, error: Exception) -> KubernetesError:
        """Why there is no answer, or no end of it."""
        if not _timed_out(error) and (trouble := _certificate_trouble(error)):
            await self.close()  # it may have been renewed, and so may ours
            right = "see that the kubeconfig names this server and the CA of its certificate"
            return NotTrusted(f"{self.server} cannot be trusted ({trouble})", right)
        if isinstance(error, httpx2.LocalProtocolError):
            await self.close()  # its file may have been read while it was written
            wrong = f"the token that {self._place} has or names is none that can be sent"
            return NotTrusted(wrong, "write the token into it, in one line")
        if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
            why = f"no connection within {self._timeout:g} s"
        elif _timed_out(error):
            why = f"nothing was heard for {self._timeout:g} s"
        elif isinstance(error, httpx2.RemoteProtocolError):
            why = "the connection was cut"
        else:
            why = _words(error)
        return NotAnswering(
            f"{self.server} does not answer ({why})", "see that the API server runs and is reachable"
        )

    def _refusal(self, resource: Resource, response: httpx2.Response, body: bytes) -> KubernetesError:
        """What an answer other than 200 means."""
        code = response.status_code
        said = _said(body)
        name = resource.full_name
        if code == _UNAUTHORIZED:
            return NotAllowed(
                f"{self.server} does not know us ({said or 'unauthorized'})",
                f"renew the token or the certificate that {self._place} names",
            )
        if code == _FORBIDDEN:
            rule = (
                f'{{apiGroups: ["{resource.group}"], resources: [{resource.plural}], verbs: [list, watch]}}'
            )
            return NotAllowed(f"{self.server} does not let us read {name}", f"add to our ClusterRole: {rule}")
        if code == _NOT_FOUND:
            right = f"install it there, or take it out of the source's settings (`{resource.wanted_by}`)"
            return NotThere(f"{self.server} has no {name}", right)
        if code == _BAD:
            right = "correct the selectors in the source's settings"
            return NotUnderstood(f"{self.server} refuses to list {name} ({said or 'bad request'})", right)
        if code == _GONE:
            return Gone(f"{self.server} has forgotten the version of {name} that we have", "")
        wait = _seconds(response.headers.get("Retry-After", "")) if code >= _TOO_MANY else 0.0
        wrong = f"{self.server} cannot give us {name} ({code} {said or response.reason_phrase})"
        return NotAnswering(wrong, "see the API server's log", min(wait, _LONGEST_WAIT))


async def _lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line:
                yield line


def _timed_out(error: Exception) -> bool:
    return isinstance(error, httpx2.TimeoutException | TimeoutError)


def _certificate_trouble(error: BaseException) -> str | None:
    """Why there is no TLS with this server, by whoever found out first; None: for another reason."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _PASSING):
            return (cause.reason or str(cause)).replace("_", " ").lower()
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str:
    """The reason in the system's words, where it has some."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
            return os.strerror(cause.errno).lower()
    text = str(error).strip("'\" .")
    return text.splitlines()[0] if text else type(error).__name__


def _said(body: bytes) -> str:
    """The message of a Status, or nothing."""
    try:
        message = read_status(body).message
    except NotThis:
        return ""
    first = message.splitlines()[0] if message else ""
    return first if len(first) <= 200 and first.isprintable() else ""


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0
