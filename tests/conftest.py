"""Fixtures for every test: networks of namespaces, and what a failed test shows of them."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab.network import Network, sweep
from tests.machines.cgroups import sweep as sweep_cgroups

NETWORKS = pytest.StashKey[list[Network]]()


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: whatever a shell runs in the background ignores it, with all its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root, with the reason, when we are not root."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("machine"):
            item.add_marker(pytest.mark.skip(reason="needs root: boots machines with systemd"))
        elif item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: makes network namespaces"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the peers' logs in the report of a failed test."""
    report = yield
    if report.failed and report.when != "teardown":
        module = item.getparent(pytest.Module)
        for stash in (item.stash, *([module.stash] if module else [])):
            _show(report, stash)
    return report


def _show(report: pytest.TestReport, stash: pytest.Stash) -> None:
    kept = stash.get(KEPT, None)
    for network in stash.get(NETWORKS, []):
        report.sections.append((f"network {network.prefix}", network.logs()))
        if kept is not None:
            network.keep_logs(kept)
            report.sections.append(("logs kept in", str(kept)))


KEPT = pytest.StashKey[Path]()


@pytest.fixture
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    """An empty network; everything on it is gone after the test."""
    with Network() as network:
        request.node.stash[NETWORKS] = [network]
        request.node.stash[KEPT] = tmp_path / "network"
        yield network


@pytest.fixture(scope="module")
def shared_net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """An empty network for all tests of a module, which fill it once and leave it as they found it."""
    with Network() as network:
        request.node.stash[NETWORKS] = [network]
        request.node.stash[KEPT] = tmp_path_factory.mktemp("network")
        yield network


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what an interrupted test of this run may have left."""
    if os.geteuid() == 0:
        left = [*sweep(), *sweep_cgroups()]
        if left and session.config.pluginmanager.hasplugin("terminalreporter"):
            print(f"\nswept: {', '.join(left)}")
