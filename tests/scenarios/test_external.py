"""`rrd --engine external`: somebody else starts the engine, and rrd drives it, and never starts or ends one."""

import copy
import signal

import pytest

from tests.lab import Network, eventually, never
from tests.lab.appliance import Appliance
from tests.lab.gobgp import engine_program
from tests.lab.process import Process
from tests.scenarios.lifecycle import (
    ROUTES,
    Calm,
    Fabric,
    allocations,
    instances,
    populate,
    tors_hold,
    undisturbed,
    unwell,
)

pytestmark = pytest.mark.root


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
        shared_net, "rr-a", "10.0.0.11", instances=instances(), allocations=allocations(), start=False
    )
    start_engine(appliance)
    appliance.start("--engine", "external")
    return populate(shared_net, appliance)


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


def test_what_takes_another_engine_is_asked_for_and_not_done(fabric: Fabric) -> None:
    """Another router id: check is critical until somebody restarts the engine, which forwards until then."""
    old, config = engine(fabric), copy.deepcopy(dict(fabric.appliance.instances))
    config["main"] |= {"router_id": "10.0.0.111", "cluster_id": "10.0.0.11", "listen": ["10.0.0.11"]}
    fabric.appliance.set_config(config)
    calm = Calm(fabric.everyone)
    fabric.appliance.reload()
    critical(fabric, "restart the engine's unit")
    assert fabric.appliance.engines() == [old.pid]
    calm.check()
    old.stop()
    start_engine(fabric.appliance)
    eventually(fabric.appliance.ready, 4, "the next engine is driven")
    tors_hold(fabric, ROUTES, within=30)
    eventually(lambda: fabric.appliance.tell("check").exit == 0, 30, "all is well again")


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


def test_an_engine_that_hangs_is_said_once_and_not_ended(fabric: Fabric) -> None:
    """check is critical, the process stays; when it answers again it is driven, and everything is back."""
    stopped = engine(fabric)
    since = str(fabric.appliance.rrctl("events")[-1]["id"])

    def said() -> list[str]:
        events = fabric.appliance.rrctl("events", "--since", since)
        return [event["text"] for event in events if "hangs" in event["text"]]

    stopped.signal(signal.SIGSTOP)
    try:
        critical(fabric, "it hangs: it listens, and answers nothing for 8 s; restart the engine's unit", 30)
        # Long enough for it to be found hanging once more.
        never(lambda: len(said()) > 1, 12, "it is said again")
    finally:
        stopped.signal(signal.SIGCONT)
    eventually(fabric.appliance.ready, 15, "it is driven again")
    assert fabric.appliance.engines() == [stopped.pid]
    tors_hold(fabric, ROUTES, within=30)
