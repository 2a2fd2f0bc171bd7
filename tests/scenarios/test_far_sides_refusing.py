"""What the printed texts refuse, and who refuses them where they were not filled in."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path as FilePath

import pytest

from tests.lab import Appliance, BareReflector, GobgpNode, Network, all_established, eventually
from tests.lab.bird import PROGRAM as BIRD
from tests.lab.gobgp import engine_program
from tests.lab.printed import FrrTorAsPrinted
from tests.scenarios.test_far_sides import README

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Unfiltered:
    """A plain reflector that passes on everything, at the appliance's address, and a node that announces anything."""

    reflector: BareReflector
    node: GobgpNode
    anything: tuple[str, ...] = (
        "0.0.0.0/0",
        "128.0.0.0/1",
        "10.244.1.0/24",
        "10.99.0.0/24",
        "::/0",
        "fd00:10:1::/64",
    )

    def announce(self) -> None:
        for prefix in self.anything:
            self.node.announce(prefix, next_hop="fd00:2::50" if ":" in prefix else "10.2.0.50")


@pytest.fixture
def unfiltered(net: Network) -> Unfiltered:
    reflector = BareReflector(net, "rr-a", "10.0.0.11", asn=64512, nodes=["10.2.0.0/24"], tors=["10.2.1.1"])
    return Unfiltered(reflector, GobgpNode(net, "anybody", "10.2.0.50", "fd00:2::50", to=reflector.remote))


def printed_without_rrd(net: Network, *words: str) -> str:
    """What a command prints by a file alone."""
    elsewhere = Appliance(net, "elsewhere", "10.0.0.99", instances=README, start=False)
    told = elsewhere.tell(*words, "--config", str(elsewhere.config_file))
    assert told.exit == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        pytest.param((), {"10.244.1.0/24", "10.99.0.0/24", "fd00:10:1::/64"}, id="no option"),
        pytest.param(
            ("--accept", "10.244.0.0/16", "--accept", "fd00:10::/32"),
            {"10.244.1.0/24", "fd00:10:1::/64"},
            id="--accept",
        ),
    ],
)
def test_a_tor_as_printed_takes_no_default_route_whoever_sends_it(
    net: Network, unfiltered: Unfiltered, options: tuple[str, ...], taken: set[str]
) -> None:
    """From a reflector without any filter: neither 0.0.0.0/0 nor half of it; with `--accept` nothing outside of it."""
    text = printed_without_rrd(net, "tor-config", "--vendor", "frr", *options)
    tor = FrrTorAsPrinted(net, "tor-1", "10.2.1.1", "fd00:2:1::1", to=unfiltered.reflector.remote, text=text)
    all_established(tor, unfiltered.node)
    unfiltered.announce()
    eventually(lambda: "fd00:10:1::/64" in tor.routes(), 10, "the last one is there", seen=tor.routes)
    assert set(tor.routes()) == taken


def vtysh(file: FilePath) -> tuple[int, str]:
    done = subprocess.run(["vtysh", "-C", "-f", file], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout + done.stderr


def bird(file: FilePath) -> tuple[int, str]:
    done = subprocess.run([BIRD, "-p", "-c", file], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout + done.stderr


def gobgpd(file: FilePath) -> tuple[int, str]:
    done = subprocess.run(
        [engine_program("gobgpd"), "-d", "-f", file], capture_output=True, text=True, timeout=20
    )
    return done.returncode, done.stdout + done.stderr


PARSERS = {"frr": vtysh, "bird": bird, "gobgp": gobgpd}
EXPECTED = FilePath(__file__).parents[1] / "unit" / "farside" / "expected"


@pytest.mark.parametrize("agent", PARSERS)
def test_a_node_text_without_the_nodes_own_is_refused_by_the_agent(net: Network, agent: str) -> None:
    """Without `--node` the placeholders are errors to FRR, BIRD and GoBGP, so they cannot be left in by mistake."""
    file = net.folder / "printed"
    file.write_text(printed_without_rrd(net, "node-config", "--for", agent))
    code, said = PARSERS[agent](file)
    assert code != 0
    assert "PREFIX-OF-THE-NODE" in said or "CF_SYM_UNDEFINED" in said or "unable to parse IP" in said


@pytest.mark.parametrize("agent", PARSERS)
def test_a_text_with_everything_switched_on_is_taken_and_without_its_password_refused(
    net: Network, agent: str
) -> None:
    """The written expectations of a pair with MD5, GTSM, BFD and another port are right to the agents' own parsers."""
    text = (EXPECTED / f"node-{agent}.txt").read_text()
    file = net.folder / "printed"
    file.write_text(text)
    code, said = PARSERS[agent](file)
    assert code == 0, said
    bare = text.replace(' "s3cret"', "").replace(" s3cret", "")
    assert bare != text
    file.write_text(bare)
    code, said = PARSERS[agent](file)
    assert code != 0, said


@pytest.mark.parametrize("vendor", ["frr", "sonic"])
def test_a_tor_text_without_its_password_is_refused_in_that_line_alone(net: Network, vendor: str) -> None:
    """FRR finds no mistake in a ToR's text but the two lines whose password is to be filled in."""
    file = net.folder / "printed"
    shutil.copyfile(EXPECTED / f"tor-{vendor}.txt", file)
    code, said = vtysh(file)
    assert code != 0
    found = [line for line in said.splitlines() if line.strip()]
    assert len(found) == 2
    assert all("Command incomplete" in line and "password" in line for line in found)
