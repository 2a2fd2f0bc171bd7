"""Watches the other half, answers it, and keeps what follows from it: alarms, redundancy, and the routes lent to it.

Nothing here ever touches a session: when the halves lose sight of each other, both go on as they are, and say so.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rr import __version__
from rr.config.model import Config, Pair
from rr.continuity.drain import Phase, phase
from rr.continuity.pair import compare, lending, sharing, tls
from rr.continuity.pair.channel import Answering, Unanswered, ask
from rr.continuity.pair.compare import Redundancy, named
from rr.continuity.pair.lasting import Lasting
from rr.continuity.pair.lending import Missing
from rr.continuity.pair.word import InstanceWord, Word
from rr.instance.health import EngineState
from rr.instance.runner import InstanceRunner
from rr.net import Address, Network
from rr.policy.model import PolicySet
from rr.view import clock
from rr.view.live import LiveView, Role
from rr.view.rows import accepted_paths

EVERY = 1.0
"""Seconds between two questions to the other half."""
GRACE = 3.0
"""Seconds that a difference or a silence must last to be told: a change takes that long to travel at most."""
THIN_AFTER = 5.0
"""Seconds that a node must be without one of its sessions to be told of."""
Row = dict[str, Any]


class PairWatch:
    """One half's picture of the other."""

    def __init__(
        self,
        config: Config,
        pair: Pair,
        runners: Mapping[str, InstanceRunner],
        allocations: Callable[[], str],
        say: Callable[[str, str, str], None],
    ) -> None:
        """`allocations` gives the digest of those in force."""
        self.config = config
        self.pair = pair
        self.word: Word | None = None
        """What the other half said last."""
        self.heard: float | None = None
        """Unix time at which it said so."""
        self.problem: str | None = "it was not asked yet"
        """Why the last question had no answer."""
        self.trouble: dict[str, str] = {}
        """What is wrong on this side, by what it is about."""
        self.credentials: tls.Credentials | None = None
        self._runners = runners
        self._allocations = allocations
        self._say = say
        self._answering = Answering(pair.name, self.own)
        self._listening = False
        self._signature: tuple[object, ...] | None = None
        self._silence = Lasting(GRACE)
        self._differences = Lasting(GRACE)
        self._thin = Lasting(THIN_AFTER)
        self._missing: dict[str, Missing] = {}
        self._digests: dict[str, tuple[PolicySet, str]] = {}

    # Life

    async def run(self) -> None:
        """Ask and answer until cancelled."""
        try:
            while True:
                began = time.monotonic()
                self._look_at_files()
                await self._listen()
                await self.ask()
                self.settle(time.monotonic())
                await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - began)))
        finally:
            await self._answering.stop()

    def _look_at_files(self) -> None:
        """Certificates that were exchanged are in use from the next question on."""
        signature = tls.signature(self.pair)
        expired = self.credentials is not None and self.credentials.expires <= time.time()
        if signature == self._signature and not expired:
            return
        first, self._signature = self._signature is None, signature
        try:
            self.credentials = tls.load(self.pair, self.config.name)
        except tls.BadCertificate as error:
            self.credentials = None
            self._note("certificate", str(error))
        else:
            self._note("certificate", None)
            if not first:
                self._say("pair", self.pair.name, "the certificate of this half was read again")
        self._listening = False

    def _note(self, about: str, wrong: str | None) -> None:
        if wrong is None:
            self.trouble.pop(about, None)
        elif self.trouble.get(about) != wrong:
            self.trouble[about] = wrong
            self._say("pair", self.pair.name, f"the other half cannot be watched: {wrong}")

    async def _listen(self) -> None:
        if self._listening:
            return
        if self.credentials is None:
            await self._answering.stop()
            return
        try:
            await self._answering.start(self.pair.listen, self.credentials.server)
        except OSError as error:
            self._note("listen", f"{self.pair.listen} cannot be listened on ({error.strerror})")
        else:
            self._listening = True
            self._note("listen", None)

    async def ask(self) -> None:
        """Ask the other half how it is, now."""
        if self.credentials is None:
            self.problem = self.trouble["certificate"]
            return
        try:
            self.word = await ask(self.pair.connect, self.pair.name, self.credentials.client)
        except Unanswered as error:
            self.problem = str(error)
        else:
            self.problem, self.heard = None, time.time()

    # What this half says

    def own(self) -> Word:
        """How this half is."""
        instances = {name: self._instance(runner) for name, runner in self._runners.items()}
        return Word(self.config.name, __version__, time.time(), self._allocations(), instances)

    def _instance(self, runner: InstanceRunner) -> InstanceWord:
        health, view = runner.health, runner.view
        return InstanceWord(
            settings=sharing.settings(runner.setting.instance),
            policy=self._policy(runner),
            serving=health.state is EngineState.RUNNING and health.in_force,
            restarting=runner.continuity.restarting,
            drained=phase(runner) is not Phase.SERVING,
            nodes=_up(view, Role.NODE),
            tors=_up(view, Role.TOR),
        )

    def _policy(self, runner: InstanceRunner) -> str | None:
        """The digest of what is enforced, computed once per policy."""
        policy = runner.health.policy
        if policy is None:
            return None
        known = self._digests.get(runner.name)
        if known is None or known[0] is not policy:
            known = self._digests[runner.name] = (policy, sharing.rules(policy, runner.view.rules.pair))
        return known[1]

    # What follows from what the other half says

    def settle(self, now: float) -> None:
        """Take the last answer, or its absence, into the picture. `now` is monotonic."""
        # One sentence, however the reason changes meanwhile.
        new, ended = self._silence.see(["silent"] if self.problem else [], now)
        if new:
            self._say(
                "pair", self.pair.name, f"the other half {self.pair.name} cannot be reached: {self.problem}"
            )
        if ended:
            self._say("pair", self.pair.name, f"the other half {self.pair.name} answers again")
        if self.word is None or self.problem:
            return
        new, ended = self._differences.see(compare.differences(self.own(), self.word), now)
        for sentence in new:
            self._say("pair", self.pair.name, sentence)
        if ended and not self._differences.counting():
            self._say("pair", self.pair.name, "the halves agree again")
        self._tell_redundancy(now)
        self._lend(now)

    def _tell_redundancy(self, now: float) -> None:
        facts = {f"{i} {name}": name for i, found in self.nodes().items() for name in found.one}
        new, ended = self._thin.see(facts, now)
        if new:
            names = named(facts[fact] for fact in new)
            self._say("pair", self.pair.name, f"with one half of the pair only: {names}")
        if ended and not self._thin.counting():
            self._say("pair", self.pair.name, "no node is with one half of the pair only any more")

    def _lend(self, now: float) -> None:
        """Have each engine give the other half the routes of nodes that it has no session with."""
        found = self.nodes()
        for name, runner in self._runners.items():
            there = self._there(name)
            if runner.view.rules.pair is None or there is None or not there.serving or there.restarting:
                continue
            missing = self._missing.setdefault(name, Missing()).see(found[name].here, now)
            if missing is not None:
                runner.lend(_lacking(runner.view, missing))

    def _there(self, instance: str) -> InstanceWord | None:
        return self.word.instances.get(instance) if self.word else None

    @property
    def reachable(self) -> bool:
        """Whether the other half answers; it may leave out one or two answers."""
        return self.word is not None and not self._silence.counting()

    def nodes(self) -> dict[str, Redundancy]:
        """Every instance's nodes, by the halves that they have a session with."""
        return {name: self._nodes(runner) for name, runner in self._runners.items()}

    def _nodes(self, runner: InstanceRunner) -> Redundancy:
        view, there = runner.view, self._there(runner.name)
        nodes = {n.name: n.addresses for n in view.allocations.nodes.values() if view.rules.home_of(n)}
        return compare.redundancy(nodes, _up(view, Role.NODE), there.nodes if there else frozenset())

    def _tors(self, runner: InstanceRunner) -> Redundancy:
        view, there = runner.view, self._there(runner.name)
        tors = {str(tor): (tor,) for tor in view.rules.tors()}
        return compare.redundancy(tors, _up(view, Role.TOR), there.tors if there else frozenset())

    def refusal(self, instance: str | None = None) -> str | None:
        """Why this half, or one instance of it, cannot be spared now; None where it can."""
        half = f"the other half {self.pair.name}"
        if self.word is None or self.problem:
            return f"{half} cannot be reached: {self.problem}"
        if difference := next(iter(self._differences.counting()), None):
            return f"{difference} ({half})"
        for name, runner in self._runners.items():
            if instance in (None, name):
                why = compare.refusal(name, self._nodes(runner), self._tors(runner), self._there(name))
                if why:
                    return why.replace("the other half", half, 1)
        return None

    # Answers

    def problems(self) -> Iterator[str]:
        """What an operator should look at: the service goes on, and is less safe than it should be."""
        name = self.pair.name
        for sentence in self.trouble.values():
            yield f"The other half {name} cannot be watched: {sentence}"
        if self._silence.counting() and "certificate" not in self.trouble:
            yield f"The other half {name} cannot be reached: {self.problem}{self._split()}"
        if self.credentials and self.credentials.expires - time.time() < tls.EXPIRES_SOON:
            until = clock.text(self.credentials.expires)
            yield f"{self.pair.certificate} ends at {until}: make a new one, rrctl pair certificates --renew"
        if self.reachable:
            yield from (f"{fact[:1].upper()}{fact[1:]}" for fact in self._differences.counting())
            yield from self._thin_sentences()

    def _split(self) -> str:
        """Whether the halves still see each other by BGP."""
        up = [name for name, runner in self._runners.items() if _half_up(runner.view)]
        configured = [name for name, runner in self._runners.items() if runner.view.rules.pair]
        if not configured:
            return ""
        if up:
            return f"; its BGP session is up in {', '.join(up)}, so it runs"
        return "; it has no BGP session either"

    def _thin_sentences(self) -> Iterator[str]:
        lasting = self._thin.counting()
        for instance, found in self.nodes().items():
            for whose, names in (("this half", found.here), (self.pair.name, found.there)):
                thin = [name for name in names if f"{instance} {name}" in lasting]
                if thin:
                    are = "is" if len(thin) == 1 else "are"
                    yield f"Instance {instance}: {named(thin)} {are} with {whose} only"

    def row(self) -> Row:
        """The other half as `rrctl status` shows it."""
        now_monotonic, now = time.monotonic(), time.time()
        return {
            "name": self.pair.name,
            "reachable": self.reachable,
            "problem": next(iter(self.trouble.values()), self.problem),
            "version": self.word.version if self.word else None,
            "heard": clock.text(self.heard),
            "differences": [
                {"text": text, "since": clock.text(now - (now_monotonic - since))}
                for text, since in self._differences.counting().items()
            ],
            "refusal": self.refusal(),
            "certificate_ends": clock.text(self.credentials.expires) if self.credentials else None,
            "instances": [self._instance_row(runner) for runner in self._runners.values()],
        }

    def _instance_row(self, runner: InstanceRunner) -> Row:
        view = runner.view
        half, there = view.rules.pair, self._there(runner.name)
        peer = view.peers.get(half) if half else None
        return {
            "instance": runner.name,
            "address": str(half) if half else None,
            "session": (peer.state if peer else "idle") if half else None,
            "serving": there.serving if there else None,
            "nodes": _counts(self._nodes(runner)),
            "tors": _counts(self._tors(runner)),
            "lent": len(view.lacking or ()),
        }

    def node_rows(self) -> list[Row]:
        """The nodes that do not have a session with both halves."""
        return [
            {"instance": instance, "node": name, "here": name in found.here, "there": name in found.there}
            for instance, found in self.nodes().items()
            for name in sorted(found.one | found.none)
        ]


def _counts(found: Redundancy) -> Row:
    return {"both": len(found.both), "one": len(found.one), "none": len(found.none)}


def _up(view: LiveView, role: Role) -> frozenset[Address]:
    return frozenset(p.address for p in view.peers.values() if p.up and view.role(p.address) is role)


def _half_up(view: LiveView) -> bool:
    peer = view.peers.get(view.rules.pair) if view.rules.pair else None
    return peer is not None and peer.up


def _lacking(view: LiveView, missing: frozenset[str]) -> frozenset[Network]:
    if not missing:
        return frozenset()
    announced: dict[Network, frozenset[str]] = {}
    for prefix, paths in accepted_paths(view).items():
        # What passes only because its rack is observed is not the nodes' by the filter that it would meet there.
        direct = [path for path in paths if path.kind and not (path.lent or path.heard.observed)]
        announced[prefix] = frozenset(_names(view, [path.peer.address for path in direct]))
    return lending.lacking(missing, announced)


def _names(view: LiveView, addresses: Sequence[Address]) -> Iterator[str]:
    for address in addresses:
        if node := view.allocations.node_at(address):
            yield node.name
