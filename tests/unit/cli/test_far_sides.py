"""`rrctl tor-config` and `rrctl node-config`."""

import json
from pathlib import Path
from typing import Any

import pytest

from rr.config.load import parse
from tests.unit.cli.conftest import Background, Rrctl

FARSIDE = Path(__file__).parents[1] / "farside"
FULL = str(FARSIDE / "full.yaml")
PLAIN = str(FARSIDE / "plain.yaml")


@pytest.fixture
def configured(rrd: Background) -> Background:
    """An rrd that has the full configuration in force."""
    rrd.appliance.config_row["config"] = parse(Path(FULL).read_text()).model_dump(mode="json")
    return rrd


def _rows(rrctl: Rrctl, *arguments: str) -> list[dict[str, Any]]:
    ran = rrctl(*arguments, "--output", "json")
    assert (ran.err, ran.code) == ("", 0)
    rows: list[dict[str, Any]] = json.loads(ran.out)
    return rows


def test_what_is_in_force_and_the_same_file_give_the_same_text(configured: Background, rrctl: Rrctl) -> None:
    assert configured.appliance.asked == []
    ran = rrctl("tor-config", "--vendor", "frr", "--tor", "10.2.1.1")
    assert (ran.err, ran.code) == ("", 0)
    assert ran.out == (FARSIDE / "expected" / "tor-frr.txt").read_text()
    assert rrctl("tor-config", "--vendor", "frr", "--tor", "10.2.1.1", "--config", FULL).out == ran.out


def test_without_rrd_a_file_is_enough(rrctl: Rrctl) -> None:
    ran = rrctl("node-config", "--for", "cilium", "--config", PLAIN)
    assert (ran.err, ran.code) == ("", 0)
    assert "kind: CiliumBGPClusterConfig" in ran.out


def test_several_tors_are_blocks_under_rulers_that_are_comments(rrctl: Rrctl) -> None:
    lines = rrctl("tor-config", "--vendor", "frr", "--config", FULL).out.splitlines()
    rulers = [number for number, line in enumerate(lines) if line.startswith("! ====")]
    assert [lines[number + 1].split(":")[0] for number in rulers] == [
        "! ToR 10.2.1.1 of rack-1, instance main",
        "! ToR fd00",
        "! ToR 10.4.1.1 of rack-3, instance other",
    ]
    alone = rrctl("tor-config", "--vendor", "frr", "--config", PLAIN).out
    assert "====" not in alone


def test_json_has_a_row_for_each_with_the_text(configured: Background, rrctl: Rrctl) -> None:
    rows = _rows(rrctl, "tor-config", "--vendor", "eos", "--instance", "main")
    assert [row["tor"] for row in rows] == ["10.2.1.1", "fd00:2:1::1"]
    assert rows[0].keys() == {"instance", "rack", "tor", "vendor", "text"}
    rows = _rows(rrctl, "node-config", "--for", "bird", "--node", "node-1")
    assert [(row["node"], row["rack"], row["vendor"]) for row in rows] == [("node-1", "rack-1", "bird")]
    assert "route 10.244.1.0/24 blackhole;" in rows[0]["text"]
    assert _rows(rrctl, "node-config", "--for", "bird", "--rack", "rack-2")[0]["node"] is None


BORROWED = {
    "frr": ("ip prefix-list RR-MAIN-OUT seq 10 permit 10.244.1.5/32", "  network 10.244.1.5/32"),
    "bird": ("route 10.244.1.5/32 blackhole;", "net ~ [ 10.244.2.0/24, 10.244.1.5/32 ] then accept;"),
    "gobgp": ('ip-prefix = "10.244.1.5/32"', "rib add -a ipv4 10.244.1.5/32 origin igp"),
}


@pytest.mark.parametrize("agent", BORROWED)
def test_a_host_route_that_the_node_borrows_is_announced_too(
    configured: Background, rrctl: Rrctl, agent: str
) -> None:
    text = _rows(rrctl, "node-config", "--for", agent, "--node", "node-2")[0]["text"]
    assert [part for part in BORROWED[agent] if part not in text] == []
    other = _rows(rrctl, "node-config", "--for", agent, "--node", "node-1")[0]["text"]
    assert "10.244.1.5/32" not in other


def test_secrets_are_read_only_when_asked_for(rrctl: Rrctl, tmp_path: Path) -> None:
    secret = tmp_path / "tor-1"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    file = tmp_path / "rr.yaml"
    file.write_text(Path(FULL).read_text().replace("/etc/rr/secrets/tor-1", str(secret)))
    asked = ("tor-config", "--vendor", "frr", "--tor", "10.2.1.1", "--config", str(file))
    assert "s3cret" not in rrctl(*asked).out
    assert " neighbor 10.0.0.11 password s3cret\n" in rrctl(*asked, "--with-secrets").out
    secret.chmod(0o644)
    ran = rrctl(*asked, "--with-secrets")
    assert (ran.code, ran.out) == (1, "")
    assert "is open to others than its owner (mode 0644); chmod 600" in ran.err


REFUSED = [
    (("tor-config", "--vendor", "frr", "--tor", "10.9.9.9"), 1, "there is no ToR 10.9.9.9; name one of 10.2.1.1"),
    (("tor-config", "--vendor", "frr", "--rack", "rack-2"), 1, "there is no ToR; add it to `tors` of its rack"),
    (("tor-config", "--vendor", "frr", "--instance", "x"), 1, "there is no instance x; name one of main, other"),
    (("node-config", "--for", "frr", "--rack", "x"), 1, "there is no rack x; name one of rack-1, rack-2, rack-3"),
    (("node-config", "--for", "cilium", "--rack", "rack-1"), 1, "Cilium cannot do GTSM"),
    (("tor-config", "--vendor", "ios"), 2, "'ios' is not one of 'frr', 'eos', 'junos', 'nxos', 'sonic'"),
    (("tor-config",), 2, "Missing option '--vendor'"),
    (("tor-config", "--vendor", "frr", "--tor", "tor-1"), 2, "tor-1 is not an address; write one such as 10.0.0.11"),
    (("tor-config", "--vendor", "frr", "--accept", "10.1.1.1/8"), 2, "10.1.1.1/8 is not a prefix; write one such as"),
    (("node-config", "--for", "frr", "--node", "node-1"), 2, "leave out --config or --node"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED)
def test_what_cannot_be_said_is_one_sentence(
    rrctl: Rrctl, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = rrctl(*arguments, "--config", FULL)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_nodes_that_the_ipam_does_not_know_or_that_are_elsewhere(
    configured: Background, rrctl: Rrctl
) -> None:
    ran = rrctl("node-config", "--for", "frr", "--node", "node-99")
    assert (ran.code, ran.err) == (1, "rrctl: the IPAM knows no node node-99; see `rrctl ipam show`\n")
    ran = rrctl("node-config", "--for", "frr", "--node", "node-1", "--rack", "rack-2")
    assert ran.code == 1
    assert "no address of node-1 is in a node range that was asked for" in ran.err


def test_a_file_with_mistakes_says_them_and_without_rrd_the_way_out_is_named(
    rrctl: Rrctl, tmp_path: Path
) -> None:
    file = tmp_path / "rr.yaml"
    file.write_text(Path(PLAIN).read_text().replace("64512", "0"))
    ran = rrctl("tor-config", "--vendor", "frr", "--config", str(file))
    assert ran.code == 1
    assert "instances.main.asn: 0 is not an AS number" in ran.err
    ran = rrctl("tor-config", "--vendor", "frr")
    assert ran.code == 3
    assert "is rrd started" in ran.err
