"""A cluster's API server as a machine of the network, and the files by which an appliance reaches it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import yaml

from tests.lab.kube_api import KubeApi
from tests.lab.kube_tls import Authority
from tests.lab.network import Network

PORT = 6443


class KubeCluster:
    """The stand-in on a host of its own, over TLS, for whoever has the token; `source` is what rr.yaml needs."""

    def __init__(self, network: Network, address: str = "10.0.0.5", *, without: Sequence[str] = ()) -> None:
        self.host = network.host("kube", address)
        self.authority = Authority(self.host.folder / "pki")
        self.token = self.host.folder / "token"
        self.kubeconfig = self.host.folder / "kubeconfig"
        self.api = KubeApi(
            lambda port: self.host.inside(lambda: socket.create_server((address, PORT))),
            tls=self.authority.server(address),
            tokens={"first"},
            without=tuple(without),
            bookmark_every=1.0,
        )
        self.set_token("first")
        self._write(address)
        self.api.__enter__()
        network.remember(self)

    def set_token(self, token: str) -> None:
        """What the appliance finds on its disk."""
        self.token.write_text(f"{token}\n")
        self.token.chmod(0o600)

    def _write(self, address: str) -> None:
        cluster = {
            "server": f"https://{address}:{PORT}",
            "certificate-authority": str(self.authority.certificate),
        }
        content = {
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "rr", "user": {"tokenFile": str(self.token)}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "rr"}}],
            "current-context": "lab",
        }
        self.kubeconfig.write_text(yaml.safe_dump(content))
        self.kubeconfig.chmod(0o600)

    def source(self, **settings: Any) -> dict[str, Any]:
        """The source as rr.yaml has it."""
        return {"type": "kubernetes", "kubeconfig": str(self.kubeconfig), "timeout": 2, **settings}

    def stop(self) -> None:
        """End it with the network."""
        self.api.__exit__()
