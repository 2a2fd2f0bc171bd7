"""The README's first real configuration, word for word: what a new user copies has to work."""

import re
from pathlib import Path as FilePath
from typing import Any

import pytest
import yaml

from rr.config.load import parse as parse_config
from rr.farside.facts import Appliance as Facts
from rr.farside.facts import tor_side
from rr.farside.frr import tor as frr_text
from rr.ipam.document import parse as parse_allocations
from tests.lab import Appliance, BirdNode, FrrTor, Network, all_established, eventually

README = FilePath(__file__).parents[2] / "README.md"


def block(after: str, language: str) -> str:
    """The first fenced block of a language after a line that contains some words."""
    text = README.read_text()
    found = re.search(rf"```{language}\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found, f"no block after {after!r}"
    return found[1]


def rr_yaml() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(block("`/etc/rr/rr.yaml` on the appliance", "yaml"))
    return found


def allocations() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(block("`/etc/rr/allocations.yaml`, written", "yaml"))
    return found


class TorOfTheReadme(FrrTor):
    """FRR with the README's configuration, and logging for us to see."""

    def _config(self) -> str:
        return "debug bgp updates in\n" + block("`/etc/frr/frr.conf` on the ToR", "")


def test_the_files_of_the_readme_have_no_mistakes() -> None:
    """The README's rr.yaml and allocations.yaml are accepted by the same code that rrd uses."""
    parse_config(block("`/etc/rr/rr.yaml` on the appliance", "yaml"))
    parse_allocations(block("`/etc/rr/allocations.yaml`, written", "yaml"), "allocations.yaml")


def test_the_tor_of_the_readme_is_what_tor_config_prints() -> None:
    """The README's FRR configuration is the output of `rrctl tor-config --vendor frr` for the README's rr.yaml."""
    config = parse_config(block("`/etc/rr/rr.yaml` on the appliance", "yaml"))
    (tor,) = config.instances["main"].racks["rack-1"].tors
    side = tor_side(Facts(config.name, config.instances, config.pair), "main", "rack-1", tor, lambda _: None)
    assert block("`/etc/frr/frr.conf` on the ToR", "") == frr_text(side)


@pytest.mark.root
def test_a_new_user_who_copies_the_readme_has_ecmp_at_his_frr_tor(net: Network) -> None:
    """With the README's three files unchanged, FRR installs both nodes' PodCIDRs and a VIP with two next hops."""
    config = rr_yaml()
    appliance = Appliance(
        net, config["name"], "10.0.0.11", instances=config["instances"], allocations=allocations()
    )
    remote = appliance.remote()
    tor = TorOfTheReadme(net, "tor-1", "10.2.1.1", "fd00:2:1::1", to=remote)
    nodes = []
    for name, node in allocations()["nodes"].items():
        v4, v6 = node["addresses"]
        nodes.append(BirdNode(net, name, v4, v6, to=remote))
    all_established(tor, *nodes)
    for bird, node in zip(nodes, allocations()["nodes"].values(), strict=True):
        for prefix in (*node["prefixes"], "10.100.0.1/32"):
            bird.announce(prefix)
    wanted = {
        "10.244.1.0/24": 1,
        "fd00:10:1::/64": 1,
        "10.244.2.0/24": 1,
        "fd00:10:2::/64": 1,
        "10.100.0.1/32": 2,
    }
    eventually(
        lambda: {prefix: len(tor.kernel_next_hops(prefix)) for prefix in wanted} == wanted,
        15,
        "the README's ToR forwards to both nodes",
        seen=tor.routes,
    )
    assert appliance.rrctl("violations") == []
