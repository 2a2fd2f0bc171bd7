"""Allocations from NetBox: what is written there, and what the ToRs have of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import Network, eventually, never, web
from tests.lab.netbox_api import DEVICES, PREFIXES, Item, Netbox
from tests.scenarios.lifecycle import (
    NODES,
    PODS,
    ROUTES,
    Fabric,
    build,
    tors_hold,
    undisturbed,
    unwell,
)

pytestmark = pytest.mark.root

ADDRESS, PORT = "10.9.0.6", 8080
URL = f"http://{ADDRESS}:{PORT}"
MORE = "10.244.101.0/24"
"""What node-1 announces all the time and does not own at first."""
STRANGE = "10.244.77.0/24"
"""What node-3 announces all the time; NetBox gives it to a device that is no node."""
OTHER_VIP = "10.101.0.1/32"
"""What node-1 and node-3 announce all the time, without a pool at first."""
SOON = 4.0
"""Seconds: NetBox is asked once a second, and a busy machine takes its time."""
LATER = 35.0
"""Seconds: after an error it is asked less and less often, every 30 seconds in the end."""


@dataclass
class Sourced:
    """A fabric whose allocations come from NetBox."""

    fabric: Fabric
    netbox: Netbox
    devices: dict[str, Item]


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Sourced:
    net = shared_net
    listener = net.host("netbox", ADDRESS).listen(PORT)
    netbox = Netbox(listener, authorization="Bearer nbt_abc.def")
    net.remember(netbox)
    devices = {name: netbox.device(name, f"{address}/24") for name, address in NODES.items()}
    for name, prefix in PODS.items():
        netbox.prefix(prefix, k8s_node=devices[name])
    netbox.prefix("10.100.0.0/24", role="vip")
    token = net.folder / "token"
    token.write_text("nbt_abc.def\n")
    token.chmod(0o600)
    source = {
        "type": "netbox",
        "url": URL,
        "plain_http": True,
        "token_file": str(token),
        "nodes": {"role": "k8s-node"},
        "prefixes": {"role": "pod-cidr"},
        "owner": "k8s_node",
        "vips": {"role": "vip"},
        "announcers": "k8s_nodes",
        "without_announcers": "all",
        "interval": 1,
        "timeout": 2,
    }
    fabric = build(net, settings={"ipam": {"sources": [source], "guard": {"max_removed": "50%"}}})
    fabric.nodes["node-1"].announce(MORE)
    fabric.nodes["node-1"].announce(OTHER_VIP)
    fabric.nodes["node-3"].announce(OTHER_VIP)
    fabric.nodes["node-3"].announce(STRANGE)
    return Sourced(fabric, netbox, devices)


@pytest.fixture
def sourced(started: Sourced) -> Iterator[Sourced]:
    """The fabric, with a healthy NetBox and its first objects again after each test."""
    first = {kind: set(known) for kind, known in started.netbox.objects.items()}
    yield started
    started.netbox.fault = None
    started.netbox.max_page_size = 1000
    for kind, known in started.netbox.objects.items():
        for number in set(known) - first[kind]:
            started.netbox.delete(known[number])
    tors_hold(started.fabric, ROUTES, within=LATER)
    eventually(lambda: started.fabric.appliance.tell("check").exit == 0, LATER, "all is well again")


def test_a_prefix_with_its_role_and_node_reaches_the_tors_and_goes_when_it_is_deleted(
    sourced: Sourced,
) -> None:
    """A prefix that is written into NetBox is at both ToRs a question later, deleted it is gone; nobody flaps."""
    with undisturbed(sourced.fabric, gone={MORE}):
        prefix = sourced.netbox.prefix(MORE, k8s_node=sourced.devices["node-1"])
        tors_hold(sourced.fabric, ROUTES | {MORE}, within=SOON)
        assert sourced.fabric.frr.next_hops(MORE) == {NODES["node-1"]}
        sourced.netbox.delete(prefix)
        tors_hold(sourced.fabric, ROUTES, within=SOON)


@pytest.mark.parametrize(
    "values", [{"status": "reserved"}, {"k8s_node": None}, {"vrf": {"id": 1, "name": "prod", "rd": None}}]
)
def test_a_prefix_that_ceases_to_be_meant_goes_from_the_tors(sourced: Sourced, values: Item) -> None:
    """Reserved, without its node, or in a VRF: it is no longer that node's, though it still stands in NetBox."""
    prefix = sourced.netbox.prefix(MORE, k8s_node=sourced.devices["node-1"])
    tors_hold(sourced.fabric, ROUTES | {MORE}, within=SOON)
    with undisturbed(sourced.fabric, gone={MORE}):
        sourced.netbox.change(prefix, **values)
        tors_hold(sourced.fabric, ROUTES, within=SOON)


def test_every_page_of_netbox_is_read(sourced: Sourced) -> None:
    """With one object a page, the prefixes on the last page reach the ToRs like those on the first."""
    sourced.netbox.max_page_size = 1
    for number in (102, 103):
        sourced.netbox.prefix(f"10.244.{number}.0/24", k8s_node="node-2")
    with undisturbed(sourced.fabric):
        sourced.netbox.prefix(MORE, k8s_node="node-1")
        tors_hold(sourced.fabric, ROUTES | {MORE}, within=SOON)
    known = sourced.fabric.appliance.rrctl("status")["ipam"]["prefixes"]
    assert known == len(PODS) + 3


def test_a_prefix_that_is_deleted_while_netbox_is_read_costs_no_other_its_route(sourced: Sourced) -> None:
    """Between two pages the first prefix is deleted, so that all others move up: no ToR loses one of them."""
    extra = sourced.netbox.prefix(MORE, k8s_node="node-1")
    tors_hold(sourced.fabric, ROUTES | {MORE}, within=SOON)
    sourced.netbox.max_page_size = 2
    with undisturbed(sourced.fabric, gone={MORE}):
        sourced.netbox.between_pages = lambda: sourced.netbox.delete(extra)
        sourced.netbox.change(sourced.devices["node-2"])
        tors_hold(sourced.fabric, ROUTES, within=SOON)


def test_a_prefix_of_a_device_that_is_no_node_is_nobodys(sourced: Sourced) -> None:
    """No ToR hears of it; when NetBox gives it to the node that announces it, the route appears by itself."""
    device = sourced.netbox.device("node-9", "10.2.0.19/24", role="pod-cidr")
    strange = sourced.netbox.prefix(STRANGE, k8s_node=device)
    with undisturbed(sourced.fabric):
        never(lambda: any(tor.paths(STRANGE) for tor in sourced.fabric.tors), 3, "it is at a ToR")
        sourced.netbox.change(strange, k8s_node=sourced.devices["node-3"])
        tors_hold(sourced.fabric, ROUTES | {STRANGE}, within=SOON)
        assert sourced.fabric.frr.next_hops(STRANGE) == {NODES["node-3"]}


def test_an_ip_range_of_vips_is_open_to_the_nodes_that_it_names(sourced: Sourced) -> None:
    """Two nodes announce a VIP of the range: while it names one of them the ToRs have one path, then two, then none."""
    span = sourced.netbox.range("10.101.0.1/24", "10.101.0.6/24", k8s_nodes=[sourced.devices["node-1"]])
    held = ROUTES | {OTHER_VIP}
    tors_hold(sourced.fabric, held, within=SOON)
    assert sourced.fabric.frr.next_hops(OTHER_VIP) == {NODES["node-1"]}
    both = [sourced.devices["node-1"], sourced.devices["node-3"]]
    with undisturbed(sourced.fabric, gone={OTHER_VIP}):
        sourced.netbox.change(span, k8s_nodes=both)
        hops = {NODES["node-1"], NODES["node-3"]}
        eventually(lambda: sourced.fabric.frr.next_hops(OTHER_VIP) == hops, SOON, "both paths")
        sourced.netbox.change(span, k8s_nodes=[{"id": 999, "url": f"{URL}/api/{DEVICES}/999/"}])
        tors_hold(sourced.fabric, ROUTES, within=SOON)


def _hold(fabric: Fabric) -> bool:
    return all(set(tor.routes()) >= ROUTES for tor in fabric.tors)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (web.status(502), "has a fault of its own (502 Bad Gateway)"),
        (web.login_page, "does not answer like NetBox: it is a web page"),
        (web.silent, "does not answer whole within 2 s"),
        (web.hang_up, "closes the connection without an answer"),
    ],
    ids=["502", "login-page", "silent", "hang-up"],
)
def test_tors_keep_every_route_while_netbox_fails(sourced: Sourced, fault: web.Fault, sentence: str) -> None:
    """Faults of its own, a login page, no answer: said by `check`, nothing moves, and a change gets through later."""
    with undisturbed(sourced.fabric, gone={MORE}):
        sourced.netbox.fault = fault
        told = eventually(lambda: unwell(sourced.fabric), 15, "check warns")
        assert (told.exit, sentence in told.stdout) == (1, True), told.stdout
        never(lambda: not _hold(sourced.fabric), 2, "a ToR loses a route")
        sourced.netbox.prefix(MORE, k8s_node="node-1")
        sourced.netbox.fault = None
        tors_hold(sourced.fabric, ROUTES | {MORE}, within=LATER)


def test_a_netbox_that_shows_nothing_any_more_is_held_back(sourced: Sourced) -> None:
    """The token's permissions are narrowed: NetBox answers with empty lists. Held, critical, and nothing moves."""
    known = dict(sourced.netbox.objects[PREFIXES])
    with undisturbed(sourced.fabric):
        sourced.netbox.objects[PREFIXES].clear()
        sourced.netbox.change(sourced.devices["node-1"])
        told = eventually(lambda: unwell(sourced.fabric), SOON, "check is critical")
        assert (told.exit, "held" in told.stdout) == (2, True), told.stdout
        never(lambda: not _hold(sourced.fabric), 2, "a ToR loses a route")
        sourced.netbox.objects[PREFIXES].update(known)
        sourced.netbox.change(sourced.devices["node-1"])
        eventually(lambda: sourced.fabric.appliance.tell("check").exit == 0, SOON, "nothing is held any more")


def test_a_custom_field_that_is_removed_from_netbox_revokes_nothing(sourced: Sourced) -> None:
    """Without the field nobody would own anything: that is an error, said with what to do, and nothing moves."""
    known = {number: item["custom_fields"] for number, item in sourced.netbox.objects[PREFIXES].items()}
    with undisturbed(sourced.fabric):
        for item in sourced.netbox.objects[PREFIXES].values():
            item["custom_fields"] = {}
        sourced.netbox.change(sourced.devices["node-1"])
        told = eventually(lambda: unwell(sourced.fabric), 15, "check warns")
        assert "has no custom field k8s_node for the type prefix" in told.stdout
        never(lambda: not _hold(sourced.fabric), 2, "a ToR loses a route")
    for number, fields in known.items():
        sourced.netbox.objects[PREFIXES][number]["custom_fields"] = fields
    sourced.netbox.change(sourced.devices["node-1"])
