"""The snippets that are held against expectations; `python -m tests.unit.farside.snippets` writes those anew."""

from ipaddress import ip_address, ip_network
from pathlib import Path

from rr.config.load import parse
from rr.farside.facts import Appliance, NodeSide, Owned, TorSide, node_side, tor_side
from rr.farside.writers import AGENTS, VENDORS

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"
NODE = Owned(
    "node-1",
    (ip_address("10.2.0.11"), ip_address("fd00:2::11")),
    (ip_network("10.244.1.0/24"), ip_network("10.244.9.0/26"), ip_network("fd00:10:1::/64")),
)
VIPS = (ip_network("10.100.0.0/24"), ip_network("fd00:100::/112"))
RACK_OF = {"cilium": "rack-2", "kube-router": "rack-2"}
"""Where GTSM is asked for, some agents are refused."""


def appliance(name: str) -> Appliance:
    """A configuration of this folder."""
    config = parse((HERE / f"{name}.yaml").read_text())
    return Appliance(config.name, config.instances, config.pair)


def a_tor(name: str, wanted: str = "10.2.1.1", *, text: str | None = None, **more: object) -> TorSide:
    """What one ToR of a configuration must know."""
    known = appliance(name)
    for instance, speaker in known.instances.items():
        for rack_name, rack in speaker.racks.items():
            for tor in rack.tors:
                if str(tor.address) == wanted:
                    return tor_side(known, instance, rack_name, tor, lambda _: text, **more)  # type: ignore[arg-type]
    raise LookupError(wanted)


def a_node(
    name: str,
    rack: str = "rack-1",
    owned: Owned | None = None,
    *,
    instance: str = "main",
    text: str | None = None,
    **more: object,
) -> NodeSide:
    """What the nodes of a rack must know."""
    return node_side(appliance(name), instance, rack, lambda _: text, owned=owned, **more)  # type: ignore[arg-type]


def snippets() -> dict[str, str]:
    """Each system at its fullest: without secrets for ToRs, with them for nodes."""
    found = {f"tor-{vendor}": write(a_tor("full")) for vendor, write in VENDORS.items()}
    for agent, write in AGENTS.items():
        rack = RACK_OF.get(agent, "rack-1")
        owned = NODE if agent in ("frr", "bird", "gobgp") else None
        found[f"node-{agent}"] = write(a_node("full", rack, owned, text="s3cret", vips=VIPS), "rack")
    return found


def main() -> None:
    """Write the expectations anew; look at what changed before it is committed."""
    for name, text in snippets().items():
        (EXPECTED / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    main()
