"""The controller comes and goes: engines and sessions do not notice, and it finds everything as it should be."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Network, all_established, eventually, never
from tests.lab.gobgp import engine_environment
from tests.lab.process import run
from tests.lab.stream import Stream
from tests.scenarios.lifecycle import (
    PODS,
    ROUTES,
    Config,
    Fabric,
    allocations,
    build,
    instances,
    sessions,
    tors_hold,
    undisturbed,
    unwell,
)

pytestmark = pytest.mark.root

MORE = "10.244.103.0/24"
CHURN = tuple(f"10.245.{number}.0/24" for number in range(4))
SPEAKER: Config = {"graceful_restart": {"restart_time": 20, "deferral_time": 10}}
"""Where an engine is new, FRR waits for as long as this to be dialed (docs/engine.md)."""


@pytest.fixture(scope="module")
def started(shared_net: Network) -> Fabric:
    fabric = build(shared_net, speaker=SPEAKER)
    fabric.nodes["node-3"].announce(MORE)
    return fabric


@pytest.fixture
def fabric(started: Fabric) -> Iterator[Fabric]:
    """The fabric, with a running controller and its first allocations again after each test."""
    yield started
    started.appliance.set_allocations(allocations())
    if started.appliance.process is None:
        started.appliance.start()
    tors_hold(started, ROUTES, within=45)


def configured() -> Config:
    """The instance that runs."""
    config = instances()
    config["main"] |= SPEAKER
    return config


def end(fabric: Fabric, number: signal.Signals = signal.SIGKILL) -> None:
    """End the controller alone."""
    process = fabric.appliance.process
    assert process is not None
    process.signal(number)
    code = process.wait(10)
    assert code == (-9 if number is signal.SIGKILL else 0)
    fabric.appliance.process = None


def log(fabric: Fabric) -> str:
    return (fabric.appliance.host.folder / "rrd.log").read_text(errors="replace")


def wipe(fabric: Fabric) -> None:
    """Remove all that the controller kept on disk."""
    for path in fabric.appliance.state_dir.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_the_controller_ends_and_comes_back_and_no_session_notices(
    fabric: Fabric, number: signal.Signals
) -> None:
    """The same engine is adopted; ToRs and nodes heard no removal, sessions are as old as before."""
    (engine,) = fabric.appliance.engines()
    with undisturbed(fabric):
        end(fabric, number)
        assert fabric.appliance.tell("check").exit == 2
        assert fabric.appliance.tell("status").exit == 3
        assert set(fabric.frr.routes()) == ROUTES
        fabric.appliance.start()
        assert fabric.appliance.engines() == [engine]
        assert any("engine adopted" in e["text"] for e in fabric.appliance.rrctl("events")[-10:])
        assert fabric.appliance.tell("check").exit == 0
        routes = {(r["prefix"], r["node"]) for r in fabric.appliance.rrctl("routes")}
        assert routes == {(PODS[n], n) for n in PODS} | {("10.100.0.1/32", n) for n in PODS}


def test_what_a_node_does_while_the_controller_is_away_is_filtered_and_seen_later(fabric: Fabric) -> None:
    """A hijack during its absence reaches no ToR, and is a violation once it is back; a withdrawal is followed."""
    node = fabric.nodes["node-3"]
    with undisturbed(fabric, gone={PODS["node-3"]}):
        end(fabric)
        node.announce(PODS["node-1"])
        node.withdraw(PODS["node-3"])
        tors_hold(fabric, ROUTES - {PODS["node-3"]})
        fabric.appliance.start()
        eventually(
            lambda: fabric.appliance.violations(
                prefix=PODS["node-1"], node="node-3", reason="foreign-prefix", active=True
            ),
            5,
            "the hijack is seen",
        )
        assert not any(r["prefix"] == PODS["node-3"] for r in fabric.appliance.rrctl("routes"))
        assert fabric.frr.next_hops(PODS["node-1"]) == {"10.2.0.11"}
    node.withdraw(PODS["node-1"])
    node.announce(PODS["node-3"])


def test_allocations_that_changed_meanwhile_are_applied_when_it_is_back(fabric: Fabric) -> None:
    """One prefix granted and one revoked while it was away: both are as they should be, and nothing else moved."""
    known = allocations()
    known["nodes"]["node-3"]["prefixes"].append(MORE)
    known["nodes"]["node-2"]["prefixes"] = []
    with undisturbed(fabric, gone={PODS["node-2"]}):
        end(fabric)
        fabric.appliance.set_allocations(known)
        never(lambda: MORE in fabric.frr.routes(), 0.3, "engines follow the IPAM without the controller")
        fabric.appliance.start()
        tors_hold(fabric, ROUTES - {PODS["node-2"]} | {MORE})


def test_a_controller_is_in_charge_at_once_although_routes_come_and_go_without_a_pause(
    fabric: Fabric,
) -> None:
    """A node announces and withdraws five times a second for ever: a new rrd is ready, and revokes, all the same."""
    known = allocations()
    known["nodes"]["node-2"]["prefixes"] = []
    with undisturbed(fabric, gone={PODS["node-2"], *CHURN}):
        stream = Stream(fabric.nodes["node-3"], CHURN)
        try:
            end(fabric)
            fabric.appliance.start(timeout=8)
            fabric.appliance.set_allocations(known)
            tors_hold(fabric, ROUTES - {PODS["node-2"]})
            violation = {"node": "node-3", "reason": "not-allocated"}
            eventually(lambda: fabric.appliance.violations(prefix=CHURN[0], **violation), 10, "it is seen")
        finally:
            stream.stop()


def test_a_configuration_that_changed_meanwhile_is_applied_when_it_is_back(fabric: Fabric) -> None:
    """A hold time and a rack more, written while it was away: no session notices."""
    with undisturbed(fabric):
        end(fabric)
        config = configured()
        config["main"]["hold_time"] = 12
        config["main"]["racks"]["rack-2"] = {"nodes": {"ranges": ["10.3.0.0/24"]}}
        fabric.appliance.set_config(config)
        fabric.appliance.start()
        assert fabric.appliance.rrctl("config", "diff") == {"changes": [], "resets": []}
        fabric.appliance.set_config(configured())
        fabric.appliance.reload()


def test_an_engine_of_an_instance_that_was_removed_meanwhile_is_ended(fabric: Fabric) -> None:
    """An instance disappears from rr.yaml while nobody looks: its engine does not run on unwatched."""
    fabric.appliance.host.add_addresses("10.0.0.12")
    other = {
        "asn": 64513,
        "router_id": "10.0.0.12",
        "racks": {"rack-4": {"nodes": {"ranges": ["10.4.0.0/24"]}}},
    }
    with undisturbed(fabric):
        fabric.appliance.set_config(configured() | {"other": other})
        fabric.appliance.reload()
        assert len(fabric.appliance.engines()) == 2
        end(fabric)
        fabric.appliance.set_config(configured())
        fabric.appliance.start()
        eventually(lambda: len(fabric.appliance.engines()) == 1, 5, "the other engine has ended")


@pytest.mark.parametrize("text", [None, "", "nodes: [", "<html>502</html>"])
def test_it_starts_with_what_was_last_known_when_the_ipam_is_broken(fabric: Fabric, text: str | None) -> None:
    """A missing or broken file at the start: nothing is withdrawn, check warns, and a good file is taken over."""
    file = fabric.appliance.allocations_file
    with undisturbed(fabric):
        end(fabric)
        file.unlink()
        if text is not None:
            file.write_text(text)
        fabric.appliance.start()
        told = fabric.appliance.tell("check")
        assert told.exit == 1
        assert str(file) in told.stdout
        never(lambda: set(fabric.frr.routes()) != ROUTES, 1.5, "a broken file takes routes away")
    known = allocations()
    known["nodes"]["node-3"]["prefixes"].append(MORE)
    fabric.appliance.set_allocations(known)
    tors_hold(fabric, ROUTES | {MORE})


def test_an_adopted_engine_keeps_its_policy_when_nothing_at_all_is_known(fabric: Fabric) -> None:
    """Neither state nor IPAM file: nothing is withdrawn and hijacks stay out, and check is critical."""
    with undisturbed(fabric):
        end(fabric)
        wipe(fabric)
        fabric.appliance.allocations_file.unlink()
        fabric.appliance.start()
        told = fabric.appliance.tell("check")
        assert told.exit == 2
        assert "No allocations were ever known" in told.stdout
        fabric.nodes["node-3"].announce(PODS["node-1"])
        never(lambda: set(fabric.frr.routes()) != ROUTES, 1.5, "the policy of an adopted engine is lost")
        assert fabric.frr.next_hops(PODS["node-1"]) == {"10.2.0.11"}
        fabric.appliance.set_allocations(allocations())
        eventually(lambda: fabric.appliance.tell("check").exit == 0, 5, "all is well with allocations")
    fabric.nodes["node-3"].withdraw(PODS["node-1"])


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"\xff\x00\xfe", b'{"version": 1, "digest": "", "content": {}}']
)
def test_corrupt_state_is_said_and_ignored(fabric: Fabric, garbage: bytes) -> None:
    """Every state file overwritten with rubbish: it starts, says so, and goes by the IPAM."""
    with undisturbed(fabric):
        end(fabric)
        before = len(log(fabric))
        files = [path for path in fabric.appliance.state_dir.rglob("*") if path.is_file()]
        assert {path.name for path in files} >= {"allocations.json", "events.jsonl"}
        for path in files:
            path.write_bytes(garbage)
        fabric.appliance.start()
        assert "allocations.json cannot be used" in log(fabric)[before:]
        eventually(lambda: fabric.appliance.tell("check").exit == 0, 5, "the next good reading replaces it")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB in place of a folder, with what was in it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "events.jsonl"]
    kept = {path.relative_to(folder): path.read_bytes() for path in files}
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)])
    try:
        for name, data in kept.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        yield folder
    finally:
        run(["umount", "-l", str(folder)])


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_takes_nothing_does_not_keep_it_from_working(fabric: Fabric, how: str) -> None:
    """state_dir full or read-only: grants and revocations go on, check warns; it ends when there is room again."""
    known = allocations()
    known["nodes"]["node-3"]["prefixes"].append(MORE)
    with undisturbed(fabric, gone={MORE}), small_disk(fabric.appliance.state_dir) as disk:
        if how == "full":
            with contextlib.suppress(OSError), (disk / "filler").open("wb") as filler:
                while True:
                    filler.write(b"x" * 1024)
                    filler.flush()
        else:
            run(["mount", "-o", "remount,ro", str(disk)])
        fabric.appliance.set_allocations(known)
        tors_hold(fabric, ROUTES | {MORE})
        told = eventually(lambda: unwell(fabric), 5, "it is said")
        assert told.exit == 1
        assert str(disk) in told.stdout
        end(fabric)
        fabric.appliance.start()
        tors_hold(fabric, ROUTES | {MORE})
        if how == "full":
            (disk / "filler").unlink()
        else:
            run(["mount", "-o", "remount,rw", str(disk)])
        fabric.appliance.set_allocations(allocations())
        tors_hold(fabric, ROUTES)
        eventually(lambda: fabric.appliance.tell("check").exit == 0, 5, "the warning ends")


def test_a_second_controller_in_the_same_run_dir_is_refused(fabric: Fabric) -> None:
    """It ends with 1 and one sentence that names the directory and the way out; the first one does not notice."""
    with undisturbed(fabric):
        second = fabric.appliance.host.start(
            "second",
            [sys.executable, "-m", "rr.daemon", "--config", fabric.appliance.config_file],
            environment=engine_environment(),
        )
        assert second.wait(10) == 1
        assert second.log.read_text().strip() == (
            f"another rrd already works in {fabric.appliance.run_dir}; end it first, or name another run_dir"
        )
        assert fabric.appliance.tell("check").exit == 0


def test_a_new_controller_replaces_an_engine_that_hangs(fabric: Fabric) -> None:
    """The engine is stopped while no controller runs: the next one ends it, starts another, and all routes return."""
    (engine,) = fabric.appliance.engines()
    end(fabric)
    os.kill(engine, signal.SIGSTOP)
    fabric.appliance.start(timeout=30)
    assert engine not in fabric.appliance.engines()
    assert any("of main hangs: it listens, and answers nothing" in e["text"] for e in events(fabric))
    all_established(*fabric.everyone, timeout=45)
    tors_hold(fabric, ROUTES, within=20)


def events(fabric: Fabric) -> Any:
    return fabric.appliance.rrctl("events")[-20:]


def test_a_fresh_engine_accepts_nothing_while_nothing_is_known(fabric: Fabric) -> None:
    """No state, no IPAM, a new engine: sessions come up, not one route is accepted, check is critical; then all is."""
    fabric.appliance.stop()
    wipe(fabric)
    fabric.appliance.allocations_file.unlink()
    fabric.appliance.start()
    all_established(*fabric.everyone, timeout=45)
    never(lambda: fabric.appliance.rrctl("routes"), 1, "a route is accepted")
    assert not sessions(fabric.appliance).keys() - {p["address"] for p in fabric.appliance.rrctl("peers")}
    told = fabric.appliance.tell("check")
    assert told.exit == 2
    assert "No allocations were ever known: no route is accepted" in told.stdout
    fabric.appliance.set_allocations(allocations())
    tors_hold(fabric, ROUTES)


def test_stop_engines_ends_the_engines_too(fabric: Fabric) -> None:
    """`rrd --stop-engines` at SIGTERM: no engine is left, and the ToRs hear it at once (no stale routes)."""
    end(fabric)
    fabric.appliance.start("--stop-engines")
    end(fabric, signal.SIGTERM)
    assert fabric.appliance.engines() == []
    eventually(lambda: not fabric.frr.established(), 2, "the session is closed")
