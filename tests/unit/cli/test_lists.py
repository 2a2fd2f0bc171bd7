"""Tables and JSON of what is listed."""

import json

import pytest

from rr.api.keys import faults
from tests.unit.api.memory import peer
from tests.unit.cli.conftest import Background, Rrctl


@pytest.mark.parametrize("command", ["peers", "routes", "violations", "events"])
def test_json_is_a_list_on_one_line_with_the_documented_keys(
    rrd: Background, rrctl: Rrctl, command: str
) -> None:
    for arguments in (["--output", "json", command], [command, "-o", "json"]):
        ran = rrctl(*arguments)
        assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
        rows = json.loads(ran.out)
        assert rows
        assert faults(command, rows) == []


def test_peers_are_aligned_and_fit(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("peers")
    lines = ran.out.splitlines()
    assert lines[0].split() == [
        "INSTANCE", "ADDRESS", "NODE", "RACK", "ROLE", "STATE", "SINCE", "RECV", "ACC", "REJ", "ADV"
    ]  # fmt: skip
    assert len(lines) == 4
    assert len({line.index("rack-1") for line in lines[1:]}) == 1
    assert max(map(len, lines)) <= 100
    assert not any("\x1b" in line or line.endswith(" ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "addresses"),
    [
        (["--role", "tor"], ["10.2.0.250"]),
        (["--state", "idle"], ["10.2.0.3"]),
        (["--rack", "rack-1", "--state", "established"], ["10.2.0.2", "10.2.0.250"]),
        (["--rack", "rack-9"], []),
        (["--instance", "main", "--role", "node"], ["10.2.0.2", "10.2.0.3"]),
    ],
)
def test_peers_are_filtered(
    rrd: Background, rrctl: Rrctl, arguments: list[str], addresses: list[str]
) -> None:
    rows = json.loads(rrctl("--output", "json", "peers", *arguments).out)
    assert [row["address"] for row in rows] == addresses


def test_nothing_to_show_is_said_on_stderr(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("peers", "--rack", "rack-9")
    assert (ran.code, ran.out, ran.err) == (0, "", "No session matches.\n")


def test_routes_that_hold_an_address(rrd: Background, rrctl: Rrctl) -> None:
    rows = [line.split() for line in rrctl("routes", "10.244.1.7").out.splitlines()]
    assert [row[1] for row in rows] == ["PREFIX", "10.244.1.0/24", "10.244.0.0/16"]


def test_violations_name_the_reason(rrd: Background, rrctl: Rrctl) -> None:
    assert "foreign-prefix" in rrctl("violations", "--node", "node-2").out
    assert rrctl("violations", "--node", "node-1").out == ""


def test_a_prefix_that_is_none_is_said_with_the_way_out(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("routes", "10.244.1.7/24")
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err == "rrctl: 10.244.1.7/24 has bits set behind its prefix length; did you mean 10.244.1.0/24?\n"
    )


def test_a_nodes_name_cannot_steer_the_terminal(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.peer_rows = [peer(1) | {"node": "a\x1b[2Jb\nc\u202e"}]
    ran = rrctl("peers")
    assert "a?[2Jb?c?" in ran.out
    assert "\x1b" not in ran.out


def test_status_fits_one_screen(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.status_row["problems"] = [{"severity": "warning", "text": "The allocations are old."}]
    lines = rrctl("status").out.splitlines()
    assert lines[0].startswith("rr-a is ready, version 0.1.0, up ")
    assert lines[2].startswith(
        "allocations    2 nodes, 3 prefixes, from file:/etc/rr/allocations.yaml, 3s old"
    )
    both = "rr-b answers, version 0.1.0, 1 difference; nodes with both 5, one 1, none 2"
    assert lines[3] == f"pair           {both}"
    assert lines[4] == "warning        The allocations are old."
    assert lines[6].split()[:4] == ["INSTANCE", "AS", "ROUTER", "ID"]
    assert lines[7].split() == [
        "main", "64512", "10.0.0.11", "running", "4.8.0", "in", "force", "1/2", "1/1", "3", "1", "1"
    ]  # fmt: skip
    status = json.loads(rrctl("--output", "json", "status").out)
    assert faults("status", status) == []


def test_explain_ticks_and_crosses(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("explain", "10.244.1.0/24", "--from", "node-1")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "10.244.1.0/24 from node-1 (10.2.0.2, rack-1, instance main): accepted",
        "  ✓ known node  10.2.0.2 is node-1's address",
        "  ✓ prefix      the prefix is allocated to node-1",
        "  ✓ next hop    not reached",
        "It goes to:",
        "  the ToR of rack-1",
    ]
    rejected = rrctl("explain", "10.244.1.0/24", "--from", "node-2").out
    assert "rejected (foreign-prefix)" in rejected
    assert "  ✗ prefix" in rejected
    assert "  · next hop" in rejected
    assert "It goes to" not in rejected


def test_status_names_the_first_who_did_not_come_back(rrd: Background, rrctl: Rrctl) -> None:
    assert "not back" not in rrctl("status").out
    gone = [f"10.2.0.{number}" for number in range(11, 61)]
    rrd.appliance.status_row["instances"][0]["restart"] |= {"missing": 77, "missing_peers": gone}
    (line,) = [line for line in rrctl("status").out.splitlines() if line.startswith("not back")]
    assert (
        line == f"not back       since the restart of the engine of main: {', '.join(gone[:5])} and 72 more"
    )


def test_explain_of_an_unknown_peer_fails_with_the_way_out(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("explain", "10.244.1.0/24", "--from", "node-9")
    assert ran.code == 1
    assert ran.err == (
        "rrctl: 'node-9' is neither an address nor a node that the IPAM knows; see rrctl ipam show\n"
    )


def test_ipam_shows_nodes_and_pools(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("ipam", "show")
    assert "node-1  10.2.0.2" in ran.out
    assert "BORROWED" in ran.out.splitlines()[0]
    assert "10.244.2.0/24  10.244.1.5/32" in ran.out
    assert "10.100.0.0/24  every node" in ran.out
    rows = json.loads(rrctl("ipam", "show", "--node", "node-2", "--output", "json").out)
    keys = {"vip", "node", "addresses", "prefixes", "borrowed", "nodes", "source", "until"}
    assert [set(row) for row in rows] == [keys, keys]
    assert [(row["vip"], row["node"]) for row in rows] == [(False, "node-2"), (True, None)]


def test_ipam_shows_what_one_source_says_and_when_it_goes(rrd: Background, rrctl: Rrctl) -> None:
    assert "GOES" in rrctl("ipam", "show").out.splitlines()[0]
    assert "10.244.1.5/32 in 0s" in rrctl("ipam", "show").out
    assert (
        len(json.loads(rrctl("ipam", "show", "-o", "json", "--source", "file:/etc/rr/allocations.yaml").out))
        == 3
    )
    assert json.loads(rrctl("ipam", "show", "-o", "json", "--source", "kubernetes:prod").out) == []


def test_ipam_sources(rrd: Background, rrctl: Rrctl) -> None:
    lines = rrctl("ipam", "sources").out.splitlines()
    assert lines[0].split() == [
        "SOURCE",
        "TYPE",
        "STATE",
        "AGE",
        "NODES",
        "PREFIXES",
        "VIPS",
        "CONFLICTS",
        "LEFT",
        "OUT",
        "ERROR",
    ]
    assert lines[1].split()[:9] == [
        "kubernetes:prod",
        "kubernetes",
        "held",
        "30m00s",
        "2",
        "3",
        "0",
        "1",
        "2",
    ]
    assert lines[2].split()[3] == "-"
    assert lines[-3:] == ["Left out of kubernetes:prod:", "  a", "  b"]
    rows = json.loads(rrctl("ipam", "sources", "--output", "json").out)
    assert faults("ipam.sources", rows) == []


def test_ipam_diff(rrd: Background, rrctl: Rrctl) -> None:
    out = rrctl("ipam", "diff").out
    assert "revoke  prefix    10.244.2.0/24  node-2      kubernetes:prod  held" in out
    assert "grant   vip       10.100.1.0/24  every node  kubernetes:prod  refused" in out
    rows = json.loads(rrctl("ipam", "diff", "--output", "json").out)
    assert faults("ipam.diff", rows) == []
    assert [
        row["value"] for row in json.loads(rrctl("ipam", "diff", "--state", "grace", "-o", "json").out)
    ] == ["10.244.1.5/32"]
    assert rrctl("ipam", "diff", "--node", "node-9").err == "Everything is as the sources say.\n"


def test_ipam_accept_and_reject(rrd: Background, rrctl: Rrctl) -> None:
    for verb in ("accept", "reject"):
        ran = rrctl("ipam", verb)
        said = f"rrctl: No allocations are held back; there is nothing to {verb}\n"
        assert (ran.code, ran.err) == (1, said)
    rrd.appliance.held = True
    assert rrctl("ipam", "accept").out == "Accepted: 1 change.\n  node-2 loses 10.244.2.0/24.\n"
    assert (
        rrctl("ipam", "reject", "file:/a b").out == "Rejected what file:/a b says; what was in force stays.\n"
    )
    assert rrd.appliance.asked[-2:] == ["accept None", "reject file:/a b"]
    assert rrctl("ipam", "accept", "file:/a b", "--digest", "3f9c2a1b").code == 0
    assert rrd.appliance.asked[-1] == "accept file:/a b 3f9c2a1b"
    assert json.loads(rrctl("ipam", "reject", "-o", "json").out) == {"rejected": ["kubernetes:prod"]}


def test_quarantine_list_and_release(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("quarantine", "list")
    assert ran.out.split()[:8] == [
        "INSTANCE",
        "NODE",
        "ADDRESSES",
        "REASON",
        "SINCE",
        "LEFT",
        "STRIKES",
        "WHAT",
    ]
    assert "node-9" in ran.out
    rows = json.loads(rrctl("--output", "json", "quarantine", "list").out)
    assert faults("quarantine", rows) == []
    assert rrctl("quarantine", "release", "10.2.0.9").out == "node-9 may dial in again.\n"
    refused = rrctl("quarantine", "release", "node-1")
    assert refused.code == 1
    assert "node-1 is not quarantined" in refused.err


def test_node_down_says_what_it_did(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("node", "down", "node-1")
    assert ran.out == "node-1: 10.2.0.2 of main is closed, 2 routes dropped.\n"
    again = rrctl("node", "down", "node-2")
    assert again.out == "node-2 has no session and no routes; it is not waited for.\n"
    assert rrctl("node", "down", "nobody").code == 1
    assert faults("node.down", json.loads(rrctl("-o", "json", "node", "down", "node-1").out)) == []


def test_what_passes_in_an_observed_rack_is_told_apart_from_what_is_rejected(
    rrd: Background, rrctl: Rrctl
) -> None:
    assert "OUTCOME" not in rrctl("violations").out
    passes = {**rrd.appliance.violation_rows[0], "prefix": "10.244.77.0/24", "enforced": False}
    rrd.appliance.violation_rows.append(passes)
    lines = [line.split() for line in rrctl("violations").out.splitlines()]
    assert [line[-1] for line in lines] == ["OUTCOME", "rejected", "passes"]
    for option, prefixes in (("--passing", ["10.244.77.0/24"]), ("--rejected", ["10.101.1.0/24"])):
        rows = json.loads(rrctl("--output", "json", "violations", option).out)
        assert [row["prefix"] for row in rows] == prefixes
    rrd.appliance.violation_rows.pop()
    assert rrctl("violations", "--passing").err == "Nothing passes that would be rejected.\n"


def test_status_and_peers_count_what_would_be_rejected(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.status_row["instances"][0]["observed"] = [{"rack": "rack-1", "routes": 1}]
    lines = rrctl("status").out.splitlines()
    assert "observed       rack-1 of main is not enforced, would be rejected: 1 route" in lines
    assert "OBS" not in rrctl("peers").out
    rrd.appliance.peer_rows = [peer(1) | {"observed": 2}]
    assert [line.split()[-1] for line in rrctl("peers").out.splitlines()] == ["OBS", "2"]


def test_explain_says_what_would_reject_a_route_of_an_observed_rack(
    rrd: Background, rrctl: Rrctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = rrd.appliance.explain("10.244.77.0/24", "node-1", None)
    text = "rack-1 is only observed; enforced, it would be rejected: it is allocated to nobody"
    judged |= {"observed": True, "objection": "not-allocated", "text": text}
    monkeypatch.setattr(rrd.appliance, "explain", lambda *_: judged)
    lines = rrctl("explain", "10.244.77.0/24", "--from", "node-1").out.splitlines()
    assert lines[0].endswith(": accepted (not-allocated, but rack-1 is only observed)")
    assert lines[1] == text
    assert "It goes to:" in lines
