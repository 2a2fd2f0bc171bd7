import tomllib
from pathlib import Path

import pytest

from rr.config.load import load
from rr.demo.files import allocations_yaml, node_toml, replace_file, rr_yaml, tor_toml
from rr.demo.plan import plan
from rr.ipam.document import parse

PLAN = plan(2)


def test_the_demos_configuration_is_one_that_the_appliance_accepts(tmp_path: Path) -> None:
    file = tmp_path / "rr.yaml"
    file.write_text(rr_yaml(PLAN, tmp_path))
    instance = load(file).instances["main"]
    assert {name: rack.nodes.ranges for name, rack in instance.racks.items()} == {
        "rack-1": (PLAN.range_of(1),),
        "rack-2": (PLAN.range_of(2),),
    }
    assert [tor.address for rack in instance.racks.values() for tor in rack.tors] == [
        tor.address for tor in PLAN.tors
    ]


def test_the_demos_allocations_are_those_of_its_plan() -> None:
    allocations = parse(allocations_yaml(PLAN), "allocations.yaml")
    assert {node.name: node.prefixes for node in PLAN.nodes} == {
        name: node.prefixes for name, node in allocations.nodes.items()
    }


@pytest.mark.parametrize("name", ["node-1", "tor-1"])
def test_a_speakers_configuration_is_toml_with_one_neighbor_the_appliance(name: str) -> None:
    tors = {tor.name: tor_toml(PLAN, tor) for tor in PLAN.tors}
    document = tomllib.loads(tors.get(name) or node_toml(PLAN, PLAN.node(name)))
    (neighbor,) = document["neighbors"]
    assert neighbor["config"]["neighbor-address"] == str(PLAN.appliance)
    assert neighbor["transport"]["config"]["passive-mode"] is (name == "tor-1")
    assert neighbor["graceful-restart"]["config"]["enabled"]
    assert [family["mp-graceful-restart"]["config"]["enabled"] for family in neighbor["afi-safis"]] == [
        True,
        True,
    ]
    assert (document["global"]["config"]["port"] == -1) is (name == "node-1")


def test_a_replaced_file_leaves_no_draft_behind(tmp_path: Path) -> None:
    file = tmp_path / "allocations.yaml"
    file.write_text("old")
    replace_file(file, "new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]
