"""The files of the demo: the appliance's configuration, the allocations, and one TOML file per speaker."""

from pathlib import Path

from rr.demo.plan import ASN, BGP_PORT, HTTP_PORT, VIP_POOL, Node, Plan, Tor

RR_YAML = """\
name: demo
state_dir: {folder}/state
run_dir: {folder}/run
http:
  listen: {appliance}:{http_port}
instances:
  main:
    asn: {asn}
    router_id: {appliance}
    listen: [{appliance}]
    port: {bgp_port}
    families: [ipv4, ipv6]
    racks:
{racks}
    reflect: {{nodes: rack, tors: rack, vips: none}}
ipam:
  sources:
    - {{type: file, path: {folder}/allocations.yaml}}
"""

RACK = """\
      rack-{rack}:
        nodes:
          ranges: [{nodes}]      # any node that dials from here may peer; none is listed
        tors:
          - {{address: {tor}, port: {bgp_port}, add_paths: 16}}"""

SPEAKER_TOML = """\
[global.config]
  as = {asn}
  router-id = "{address}"
  port = {listen_port}
  local-address-list = ["{address}"]

[[neighbors]]
  [neighbors.config]
    neighbor-address = "{appliance}"
    peer-as = {asn}
  [neighbors.timers.config]
    connect-retry = 2
    hold-time = 9
    keepalive-interval = 3
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 60
  [neighbors.transport.config]
    local-address = "{address}"
    remote-port = {remote_port}
    passive-mode = {passive}
{families}
"""

FAMILY_TOML = """\
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "{family}-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
    [neighbors.afi-safis.add-paths.config]
      receive = {every_path}"""


def rr_yaml(plan: Plan, folder: Path) -> str:
    """The appliance's configuration: two racks, no node listed by hand."""
    racks = (
        RACK.format(rack=tor.rack, nodes=plan.range_of(tor.rack), tor=tor.address, bgp_port=BGP_PORT)
        for tor in plan.tors
    )
    return RR_YAML.format(
        folder=folder,
        appliance=plan.appliance,
        http_port=HTTP_PORT,
        bgp_port=BGP_PORT,
        asn=ASN,
        racks="\n".join(racks),
    )


def allocations_yaml(plan: Plan) -> str:
    """Who owns what: the file that the appliance watches, the demo's IPAM."""
    lines = ["nodes:"]
    for node in plan.nodes:
        lines.append(f"  {node.name}:")
        lines.append(f'    addresses: [{node.address}, "{node.address6}"]')
        lines.append("    prefixes: [" + ", ".join(f'"{prefix}"' for prefix in node.prefixes) + "]")
    lines += ["vips:", f"  - {{prefixes: [{VIP_POOL}]}}      # every node may announce a host route of it"]
    return "\n".join(lines) + "\n"


def node_toml(plan: Plan, node: Node) -> str:
    """A node's speaker: it dials the appliance and listens nowhere."""
    return _speaker(plan, node.address, listen_port=-1, remote_port=BGP_PORT, tor=False)


def tor_toml(plan: Plan, tor: Tor) -> str:
    """A ToR's speaker: it waits for the appliance to dial, and takes every path of a prefix."""
    return _speaker(plan, tor.address, listen_port=BGP_PORT, remote_port=BGP_PORT, tor=True)


def _speaker(plan: Plan, address: object, *, listen_port: int, remote_port: int, tor: bool) -> str:
    flag = str(tor).lower()
    families = (FAMILY_TOML.format(family=family, every_path=flag) for family in ("ipv4", "ipv6"))
    return SPEAKER_TOML.format(
        asn=ASN,
        address=address,
        appliance=plan.appliance,
        listen_port=listen_port,
        remote_port=remote_port,
        passive=flag,
        families="\n".join(families),
    )


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` in one step, so that no reader ever sees half of it."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.replace(path)
