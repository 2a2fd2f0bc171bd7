"""SONiC as ToR: its routing is FRR's, and so is the configuration, where SONiC leaves it to us."""

from __future__ import annotations

from rr.farside.comment import comment, of_tor
from rr.farside.facts import TorSide
from rr.farside.frr import tor_body


def tor(side: TorSide) -> str:
    """Write SONiC's configuration for a ToR."""
    head = comment(
        "!",
        f"{of_tor(side)}: SONiC 202405 or newer (FRR 8.5 to 10), with routing configured in FRR.",
        "SONiC's own tables have no add-path and no filters for a neighbor, and in the modes `separated` and `unified` "
        "it writes FRR's files anew at each start. So once:",
    )
    head += [
        "!   sonic-db-cli CONFIG_DB hset 'DEVICE_METADATA|localhost' docker_routing_config_mode split",
        "!   sudo config save -y && sudo systemctl restart bgp",
    ]
    head += comment(
        "!",
        "With `frr_mgmt_framework_config: true` it is the framework that owns FRR's configuration: switch that off. "
        "Then paste this into `vtysh` after `configure terminal`, and `write memory` keeps it.",
        *side.sessions.notes,
    )
    return "\n".join([*head, "!", *tor_body(side), "!", ""])
