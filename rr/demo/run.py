"""Run the demo from its first process to its last: start, tell, stay up, clean up."""

import asyncio
import json
import signal
import sys
from dataclasses import dataclass

from rr.demo.appliance import Appliance
from rr.demo.blocks import Claim, claim
from rr.demo.counts import Counts
from rr.demo.errors import DemoError
from rr.demo.ledger import Ledger
from rr.demo.lookaround import look_around
from rr.demo.network import Network
from rr.demo.plan import FIRST_BLOCK, plan
from rr.demo.processes import Processes
from rr.demo.story import Story, at_the_end
from rr.demo.telling import Teller
from rr.engine.process import find_program
from rr.errors import RRError

DEAF_SECONDS = 0.3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for."""

    once: bool
    as_json: bool


def run(options: Options) -> int:
    """Run the demo; its exit status: 0 all as it should be, 1 a step failed, 128 + N stopped by signal N."""
    return asyncio.run(Demo(options).run())


class Demo:
    """One run of the demo."""

    def __init__(self, options: Options) -> None:
        self._options = options
        stream = sys.stderr if options.as_json else sys.stdout
        self._teller = Teller(stream, unhurried=not options.as_json)
        self._failure: DemoError | None = None
        self._signal: int | None = None
        self._staying = False
        self._told: asyncio.Task[None] | None = None
        self._story: Story | None = None
        self._counts = Counts(expected=at_the_end(plan(FIRST_BLOCK)).expected())

    async def run(self) -> int:
        """Everything; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stopped, number)
        self._told = asyncio.create_task(self._tell())
        try:
            await self._told
        except asyncio.CancelledError:
            pass  # by _stopped or _fail, which noted why
        except RRError as error:
            self._failure = self._failure or DemoError(str(error))
        return self._result()

    async def _tell(self) -> None:
        gobgpd = str(find_program().path.resolve())
        claimed = claim()
        processes = Processes(self._ended, claimed.lock, self._guardian_lost)
        try:
            await self._with(claimed, processes, gobgpd)
        except DemoError as error:
            self._failure = self._failure or error
            raise
        finally:
            if self._failure and not processes.guardian_lost:
                self._failure.right = f"the logs are in {processes.folder}"
                await processes.keep_folder()
            await asyncio.to_thread(processes.stop)
            claimed.lock.close()

    async def _with(self, claimed: Claim, processes: Processes, gobgpd: str) -> None:
        folder = await processes.ready()
        self._teller.title("The route-reflector appliance, with six nodes and two ToRs, all real speakers")
        self._teller.say(f"on this machine's loopback alone, without root; their files are in {folder}")
        ledger = Ledger(claimed.plan)
        appliance = Appliance(claimed.plan, processes, gobgpd)
        network = Network(claimed.plan, processes, gobgpd, ledger)
        try:
            await asyncio.gather(appliance.start(), network.start(self._deaf))
            self._story = Story(claimed.plan, network, appliance, ledger, self._teller, self._counts)
            await self._story.tell()
            if not self._options.once:
                self._staying = True
                await look_around(self._story, gobgpd)
        finally:
            if self._story is not None and not self._staying:
                self._story.count()
            await network.close()

    def _stopped(self, number: int) -> None:
        self._signal = self._signal or number
        self._cancel()

    def _ended(self, name: str, status: int) -> None:
        if self._staying:
            self._teller.news(f"{name} ended with status {status}")
        else:
            self._fail(DemoError(f"{name} ended with status {status}"))

    def _deaf(self, failure: DemoError) -> None:
        if not self._staying:  # if its speaker ended, that says more, and is about to be known
            asyncio.get_running_loop().call_later(DEAF_SECONDS, self._fail, failure)

    def _guardian_lost(self) -> None:
        self._fail(
            DemoError("the demo's guardian process was killed", "everything that it started was ended")
        )

    def _fail(self, failure: DemoError) -> None:
        self._failure = self._failure or failure
        self._cancel()

    def _cancel(self) -> None:
        if self._told and not self._told.cancelling():
            self._told.cancel()

    def _result(self) -> int:
        if self._options.as_json:
            print(json.dumps(self._counts.as_dict()))
        if self._failure:
            self._teller.failed(str(self._failure))
            return 1
        if self._signal and not self._staying:
            return 128 + self._signal
        return 0
