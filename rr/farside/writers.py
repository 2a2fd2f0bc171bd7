"""Which systems there are on the far side, and who writes for them."""

from __future__ import annotations

from collections.abc import Callable

from rr.farside import bird, calico, cilium, eos, frr, gobgp, junos, kube_router, nxos, sonic
from rr.farside.facts import NodeSide, TorSide

VENDORS: dict[str, Callable[[TorSide], str]] = {
    "frr": frr.tor,
    "eos": eos.tor,
    "junos": junos.tor,
    "nxos": nxos.tor,
    "sonic": sonic.tor,
}
AGENTS: dict[str, Callable[[NodeSide, str], str]] = {
    "cilium": cilium.node,
    "calico": calico.node,
    "kube-router": kube_router.node,
    "frr": lambda side, _: frr.node(side),
    "bird": lambda side, _: bird.node(side),
    "gobgp": lambda side, _: gobgp.node(side),
}
"""By name, and with the label of nodes that names their rack, for those who select nodes by it."""
