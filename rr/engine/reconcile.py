"""Make an engine hold what it should: compare, apply the difference, read back. It may be run again at any moment.

The order is the safety: policy is in force before anything can dial in or be dialed, and revocations reach the engine
before grants. Every change is returned as one plain sentence.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from rr.addresses import contains, network_of
from rr.engine import policy as encode
from rr.engine import shutdown, speaker
from rr.engine.client import DEADLINE, EXPORT, IMPORT, Engine
from rr.engine.pb import gobgp_pb2 as pb
from rr.engine.speaker import ExplicitPeer, Identity, Plan, Returning
from rr.errors import EngineError, EngineRefused
from rr.net import Address, Network
from rr.policy.changes import Change, between
from rr.policy.drain import is_draining
from rr.policy.model import Action, PolicySet, PrefixMatch

_log = structlog.get_logger(__name__)
_AT_ONCE = 16
"""Soft resets under way at the same time."""
_TRIES = 5
"""Times that a peer is closed which dials again at once, before that is an error."""
_AT_ONCE_BESIDES = 4
"""Soft resets under way at the same time beside whatever else changes; each may hold the engine up for 20 ms."""
_EDITS = 64
"""More sets than this are replaced with the whole policy in one step."""
_ASSIGNMENTS = ((pb.POLICY_DIRECTION_IMPORT, IMPORT), (pb.POLICY_DIRECTION_EXPORT, EXPORT))


class NeedsRestart(EngineError):
    """The running speaker has another identity than the configuration: only a restart changes that."""

    def __init__(self, running: Identity, wanted: Identity) -> None:
        super().__init__(f"it runs as {running}, the configuration says {wanted}")
        self.same_speaker = (running.asn, running.router_id) == (wanted.asn, wanted.router_id)
        """Whether peers would take the new one for the old one, restarted."""


Announcers = Callable[[frozenset[PrefixMatch], Mapping[Address, int] | None], Iterable[Address] | None]
"""Says which peers announce what these match. Where that takes to know how many routes the engine has of each peer, and
it is not told, None."""
Wanted = Callable[[PolicySet | None], PolicySet]
"""Says what the policy should be, given what is held."""


@dataclass(slots=True)
class Outcome:
    """What one run changed."""

    said: list[str] = field(default_factory=list)
    repaired: bool = False
    """The engine held something else than what was last written to it."""
    peers: list[pb.Peer] | None = None
    """After an audit: the engine's sessions."""
    taken_back: int = 0
    """Nodes of the engine before this one that it was told of."""
    resent: bool = False
    """ToRs have been sent everything again, and nodes too or they are in `Reconciler.unsent`."""


class Reconciler:
    """Keeps one engine as wanted. Not for concurrent use: one task runs it."""

    def __init__(self, engine: Engine, announcers: Announcers = lambda _, received: received) -> None:
        self.engine = engine
        self.announcers = announcers
        self.held: PolicySet | None = None
        """What the engine's policy is, as far as we know; None until it has been read."""
        self.unsent: set[Address] = set()
        """Nodes that still have to be sent everything again."""
        self.syncing: frozenset[Address] = frozenset()
        """Peers that are sent nothing before others have sent theirs; a soft reset would tell them that this is all."""
        self._kept_out: frozenset[Address] = frozenset()
        """From which addresses the engine lets nobody dial, as far as we know."""

    async def start(self, plan: Plan) -> bool:
        """Start the speaker where it is not; say whether it had to be. Raises NeedsRestart."""
        running = speaker.read_identity(await self.engine.ping(deadline=DEADLINE))
        if running is None:
            await self.engine.start(speaker.global_message(plan.identity))
            return True
        if running != plan.identity:
            raise NeedsRestart(running, plan.identity)
        return False

    async def run(
        self, wanted: Wanted, plan: Plan, *, audit: bool = False, returning: Returning | None = None
    ) -> Outcome:
        """Bring the engine to what is wanted and to `plan`; with `audit`, read first what it really holds.

        An engine that lets nobody in yet is told of the peers that are `returning`; None is a cold start.

        Raises EngineUnavailable, EngineRefused and, when the engine was exchanged behind our back, NeedsRestart.
        """
        outcome = Outcome()
        if audit or self.held is None:
            await self.start(plan)
            await self._read_policy(outcome)
        await self._policy(wanted(self.held), outcome)
        if plan.kept_out != self._kept_out and not audit:
            await self._keep_out(plan, await self.engine.peers(), outcome)
        if audit:
            await self._peers(plan, returning, outcome)
        return outcome

    # Policy

    async def _read_policy(self, outcome: Outcome) -> None:
        """Read what is in force. Whatever is not assigned as it should be counts as not held."""
        believed = self.held
        assigned = [await self.engine.assignment(direction) for direction, _ in _ASSIGNMENTS]
        in_force = all(
            [p.name for p in found.policies] == [name] and found.default_action == pb.ROUTE_ACTION_REJECT
            for found, (_, name) in zip(assigned, _ASSIGNMENTS, strict=True)
        )
        if not in_force:
            self.held = None
            outcome.repaired = believed is not None
            return
        sets = [found for kind in encode.SET_KINDS for found in await self.engine.defined_sets(kind)]
        imports, exports = (found.policies[0].statements for found in assigned)
        self.held = encode.read_sets(sets, imports, exports)
        if believed is not None and self.held != believed:
            outcome.repaired = True

    async def _policy(self, wanted: PolicySet, outcome: Outcome) -> None:
        if self.held is None:
            await self._replace(wanted)
            outcome.said.append(f"policy in force: {len(wanted.imports)} import statements")
            await self._refresh(None, outward=False)
            await self._refresh(None, outward=True)
            outcome.resent = True
            return
        before, change = self.held, between(self.held, wanted)
        if not change:
            return
        if change.structural or len(change.edits) > _EDITS:
            await self._take_away(before, wanted)
            await self._replace(wanted)
        else:
            await self._edit(change, wanted)
        outcome.said.append(_sentence(change))
        await self._refresh(change.senders, outward=False)
        if change.announced and change.senders is not None:
            await self._refresh_announcers(change.announced)
        if is_draining(before) != is_draining(wanted):
            await self.resend()
            outcome.resent = True
        else:
            await self._refresh(change.receivers, outward=True)

    async def resend(self) -> None:
        """Send ToRs everything again; nodes, of which there may be thousands, are left for `send_rest`."""
        peers = await self.engine.peers()
        await self.refresh([_address(p) for p in peers if speaker.is_explicit(p)], outward=True)
        self.unsent = {_address(p) for p in peers if not speaker.is_explicit(p)}

    async def send_rest(self) -> None:
        """Send some of those everything again who still need it. A change for others can come in between."""
        some = [self.unsent.pop() for _ in range(min(len(self.unsent), _AT_ONCE_BESIDES))]
        await self.refresh(some, outward=True)

    async def _replace(self, wanted: PolicySet) -> None:
        self.held = None
        policies = (
            encode.policy_message(IMPORT, wanted.imports),
            encode.policy_message(EXPORT, wanted.exports),
        )
        await self.engine.set_policies(encode.sets(wanted), policies)
        for direction, name in _ASSIGNMENTS:
            await self.engine.assign(direction, name)
            found = await self.engine.assignment(direction)
            if [p.name for p in found.policies] != [name] or found.default_action != pb.ROUTE_ACTION_REJECT:
                raise EngineRefused(f"policy {name} is not in force after it was assigned")
        self.held = wanted

    async def _take_away(self, held: PolicySet, wanted: PolicySet) -> None:
        """Take what nodes have that are to go, before everything is replaced: that takes tens of milliseconds.

        Only what lets routes in is emptied; what keeps them out stays until there is a new policy. And only of what is
        nobody's from now on: the node may just have another name, and then its routes stay.
        """
        gone: dict[str, set[Network]] = {}
        for statement in held.imports:
            name, neighbors = statement.prefixes, statement.neighbors
            if statement.action is Action.ACCEPT and name and neighbors and name not in wanted.prefix_sets:
                gone.setdefault(name, set()).update(held.neighbor_sets[neighbors])
        if not 0 < len(gone) <= _EDITS:
            return
        stays = frozenset[PrefixMatch]().union(*wanted.prefix_sets.values())
        senders: set[Network] = set()
        self.held = None
        for name, whose in gone.items():
            if members := held.prefix_sets[name] - stays:
                await self.engine.shrink_set(encode.prefix_set(name, members))
                senders |= whose
        await self._refresh(frozenset(senders), outward=False)

    async def _edit(self, change: Change, wanted: PolicySet) -> None:
        """Edit sets in use. Nobody is granted anything before everybody's revocation is in."""
        self.held = None
        for edit in change.edits:
            if edit.removed:
                await self.engine.shrink_set(encode.prefix_set(edit.name, edit.removed))
        for edit in change.edits:
            if edit.added:
                await self.engine.extend_set(encode.prefix_set(edit.name, edit.added))
        for edit in change.edits:
            found = await self.engine.defined_sets(pb.DEFINED_TYPE_PREFIX, edit.name)
            if [encode.read_prefix_set(s) for s in found] != [wanted.prefix_sets[edit.name]]:
                raise EngineRefused(f"prefix set {edit.name} is not as it was written")
        self.held = wanted

    async def _refresh(self, peers: frozenset[Network] | None, *, outward: bool) -> None:
        """Have the routes of some peers judged again, or what they are sent; None means all peers."""
        if peers is None or any(n.prefixlen < n.max_prefixlen for n in peers) or len(peers) > _AT_ONCE:
            await self.refresh(await self._sessions_in(peers), outward=outward)
        else:
            await self.refresh([n.network_address for n in peers], outward=outward)

    async def _refresh_announcers(self, announced: frozenset[PrefixMatch]) -> None:
        """Have the routes judged again of whoever announces what all nodes may, or may no longer: mostly few do."""
        found = self.announcers(announced, None)
        if found is None:
            received = dict(map(speaker.read_received, await self.engine.peers()))
            found = self.announcers(announced, received)
        await self.refresh(found or ())

    async def _sessions_in(self, networks: frozenset[Network] | None) -> list[Address]:
        """The engine's peers in these networks, those first that are named one by one: they are what a change is about.

        The engine is asked, since it knows of a session first.
        """
        known = [encode.address(peer.state.neighbor_address) for peer in await self.engine.peers()]
        if networks is None:
            return known
        hosts = {n.network_address for n in networks if n.prefixlen == n.max_prefixlen}
        wide = [n for n in networks if n.prefixlen < n.max_prefixlen]
        found = [a for a in known if a in hosts or any(contains(n, a) for n in wide)]
        return sorted(found, key=lambda address: address not in hosts)

    async def refresh(self, addresses: Iterable[Address], *, outward: bool = False) -> None:
        """Soft-reset these peers. One that has gone meanwhile, or gets everything soon, needs none."""
        if outward and self.syncing:
            addresses = [address for address in addresses if address not in self.syncing]
        gate = asyncio.Semaphore(_AT_ONCE)
        reset = self.engine.refresh_out if outward else self.engine.refresh_in

        async def one(address: Address) -> None:
            async with gate:
                try:
                    await reset(address)
                except EngineRefused as error:
                    _log.debug(
                        "peer was gone before its routes could be judged again",
                        peer=str(address),
                        why=str(error),
                    )

        await asyncio.gather(*map(one, addresses))

    async def reset(self, address: Address) -> None:
        """Close a session that cannot be put right otherwise."""
        try:
            await self.engine.reset(address, "a route that is not allowed did not go")
        except EngineRefused as error:
            _log.debug("peer was gone before it could be reset", peer=str(address), why=str(error))

    # Groups, peers, ranges

    async def look_for_sync(self, tors: Iterable[Address]) -> bool:
        """Ask whether there is a ToR whose session is up and that is sent nothing yet."""
        listed = [peer for tor in tors for peer in await self.engine.peers(tor)]
        self.syncing = self.syncing.difference(tors) | _syncing(listed)
        return any(speaker.is_established(peer) and peer.graceful_restart.local_restarting for peer in listed)

    async def restarting(self) -> bool:
        """Ask whether the engine still takes back the peers of the one before it, whoever started it."""
        return bool(await self.engine.peers(speaker.NOBODY))

    async def _peers(self, plan: Plan, returning: Returning | None, outcome: Outcome) -> None:
        if plan.farewell:
            outcome.said += await shutdown.close(self.engine, plan.farewell)
        groups = dict(map(speaker.read_group, await self.engine.groups()))
        ranges = speaker.read_ranges(await self.engine.ranges())
        opening = not ranges
        outcome.peers = await self._await_nobody(plan, returning, await self.engine.peers(), opening=opening)
        peers = await self._keep_out(plan, outcome.peers, outcome)
        self.syncing = _syncing(peers)
        await self._groups(plan, groups, ranges, peers, outcome)
        await self._hand_back(plan, peers, returning.awaited if returning else frozenset(), outcome)
        if opening and returning:
            await self._take_back(returning, peers, outcome)
            if returning.hold_tors:
                return
        await self._tors(plan, peers, outcome, restarting=opening and returning is not None)
        await self._ranges(plan, ranges, outcome)
        await self._close_strays(plan, peers, outcome)
        for name in groups.keys() - plan.groups.keys():
            await self._forget_group(name, outcome)

    async def _keep_out(self, plan: Plan, peers: list[pb.Peer], outcome: Outcome) -> list[pb.Peer]:
        """Close who is to be kept out, with all routes, and let in who is no longer; answer the other peers."""
        held = {encode.address(p.state.neighbor_address): speaker.is_kept_out(p) for p in peers}
        for address in sorted(plan.kept_out, key=int):
            if not held.get(address):
                await self._shut(address, plan, there=address in held)
                outcome.said.append(f"nobody may dial from {address} any more")
        for address, shut in held.items():
            if shut and address not in plan.kept_out:
                await self.engine.delete_peer(address)
                outcome.said.append(f"{address} may dial again")
        self._kept_out = plan.kept_out
        return [
            p
            for p in peers
            if encode.address(p.state.neighbor_address) not in plan.kept_out and not speaker.is_kept_out(p)
        ]

    async def _shut(self, address: Address, plan: Plan, *, there: bool) -> None:
        """Put a peer that is shut down in the place of one that dialed in; it may dial again in between."""
        for left in reversed(range(_TRIES)):
            try:
                if there:
                    await self.engine.delete_peer(address)
            except EngineRefused as error:
                _log.debug("peer was gone before it could be closed", peer=str(address), why=str(error))
            try:
                await self.engine.add_peer(speaker.kept_out_message(address, plan.identity.asn))
                return
            except EngineRefused:
                there = True
                if not left:
                    raise

    async def _groups(
        self,
        plan: Plan,
        groups: dict[str, speaker.Session],
        ranges: dict[Network, str],
        peers: Iterable[pb.Peer],
        outcome: Outcome,
    ) -> None:
        for name, session in plan.groups.items():
            if name not in groups:
                await self.engine.add_group(speaker.group_message(name, session))
            elif groups[name] != session:
                if groups[name].password != session.password:
                    await self._take_passwords_off(name, plan, ranges, peers)
                await self.engine.update_group(speaker.group_message(name, session))
                outcome.said.append(f"settings of {name} changed, for sessions that start from now on")

    async def _take_passwords_off(
        self, name: str, plan: Plan, ranges: dict[Network, str], peers: Iterable[pb.Peer]
    ) -> None:
        """A password belongs to the listening socket: it is taken off before it changes, or the old one would count.

        Range by range, those too that are closed for now; and off the nodes that were taken back after a restart, whose
        own would go before that of their range. Sessions that are up stay.
        """
        own = {prefix for prefix, group in {**plan.later, **ranges}.items() if group == name}
        own |= {
            network_of(a)
            for a in map(_address, filter(speaker.is_explicit, peers))
            if _group(plan, a) == name
        }
        for prefix in own:
            await self.engine.delete_range(prefix, name)
            ranges.pop(prefix, None)

    async def _await_nobody(
        self, plan: Plan, returning: Returning | None, peers: list[pb.Peer], *, opening: bool
    ) -> list[pb.Peer]:
        """Have the engine wait for a peer that never comes while others come back; answer all peers but that.

        As soon as it waits for nobody, it sends everything to everybody in one step, under its main lock: seconds at a
        thousand nodes, and again for every ToR. While it waits, it sends each peer its part when that peer's time has
        come.
        """
        others = [peer for peer in peers if _address(peer) != speaker.NOBODY]
        there = len(others) < len(peers)
        if there and not (returning and returning.under_way):
            await self.engine.delete_peer(speaker.NOBODY)
        elif opening and returning and not there:
            await self.engine.add_peer(speaker.nobody(plan))
        return others

    async def _take_back(self, returning: Returning, peers: list[pb.Peer], outcome: Outcome) -> None:
        """Tell a restarted engine of the nodes that were up: before ToRs, which wait for them, and before ranges."""
        known = {encode.address(peer.state.neighbor_address) for peer in peers}
        for address, peer in returning.nodes.items():
            if address not in known:
                self.syncing |= {address}
                await self.engine.add_peer(speaker.peer_message(address, peer, restarting=True))
                outcome.taken_back += 1

    async def _hand_back(
        self, plan: Plan, peers: list[pb.Peer], awaited: frozenset[Address], outcome: Outcome
    ) -> None:
        """Leave nodes to their range again that were taken back and are down, with nothing kept for them."""
        gone = 0
        for peer in filter(speaker.is_explicit, peers):
            address, settings = speaker.read_peer(peer)
            idle = not (speaker.is_established(peer) or peer.graceful_restart.peer_restarting)
            if idle and address not in awaited and _is_node(plan, address, settings):
                await self._forget(address, settings)
                gone += 1
        if gone:
            outcome.said.append(f"{gone} nodes that were up before the restart are awaited no longer")

    async def _forget(self, address: Address, settings: ExplicitPeer) -> None:
        """Delete an explicit peer. The engine would leave its password on the listening socket, for ever.

        It takes it off where it is told of another, which ends the session: so the peer is shut in the same step.
        """
        if settings.session.password:
            bare = speaker.peer_message(
                address, replace(settings, session=replace(settings.session, password=""))
            )
            bare.conf.admin_down = True
            await self.engine.update_peer(bare)
        await self.engine.delete_peer(address)

    async def _tors(self, plan: Plan, peers: list[pb.Peer], outcome: Outcome, *, restarting: bool) -> None:
        known = dict(speaker.read_peer(p) for p in peers if speaker.is_explicit(p))
        for address in known.keys() - plan.peers.keys():
            if not _is_node(plan, address, known[address]):
                await self._forget(address, known[address])
                outcome.said.append(f"{_called(known[address])} {address} removed")
        for address, peer in plan.peers.items():
            before, called = known.get(address), _called(peer)
            if before == peer:
                continue
            if before and speaker.keeps_session(before, peer):
                await self.engine.update_peer(speaker.peer_message(address, peer))
                outcome.said.append(f"settings of {called} {address} changed, its session stays")
                continue
            if before:
                await self._forget(address, before)
            graceful = restarting and peer.session.restart_time > 0
            if graceful:
                self.syncing |= {address}
            await self.engine.add_peer(speaker.peer_message(address, peer, restarting=graceful))
            outcome.said.append(
                f"{called} {address} {'changed, its session was reset' if before else 'added'}"
            )

    async def _ranges(self, plan: Plan, ranges: dict[Network, str], outcome: Outcome) -> None:
        for prefix, group in ranges.items():
            if plan.ranges.get(prefix) != group:
                await self.engine.delete_range(prefix, group)
                outcome.said.append(f"range {prefix} of {group} closed")
        for prefix, group in plan.ranges.items():
            if ranges.get(prefix) != group:
                await self.engine.add_range(prefix, group)
                outcome.said.append(f"range {prefix} of {group} open")

    async def _close_strays(self, plan: Plan, peers: list[pb.Peer], outcome: Outcome) -> None:
        """Closing a range leaves its sessions up; whoever is in no range any more is closed here."""
        for peer in peers:
            if speaker.is_explicit(peer):
                continue
            address = encode.address(peer.state.neighbor_address)
            if speaker.range_of(plan, address) is None:
                await self.engine.delete_peer(address)
                outcome.said.append(f"session with {address} closed: it is in no range any more")

    async def _forget_group(self, name: str, outcome: Outcome) -> None:
        try:
            await self.engine.delete_group(name)
        except EngineRefused as error:
            _log.warning("a peer group is no longer wanted but still in use", group=name, why=str(error))


def _group(plan: Plan, address: Address) -> str | None:
    """Whose settings a node at this address has."""
    own = speaker.range_of(plan, address)
    return plan.ranges[own] if own is not None and address not in plan.peers else None


def _is_node(plan: Plan, address: Address, settings: ExplicitPeer) -> bool:
    """Tell a node that was taken back after a restart from a ToR, and from what somebody else added."""
    own = speaker.range_of(plan, address)
    return (
        own is not None
        and address not in plan.peers
        and settings.session.asn == plan.groups[plan.ranges[own]].asn
    )


def _address(peer: pb.Peer) -> Address:
    return encode.address(peer.state.neighbor_address)


def _syncing(peers: Iterable[pb.Peer]) -> frozenset[Address]:
    return frozenset(
        encode.address(p.state.neighbor_address) for p in peers if p.graceful_restart.local_restarting
    )


def _called(peer: ExplicitPeer) -> str:
    """What an explicit peer is; only the other half is without graceful restart."""
    return "ToR" if peer.session.restart_time else "the other half"


def _sentence(change: Change) -> str:
    if change.structural:
        return "policy replaced"
    names = sorted({edit.name.rsplit("/", 1)[0] for edit in change.edits})
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"prefixes edited: {shown}"
