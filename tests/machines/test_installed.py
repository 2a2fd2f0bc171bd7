"""The package on a booted machine: units start, are confined for real, restart without loss, and go without a trace."""

import copy
import json
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rr import __version__
from tests.lab import Forwarding, Network, all_established, eventually
from tests.machines import Machine, Mirror
from tests.machines.conftest import NEXT
from tests.machines.installed import CONFIG, Installed
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
)

pytestmark = [pytest.mark.root, pytest.mark.machine, pytest.mark.timeout(400)]
UNITS = ("rr.target", "rrd.service", "rr-engine@main.service", "rr-engines.path", "rr-check.timer")
BACK = 30.0
"""Seconds in which everybody is back: a GoBGP node waits five before it dials again."""
CRONTAB, CRON_SAID = "/etc/cron.d/rr-check", "/var/tmp/cron-said"
PERFDATA = re.compile(r"(\w+=-?[\d.]+(s|%|B|c)?(;[^; ]*){0,4} ?)+")
"""What monitoring-plugins.org/doc/guidelines.html, section 2.6, lets a plugin say."""
PROBE = Path(__file__).with_name("probe.py")
CHANGING = re.compile(
    r"/(proc|sys|dev|tmp|root|var/(log|cache|tmp|backups)|var/lib/(dpkg|apt|systemd|ucf|python)|run/(systemd|log|lock|utmp|adduser)"
    r"|etc/(\.pwd\.lock|ld\.so\.cache|(passwd|group|shadow|gshadow|subuid|subgid)-))(/|$)"
)
"""What changes by itself, or keeps apt's and systemd's own books."""


@pytest.fixture(scope="module")
def appliance(shared_net: Network, package: Path) -> Installed:
    """A machine with the package and its configuration."""
    control = shared_net.host("control", "10.0.0.5")
    found = Installed(Machine(shared_net, "rr-a", "10.0.0.11", mirror=Mirror(shared_net, control)))
    found.pin_engine()
    found.apt("install", "gobgpd", "cron")
    found.machine.run("useradd", "--system", "nagios")
    found.machine.host.before = listing(found.machine)  # type: ignore[attr-defined]
    found.install(package)
    found.machine.run("gpasswd", "--add", "nagios", "rr")
    found.machine.write(CRONTAB, f"* * * * * nagios (rrctl check; echo $?) >>{CRON_SAID} 2>&1\n")
    return found


@pytest.fixture(scope="module")
def fabric(shared_net: Network, appliance: Installed) -> Fabric:
    """ToRs and nodes around it, and all their routes in place."""
    speaker: Config = {"graceful_restart": {"restart_time": 60, "deferral_time": 8}}
    config = instances()
    config["main"] |= speaker
    appliance.configure(config)
    appliance.allocate(allocations())
    appliance.machine.run("systemctl", "start", "rrd")
    appliance.wait_ready()
    return populate(shared_net, appliance)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _whole_before(request: pytest.FixtureRequest) -> None:
    if "fabric" in request.fixturenames:
        whole(request.getfixturevalue("fabric"))


def whole(fabric: Fabric, within: float = BACK) -> None:
    """Wait until the engine serves, nobody is awaited, and every ToR has every route."""

    def now() -> bool:
        (found,) = fabric.appliance.rrctl("status")["instances"]
        return found["engine"]["state"] == "running" and not found["restart"]["under_way"]

    eventually(now, within, "nobody is awaited", seen=fabric.appliance.story)  # type: ignore[attr-defined]
    all_established(*fabric.everyone, timeout=within)
    tors_hold(fabric, ROUTES, within=within)


@contextmanager
def nothing_lost(fabric: Fabric, *, but: Set[str] = frozenset()) -> Iterator[None]:
    """Assert that inside, neither ToR is told to drop a route or stops forwarding by it, except `but`."""
    calm, tables = Calm(fabric.tors), {tor.name: Forwarding(tor.host) for tor in fabric.tors}
    yield
    assert {name: found - but for name, found in calm.lost().items() if found - but} == {}
    lost = {name: set(table.taken_out()) - but for name, table in tables.items()}
    assert {name: found for name, found in lost.items() if found} == {}


def listing(machine: Machine) -> dict[str, str]:
    """Every file with its kind, mode and owner, and what is in those of /etc."""
    found = machine.run("find", "/", "-xdev", "-printf", "%p\\t%y %m %u:%g %l\\n").splitlines()
    found += machine.run("find", "/run", "-xdev", "-printf", "%p\\t%y %m %u:%g %l\\n").splitlines()
    rows = dict(line.split("\t", 1) for line in found)
    for line in machine.run("find", "/etc", "-type", "f", "-exec", "sha256sum", "{}", "+").splitlines():
        digest, path = line.split(maxsplit=1)
        rows[path] += f" {digest}"
    return {path: row for path, row in rows.items() if not CHANGING.match(path)}


def test_a_package_without_a_configuration_waits_for_one_and_fails_nothing(appliance: Installed) -> None:
    """No unit has failed, rrd waits for rr.yaml, Debian's own gobgpd is masked, and check says what to do."""
    machine = appliance.machine
    assert machine.failed_units() == []
    assert machine.unit("rr.target")["ActiveState"] == "active"
    assert machine.unit("rrd.service")["ConditionResult"] == "no"
    assert machine.unit("gobgpd.service")["LoadState"] == "masked"
    assert machine.unit("gobgpd.service")["ActiveState"] == "inactive"
    told = appliance.tell("check")
    assert (told.exit, told.stdout[:11]) == (2, "RR CRITICAL")
    assert machine.run("rrctl", "--version").strip() == f"rrctl {__version__}"


def test_every_unit_runs_once_there_is_a_configuration(fabric: Fabric, appliance: Installed) -> None:
    """The engine of each instance is started by itself; STATUS is what check says, and nothing has failed."""
    appliance.machine.wait_active(*UNITS)
    assert appliance.machine.failed_units() == []
    assert appliance.machine.unit("rrd.service")["StatusText"].startswith("RR ")
    assert appliance.machine.unit("rrd.service")["NRestarts"] == "0"
    (shown,) = appliance.rrctl("status")["instances"]
    assert shown["engine"]["version"].startswith("4.")
    assert shown["engine"]["pid"] == appliance.pid("rr-engine@main")
    assert shown["engine"]["memory"] > 1 << 20


def test_the_check_is_kept_for_everybody_to_read(fabric: Fabric, appliance: Installed) -> None:
    """What the timer's service writes is what check says, and nobody needs a right to read it."""
    appliance.machine.run("systemctl", "start", "rr-check.service")
    kept = json.loads(appliance.machine.run("cat", "/run/rr-check/check.json", user="daemon"))
    assert (kept["exit"], kept["line"][:5]) == (0, "RR OK")
    assert appliance.machine.tell("rrctl", "check", user="daemon").exit == 3
    assert appliance.machine.tell("rrctl", "check", user="rr").exit == 0


def test_a_monitoring_system_has_its_line_and_code_as_an_unprivileged_user(
    fabric: Fabric, appliance: Installed
) -> None:
    """In the group rr: one line, perfdata, its first word's exit code; 2 where rrd is dead, 3 for who may not ask."""
    told = appliance.machine.tell("rrctl", "check", user="nagios")
    line, _, perfdata = told.stdout.rstrip("\n").partition(" | ")
    assert (told.exit, line[:8], told.stderr) == (0, "RR OK - ", "")
    assert PERFDATA.fullmatch(perfdata), perfdata
    appliance.machine.run("systemctl", "stop", "rrd")
    dead = appliance.machine.tell("rrctl", "check", user="nagios")
    appliance.machine.run("systemctl", "start", "rrd")
    assert (dead.exit, dead.stdout[:14], dead.stderr) == (2, "RR CRITICAL - ", "")
    outsider = appliance.machine.tell("rrctl", "check", user="daemon")
    assert (outsider.exit, outsider.stdout[:13], outsider.stderr) == (3, "RR UNKNOWN - ", "")


def probed(appliance: Installed, unit: str, own: str) -> Any:
    """What may be done inside a unit's cage: the unit as it is, with another program in it."""
    machine = appliance.machine
    machine.copy(PROBE, "/usr/local/lib/probe.py")
    lines = machine.read(f"/lib/systemd/system/{unit}").splitlines()
    lines = [line.replace("%i", "probe") for line in lines]
    dropped = (
        "Exec",
        "Type=",
        "Notify",
        "Watchdog",
        "Restart",
        "PartOf",
        "Wants",
        "EnvironmentFile",
        "RuntimeDirectoryPreserve",
    )
    kept = [line for line in lines if not line.startswith(dropped)]
    start = kept.index("[Service]") + 1
    kept[start:start] = [
        "Type=oneshot",
        f"ExecStart=/usr/bin/python3 -I -B /usr/local/lib/probe.py {CONFIG} {own}/said",
        "RuntimeDirectoryPreserve=yes",
    ]
    machine.write("/etc/systemd/system/rr-probe.service", "\n".join(kept) + "\n")
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "start", "rr-probe.service")
        return json.loads(machine.read(f"{own}/said"))
    finally:
        machine.run(
            "rm", "-rf", "/etc/systemd/system/rr-probe.service", "/usr/local/lib/probe.py", f"{own}/said"
        )
        machine.run("systemctl", "daemon-reload")


DENIED = "Operation not permitted"


def test_the_engine_can_write_nowhere_but_its_folder_and_do_nothing_but_its_work(
    fabric: Fabric, appliance: Installed
) -> None:
    """In the engine's cage: one folder, port 179, three address families, no secret, no new right, no other process."""
    said = probed(appliance, "rr-engine@.service", "/run/rr/probe")
    appliance.machine.run("rm", "-rf", "/run/rr/probe")
    assert said["writable"] == said["mounted_writable"] == ["/run/rr/probe"]
    assert said["execute"] == "Permission denied"
    allowed = {name for name, how in said["families"].items() if how == "allowed"}
    assert allowed == {"unix", "inet", "inet6"}
    assert said["port"] == "allowed"
    assert said["read"] == "Permission denied"
    for what in ("mount", "namespace", "root", "memory", "clock"):
        assert said[what] == DENIED, what
    assert said["status"]["NoNewPrivs"] == "1"
    assert said["status"]["Seccomp"] == "2"
    assert int(said["status"]["CapBnd"], 16) == int(said["status"]["CapEff"], 16) == 1 << 10
    assert "0" not in said["status"]["Uid"].split()


def test_the_controller_can_write_nowhere_but_its_folders(fabric: Fabric, appliance: Installed) -> None:
    """In the controller's cage: its state, its run folder and a /tmp of its own; netlink, and no new right."""
    said = probed(appliance, "rrd.service", "/run/rr")
    own = {"/run/rr", "/var/lib/rr", "/tmp", "/var/tmp"}
    assert set(said["mounted_writable"]) == own
    places = (*own, "/dev/shm", "/dev/mqueue")
    assert [path for path in said["writable"] if not path.startswith(places)] == []
    assert said["execute"] == "Permission denied"
    allowed = {name for name, how in said["families"].items() if how == "allowed"}
    assert allowed == {"unix", "inet", "inet6", "netlink"}
    assert said["read"] == "allowed"
    for what in ("mount", "namespace", "root", "memory", "clock"):
        assert said[what] == DENIED, what
    assert said["status"]["NoNewPrivs"] == "1"
    assert int(said["status"]["CapBnd"], 16) == 1 << 10


def test_cages_are_those_of_the_processes_that_run(fabric: Fabric, appliance: Installed) -> None:
    """What the kernel says of the running engine and controller: one user, filtered calls, no new rights."""
    for unit in ("rrd.service", "rr-engine@main.service"):
        status = appliance.machine.run("cat", f"/proc/{appliance.pid(unit)}/status")
        said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
        assert int(said["CapBnd"], 16) == 1 << 10
        rr = appliance.machine.run("id", "--user", "rr").strip()
        assert set(said["Uid"].split()) == {rr}
    assert appliance.machine.run("stat", "-c", "%a %U", "/run/rr/main").strip() == "700 rr"
    assert appliance.machine.run("stat", "-c", "%a %U", "/run/rr").strip() == "750 rr"


def test_restart_of_the_controller_moves_no_session(fabric: Fabric, appliance: Installed) -> None:
    """`systemctl restart rrd`: it is ready again when that returns, and nobody noticed."""
    engine = appliance.pid("rr-engine@main")
    with undisturbed(fabric):
        appliance.machine.run("systemctl", "restart", "rrd")
        (shown,) = appliance.rrctl("status")["instances"]
        assert shown["policy"]["in_force"], "READY comes when the policy is in force"
    assert appliance.pid("rr-engine@main") == engine


def test_a_controller_that_hangs_is_ended_by_the_watchdog_and_no_session_moves(
    fabric: Fabric, appliance: Installed
) -> None:
    """SIGSTOP: systemd misses its word, ends it with a traceback in the log, and starts another one."""
    machine = appliance.machine
    machine.write("/run/systemd/system/rrd.service.d/quick.conf", "[Service]\nWatchdogSec=2s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "rrd")
    try:
        hung, restarts = appliance.pid("rrd"), int(machine.unit("rrd")["NRestarts"])
        with undisturbed(fabric):
            machine.run("kill", "-STOP", str(hung))
            eventually(
                lambda: (
                    int(machine.unit("rrd")["NRestarts"]) > restarts
                    and machine.unit("rrd")["ActiveState"] == "active"
                ),
                30,
                "another controller runs",
                seen=lambda: machine.tell("systemctl", "status", "rrd").stdout,
            )
            appliance.wait_ready()
        assert appliance.pid("rrd") != hung
        assert "Fatal Python error: Aborted" in machine.journal("--unit=rrd", "--lines=200")
    finally:
        machine.run("rm", "-r", "/run/systemd/system/rrd.service.d")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "rrd")


def test_restart_of_the_engines_unit_loses_no_route(fabric: Fabric, appliance: Installed) -> None:
    """`systemctl restart rr-engine@main`: another process, and no ToR dropped a route."""
    before = appliance.pid("rr-engine@main")
    with nothing_lost(fabric):
        appliance.machine.run("systemctl", "restart", "rr-engine@main")
        assert appliance.pid("rr-engine@main") not in (0, before)
        whole(fabric)


def test_an_engine_that_dies_is_started_again_without_loss(fabric: Fabric, appliance: Installed) -> None:
    """SIGKILL: systemd starts the next one although a socket was left, and no ToR dropped a route."""
    before = appliance.pid("rr-engine@main")
    with nothing_lost(fabric):
        appliance.machine.run("kill", "-KILL", str(before))
        eventually(lambda: appliance.pid("rr-engine@main") not in (0, before), 10, "another engine runs")
        whole(fabric)


def test_an_engine_that_hangs_is_killed_by_rrd_and_started_again_by_systemd(
    fabric: Fabric, appliance: Installed
) -> None:
    """SIGSTOP: within half a minute another process serves, the end is counted as hung, and everybody is back."""
    before = appliance.pid("rr-engine@main")
    (shown,) = appliance.rrctl("status")["instances"]
    ends = shown["engine"]["ends"]
    appliance.machine.run("kill", "-STOP", str(before))
    eventually(
        lambda: appliance.pid("rr-engine@main") not in (0, before),
        30,
        "another engine runs",
        seen=appliance.story,
    )
    appliance.wait_ready()
    whole(fabric)
    (shown,) = appliance.rrctl("status")["instances"]
    assert shown["engine"]["pid"] == appliance.pid("rr-engine@main")
    assert shown["engine"]["ends"]["hung"] == ends["hung"] + 1
    assert appliance.machine.failed_units() == []


def test_rrctl_restarts_the_engine_that_systemd_runs(fabric: Fabric, appliance: Installed) -> None:
    """`rrctl engine restart`: it is killed by rrd, started by systemd, and whole again without loss."""
    before = appliance.pid("rr-engine@main")
    with nothing_lost(fabric):
        (done,) = appliance.rrctl("engine", "restart", "main", timeout=90)
        assert (done["changed"], done["missing"]) == (True, 0)
    assert appliance.pid("rr-engine@main") not in (0, before)


def test_stop_of_an_engine_is_a_drain_and_start_serves_again(fabric: Fabric, appliance: Installed) -> None:
    """`systemctl stop`: drained first, then gone; `systemctl start`: everybody is served, with nothing to undo."""
    machine = appliance.machine
    machine.run("systemctl", "stop", "rr-engine@main")
    said = [event["text"] for event in appliance.rrctl("events") if event["kind"] == "drain"]
    assert "main ends its sessions, 10 s after its routes were marked" in said[-3:]
    assert said[-1] == "main serves again"
    assert "main: drained" in machine.journal("--unit=rr-engine@main", "--lines=20")
    tors_hold(fabric, set())
    told = appliance.tell("check")
    assert told.exit == 2
    assert "systemctl start rr-engine@main" in told.stdout
    machine.run("systemctl", "start", "rr-engine@main")
    whole(fabric, within=60)


def test_an_engine_that_was_stopped_stays_stopped_when_the_controller_restarts(
    fabric: Fabric, appliance: Installed
) -> None:
    """Nothing starts what an operator stopped, but a start of the whole or another list of instances."""
    machine = appliance.machine
    machine.run("systemctl", "stop", "rr-engine@main")
    machine.run("systemctl", "restart", "rrd")
    assert machine.unit("rr-engine@main")["ActiveState"] == "inactive"
    machine.run("systemctl", "restart", "rr-engines.service")
    whole(fabric, within=60)


def test_an_instance_that_comes_or_goes_by_a_reload_has_its_engine_started_or_stopped(
    fabric: Fabric, appliance: Installed
) -> None:
    """`systemctl reload rrd` with another instance: its engine runs without a further word; without it, it is gone."""
    machine, before = appliance.machine, copy.deepcopy(dict(appliance.instances))
    second = {
        "asn": 64513,
        "router_id": "10.0.0.11",
        "listen": ["10.0.0.11"],
        "port": 1179,
        "racks": {"rack-9": {"nodes": {"ranges": ["10.9.0.0/24"]}}},
    }
    with undisturbed(fabric):
        appliance.configure({**before, "rack-9": second})
        machine.run("systemctl", "reload", "rrd")
        machine.wait_active("rr-engine@rack-9.service")
        appliance.wait_ready()
        assert {row["instance"] for row in appliance.rrctl("status")["instances"]} == {"main", "rack-9"}
        appliance.configure(before)
        machine.run("systemctl", "reload", "rrd")
        gone = lambda: machine.unit("rr-engine@rack-9.service")["ActiveState"] == "inactive"  # noqa: E731
        eventually(gone, 20, "its engine is stopped")
        appliance.wait_ready()
    assert machine.failed_units() == []


def test_a_configuration_with_mistakes_makes_the_reload_fail_and_changes_nothing(
    fabric: Fabric, appliance: Installed
) -> None:
    """`systemctl reload rrd` says no, the mistake is in the log, and the old configuration stays in force."""
    machine, good = appliance.machine, appliance.machine.read(CONFIG)
    digest = appliance.rrctl("status")["config"]["digest"]
    with undisturbed(fabric):
        machine.write(CONFIG, good.replace("asn: 64512", "asn: none"), mode=0o644)
        assert machine.tell("systemctl", "reload", "rrd").exit != 0
        assert "instances.main.asn" in machine.journal("--unit=rrd", "--lines=20")
        assert appliance.rrctl("status")["config"]["digest"] == digest
        assert machine.unit("rrd")["ActiveState"] == "active"
        machine.write(CONFIG, good, mode=0o644)
        machine.run("systemctl", "reload", "rrd")


def test_upgrade_and_downgrade_restart_the_controller_and_no_engine(
    fabric: Fabric, appliance: Installed, package: Path, newer: Path
) -> None:
    """apt puts another version in and takes it back: engines run on, settings of the operator stay, nobody notices."""
    machine = appliance.machine
    settings = machine.read("/etc/default/rr-appliance").replace("info", "debug")
    machine.write("/etc/default/rr-appliance", settings)
    engine = appliance.pid("rr-engine@main")
    for exchanged, version in ((newer, NEXT), (package, __version__)):
        controller = appliance.pid("rrd")
        with undisturbed(fabric):
            appliance.install(exchanged, "--allow-downgrades")
            assert appliance.rrctl("status")["version"] == version
        assert appliance.pid("rrd") not in (0, controller)
        assert appliance.pid("rr-engine@main") == engine
        assert machine.read("/etc/default/rr-appliance") == settings
        assert machine.failed_units() == []


def test_a_machine_that_is_switched_off_drains_first_and_comes_back_whole(
    fabric: Fabric, appliance: Installed
) -> None:
    """Engines are drained while the controller is there for it; after the start all routes are back by themselves."""
    machine = appliance.machine
    machine.shut_down(timeout=120)
    tors_hold(fabric, set())
    machine.start()
    appliance.wait_ready()
    whole(fabric, within=60)
    said = [event["text"] for event in appliance.rrctl("events") if event["kind"] == "drain"]
    assert "main ends its sessions, 10 s after its routes were marked" in said[-3:]
    assert said[-1] == "main serves again"
    assert "main: drained" in machine.host.folder.joinpath("console.log").read_text()


def test_a_machine_alone_that_reboots_keeps_its_peers_routes_meanwhile(
    fabric: Fabric, appliance: Installed
) -> None:
    """Told to reboot: nothing is drained, since nobody else would carry the routes, and no ToR drops one."""
    machine = appliance.machine
    with nothing_lost(fabric):
        machine.reboot_itself()
        appliance.wait_ready()
        whole(fabric, within=60)
    said = [event["text"] for event in appliance.rrctl("events") if event["kind"] == "drain"]
    assert said[-1] == "main serves again", "that of the test before"
    assert "main: it comes back soon" in machine.host.folder.joinpath("console.log").read_text()


def test_cron_has_the_same_answers(fabric: Fabric, appliance: Installed) -> None:
    """A line in cron.d, with cron's own bare environment, since the package is there: one line, and its code."""
    machine = appliance.machine

    def answers() -> list[tuple[str, str]]:
        said = machine.tell("cat", CRON_SAID).stdout.splitlines()
        return [(line.split()[1], code) for line, code in zip(said[::2], said[1::2], strict=False)]

    eventually(lambda: ("OK", "0") in answers(), 75, "cron has run it", seen=answers)
    assert set(answers()) <= {("OK", "0"), ("WARNING", "1"), ("CRITICAL", "2")}
    machine.run("rm", CRONTAB, CRON_SAID)


def test_purge_leaves_nothing(fabric: Fabric, appliance: Installed) -> None:
    """Files, users, units, masks and state: the machine is as it was before, and no unit has failed."""
    machine = appliance.machine
    appliance.apt("purge", "rr-appliance")
    assert machine.failed_units() == []
    assert machine.tell("pgrep", "--list-full", "gobgpd|rrd").stdout == ""
    before, after = machine.host.before, listing(machine)  # type: ignore[attr-defined]
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path: (before.get(path), after.get(path)) for path in sorted(changed)} == {}
