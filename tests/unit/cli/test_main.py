"""Exit codes, errors, help and completion."""

import json
import subprocess
from pathlib import Path

import pytest

from rr.api.markdown import filled
from rr.cli import reference
from tests.unit.cli.conftest import COMMAND, Background, Rrctl, answering, environment

LISTING = ["status", "peers", "routes", "violations", "events", "ipam show", "config show", "config diff"]


@pytest.mark.parametrize("command", [*LISTING, "config reload", "ipam accept", "events --follow"])
def test_no_rrd_is_exit_code_3_with_the_way_out(rrctl: Rrctl, tmp_path: Path, command: str) -> None:
    ran = rrctl(*command.split())
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        f"rrctl: rrd does not answer on {tmp_path}/rrd.sock: there is no such socket; "
        "is rrd started, or --socket another one?\n"
    )


def test_something_else_at_the_socket_is_exit_code_3(rrctl: Rrctl, tmp_path: Path) -> None:
    with answering(tmp_path / "rrd.sock", b"220 mail.example ESMTP\r\n"):
        ran = rrctl("peers")
    assert ran.code == 3
    assert ran.err == f"rrctl: what answers on {tmp_path}/rrd.sock is not rrd's HTTP; is --socket right?\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: rrctl"),
        (["nonsense"], "No such command 'nonsense'"),
        (["peers", "--role", "spine"], "'spine' is not one of 'node', 'tor', 'pair'"),
        (["explain", "10.0.0.0/8"], "Missing option '--from'"),
        (["--output", "xml", "peers"], "'xml' is not one of 'table', 'json'"),
        (["config"], "Usage: rrctl config"),
        (["--output", "check"], "'check' is not one of 'table', 'json'"),
        (["--output", "xml", "peers", "--node", "check"], "'xml' is not one of 'table', 'json'"),
        (["--socket"], "Option '--socket' requires an argument"),
        (["peers", "check"], "Got unexpected extra argument (check)"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(rrctl: Rrctl, arguments: list[str], said: str) -> None:
    ran = rrctl(*arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_the_socket_may_be_named_in_three_places(rrd: Background, rrctl: Rrctl) -> None:
    path = str(rrd.path)
    assert rrctl("status").code == 0
    assert rrctl("--socket", path, "status", RR_SOCKET="/nowhere").code == 0
    assert rrctl("status", "--socket", path, RR_SOCKET="/nowhere").code == 0


def test_every_command_has_help_with_an_example(rrctl: Rrctl) -> None:
    for name, context in reference.commands():
        text = context.get_help()
        if name != "demo":
            assert "Example" in text, name
            assert "rrctl " in text.partition("Example")[2], name
    ran = rrctl("--help")
    assert ran.code == 0
    assert "Say whether an announcement is accepted" in ran.out


def test_the_page_of_commands_is_up_to_date() -> None:
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    assert filled(page, reference.blocks()) == page, "run `make docs`"


def test_every_command_that_answers_has_its_keys_documented() -> None:
    names = {name for name, _ in reference.commands()}
    assert set(reference.ANSWERS) <= names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(rrctl: Rrctl, shell: str) -> None:
    ran = rrctl("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert "_RRCTL_COMPLETE" in ran.out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=ran.out, encoding="utf-8", check=True)


def test_completion_knows_commands_and_the_names_that_rrd_knows(rrd: Background, rrctl: Rrctl) -> None:
    def complete(words: str, number: int) -> str:
        return rrctl(_RRCTL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number)).out

    assert complete("rrctl vio", 1) == "plain,violations\n"
    assert complete("rrctl routes --node no", 3) == "plain,node-1\nplain,node-2\n"
    assert complete(f"rrctl --socket {rrd.path}x routes --node no", 5) == "\n"


def test_a_reader_that_stops_is_no_error(rrd: Background) -> None:
    rrd.appliance.route_rows = rrd.appliance.route_rows * 3000
    with subprocess.Popen(
        [*COMMAND, "--socket", str(rrd.path), "routes"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 141


def test_colour_only_for_a_person(rrd: Background) -> None:
    assert b"\x1b[3" in _on_a_terminal(rrd.path, "peers")
    assert b"\x1b" not in _on_a_terminal(rrd.path, "peers", NO_COLOR="1")
    assert b'\r\n  {\r\n    "instance"' in _on_a_terminal(rrd.path, "--output", "json", "peers")


def test_a_table_is_cut_to_the_terminal(rrd: Background) -> None:
    rrd.appliance.peer_rows[0]["node"] = "a-node-with-a-very-long-name." * 4
    shown = _on_a_terminal(rrd.path, "peers", COLUMNS="100", NO_COLOR="1").decode()
    assert max(map(len, shown.splitlines())) <= 100
    assert "…" in shown


def _on_a_terminal(path: Path, *arguments: str, **variables: str) -> bytes:
    import os
    import pty

    ours, theirs = pty.openpty()
    variables = {"TERM": "xterm", "COLUMNS": "120", **variables}
    with subprocess.Popen(
        [*COMMAND, "--socket", str(path), *arguments],
        stdout=theirs,
        stderr=theirs,
        env=environment(**variables),
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # The other side of a terminal closes with EIO.
        os.close(ours)
        assert process.wait(10) == 0
    return shown


def test_json_on_a_failure_is_still_a_sentence_on_stderr(rrctl: Rrctl) -> None:
    ran = rrctl("--output", "json", "peers")
    assert (ran.code, ran.out) == (3, "")
    with pytest.raises(json.JSONDecodeError):
        json.loads(ran.err)
