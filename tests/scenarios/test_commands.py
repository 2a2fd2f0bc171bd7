"""`rrctl` and HTTP against a running appliance: documented keys, exit codes, health, metrics, events."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rr.api.keys import faults
from tests.lab import Network, all_established, eventually
from tests.lab.appliance import RRCTL
from tests.scenarios.lifecycle import NODES, PODS, ROUTES, TORS, VIP, Fabric, build, tors_hold, unwell

pytestmark = pytest.mark.root

FOREIGN = "10.244.77.0/24"
"""Announced by node-3 all the time, allocated to nobody."""
ANSWERS = {
    "status": ("status",),
    "check": ("check",),
    "peers": ("peers",),
    "routes": ("routes",),
    "violations": ("violations",),
    "events": ("events",),
    "explain": ("explain", PODS["node-1"], "--from", "node-2"),
    "config": ("config", "show"),
    "config.diff": ("config", "diff"),
    "config.reload": ("config", "reload"),
}
READ = ["status", "check", "peers", "routes", "violations", "events", "topology", "config"]


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    fabric = build(shared_net)
    fabric.nodes["node-3"].announce(FOREIGN)
    eventually(lambda: fabric.appliance.violations(prefix=FOREIGN), 5, "the violation is seen")
    return fabric


class Answer:
    """What HTTP answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@contextlib.contextmanager
def connection(fabric: Fabric) -> Iterator[http.client.HTTPConnection]:
    """A connection to http.listen, made on the appliance's host."""
    made = http.client.HTTPConnection("127.0.0.1", 9632, timeout=10)
    made.sock = fabric.appliance.host.connect("127.0.0.1", 9632)
    try:
        yield made
    finally:
        made.close()


def ask(fabric: Fabric, path: str, method: str = "GET", body: str | None = None) -> Answer:
    with connection(fabric) as made:
        made.request(method, path, body)
        return Answer(made.getresponse())


# rrctl


@pytest.mark.parametrize("kind", ANSWERS)
def test_json_has_the_documented_keys(fabric: Fabric, kind: str) -> None:
    """Every key documented and of its type, none missing, and there is something to look at."""
    answer = fabric.appliance.rrctl(*ANSWERS[kind])
    assert answer
    assert faults(kind, answer) == []
    if kind == "status":
        assert faults("status.ipam", answer["ipam"]) == []
        assert faults("status.instances", answer["instances"]) == []


def test_ipam_show_has_the_documented_keys(fabric: Fabric) -> None:
    """Nodes and VIP pools, as allocations.yaml says them."""
    rows = fabric.appliance.rrctl("ipam", "show")
    keys = {"vip", "node", "nodes", "addresses", "prefixes", "borrowed", "source", "until"}
    assert all(row.keys() == keys for row in rows)
    nodes = {row["node"]: (row["addresses"], row["prefixes"]) for row in rows if not row["vip"]}
    assert nodes == {name: ([NODES[name]], [PODS[name]]) for name in NODES}
    assert [(row["prefixes"], row["nodes"]) for row in rows if row["vip"]] == [(["10.100.0.0/24"], None)]
    over_http = ask(fabric, "/api/v1/allocations").json
    assert faults("allocations.nodes", over_http["nodes"]) == []
    assert faults("allocations.vips", over_http["vips"]) == []


@pytest.mark.parametrize("kind", [*ANSWERS, "ipam show"])
def test_a_table_names_what_there_is_and_is_no_json(fabric: Fabric, kind: str) -> None:
    """Exit code 0, nothing on stderr, no colours in a pipe, and the same facts as the JSON."""
    told = fabric.appliance.tell(*ANSWERS.get(kind, ("ipam", "show")))
    assert (told.exit, told.stderr) == (0, "")
    assert told.stdout.strip()
    assert "\x1b" not in told.stdout
    named = {
        "peers": [*NODES, *NODES.values(), *TORS, "established"],
        "routes": [*ROUTES, *NODES],
        "violations": [FOREIGN, "node-3", "not-allocated"],
        "status": ["rr-a", "main", "64512", "running"],
        "check": ["RR OK - 3/3 nodes up, 2/2 ToRs up, 6 routes accepted, 1 rejected | nodes=3"],
        "explain": ["foreign-prefix", "node-1", "node-2"],
        "ipam show": [*NODES, *PODS.values(), "10.100.0.0/24"],
    }
    for word in named.get(kind, []):
        assert word in told.stdout, (word, told.stdout)


def test_what_is_listed_is_what_the_network_has(fabric: Fabric) -> None:
    """Sessions, roles, counts and routes agree with the ToRs' own tables."""
    peers = {p["address"]: p for p in fabric.appliance.rrctl("peers")}
    assert {a: p["role"] for a, p in peers.items()} == dict.fromkeys(TORS, "tor") | dict.fromkeys(
        NODES.values(), "node"
    )
    node_3 = peers[NODES["node-3"]]
    assert (node_3["received"], node_3["accepted"], node_3["rejected"]) == (3, 2, 1)
    assert peers[TORS[0]]["advertised"] == sum(len(paths) for paths in fabric.frr.routes().values())
    assert peers[NODES["node-1"]]["advertised"] == len(fabric.nodes["node-1"].routes())
    vip = fabric.appliance.rrctl("routes", VIP)
    assert {(r["node"], r["next_hop"], r["kind"]) for r in vip} == {(n, a, "vip") for n, a in NODES.items()}
    assert [r["best"] for r in vip] == [True, False, False]


def test_explain_says_where_a_route_goes_and_why_another_does_not(fabric: Fabric) -> None:
    """Accepted: to whom it is sent. Rejected: the reason, and the checks in their order."""
    good = fabric.appliance.rrctl("explain", PODS["node-1"], "--from", "node-1")
    assert (good["accepted"], good["announced"], good["reason"]) == (True, True, None)
    assert {row["role"] for row in good["sent_to"]} == {"tor", "node"}
    bad = fabric.appliance.rrctl("explain", FOREIGN, "--from", NODES["node-3"])
    assert (bad["accepted"], bad["announced"], bad["reason"]) == (False, True, "not-allocated")
    assert [check["ok"] for check in bad["checks"]].count(False) == 1
    assert fabric.appliance.rrctl("explain", "0.0.0.0/0", "--from", "node-1")["reason"] == "default-route"


WRONG = {
    ("nonsense",): 2,
    ("peers", "--role", "king"): 2,
    ("explain", "10.244.1.0/24"): 2,
    ("explain", "not-a-prefix", "--from", "node-1"): (1, 2),
    ("explain", "10.244.1.0/24", "--from", "nobody"): 1,
    ("config", "validate", "/nonexistent"): (1, 2),
    ("ipam", "accept"): 1,
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(fabric: Fabric, words: tuple[str, ...]) -> None:
    """1 when it fails, 2 when the command line is wrong; stderr says why, stdout stays empty."""
    told = fabric.appliance.tell(*words)
    wanted = WRONG[words]
    assert told.exit in (wanted if isinstance(wanted, tuple) else (wanted,))
    assert told.stdout == ""
    assert told.stderr.strip()
    assert "Traceback" not in told.stderr


# HTTP


@pytest.mark.parametrize("what", READ)
def test_http_answers_what_rrctl_shows(fabric: Fabric, what: str) -> None:
    """Over TCP: 200, JSON, and the documented keys."""
    answer = ask(fabric, f"/api/v1/{what}")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert faults(what, answer.json) == []


def test_http_over_tcp_only_reads(fabric: Fabric) -> None:
    """Whatever changes something is refused with a sentence that names the unix socket; nothing happens."""
    loaded = fabric.appliance.rrctl("status")["config"]["loaded"]
    for path in ("config/reload", "config/diff", "ipam/accept"):
        answer = ask(fabric, f"/api/v1/{path}", "POST", "{}")
        assert answer.status == 403
        assert str(fabric.appliance.run_dir / "rrd.sock") in answer.json["error"]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(fabric, "/api/v1/status", method).status == 405
    assert fabric.appliance.rrctl("status")["config"]["loaded"] == loaded


def test_healthz_readyz_and_the_page_answer(fabric: Fabric) -> None:
    """200 while all is well; what is not there is 404 in words."""
    assert ask(fabric, "/healthz").text == "ok\n"
    assert ask(fabric, "/readyz").json == {"ready": True, "reasons": []}
    assert "rr-a" in ask(fabric, "/").text
    assert "error" in ask(fabric, "/api/v1/nothing").json


def test_metrics_say_what_the_network_has(fabric: Fabric) -> None:
    """Sessions by rack and role, routes by kind, and the violation by reason, in Prometheus' format."""
    answer = ask(fabric, "/metrics")
    assert answer.status == 200
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(line.startswith(("rr_", "process_", "python_")) for line in lines)
    figures = dict(line.rsplit(" ", 1) for line in lines)

    def figure(name: str, *labels: str) -> float:
        return sum(
            float(v) for k, v in figures.items() if k.split("{")[0] == name and all(t in k for t in labels)
        )

    assert figure("rr_peers", 'role="node"', 'state="established"') == 3
    assert figure("rr_peers", 'role="tor"', 'state="established"') == 2
    assert figure("rr_routes", 'kind="pod"') == 3
    assert figure("rr_routes", 'kind="vip"') == 3
    assert figure("rr_rejected_routes", 'reason="not-allocated"') == 1


# Events


def test_the_stream_of_events_delivers_what_happens(fabric: Fabric) -> None:
    """Server-sent events: an announcement that is rejected is on the stream within a second or two, by its kind."""
    with connection(fabric) as made:
        made.request("GET", "/api/v1/stream")
        stream = made.getresponse()
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        fabric.nodes["node-3"].announce("10.244.78.0/24")
        until = time.monotonic() + 5
        lines: list[str] = []
        while time.monotonic() < until and not any("10.244.78.0/24" in line for line in lines):
            lines.append(stream.readline().decode().rstrip())
    fabric.nodes["node-3"].withdraw("10.244.78.0/24")
    assert "event: violation" in lines
    row = json.loads(next(line for line in lines if "10.244.78.0/24" in line).removeprefix("data: "))
    assert faults("events", row) == []


def test_events_are_followed_over_a_restart_of_the_controller(fabric: Fabric) -> None:
    """`events --follow` prints one object a line, waits while rrd is away, and goes on where it was."""
    command = [sys.executable, "-c", RRCTL, "--socket", str(fabric.appliance.run_dir / "rrd.sock")]
    command += ["--output", "json", "events", "--follow"]
    output = fabric.net.folder / "followed.json"
    with output.open("wb") as file:
        follower = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
    try:

        def rows() -> list[Any]:
            return [json.loads(line) for line in output.read_text().splitlines()]

        fabric.nodes["node-3"].announce("10.244.79.0/24")
        eventually(lambda: any("10.244.79.0/24" in r["text"] for r in rows()), 10, "it is printed")
        fabric.appliance.kill()
        fabric.appliance.start()
        eventually(lambda: any("engine adopted" in r["text"] for r in rows()), 10, "it goes on")
        numbers = [row["id"] for row in rows()]
        assert numbers == sorted(set(numbers))
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(5) == 130
    fabric.nodes["node-3"].withdraw("10.244.79.0/24")


# Health


@contextlib.contextmanager
def engine_kept_down(fabric: Fabric) -> Iterator[None]:
    """Kill the engine, and take its port before the controller can start another."""
    controller = fabric.appliance.process
    assert controller is not None
    controller.signal(signal.SIGSTOP)
    fabric.appliance.host.run("kill", "-KILL", *map(str, fabric.appliance.engines()))
    with eventually(lambda: fabric.appliance.host.listen(179), 2, "the port is taken"):
        controller.signal(signal.SIGCONT)
        yield


def test_check_warns_while_a_tor_is_down(fabric: Fabric) -> None:
    """Exit 1 and the ToR's address while it is stopped; 0 again when it is back. It is no reason not to be ready."""
    assert fabric.appliance.tell("check").exit == 0
    fabric.bird.kill()
    told = eventually(lambda: unwell(fabric), 15, "check warns")
    assert told.exit == 1
    assert told.stdout.startswith(f"RR WARNING - Instance main: ToR {TORS[1]} has no session | ")
    assert ask(fabric, "/readyz").status == 200
    fabric.bird.start()
    all_established(fabric.bird, timeout=30)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 5, "all is well again")


def test_check_is_critical_while_the_engine_is_down(fabric: Fabric) -> None:
    """Exit 2, not ready (503) but alive (200), and rr_up figures to match; all is well when it is back."""
    with engine_kept_down(fabric):
        told = eventually(lambda: unwell(fabric), 5, "it is said")
        assert told.exit == 2
        assert told.stdout.startswith("RR CRITICAL - Instance main: ")
        answer = ask(fabric, "/readyz")
        assert (answer.status, answer.json["ready"]) == (503, False)
        assert ask(fabric, "/healthz").status == 200
    all_established(*fabric.everyone, timeout=40)
    tors_hold(fabric, ROUTES, within=20)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 10, "all is well again")


def test_check_is_critical_and_quick_while_the_controller_is_dead_or_hangs(fabric: Fabric) -> None:
    """Exit 2 within two seconds when rrd does not answer, and when it is gone; other commands exit with 3."""
    process = fabric.appliance.process
    assert process is not None
    process.signal(signal.SIGSTOP)
    began = time.monotonic()
    told = fabric.appliance.tell("check")
    took = time.monotonic() - began
    process.signal(signal.SIGCONT)
    assert (told.exit, told.stdout.startswith("RR CRITICAL - ")) == (2, True)
    assert took < 2
    fabric.appliance.kill()
    told = fabric.appliance.tell("check")
    assert (told.exit, told.stdout.startswith("RR CRITICAL - ")) == (2, True)
    told = fabric.appliance.tell("peers")
    assert (told.exit, told.stdout) == (3, "")
    assert told.stderr.startswith("rrctl: ")
    assert os.path.exists(fabric.appliance.run_dir / "main" / "gobgpd.sock")
    fabric.appliance.start()
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 5, "all is well again")
