"""What `rrd` refuses to start with: it ends with 1, and its sentences say what is wrong and the way out."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Appliance, Network
from tests.lab.appliance import Told, replace_file
from tests.lab.gobgp import engine_environment
from tests.scenarios.lifecycle import allocations, instances

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def appliance(shared_net: Network) -> Appliance:
    return Appliance(
        shared_net, "rr-a", "10.0.0.11", instances=instances(), allocations=allocations(), start=False
    )


def refused(
    appliance: Appliance,
    config: Any = None,
    *,
    text: str | None = None,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Start `rrd` with this configuration; it has to end with 1, start no engine, and say these lines."""
    appliance.set_config(instances() if config is None else config)
    if text is not None:
        replace_file(appliance.config_file, text)
    log = appliance.host.folder / "rrd.log"
    log.unlink(missing_ok=True)
    process = appliance.host.start(
        "rrd",
        [*before, sys.executable, "-m", "rr.daemon", "--config", appliance.config_file],
        environment={**engine_environment(), **(environment or {})},
    )
    told = Told(process.wait(15), "", log.read_text())
    assert told.exit == 1, told.stderr
    assert "Traceback" not in told.stderr
    assert appliance.engines() == []
    return [line.replace(f"{appliance.config_file}:", "rr.yaml:") for line in told.stderr.splitlines()]


def main(**settings: Any) -> Any:
    config = instances()
    config["main"].update(settings)
    return config


def test_every_mistake_of_the_configuration_is_a_sentence_of_its_own(appliance: Appliance) -> None:
    """Three mistakes are three lines, each with file, line, column and key, and nothing else is said."""
    lines = refused(appliance, main(hold_time=1, asn="many", colour="red"))
    assert len(lines) == 3, lines
    for key in ("asn", "hold_time", "colour"):
        assert any(line.startswith("rr.yaml:") and f": instances.main.{key}: " in line for line in lines), key


def test_a_configuration_that_is_not_there_is_named(appliance: Appliance) -> None:
    """`--config` names a file that does not exist."""
    missing = Path("/nonexistent/rr.yaml")
    process = appliance.host.start("missing", [sys.executable, "-m", "rr.daemon", "--config", missing])
    assert process.wait(15) == 1
    (line,) = process.log.read_text().splitlines()
    assert str(missing) in line


@pytest.mark.parametrize("text", ["", "[", "just words", "name: a\nname: b\n", "\0"])
def test_a_file_that_is_no_configuration_is_refused_in_words(appliance: Appliance, text: str) -> None:
    """Empty, broken YAML, a mere text, a key twice, a binary file."""
    lines = refused(appliance, text=text)
    assert all(line.startswith("rr.yaml:") for line in lines), lines


def test_an_address_that_the_host_lacks_is_named(appliance: Appliance) -> None:
    """The line and key of the address, and what would be right."""
    assert refused(appliance, main(listen=["10.0.0.11", "10.0.0.99"])) == [
        (
            "rr.yaml:22:7: instances.main.listen[1]: 10.0.0.99 is not an address of this host; "
            "write one that `ip address` shows, or add it"
        )
    ]


def test_a_bgp_port_that_somebody_has_is_named(appliance: Appliance) -> None:
    """Another speaker on port 179: refused before any engine is started."""
    with appliance.host.listen(179):
        (line,) = refused(appliance)
    assert "port 179 of 10.0.0.11 is taken by another process; stop it" in line


def test_an_http_port_that_somebody_has_is_named(appliance: Appliance) -> None:
    """Another service on the port of http.listen."""
    with appliance.host.listen(9632):
        (line,) = refused(appliance)
    assert line.startswith("rr.yaml:")
    assert ": http.listen: port 9632 of 127.0.0.1 is taken by another process" in line


def test_port_179_without_the_right_to_open_it_is_named(appliance: Appliance) -> None:
    """Without CAP_NET_BIND_SERVICE: the sentence names the capability and both other ways out."""
    (line,) = refused(appliance, before=("setpriv", "--bounding-set=-net_bind_service"))
    assert "port 179 of 10.0.0.11 needs the capability CAP_NET_BIND_SERVICE; grant it" in line


def test_directories_that_cannot_be_made_are_named(appliance: Appliance) -> None:
    """state_dir below a file."""
    appliance.settings["state_dir"] = "/etc/hostname/state"
    try:
        (line,) = refused(appliance)
    finally:
        del appliance.settings["state_dir"]
    assert "/etc/hostname/state cannot be made or written" in line
    assert "name another run_dir or state_dir" in line


@pytest.mark.parametrize("version", ["3.36.0", "5.0.0"])
def test_an_engine_of_another_version_is_refused(appliance: Appliance, version: str) -> None:
    """gobgpd older than 4.8, or 5: the version found, the version needed, and the way out."""
    program = appliance.host.folder / f"gobgpd-{version}"
    program.write_text(f"#!/bin/sh\necho gobgpd version {version}\n")
    program.chmod(0o755)
    (line,) = refused(appliance, environment={"GOBGPD": str(program)})
    assert f"{program} is {version}; gobgpd 4.8 or newer, below 5, is needed; run `make engine`" in line


def test_a_host_without_an_engine_is_told_how_to_get_one(appliance: Appliance) -> None:
    """$GOBGPD names nothing that runs."""
    (line,) = refused(appliance, environment={"GOBGPD": "/nonexistent/gobgpd"})
    assert "gobgpd 4.8 or newer, below 5, is needed" in line
    assert "make engine" in line


def test_an_allocations_file_with_mistakes_does_not_keep_it_from_starting(appliance: Appliance) -> None:
    """It starts, accepts nothing, and says the mistake: the IPAM is repaired while it runs."""
    appliance.set_config(instances())
    appliance.set_allocations({"nodes": {"a": {"addresses": [], "prefixes": []}}})
    appliance.start()
    told = appliance.tell("check")
    assert told.exit == 2
    assert f"{appliance.allocations_file}:" in told.stdout
    appliance.stop()
