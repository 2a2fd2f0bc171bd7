"""Questions and answers of /api/v1, over real sockets."""

import io
from typing import Any

import pytest

from rr.api.keys import faults
from rr.errors import ConfigError, SecretError
from tests.unit.api.memory import PROBLEM, peer, route
from tests.unit.api.serving import Serving


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize(
    "resource", ["status", "peers", "routes", "violations", "events", "topology", "config", "check"]
)
async def test_every_answer_has_exactly_the_documented_keys(
    served: Serving, resource: str, tcp: bool
) -> None:
    answer = await served.ask(f"/api/v1/{resource}", tcp=tcp)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json
    assert faults(resource, answer.json) == []


async def test_allocations_and_instances_have_the_documented_keys(served: Serving) -> None:
    allocations = (await served.ask("/api/v1/allocations")).json
    assert faults("allocations.nodes", allocations["nodes"]) == []
    assert faults("allocations.vips", allocations["vips"]) == []
    status = (await served.ask("/api/v1/status")).json
    assert faults("status.instances", status["instances"]) == faults("status.ipam", status["ipam"]) == []


async def test_a_long_list_arrives_whole_and_in_order(served: Serving) -> None:
    served.appliance.route_rows = [route(number) for number in range(4000)]
    answer = await served.ask("/api/v1/routes")
    assert answer.json == served.appliance.route_rows


async def test_head_answers_headers_only(served: Serving) -> None:
    served.appliance.peer_rows = [peer(number) for number in range(1000)]
    for resource in ("/api/v1/peers", "/metrics", "/", "/api/v1/stream"):
        answer = await served.ask(resource, "HEAD", tcp=True)
        assert (answer.status, answer.text) == (200, ""), resource


@pytest.mark.parametrize(
    ("query", "addresses"),
    [
        ("role=tor", ["10.2.0.250"]),
        ("state=idle", ["10.2.0.3"]),
        ("rack=rack-1&role=node&state=established", ["10.2.0.2"]),
        ("node=node-1", ["10.2.0.2"]),
        ("instance=other", []),
    ],
)
async def test_peers_are_filtered(served: Serving, query: str, addresses: list[str]) -> None:
    rows = (await served.ask(f"/api/v1/peers?{query}")).json
    assert [row["address"] for row in rows] == addresses


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("10.244.1.0/24", ["10.244.1.0/24"]),
        ("10.244.1.17", ["10.244.1.0/24", "10.244.0.0/16"]),
        ("10.100.0.5", ["10.100.0.5/32"]),
        ("192.0.2.1", []),
        ("fd00:10:1::7", []),
    ],
)
async def test_routes_of_a_prefix_and_those_that_hold_an_address(
    served: Serving, prefix: str, found: list[str]
) -> None:
    rows = (await served.ask("/api/v1/routes", params={"prefix": prefix})).json
    assert [row["prefix"] for row in rows] == found


@pytest.mark.parametrize(
    ("resource", "sentence"),
    [
        (
            "violations?color=red",
            "/api/v1/violations has no parameter 'color'; it knows instance, node, peer, prefix, reason, enforced",
        ),
        ("status?x=1", "/api/v1/status has no parameter 'x'; it takes none"),
        ("peers?role=spine", "'spine' is not a role; it is one of node, tor, pair"),
        (
            "peers?state=up",
            "'up' is not a state; it is one of idle, connect, active, opensent, openconfirm, established",
        ),
        ("peers?rack=", "Parameter 'rack' is empty; leave it out or give it a value"),
        ("peers?rack=a&rack=b", "Parameter 'rack' is given twice; give it once"),
        (
            "routes?prefix=10.2.1.5/24",
            "10.2.1.5/24 has bits set behind its prefix length; did you mean 10.2.1.0/24?",
        ),
        ("routes?prefix=pods", "'pods' is not a prefix; write it like 10.244.1.0/24 or fd00:10:1::/64"),
        ("routes?kind=service", "'service' is not a kind; it is one of pod, vip"),
        ("events?since=x", "since must be the id of an event, a whole number such as 120; it is 'x'"),
        (
            "explain?prefix=10.2.1.1",
            "Parameter 'from' is missing; ask like ?prefix=10.244.1.0/24&from=node-1",
        ),
        ("stream?since=-1", "since must be the id of an event, a whole number such as 120; it is '-1'"),
    ],
)
async def test_a_question_that_is_not_understood_is_refused_with_a_sentence(
    served: Serving, resource: str, sentence: str
) -> None:
    answer = await served.ask(f"/api/v1/{resource}")
    assert (answer.status, answer.error) == (400, sentence)


async def test_check_answers_everything_or_only_whether_this_half_serves(served: Serving) -> None:
    served.appliance.status_row["problems"] = [{"severity": "critical", "text": "The allocations are old"}]
    for asked in ("", "?serving=false"):
        assert (await served.ask(f"/api/v1/check{asked}")).json["exit"] == 2
    answer = await served.ask("/api/v1/check?serving=true")
    assert answer.json == {"exit": 0, "line": "RR OK - serving: main", "perfdata": ""}
    assert (await served.ask("/api/v1/check?serving=yes")).status == 400


async def test_explain_answers_the_verdict_check_by_check(served: Serving) -> None:
    verdict = (await served.ask("/api/v1/explain?prefix=10.100.0.5&from=node-1")).json
    assert faults("explain", verdict) == []
    assert verdict["prefix"] == "10.100.0.5/32"
    assert verdict["accepted"] is True


async def test_explain_of_an_unknown_peer_is_not_found(served: Serving) -> None:
    answer = await served.ask("/api/v1/explain?prefix=10.244.1.0/24&from=node-9")
    assert answer.status == 404
    assert answer.error.startswith("'node-9' is neither an address nor a node")


async def test_events_since_an_id(served: Serving) -> None:
    assert [row["id"] for row in (await served.ask("/api/v1/events?since=18")).json] == [19, 20]


async def test_reload_says_what_changed(served: Serving) -> None:
    answer = await served.ask("/api/v1/config/reload", "POST")
    assert (answer.status, faults("config.reload", answer.json)) == (200, [])


@pytest.mark.parametrize("resource", ["config/reload", "config/diff"])
async def test_a_broken_configuration_is_refused_with_every_problem(served: Serving, resource: str) -> None:
    served.appliance.config_fault = ConfigError([PROBLEM])
    answer = await served.ask(f"/api/v1/{resource}", "POST", data="name: x")
    assert answer.status == 422
    assert answer.error == "The configuration has 1 problem; nothing was applied"
    assert answer.json["problems"] == [PROBLEM.as_dict()]


async def test_a_password_file_that_cannot_be_used_is_named(served: Serving) -> None:
    served.appliance.config_fault = SecretError("there is no file /etc/rr/tor", "create it")
    answer = await served.ask("/api/v1/config/diff", "POST", data="name: x")
    assert (answer.status, answer.error) == (409, "there is no file /etc/rr/tor; create it")


async def test_diff_is_asked_with_the_text(served: Serving) -> None:
    answer = await served.ask("/api/v1/config/diff", "POST", data="name: ü\n".encode())
    assert faults("config.diff", answer.json) == []
    assert served.appliance.asked == ["name: ü\n"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"\xff\xfe", 400, "The body is not UTF-8 text; send the configuration as YAML"),
        (b"x" * (5 << 20), 413, "The request is too long: a configuration has at most 4 MiB"),
    ],
    ids=["not UTF-8", "too long"],
)
async def test_a_body_that_is_no_configuration_is_refused(
    served: Serving, body: bytes, status: int, sentence: str
) -> None:
    answer = await served.ask("/api/v1/config/diff", "POST", data=io.BytesIO(body))
    assert (answer.status, answer.error) == (status, sentence)


async def test_accepting_what_is_not_held_is_refused(served: Serving) -> None:
    answer = await served.ask("/api/v1/ipam/accept", "POST")
    assert (answer.status, answer.error) == (409, "No allocations are held back; there is nothing to accept")
    served.appliance.held = True
    assert (await served.ask("/api/v1/ipam/accept", "POST")).json == {
        "changed": ["node-2 loses 10.244.2.0/24."]
    }


async def test_one_source_is_accepted_or_rejected(served: Serving) -> None:
    served.appliance.held = True
    assert (await served.ask("/api/v1/ipam/accept?source=kubernetes:prod", "POST")).status == 200
    answer = await served.ask("/api/v1/ipam/reject?source=kubernetes:prod", "POST")
    assert answer.json == {"rejected": ["kubernetes:prod"]}
    assert served.appliance.asked[-2:] == ["accept kubernetes:prod", "reject kubernetes:prod"]
    assert (await served.ask("/api/v1/ipam/accept?digest=3f9c2a1b", "POST")).status == 200
    assert served.appliance.asked[-1] == "accept None 3f9c2a1b"


async def test_sources_and_differences_are_listed_and_filtered(served: Serving) -> None:
    rows = (await served.ask("/api/v1/ipam/sources")).json
    assert faults("ipam.sources", rows) == []
    assert [row["state"] for row in (await served.ask("/api/v1/ipam/sources?state=good")).json] == ["good"]
    rows = (await served.ask("/api/v1/ipam/diff", tcp=True)).json
    assert faults("ipam.diff", rows) == []
    held = (await served.ask("/api/v1/ipam/diff?state=held&node=node-2")).json
    assert [row["value"] for row in held] == ["10.244.2.0/24"]
    assert (await served.ask("/api/v1/ipam/diff?state=lost")).status == 400


async def test_what_is_not_there_is_said(served: Serving) -> None:
    answer = await served.ask("/api/v2/peers")
    assert (answer.status, answer.error) == (
        404,
        "There is nothing at /api/v2/peers; /api/v1/ lists what there is",
    )
    answer = await served.ask("/api/v1/peers", "POST")
    assert (answer.status, answer.error) == (405, "/api/v1/peers does not take POST; it takes GET, HEAD")


async def test_a_fault_in_the_daemon_is_a_sentence_and_not_a_dead_server(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise KeyError("rack")

    monkeypatch.setattr(served.appliance, "peers", broken)
    answer = await served.ask("/api/v1/peers")
    assert (answer.status, answer.error) == (500, "rrd failed to answer (KeyError); its log has the details")
    assert (await served.ask("/healthz")).text == "ok\n"


async def test_the_index_lists_what_there_is(served: Serving) -> None:
    index = (await served.ask("/api/v1/")).json
    for path in index["read"]:
        assert (await served.ask(path, "HEAD")).status in (200, 400), path
    assert "/api/v1/config/reload" in index["unix_socket_only"]


async def test_readiness_follows_engines_and_policy(served: Serving) -> None:
    assert (await served.ask("/readyz", tcp=True)).status == 200
    instance = served.appliance.status_row["instances"][0]
    instance["policy"]["in_force"] = False
    answer = await served.ask("/readyz", tcp=True)
    assert answer.status == 503
    assert answer.json == {"ready": False, "reasons": ["Instance main: the policy is not in force."]}
    instance["engine"]["state"] = "down"
    assert (await served.ask("/readyz")).json["reasons"] == ["Instance main: the engine is down."]
    assert (await served.ask("/healthz")).status == 200


async def test_a_drain_says_where_each_instance_is_on_its_way(served: Serving) -> None:
    answer = await served.ask("/api/v1/drain?instance=main&wait=2.5", "POST")
    assert answer.status == 200
    assert faults("drain", answer.json) == []
    assert (answer.json[0]["state"], answer.json[0]["text"]) == ("draining", "main is drained, wait=2.5")
    await served.ask("/api/v1/drain?force=true", "POST")
    assert [word for word in served.appliance.asked if "force" in word] == [
        "drain, force=False",
        "drain, force=True",
    ]
    answer = await served.ask("/api/v1/undrain", "POST")
    assert [row["state"] for row in answer.json] == ["serving"]
    assert (await served.ask("/api/v1/drain?instance=x", "POST")).status == 404
    assert (await served.ask("/api/v1/drain", "POST", tcp=True)).status == 403


@pytest.mark.parametrize("wait", ["-1", "3601", "nan", "inf", "soon", ""])
async def test_a_wait_is_seconds_up_to_an_hour(served: Serving, wait: str) -> None:
    answer = await served.ask("/api/v1/drain", "POST", params={"wait": wait})
    assert (answer.status, answer.error) == (400, f"wait must be seconds from 0 to 3600; it is {wait!r}")
    assert served.appliance.asked == []
