"""`rrctl node-config`: what to configure on nodes."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import click

from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.farside import appliance_of, chosen, common, secret, show
from rr.config.model import Rack
from rr.errors import FarSideError
from rr.farside.facts import Owned, node_side
from rr.farside.writers import AGENTS
from rr.net import Address, Network


@command(name="node-config")
@click.option(
    "--for", "agent", type=click.Choice(list(AGENTS)), required=True, help="What speaks BGP on the nodes."
)
@click.option("--instance", help="Only nodes of this instance.", shell_complete=names("peers", "instance"))
@click.option("--rack", help="Only nodes of this rack.", shell_complete=names("peers", "rack"))
@click.option(
    "--node",
    help="Only this node, with its addresses and what it may announce from the allocations in force.",
    shell_complete=names("peers", "node"),
)
@click.option(
    "--label",
    default="rack",
    show_default=True,
    metavar="KEY",
    help="The label of Kubernetes nodes that names their rack, where there are several.",
)
@common
@click.pass_obj
def node_config(
    session: Session,
    agent: str,
    instance: str | None,
    rack: str | None,
    node: str | None,
    label: str,
    address: Address | None,
    with_secrets: bool,
    file: str | None,
) -> None:
    """Print what to configure on nodes, from the configuration in force: their sessions, and what they announce.

    Cilium, Calico and kube-router select nodes by labels, so one block is for all nodes of a rack. FRR, BIRD and GoBGP
    need what is the node's own: `--node` fills it in, and without it there are words in its place that they refuse.
    Nothing is sent to a node.

    \b
    Examples:
      rrctl node-config --for cilium
      rrctl node-config --for calico --rack rack-1 --label topology.example/rack
      rrctl node-config --for frr --node node-1
    """
    if node is not None and file is not None:
        raise click.UsageError("What a node owns is known to rrd alone; leave out --config or --node.")
    appliance = appliance_of(session, file)
    allocations = session.client.get("allocations") if file is None else {"nodes": [], "vips": []}
    owned = _owned(allocations, node) if node is not None else None
    wanted = [row for row in chosen(appliance, instance, rack) if owned is None or _is_in(owned, row[2])]
    if not wanted:
        raise FarSideError(
            f"no address of {node} is in a node range that was asked for", "see `ranges` in rr.yaml"
        )
    sides = [
        node_side(
            appliance, i, r, secret(with_secrets), address=address, owned=owned, vips=_vips(allocations, node)
        )
        for i, r, _ in wanted
    ]
    rows = [
        {
            "instance": side.sessions.instance,
            "rack": side.sessions.rack,
            "node": node,
            "vendor": agent,
            "text": AGENTS[agent](side, label),
        }
        for side in sides
    ]
    show(session, rows)


def _owned(allocations: Mapping[str, Any], node: str) -> Owned:
    row = next((row for row in allocations["nodes"] if row["node"] == node), None)
    if row is None:
        raise FarSideError(f"the IPAM knows no node {node}", "see `rrctl ipam show`")
    return Owned(
        node,
        tuple(ip_address(a) for a in row["addresses"]),
        tuple(ip_network(p) for p in (*row["prefixes"], *row["borrowed"])),
    )


def _is_in(owned: Owned, rack: Rack) -> bool:
    return any(a.version == r.version and a in r for a in owned.addresses for r in rack.nodes.ranges)


def _vips(allocations: Mapping[str, Any], node: str | None) -> list[Network]:
    """The pools that are open to a node; all where no node is named."""
    return [
        ip_network(prefix)
        for row in allocations["vips"]
        if node is None or row["nodes"] is None or node in row["nodes"]
        for prefix in row["prefixes"]
    ]
