"""Peers that run a configuration which the product printed, word for word."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from tests.lab.bird import BirdNode, parse_routes
from tests.lab.frr import FrrNode, FrrTor
from tests.lab.gobgp import GobgpNode
from tests.lab.peer import Path, Peer

BFD_UP = 1
"""How gobgp's command line tool writes that a BFD session is up."""


class AsPrinted(Peer):
    """A peer whose configuration is a text; the other options only say which sessions to wait for."""

    def __init__(self, *args: Any, text: str, **options: Any) -> None:
        self.text = text
        super().__init__(*args, **options)

    def _config(self) -> str:
        return self.text


class NodeAsPrinted(AsPrinted):
    """A node that announces what stands in its text."""

    def serve(self, *vips: str) -> None:
        """Have VIPs from now on: on an interface, where the agent finds them."""
        for vip in vips:
            self.host.run("ip", "address", "add", vip, "dev", "lo")

    def leave(self, vip: str) -> None:
        """Have a VIP no more."""
        self.host.run("ip", "address", "del", vip, "dev", "lo")

    def runs_bfd(self) -> bool:
        """Tell whether BFD is up with everybody."""
        raise NotImplementedError


class FrrTorAsPrinted(AsPrinted, FrrTor):
    """FRR as ToR."""

    def start(self) -> None:
        super().start()
        self.vty("debug bgp updates in")  # so that it can be asked what it heard


class FrrNodeAsPrinted(NodeAsPrinted, FrrNode):
    """FRR as node."""

    def runs_bfd(self) -> bool:
        return self.bfd_up()


class BirdNodeAsPrinted(NodeAsPrinted, BirdNode):
    """BIRD as node."""

    @property
    def protocols(self) -> list[tuple[str, str]]:
        """The names that the text gives its sessions, with the neighbors' addresses."""
        return re.findall(r"protocol bgp (\w+) \{.*?neighbor (\S+) port", self.text, re.DOTALL)

    def session_states(self) -> Mapping[str, str]:
        shown = {remote: self.birdc(f"show protocols all {name}") for name, remote in self.protocols}
        found = {remote: re.search(r"BGP state:\s+(\w+)", text) for remote, text in shown.items()}
        return {remote: state[1].lower() if state else "idle" for remote, state in found.items()}

    def routes(self) -> dict[str, list[Path]]:
        table: dict[str, list[Path]] = {}
        for name, _ in self.protocols:
            for prefix, path in parse_routes(self.birdc(f"show route all protocol {name}")):
                table.setdefault(prefix, []).append(path)
        return table

    def runs_bfd(self) -> bool:
        return " Up " in self.birdc("show bfd sessions")


class GobgpNodeAsPrinted(NodeAsPrinted, GobgpNode):
    """GoBGP as node; the commands that the text has in its comments are run too."""

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command in the comments."""
        return [shlex.split(line) for line in re.findall(r"^#   gobgp (.*)$", self.text, re.MULTILINE)]

    def start(self) -> None:
        super().start()
        for words in self.commands:
            if not any(word.startswith("VIP-OF-") for word in words):
                self.cli(*words)

    def _vip(self, vip: str) -> list[str]:
        """The command for a pool, with one VIP of it."""
        family = "ipv6" if ":" in vip else "ipv4"
        words = next(w for w in self.commands if w[4] == family and w[5].startswith("VIP-OF-"))
        return [*words[:5], vip, *words[6:]]

    def serve(self, *vips: str) -> None:
        for vip in vips:
            self.cli(*self._vip(vip))

    def leave(self, vip: str) -> None:
        words = self._vip(vip)
        self.cli(*words[:2], "del", *words[3:6])

    def runs_bfd(self) -> bool:
        states = [n["state"].get("bfd_state", {}) for n in json.loads(self.cli("neighbor", "-j"))]
        return all(state.get("session_state") == BFD_UP for state in states)


PRINTED: dict[str, type[NodeAsPrinted]] = {
    "frr": FrrNodeAsPrinted,
    "bird": BirdNodeAsPrinted,
    "gobgp": GobgpNodeAsPrinted,
}
