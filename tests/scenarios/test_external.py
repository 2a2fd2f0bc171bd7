"""`rrd --engine external`: somebody else starts engines; rrd drives them, ends what is of no use, and starts none."""

import copy
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Forwarding, Network, all_established, eventually, never
from tests.lab.appliance import Appliance
from tests.lab.gobgp import engine_program
from tests.lab.process import Process
from tests.scenarios.lifecycle import (
    ROUTES,
    Calm,
    Config,
    Fabric,
    allocations,
    instances,
    populate,
    tors_hold,
    undisturbed,
    unwell,
)

pytestmark = pytest.mark.root
HOLD_TIME = 60
"""Seconds; longer than it takes to find that an engine hangs, so that its peers wait for the next one."""


def speaker(**changes: Any) -> Config:
    """The instance, but for what is given."""
    config = copy.deepcopy(instances())
    config["main"] |= {"hold_time": HOLD_TIME, **changes}
    return config


def start_engine(appliance: Appliance) -> Process:
    """What a unit of the service manager would do."""
    directory = appliance.run_dir / "main"
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "gobgpd.sock").unlink(missing_ok=True)
    options = ("--pprof-disable", "--metrics-path=", "--log-level=warn")
    return appliance.host.start(
        "gobgpd", [engine_program("gobgpd"), f"--api-hosts=unix://{directory}/gobgpd.sock", *options]
    )


@pytest.fixture(scope="module")
def fabric(shared_net: Network) -> Fabric:
    appliance = Appliance(
        shared_net, "rr-a", "10.0.0.11", instances=speaker(), allocations=allocations(), start=False
    )
    start_engine(appliance)
    appliance.start("--engine", "external")
    return populate(shared_net, appliance, hold_time=HOLD_TIME)


def engine(fabric: Fabric) -> Process:
    """The engine that was started last."""
    return [process for process in fabric.appliance.host.processes if process.name == "gobgpd"][-1]


def critical(fabric: Fabric, text: str, within: float = 10) -> None:
    """Wait until check is critical and says this."""

    def said() -> bool:
        told = unwell(fabric)
        return told.exit == 2 and text in told.stdout

    eventually(said, within, f"check is critical: {text}")


def test_the_engine_of_somebody_else_is_driven_as_it_is_found(fabric: Fabric) -> None:
    """Its process and version are shown, it is the only one, and all is well."""
    (shown,) = fabric.appliance.rrctl("status")["instances"]
    assert fabric.appliance.engines() == [engine(fabric).pid] == [shown["engine"]["pid"]]
    assert shown["engine"]["version"].startswith("4.")
    assert fabric.appliance.tell("check").exit == 0


def test_a_controller_that_is_killed_adopts_the_engine_again(fabric: Fabric) -> None:
    """The same engine, and no session and no route noticed."""
    with undisturbed(fabric):
        fabric.appliance.kill()
        fabric.appliance.start("--engine", "external")
        assert fabric.appliance.engines() == [engine(fabric).pid]
        tors_hold(fabric, ROUTES)


def test_an_engine_that_dies_is_waited_for_and_not_replaced(fabric: Fabric) -> None:
    """check is critical and says what to start, no engine is started; the next one is driven soon."""
    engine(fabric).kill()
    socket = fabric.appliance.run_dir / "main" / "gobgpd.sock"
    critical(fabric, f"nobody listens on {socket}; start the engine's unit")
    # Long enough for pauses between attempts to have grown.
    never(fabric.appliance.engines, 10, "an engine is started")
    start_engine(fabric.appliance)
    eventually(fabric.appliance.ready, 4, "the next engine is driven")
    tors_hold(fabric, ROUTES, within=30)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 30, "all is well again")


def ends(fabric: Fabric) -> dict[str, int]:
    """How many lives of engines ended, by cause."""
    (shown,) = fabric.appliance.rrctl("status")["instances"]
    found: dict[str, int] = shown["engine"]["ends"]
    return found


def said(fabric: Fabric, since: str) -> list[str]:
    """What was said of engines after an event."""
    events = fabric.appliance.rrctl("events", "--since", since)
    return [event["text"] for event in events if event["kind"] == "engine"]


@contextmanager
def ended_by_rrd(fabric: Fabric, cause: str, within: float) -> Iterator[None]:
    """What happens inside makes rrd end the engine; the next one, once it is started, is driven, and all is well."""
    old, before = engine(fabric), ends(fabric)
    yield
    eventually(lambda: not old.running, within, "the engine is ended", seen=lambda: unwell(fabric).stdout)
    socket = fabric.appliance.run_dir / "main" / "gobgpd.sock"
    critical(fabric, f"nobody listens on {socket}; start the engine's unit")
    assert fabric.appliance.engines() == []
    start_engine(fabric.appliance)
    eventually(fabric.appliance.ready, 4, "the next engine is driven")
    assert ends(fabric) == before | {cause: before[cause] + 1}
    all_established(*fabric.everyone, timeout=30)
    tors_hold(fabric, ROUTES, within=30)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 30, "all is well again")


@contextmanager
def nothing_lost(fabric: Fabric) -> Iterator[None]:
    """Assert that inside no ToR is told to drop a route, or stops forwarding by it."""
    calm, tables = Calm(fabric.tors), {tor.name: Forwarding(tor.host) for tor in fabric.tors}
    yield
    assert calm.lost() == {}
    assert {name: table.taken_out() for name, table in tables.items()} == {"tor-1": [], "tor-2": []}


def test_an_engine_that_hangs_is_ended_and_the_next_one_takes_its_peers_back(fabric: Fabric) -> None:
    """SIGSTOP: within half a minute it is ended as hung, said once; the next one is driven, and no ToR lost a route."""
    since = str(fabric.appliance.rrctl("events")[-1]["id"])
    with nothing_lost(fabric), ended_by_rrd(fabric, "hung", 30):
        engine(fabric).signal(signal.SIGSTOP)
    assert [text for text in said(fabric, since) if text.startswith("the engine of main hangs")] == [
        "the engine of main hangs: no answer to 3 pings"
    ]


def test_an_engine_that_hangs_when_rrd_comes_is_ended_too(fabric: Fabric) -> None:
    """It is stopped while no controller runs: the next one gives it the time of a start to answer, and ends it."""
    fabric.appliance.stop(stop_engines=False)
    old = engine(fabric)
    old.signal(signal.SIGSTOP)
    with pytest.raises(AssertionError, match="is ready"):
        fabric.appliance.start("--engine", "external", timeout=2)
    assert old.running
    eventually(lambda: not old.running, 30, "it is ended")
    start_engine(fabric.appliance)
    eventually(fabric.appliance.ready, 4, "the next engine is driven")
    all_established(*fabric.everyone, timeout=30)
    tors_hold(fabric, ROUTES, within=30)


def test_an_engine_that_should_listen_on_more_is_ended_so_that_peers_keep_its_routes(fabric: Fabric) -> None:
    """A floating address is added: still the same speaker; the next one takes its peers back, no ToR lost a route."""
    nonlocal_bind = "/proc/sys/net/ipv4/ip_nonlocal_bind"
    fabric.appliance.host.inside(lambda: Path(nonlocal_bind).write_text("1"))
    with nothing_lost(fabric), ended_by_rrd(fabric, "settings", 10):
        fabric.appliance.set_config(speaker(floating=["10.0.0.10"]))
        told = fabric.appliance.reload()
    assert any("its engine is restarted" in text for text in told["resets"])


def test_an_engine_that_should_be_another_speaker_is_ended_in_order(fabric: Fabric) -> None:
    """Another router id: peers are told, and drop its routes before the next one announces them anew."""
    own = {"router_id": "10.0.0.111", "cluster_id": "10.0.0.11", "listen": ["10.0.0.11"]}
    Calm(fabric.everyone)  # nobody is told who is just about to connect once more
    with ended_by_rrd(fabric, "settings", 15):
        fabric.appliance.set_config(speaker(**own))
        fabric.appliance.reload()
        tors_hold(fabric, set(), within=15)
    (shown,) = fabric.appliance.rrctl("status")["instances"]
    assert shown["router_id"] == "10.0.0.111"
