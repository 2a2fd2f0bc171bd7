"""What a good configuration means: defaults, equality, and where its values stand."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from rr.config.load import parse
from rr.config.model import Config, Instance, Nodes, Rack, Tor
from rr.config.types import HostPort

MINIMAL = """\
name: rr-a
instances:
  main:
    asn: 64512
    router_id: 10.0.0.11
    racks:
      rack-1: {nodes: {ranges: [10.2.0.0/24]}}
ipam: {sources: [{type: file, path: /etc/rr/allocations.yaml}]}
"""


@pytest.fixture
def config() -> Config:
    return parse(MINIMAL)


def test_what_is_left_out_has_the_documented_defaults(config: Config) -> None:
    main = config.instances["main"]
    assert (main.cluster_id, main.listen, main.port) == (main.router_id, (main.router_id,), 179)
    assert (main.families, main.hold_time) == (("ipv4",), 9)
    assert (main.graceful_restart.restart_time, main.graceful_restart.deferral_time) == (120, 30)
    assert main.reflect.model_dump() == {"nodes": "rack", "tors": "rack", "vips": "none", "tor_vips": "all"}
    assert (config.state_dir, config.run_dir) == (Path("/var/lib/rr"), Path("/run/rr"))
    assert str(config.http.listen) == "127.0.0.1:9632"
    assert config.ipam.guard is None
    assert config.ipam.sources[0].called == "file:/etc/rr/allocations.yaml"


def test_families_default_to_those_of_the_ranges() -> None:
    both = MINIMAL.replace("[10.2.0.0/24]", '[10.2.0.0/24, "fd00:2::/64"]').replace(
        "    racks:", '    listen: [10.0.0.11, "fd00::11"]\n    racks:'
    )
    assert parse(both).instances["main"].families == ("ipv4", "ipv6")


@pytest.mark.parametrize(
    ("text", "share"), [("20%", 0.2), ("0.2", 0.2), ("33.3%", 0.333), ("0%", 0), ("100%", 1)]
)
def test_the_guard_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    guard = parse(MINIMAL.replace("ipam: {", f"ipam: {{guard: {{max_removed: {text}}}, ")).ipam.guard
    assert guard is not None
    assert guard.max_removed == share


def test_http_listens_on_ipv6_in_brackets() -> None:
    config = parse(f'{MINIMAL}http: {{listen: "[::1]:8080"}}\n')
    assert config.http.listen == HostPort(host="::1", port=8080)
    assert str(config.http.listen) == "[::1]:8080"


def test_loopback_is_allowed_everywhere_peers_live() -> None:
    text = MINIMAL.replace("10.0.0.11", "127.0.0.1").replace("10.2.0.0/24", "127.0.1.0/24")
    text = text.replace("{nodes:", "{tors: [{address: 127.0.2.1, port: 1179}], nodes:")
    assert parse(text).instances["main"].racks["rack-1"].tors[0].port == 1179


def test_one_rack_split_over_two_instances_shares_its_tor() -> None:
    rack = "{tors: [{address: 10.1.0.1}], nodes: {ranges: [%s]}}"
    text = MINIMAL.replace("{nodes: {ranges: [10.2.0.0/24]}}", rack % "10.2.0.0/25").replace(
        "ipam:",
        "  more:\n    asn: 64512\n    router_id: 10.0.0.12\n    racks:\n"
        f"      rack-1: {rack % '10.2.0.128/25'}\nipam:",
    )
    assert set(parse(text).instances) == {"main", "more"}


def test_a_configuration_can_be_built_in_python() -> None:
    rack = Rack(nodes=Nodes(ranges=(ip_network("10.2.0.0/24"),)), tors=(Tor(address=ip_address("10.1.0.1")),))
    built = Instance(asn=64512, router_id=parse(MINIMAL).instances["main"].router_id, racks={"rack-1": rack})
    assert built.listen == (built.router_id,)
    assert built.families == ("ipv4",)


def test_a_dump_is_read_back_as_the_same(config: Config) -> None:
    assert Config.model_validate(config.model_dump()) == config


def test_places_are_no_setting(config: Config) -> None:
    assert parse(f"# moved by a line\n{MINIMAL}") == config
    assert parse(f"# moved by a line\n{MINIMAL}").digest == config.digest


def test_the_digest_follows_the_settings(config: Config) -> None:
    assert parse(MINIMAL.replace("64512", "64513")).digest != config.digest
    assert parse(f"state_dir: /var/lib/rr\n{MINIMAL}").digest == config.digest


def test_nothing_can_be_changed_afterwards(config: Config) -> None:
    with pytest.raises(ValidationError):
        config.name = "rr-b"  # type: ignore[misc]
