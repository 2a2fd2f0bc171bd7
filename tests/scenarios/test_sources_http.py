"""Allocations from a URL over TLS, with a token: what the IPAM's server does, and what the ToRs have of it."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.lab import Network, eventually, never, web
from tests.lab.authority import Authority
from tests.lab.http_source import AllocationsServer
from tests.scenarios.lifecycle import (
    PODS,
    ROUTES,
    Config,
    Fabric,
    allocations,
    build,
    tors_hold,
    undisturbed,
    unwell,
)

pytestmark = pytest.mark.root

IPAM, PORT = "10.9.0.5", 8443
URL = f"https://{IPAM}:{PORT}/allocations"
MORE = "10.244.101.0/24"
"""What node-1 announces all the time and does not own at first."""
SOON = 4.0
"""Seconds: the source is asked once a second, and a busy machine takes its time."""


@dataclass
class Sourced:
    """A fabric whose allocations come from a server, which can be another one."""

    fabric: Fabric
    authority: Authority
    server: AllocationsServer
    token: str = "first"

    def say(self, document: Config) -> None:
        self.server.text = json.dumps(document)

    def write_token(self, value: str) -> None:
        path = self.fabric.net.folder / "token"
        path.write_text(f"{value}\n")
        path.chmod(0o600)

    def serve(self, certificate_for: str = IPAM, authority: Authority | None = None) -> None:
        """Take the place of the server before, with the certificate that is named."""
        self.server.stop()
        text = self.server.text
        self.server = _server(self.fabric.net, authority or self.authority, certificate_for, text)

    def asked(self, times: int) -> None:
        """Wait until the server was asked so many times more."""
        goal = len(self.server.asked) + times
        eventually(lambda: len(self.server.asked) >= goal, 3 + 2 * times, f"{times} more questions")


def _server(net: Network, authority: Authority, name: str, text: str) -> AllocationsServer:
    context = authority.server_context(authority.issue(name, file="server"))
    listener = net.hosts["ipam"].listen(PORT)
    server = AllocationsServer(listener, context, authorization="Bearer first", text=text)
    net.remember(server)
    return server


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Sourced:
    net = shared_net
    net.host("ipam", IPAM)
    authority = Authority(net.folder)
    server = _server(net, authority, IPAM, json.dumps(allocations()))
    token = net.folder / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    source: Config = {"type": "http", "url": URL, "token_file": str(token), "ca": str(authority.file)}
    source |= {"interval": 1, "timeout": 2}
    ipam = {"sources": [source], "guard": {"max_removed": "50%"}}
    fabric = build(net, settings={"ipam": ipam})
    fabric.nodes["node-1"].announce(MORE)
    return Sourced(fabric, authority, server)


@pytest.fixture
def sourced(started: Sourced) -> Iterator[Sourced]:
    """The fabric, with a healthy server and the first allocations again after each test."""
    yield started
    started.write_token("first")
    started.server.fault = None
    started.server.authorization = "Bearer first"
    started.say(allocations())
    tors_hold(started.fabric, ROUTES, within=35)
    eventually(
        lambda: started.fabric.appliance.rrctl("status")["ipam"]["error"] is None, 35, "the error ends"
    )


@pytest.fixture
def more() -> Config:
    """The first allocations, and another prefix for node-1."""
    known = copy.deepcopy(allocations())
    known["nodes"]["node-1"]["prefixes"].append(MORE)
    return known


def test_what_is_granted_and_revoked_at_a_url_reaches_the_tors(sourced: Sourced, more: Config) -> None:
    """A prefix that the served document gives is at both ToRs a question later, and gone as fast; nobody flaps."""
    with undisturbed(sourced.fabric, gone={MORE}):
        sourced.say(more)
        tors_hold(sourced.fabric, ROUTES | {MORE}, within=SOON)
        sourced.say(allocations())
        tors_hold(sourced.fabric, ROUTES, within=SOON)


def test_an_unchanged_url_costs_no_body_and_no_work(sourced: Sourced) -> None:
    """While nothing changes the server answers 304 without a body, and neither events nor policy changes come of it."""
    sourced.asked(2)
    before = sourced.fabric.appliance.rrctl("events")
    first = len(sourced.server.asked)
    with undisturbed(sourced.fabric):
        sourced.asked(4)
    answered = sourced.server.asked[first : first + 3]
    assert [(asked.status, asked.size) for asked in answered] == [(304, 0)] * 3
    assert sourced.fabric.appliance.rrctl("events") == before
    assert sourced.fabric.appliance.tell("check").exit == 0


def test_tors_keep_every_route_while_the_url_is_away_for_long_also_when_rrd_starts_meanwhile(
    sourced: Sourced, more: Config
) -> None:
    """Routes stay, `check` warns of the server, a new rrd enforces the last good answer; back again it is followed."""
    appliance = sourced.fabric.appliance
    with undisturbed(sourced.fabric, gone={MORE}):
        sourced.server.stop()
        told = eventually(lambda: unwell(sourced.fabric), 10, "check warns")
        assert told.exit == 1
        assert f"{URL} cannot be reached" in told.stdout
        never(lambda: not _hold(sourced.fabric), 5, "a ToR loses a route")
        appliance.stop(stop_engines=False)
        appliance.start()
        assert _hold(sourced.fabric)
        assert appliance.rrctl("status")["ipam"]["prefixes"] == len(PODS)
        sourced.serve()
        sourced.say(more)
        tors_hold(sourced.fabric, ROUTES | {MORE}, within=35)


def _hold(fabric: Fabric) -> bool:
    return all(set(tor.routes()) >= ROUTES for tor in fabric.tors)


def unmoved_by(sourced: Sourced, happens: Callable[[], None], sentence: str) -> None:
    """Assert that what happens to the server is said by `check`, and that no route and no session moves."""
    with undisturbed(sourced.fabric):
        happens()
        told = eventually(lambda: unwell(sourced.fabric), 15, "check warns")
        assert told.exit == 1
        assert sentence in told.stdout
        never(lambda: not _hold(sourced.fabric), 2, "a ToR loses a route")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (web.login_page, f"{URL} answers with a web page, not with allocations"),
        (web.status(503), f"{URL} has a fault of its own (503 Service Unavailable)"),
        (web.cut, f"{URL} breaks off in the middle of its answer"),
        (web.silent, f"{URL} does not answer whole within 2 s"),
        (web.drip, f"{URL} does not answer whole within 2 s"),
        (
            web.redirect("https://10.9.0.6/"),
            f"{URL} leads to another host, https://10.9.0.6, and we do not follow it",
        ),
    ],
    ids=["login-page", "503", "cut", "silent", "slow", "redirect"],
)
def test_tors_keep_every_route_while_the_url_answers_with(
    sourced: Sourced, fault: web.Fault, sentence: str
) -> None:
    """A login page, a 503, half an answer, none, one without end, another host: said, and nothing moves."""

    def happens() -> None:
        sourced.server.fault = fault

    unmoved_by(sourced, happens, sentence)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("", "is empty"),
        ("nodes: {}\nvips: [", "the file ends in the middle of a value"),
        ('{"nodes": {}, "pools": []}', "is not a known key here"),
    ],
    ids=["empty", "cut-off", "unknown-key"],
)  # fmt: skip
def test_tors_keep_every_route_while_the_document_has_a_mistake(
    sourced: Sourced, document: str, sentence: str
) -> None:
    """The mistake is said with the URL as its place, and the last good document stays in force."""

    def happens() -> None:
        sourced.server.text = document

    unmoved_by(sourced, happens, sentence)


def test_a_document_that_is_empty_by_mistake_is_held_back(sourced: Sourced) -> None:
    """`nodes: {}` would revoke everything: it is held, critical in `check`, and over as soon as the URL serves more."""
    with undisturbed(sourced.fabric):
        sourced.say({"nodes": {}})
        told = eventually(lambda: unwell(sourced.fabric), 5, "check is critical")
        assert (told.exit, "held" in told.stdout) == (2, True)
        never(lambda: not _hold(sourced.fabric), 2, "a ToR loses a route")
        sourced.say(allocations())
        eventually(lambda: sourced.fabric.appliance.tell("check").exit == 0, 5, "nothing is held any more")


def test_a_token_that_is_rotated_counts_with_the_next_question(sourced: Sourced, more: Config) -> None:
    """The server wants a new token: said, nothing moves; the new token in the file is enough, no reload."""

    def happens() -> None:
        sourced.server.authorization = "Bearer second"

    unmoved_by(sourced, happens, "does not accept the token in")
    sourced.write_token("second")
    sourced.say(more)
    tors_hold(sourced.fabric, ROUTES | {MORE}, within=35)


def test_a_server_with_a_wrong_certificate_is_not_believed(sourced: Sourced, more: Config) -> None:
    """Somebody else at the same address serves other allocations, with a certificate of another CA: it is not heard."""
    other = Authority(sourced.fabric.net.folder, "other")

    def happens() -> None:
        sourced.say(more)
        sourced.serve(authority=other)

    unmoved_by(sourced, happens, f"the certificate of {IPAM} cannot be trusted")
    assert sourced.server.asked == []
    sourced.serve(certificate_for="10.9.0.6")
    told = eventually(lambda: _says(sourced.fabric, "for another name"), 40, "check says it")
    assert told
    sourced.serve()


def _says(fabric: Fabric, words: str) -> bool:
    return words in fabric.appliance.tell("check").stdout


def test_a_grant_at_a_url_is_at_the_tor_within_a_second_or_so(sourced: Sourced, more: Config) -> None:
    """From the change at the server to the route at both ToRs it takes the interval (1 s) and little more."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        sourced.say(more)
        tors_hold(sourced.fabric, ROUTES | {MORE}, within=SOON)
        times.append(time.monotonic() - started)
        sourced.say(allocations())
        tors_hold(sourced.fabric, ROUTES, within=SOON)
    print(f"grant over http to both ToRs: {', '.join(f'{t:.2f}' for t in times)} s")
    assert min(times) < 2
