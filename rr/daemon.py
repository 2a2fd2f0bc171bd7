"""rrd: the controller. Reads the configuration, follows the IPAM, and keeps every engine as both say it should be."""

import asyncio
import contextlib
import faulthandler
import fcntl
import gc
import os
import signal
import sys
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import Any

import click
import structlog

from rr import __version__, log
from rr.api.server import Api
from rr.appliance import Appliance, held_by_strays
from rr.config.host import check_host
from rr.config.load import load
from rr.config.model import Config
from rr.engine.process import EngineProcess, Program, find_program, step_back
from rr.errors import ConfigError, RRError, StateError
from rr.instance.health import Health
from rr.ipam.reading import Reading
from rr.ipam.sources import open_source
from rr.service.notify import Notifier
from rr.service.report import tell

_log = structlog.get_logger(__name__)
FIRST_READING = 5.0
"""Seconds to wait for the IPAM's first word before going on with what was last known."""


class Daemon:
    """The main loop. Signals only set events; whatever they ask for happens here."""

    def __init__(self, appliance: Appliance, *, stop_engines: bool, notifier: Notifier | None = None) -> None:
        self.appliance = appliance
        self.stop_engines = stop_engines
        self.notifier = notifier or Notifier(None)
        self.serving = asyncio.Event()
        """Set when rrctl is answered."""
        self.ended = asyncio.Event()
        self.hangup = asyncio.Event()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT. Engines go on without us, unless told otherwise."""
        self._follow_signals()
        allocating = asyncio.create_task(self.appliance.allocating.run())
        sources = asyncio.create_task(self._follow_sources())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READING):
                await self.appliance.allocating.heard.wait()
        self.appliance.allocating.begin()
        await self.appliance.end_strays()
        await self.appliance.recall_drains()
        self.appliance.start_instances()
        http = asyncio.create_task(self.serve())
        reloads = asyncio.create_task(self._follow_hangups())
        addresses = asyncio.create_task(self.appliance.follow_addresses())
        nodes = asyncio.create_task(self.appliance.follow_nodes())
        telling = asyncio.create_task(self._tell())
        _log.info("rrd runs", version=__version__, name=self.appliance.settings.name)
        failed = await self._until_ended(allocating, sources, http, reloads, nodes, telling)
        self.notifier.stopping()
        working = (allocating, sources, reloads, addresses, nodes, telling)
        for task in working:
            task.cancel()
        await self.appliance.keeper.save(at_once=True)
        await self.appliance.stop_instances(engines=self.stop_engines)
        http.cancel()
        await asyncio.gather(http, *working, return_exceptions=True)
        left = "engines were stopped" if self.stop_engines else "engines run on"
        _log.info(f"rrd ends; {left}")
        if failed:
            raise failed

    async def _until_ended(self, *tasks: asyncio.Task[None]) -> BaseException | None:
        """Wait for the end that was asked for; a task that ends before that is a fault, and ends rrd with it."""
        asked = asyncio.create_task(self.ended.wait())
        watched: list[asyncio.Future[Any]] = [asked, self.appliance.failed, *tasks]
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        return next((task.exception() for task in done if task is not asked), None)

    def _follow_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ended.set)
        loop.add_signal_handler(signal.SIGHUP, self.hangup.set)

    async def _follow_sources(self) -> None:
        """Read the IPAM's sources for ever; begin anew when the configuration names others."""
        while True:
            self.appliance.resume_sources.clear()
            async with asyncio.TaskGroup() as group:
                readers = [
                    group.create_task(self._follow(open_source(source)))
                    for source in self.appliance.settings.ipam.sources
                ]
                await self.appliance.resume_sources.wait()
                for reader in readers:
                    reader.cancel()

    async def _follow(self, source: AsyncIterable[Reading]) -> None:
        async for reading in source:
            self.appliance.allocating.hear(reading)

    async def _tell(self) -> None:
        await tell(self.notifier, self._healths, self._line, self.serving)

    def _healths(self) -> list[Health]:
        return [runner.health for runner in self.appliance.instances.values()]

    def _line(self) -> str:
        return str(self.appliance.check()["line"])

    async def _follow_hangups(self) -> None:
        """SIGHUP reads the configuration again; one with mistakes changes nothing."""
        while True:
            await self.hangup.wait()
            self.hangup.clear()
            self.notifier.reloading()
            try:
                answer = await self.appliance.reload()
            except ConfigError as error:
                for problem in error.problems:
                    _log.error("the configuration was not reloaded", why=str(problem))
            except RRError as error:
                _log.error("the configuration was not reloaded", why=str(error))
            else:
                _log.info("configuration reloaded", changed=answer["changed"], resets=answer["resets"])
            self.notifier.ready(self._line())

    async def serve(self) -> None:
        """Answer over HTTP; the TCP listener moves when the configuration names another address."""
        api = Api(self.appliance)
        self.appliance.http_problem = lambda: api.tcp_problem
        settings = self.appliance.settings
        await api.start(settings.run_dir / "rrd.sock", (settings.http.listen.host, settings.http.listen.port))
        self.serving.set()
        try:
            while True:
                await self.appliance.restart_http.wait()
                self.appliance.restart_http.clear()
                listen = self.appliance.settings.http.listen
                await api.listen_tcp((listen.host, listen.port))
        finally:
            await api.stop()


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Make sure that one rrd at a time looks after these engines."""
    try:
        config.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (config.run_dir / "rrd.lock").open("w")
    except OSError as error:
        wrong = f"{error.filename} cannot be made or written ({error.strerror})"
        raise StateError(
            wrong, "make the user of rrd its owner, or name another run_dir or state_dir"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wrong = f"another rrd already works in {config.run_dir}"
            raise StateError(wrong, "end it first, or name another run_dir") from None
        yield


async def _prepare(config: Config, *, managed: bool) -> Program | None:
    """Make sure that this host can do what the configuration says, and find the engine to start."""
    own = await held_by_strays(config) if managed else frozenset()
    running = {name for name in config.instances if EngineProcess(config.run_dir / name).pid() is not None}
    if problems := check_host(config, running=running, own=own, privileged=not managed):
        raise ConfigError(problems)
    return find_program() if managed else None


async def _work(file: Path, config: Config, *, managed: bool, stop_engines: bool, notifier: Notifier) -> None:
    program = await _prepare(config, managed=managed)
    await Daemon(Appliance(file, config, program), stop_engines=stop_engines, notifier=notifier).run()


def _run(file: Path, *, managed: bool, stop_engines: bool) -> None:
    notifier = Notifier.take(os.environ)
    # The watchdog ends a controller that hangs with SIGABRT: then its log shows where.
    faulthandler.enable()
    config = load(file)
    # Thousands of nodes are some hundred thousand objects that stay: looking through them all the time for cycles
    # would cost more than reading them did.
    gc.set_threshold(100_000, 20, 100)
    if managed:
        step_back()  # systemd has done that for its own (Nice=)
    with _alone(config):
        asyncio.run(_work(file, config, managed=managed, stop_engines=stop_engines, notifier=notifier))


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: rrd --config /etc/rr/rr.yaml",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/rr/rr.yaml"),
    show_default=True,
    help="The configuration (docs/configuration.md).",
)
@click.option(
    "--engine",
    type=click.Choice(["managed", "external"]),
    help="Who starts gobgpd: rrd (managed) or systemd (external). Default: managed, but external under systemd.",
)
@click.option(
    "--stop-engines", is_flag=True, help="End the engines too when rrd ends. Without it they run on."
)
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.version_option(__version__)
def main(file: Path, engine: str | None, stop_engines: bool, log_format: str, log_level: str) -> None:
    """Run the route reflector's controller until SIGTERM; SIGHUP reloads the configuration.

    Exit status: 0 ended as asked, 1 it could not start or failed; the sentences on stderr say why and what to do.
    """
    log.configure(log_format, log_level)
    managed = engine == "managed" or (engine is None and "NOTIFY_SOCKET" not in os.environ)
    try:
        _run(file.resolve(), managed=managed, stop_engines=stop_engines)
    except RRError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
