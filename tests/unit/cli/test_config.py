"""`rrctl config`."""

import json
import socket
from pathlib import Path

from rr.errors import ConfigError
from tests.unit.api.memory import PROBLEM
from tests.unit.cli.conftest import Background, Rrctl

BGP = 17912
GOOD = """\
name: rr-a
state_dir: {directory}
run_dir: {directory}
http: {{listen: 127.0.0.1:{port}}}
instances:
  main:
    asn: 64512
    router_id: 127.0.0.1
    port: {bgp}
    racks:
      rack-1:
        nodes: {{ranges: [10.2.0.0/24]}}
ipam:
  sources:
    - {{type: file, path: {directory}/allocations.yaml}}
"""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _file(directory: Path, text: str = GOOD, port: int | None = None) -> str:
    file = directory / "rr.yaml"
    file.write_text(text.format(directory=directory, port=port or _free_port(), bgp=BGP), encoding="utf-8")
    return str(file)


def test_a_right_file_is_said_to_be_right_without_rrd(rrctl: Rrctl, tmp_path: Path) -> None:
    file = _file(tmp_path)
    ran = rrctl("config", "validate", file)
    assert (ran.err, ran.code) == ("", 0)
    assert ran.out == f"{file} is right: 1 instance, 1 rack.\n"


def test_every_problem_is_a_line_on_stderr(rrctl: Rrctl, tmp_path: Path) -> None:
    file = _file(tmp_path, GOOD.replace("64512", "0").replace("10.2.0.0/24", "10.2.0.7/24"))
    ran = rrctl("config", "validate", file)
    assert (ran.code, ran.out) == (1, "")
    assert [line for line in ran.err.splitlines() if not line.startswith(f"{file}:")] == []
    assert "instances.main.asn: 0 is not an AS number" in ran.err
    assert "10.2.0.7/24 has bits set after its length; write 10.2.0.0/24" in ran.err
    rows = json.loads(rrctl("config", "validate", file, "--output", "json").out)
    assert [row["text"] for row in rows] == ran.err.splitlines()


def test_a_file_that_is_not_there_is_a_problem(rrctl: Rrctl, tmp_path: Path) -> None:
    ran = rrctl("config", "validate", str(tmp_path / "none.yaml"))
    assert ran.code == 1
    assert "none.yaml" in ran.err
    assert "Traceback" not in ran.err


def test_a_port_that_another_process_holds_is_a_problem_of_this_host_only(
    rrctl: Rrctl, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = _file(tmp_path, port=taken.getsockname()[1])
        ran = rrctl("config", "validate", file)
        assert ran.code == 1
        assert "http.listen" in ran.err
        assert rrctl("config", "validate", file, "--no-host-checks").code == 0


def test_ports_that_rrd_itself_holds_are_no_problem(rrd: Background, rrctl: Rrctl, tmp_path: Path) -> None:
    with socket.socket() as http, socket.socket() as bgp:
        http.bind(("127.0.0.1", 0))
        http.listen()
        bgp.bind(("127.0.0.1", BGP))
        bgp.listen()
        port = http.getsockname()[1]
        rrd.appliance.config_row["config"]["http"]["listen"] = f"127.0.0.1:{port}"
        rrd.appliance.config_row["config"]["instances"]["main"] = {"listen": ["127.0.0.1"], "port": BGP}
        renamed = GOOD.replace("main:", "other:")
        assert rrctl("config", "validate", _file(tmp_path, renamed, port)).err == ""
        ran = rrctl("config", "validate", _file(tmp_path, port=port))
        assert (ran.code, ran.err) == (0, "")
        rrd.appliance.config_row["config"]["instances"]["main"] |= {"listen": [], "floating": ["127.0.0.1"]}
        assert rrctl("config", "validate", _file(tmp_path, port=port)).err == ""
        rrd.stop_serving()
        assert rrctl("config", "validate", _file(tmp_path, port=port)).code == 1


def test_show_is_yaml_to_read_or_json(rrd: Background, rrctl: Rrctl) -> None:
    lines = rrctl("config", "show").out.splitlines()
    assert lines[0].startswith("# /etc/rr/rr.yaml, read 2026-11-23T11:30:00.250Z")
    assert "password_file" not in "".join(lines)
    assert lines[1:3] == ["name: rr-a", "state_dir: /var/lib/rr"]
    assert json.loads(rrctl("config", "show", "-o", "json").out) == rrd.appliance.config()


def test_diff_says_what_would_change_and_what_would_be_reset(
    rrd: Background, rrctl: Rrctl, tmp_path: Path
) -> None:
    file = _file(tmp_path)
    ran = rrctl("config", "diff", file)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Instance main: asn is 64513, was 64512.\nWould reset: 10.2.0.2 (node-1)\n"
    assert rrd.appliance.asked == [Path(file).read_text(encoding="utf-8")]


def test_diff_without_a_file_takes_the_one_that_rrd_reads(
    rrd: Background, rrctl: Rrctl, tmp_path: Path
) -> None:
    rrd.appliance.config_row["file"] = _file(tmp_path)
    assert rrctl("config", "diff").code == 0
    assert rrd.appliance.asked[0].startswith("name: rr-a")


def test_diff_of_a_file_that_cannot_be_read(rrd: Background, rrctl: Rrctl) -> None:
    ran = rrctl("config", "diff", "/nowhere.yaml")
    assert ran.code == 1
    assert ran.err == "rrctl: /nowhere.yaml cannot be read: No such file or directory; name another FILE\n"


def test_reload_says_what_changed(rrd: Background, rrctl: Rrctl) -> None:
    assert rrctl("config", "reload").out == "Instance main: hold_time is 12, was 9.\n"
    assert rrd.appliance.asked == ["reload"]


def test_a_refused_reload_says_every_problem_on_its_own_line(rrd: Background, rrctl: Rrctl) -> None:
    rrd.appliance.config_fault = ConfigError([PROBLEM])
    ran = rrctl("config", "reload")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"{PROBLEM}\n"
