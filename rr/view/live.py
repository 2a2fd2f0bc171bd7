"""One instance as it is now: its sessions, and what each peer announces with the verdict on it.

Fed by the engine's event stream alone; nothing here asks the engine anything. What the rules say is looked up at the
moment of an event, so a route that the engine holds and the rules refuse shows as a disagreement and does not vanish.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from rr.addresses import overlap
from rr.engine.events import EndOfRib, Event, PeerChanged, RouteGone, RouteSeen
from rr.ipam.allocations import EMPTY, Allocations, NodeAllocation
from rr.net import Address, Network
from rr.policy.model import PrefixMatch
from rr.policy.rules import Rules, Suspension
from rr.policy.verdict import Announcement, Check, Reason, Verdict, judge
from rr.view.crossings import Crossings
from rr.view.presence import Presence
from rr.view.violations import Violations

ESTABLISHED = "established"
_ROUNDED = 2.0
"""Seconds by which the engine's time of a session's start may differ from ours, since it counts in whole ones."""


class Role(StrEnum):
    """What a peer is to the reflector."""

    NODE = "node"
    TOR = "tor"
    PAIR = "pair"


@dataclass(slots=True)
class Heard:
    """One path that a peer announces."""

    announcement: Announcement
    accepted: bool
    received: int
    since: float
    stale: bool = False
    reason: Reason | None = None
    """Why it is rejected; of an accepted path, why it would be if its rack was not only observed."""

    @property
    def observed(self) -> bool:
        """Whether it passes only because its rack is observed."""
        return self.accepted and self.reason is not None


@dataclass(slots=True)
class Peer:
    """One session."""

    address: Address
    state: str = "idle"
    since: float | None = None
    router_id: str = ""
    heard_of: float = float("-inf")
    """When the peer last sent something, in monotonic seconds."""
    heard: dict[Network, Heard] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """The address families of which it has sent everything since its session came up."""

    @property
    def up(self) -> bool:
        """Whether the session is established."""
        return self.state == ESTABLISHED


Say = Callable[[str, str, str], None]
"""Called with kind, subject and one sentence."""


class LiveView:
    """Sessions and routes of one instance."""

    def __init__(self, instance: str, rules: Rules, say: Say) -> None:
        self.instance = instance
        self.rules = rules
        self.allocations: Allocations = EMPTY
        self.peers: dict[Address, Peer] = {}
        self.violations = Violations(instance)
        self.crossings = Crossings()
        self.presence = Presence()
        self.doubtful: set[Address] = set()
        """Peers that may not be in the state that we believe; the engine is to be asked about them."""
        self.reflecting: set[tuple[Address, Network]] = set()
        """Peers, and prefixes of theirs with ORIGINATOR_ID or CLUSTER_LIST, which no engine's policy can match."""
        self.looped: set[tuple[Address, Network]] = set()
        """Peers, and prefixes of theirs that came with our own cluster id: other peers may have been left with what
        was there before (`rr.engine.leftovers`); whoever looks takes them out."""
        self.lost: list[Address] = []
        """Nodes whose session was lost, in order; whoever looks takes them out."""
        self.moved: Counter[Address] = Counter()
        """How often routes of a peer came, changed or went; whoever looks takes them out."""
        self.lacking: frozenset[Network] | None = None
        """Prefixes that the other half lacks, and is given; None: not known yet, so what is given stays."""
        self.counting = False
        """Routes are only counted for now, and not looked at one by one."""
        self.complete = False
        """Whether it is known of every peer what it announces, accepted or not."""
        self._once_owned: set[tuple[str, Network]] = set()
        self._say = say

    # What happens

    def apply(self, event: Event) -> None:
        """Take one event into the picture."""
        if isinstance(event, RouteSeen):
            self._route(event)
        elif isinstance(event, RouteGone):
            self.moved[event.peer] += 1
            self._forget(event.peer, event.prefix)
        elif isinstance(event, EndOfRib):
            self._alive(event.peer, event.router_id)
            self.peers[event.peer].ended.add(event.family)
        elif isinstance(event, PeerChanged):
            self._peer(event)

    def census(
        self, peers: Iterable[PeerChanged], since: float, asked: Iterable[Address] | None = None
    ) -> None:
        """Take what the engine says of its sessions; whom it was asked about and does not list is gone.

        `since` is the monotonic time of the question: of a peer that was heard of after it, the answer says nothing.
        `asked` None: it was asked about all.
        """
        listed = {event.peer: event for event in peers}
        for address in list(self.peers) if asked is None else asked:
            event = listed.pop(address, PeerChanged(address, "idle", "", 0, False))
            if address in self.peers and self.peers[address].heard_of > since:
                self.doubtful.add(address)
                continue
            self.doubtful.discard(address)
            self._peer(event)
            self._forget_unexplained(address)
        for event in listed.values():
            self._peer(event)

    def _forget_unexplained(self, address: Address) -> None:
        """Drop what the engine said to be rejected and the rules accept: a session's end looks like that.

        Where it is still announced, the next audit finds it missing here and asks for it.
        """
        peer = self.peers.get(address)
        gone = [p for p, h in peer.heard.items() if not h.accepted and h.reason is None] if peer else []
        for prefix in gone:
            self._forget(address, prefix)

    def learn(self, event: Event) -> None:
        """Take a path that was announced before we watched, where it is not among the accepted ones."""
        if isinstance(event, RouteSeen):
            peer = self.peers.get(event.announcement.peer)
            if peer and event.announcement.prefix not in peer.heard:
                self._route(replace(event, accepted=False))

    def revoked(self, pairs: Iterator[tuple[str, Network]]) -> None:
        """Remember who owned what, so that announcing it on is called `revoked`."""
        self._once_owned.update(pairs)

    def restarted(self) -> None:
        """The engine is gone: every session with it, and all that was heard."""
        for peer in self.peers.values():
            for prefix in peer.heard:
                self.violations.ended(peer.address, prefix)
        self.peers.clear()
        self.counting = self.complete = False
        self.doubtful.clear()
        self.reflecting.clear()
        self.looped.clear()
        self.crossings.clear()
        self.lost.clear()
        self.moved.clear()

    def _alive(self, address: Address, router_id: str) -> None:
        """A peer that speaks is up."""
        known = self.peers.get(address)
        if known is None or not known.up:
            self._peer(PeerChanged(address, ESTABLISHED, router_id, 0, False))
        self.peers[address].heard_of = time.monotonic()

    def _peer(self, event: PeerChanged) -> None:
        known = self.peers.get(event.peer)
        if event.state != ESTABLISHED and known is None and self.role(event.peer) is Role.NODE:
            return  # a node on its way in, or one that is gone
        peer = known or self.peers.setdefault(event.peer, Peer(event.peer))
        was_up = peer.up
        if event.state != peer.state:
            peer.state, peer.since = event.state, event.since or time.time()
        came_up_again = event.since and event.since > (peer.since or 0.0) + _ROUNDED
        if was_up and peer.up and came_up_again and not event.initial:
            self._lost(peer)
        if peer.up and event.since and (event.initial or came_up_again):
            peer.since = event.since  # it was up before we looked, or came up again between two looks
        peer.router_id = event.router_id or peer.router_id
        if event.state == ESTABLISHED and not was_up and not event.initial:
            # ToRs say little, so they may be noticed late; whoever the engine had to tell of is.
            late = event.since is not None or self.role(peer.address) is not Role.NODE
            self.crossings.came_up(peer.address, time.monotonic(), noticed_late=late)
            self._say("session", str(peer.address), f"session with {self.called(peer.address)} is up")
        if was_up and event.state != ESTABLISHED:
            self._down(peer)

    def _down(self, peer: Peer) -> None:
        """What is kept for a restarting peer was said again as stale before this; the rest is gone."""
        peer.ended.clear()
        self.crossings.went_down(peer.address)
        self._lost(peer)
        kept = {prefix: heard for prefix, heard in peer.heard.items() if heard.accepted and heard.stale}
        for prefix in [p for p in peer.heard if p not in kept]:
            self._forget(peer.address, prefix)
        about = f", {len(kept)} routes are kept while it restarts" if kept else ""
        self._say("session", str(peer.address), f"session with {self.called(peer.address)} is down{about}")
        if not kept and self.role(peer.address) is Role.NODE:
            del self.peers[peer.address]

    def _lost(self, peer: Peer) -> None:
        if self.role(peer.address) is Role.NODE:
            self.lost.append(peer.address)

    def _route(self, event: RouteSeen) -> None:
        announcement = event.announcement
        if event.accepted and not event.stale:
            self._alive(announcement.peer, event.router_id)
        peer = self.peers.setdefault(announcement.peer, Peer(announcement.peer))
        before = peer.heard.get(announcement.prefix)
        if not event.accepted and before and before.stale:
            self._stale_ended(peer, announcement.prefix)
            return
        same = (
            before is not None and before.announcement == announcement and before.received == event.received
        )
        if not (same or event.stale):
            self.moved[peer.address] += 1
        heard = Heard(announcement, event.accepted, event.received, float(event.received), event.stale)
        peer.heard[announcement.prefix] = heard
        if event.stale == peer.up:
            self.doubtful.add(peer.address)
        again = same and before is not None and before.accepted == event.accepted
        if event.accepted:
            if str(self.rules.instance.cluster_id) in announcement.cluster_list:
                self.looped.add((announcement.peer, announcement.prefix))
            self.crossings.route_moved(peer.address, time.monotonic())
            self._accepted(heard, again=again)
        else:
            self._rejected(heard, again=again)

    def _stale_ended(self, peer: Peer, prefix: Network) -> None:
        """The time of a restarting peer is over, or it is back and did not announce the prefix again."""
        self._forget(peer.address, prefix)
        if not peer.up and not peer.heard:
            del self.peers[peer.address]

    def _accepted(self, heard: Heard, *, again: bool) -> None:
        announcement = heard.announcement
        self._settle_reflecting(announcement)
        if self.rules.rack_of(announcement.peer) in self.rules.observed:
            verdict = self.judge(announcement)
            if verdict.observed and verdict.objection:
                heard.reason = verdict.objection
                self._violation(verdict, verdict.objection, again=again)
                return
        self.violations.ended(announcement.peer, announcement.prefix)

    def _rejected(self, heard: Heard, *, again: bool) -> None:
        self._settle_reflecting(heard.announcement)
        verdict = self.judge(heard.announcement)
        heard.reason = verdict.reason
        if again or verdict.reason is None:
            # Judged again, or a session's end: that says the same of each of its routes.
            self.doubtful.add(heard.announcement.peer)
        if verdict.reason in (None, Reason.UNKNOWN_PEER):
            # The engine is about to learn of a grant, or the session is going down.
            self.violations.ended(heard.announcement.peer, heard.announcement.prefix)
            return
        self._violation(verdict, verdict.reason, again=again)

    def _violation(self, verdict: Verdict, reason: Reason, *, again: bool) -> None:
        """Count what is rejected, or would be if the rack was not only observed, unless it is the same once more."""
        peer, prefix, enforced = verdict.announcement.peer, verdict.announcement.prefix, not verdict.observed
        self.violations.ended(peer, prefix, but=(reason, enforced))
        known = self.violations.kept.get((peer, prefix, reason, enforced))
        if again and known and known.active:
            return
        text = verdict.failed.text if verdict.failed else verdict.text
        if self.violations.seen(peer, prefix, verdict.node, reason, text, time.time(), enforced=enforced):
            outcome = "rejected" if enforced else f"passes while {verdict.rack} is observed"
            self._say("violation", str(peer), f"{outcome}: {text}")

    def _settle_reflecting(self, announcement: Announcement) -> None:
        """A peer that announces the prefix properly again is no reason any more to withhold it."""
        pair = (announcement.peer, announcement.prefix)
        reflected = announcement.originator_id or announcement.cluster_list
        if reflected and judge(self.rules, self.allocations, announcement).reason is Reason.REFLECTED:
            self.reflecting.add(pair)
        else:
            self.reflecting.discard(pair)

    def _forget(self, address: Address, prefix: Network) -> None:
        self.violations.ended(address, prefix)
        peer = self.peers.get(address)
        if peer:
            peer.heard.pop(prefix, None)
        self.reflecting.discard((address, prefix))

    def reassess(self) -> None:
        """Look again at what passes in observed racks: other allocations can make it someone's own without an event."""
        for peer, heard in self.heard():
            if heard.accepted and (heard.reason or self.rules.rack_of(peer.address) in self.rules.observed):
                heard.reason = None
                self._accepted(heard, again=True)

    # What the rules say

    def judge(self, announcement: Announcement) -> Verdict:
        """The verdict of the rules in force; a prefix that was the node's once is called revoked."""
        verdict = judge(self.rules, self.allocations, announcement)
        pair = (verdict.node or "", announcement.prefix)
        if verdict.objection is Reason.NOT_ALLOCATED and pair in self._once_owned:
            return verdict.because(Reason.REVOKED, f"{announcement.prefix} was taken from {verdict.node}")
        if verdict.failed is None and (peer := self._reflects(verdict)):
            text = f"{announcement.prefix} is withheld from {verdict.node}, which reflects it or its pool from {peer}"
            return verdict.refused(Check("reflected", False, text, Reason.REFLECTED))
        return verdict

    def suspended(self) -> frozenset[Suspension]:
        """What nodes may not announce for now, from any address of theirs."""
        owners = ((self.allocations.node_at(peer), prefix) for peer, prefix in self.reflecting)
        return frozenset((node.name, prefix) for node, prefix in owners if node)

    def _reflects(self, verdict: Verdict) -> Address | None:
        """The address from which a node reflects this prefix, or a VIP of the same pool."""
        prefix = verdict.announcement.prefix
        for peer, other in self.reflecting:
            node = self.allocations.node_at(peer)
            if node and node.name == verdict.node and (prefix == other or self._same_pool(prefix, other)):
                return peer
        return None

    def _same_pool(self, one: Network, other: Network) -> bool:
        pools = (pool for vips in self.allocations.vips for pool in vips.prefixes)
        return any(overlap(pool, one) and overlap(pool, other) for pool in pools)

    def role(self, address: Address) -> Role:
        """What a peer is."""
        if address == self.rules.pair:
            return Role.PAIR
        return Role.TOR if self.rules.rack_of_tor(address) else Role.NODE

    def rack(self, address: Address) -> str | None:
        """The rack of a peer."""
        return self.rules.rack_of_tor(address) or self.rules.rack_of(address)

    def origin(self, announcement: Announcement) -> NodeAllocation | None:
        """The node whose route it is: what comes over the other half is that of the node behind the next hop."""
        if announcement.peer == self.rules.pair:
            hop = announcement.next_hop
            return self.allocations.node_at(hop) if hop else None
        return self.allocations.node_at(announcement.peer)

    def rack_behind(self, announcement: Announcement) -> str | None:
        """The rack that a route belongs to."""
        if announcement.peer == self.rules.pair:
            node = self.origin(announcement)
            return self.rules.home_of(node) if node else None
        return self.rack(announcement.peer)

    def called(self, address: Address) -> str:
        """A peer as a person would call it."""
        role = self.role(address)
        if role is not Role.NODE:
            return f"ToR {address}" if role is Role.TOR else f"the other half ({address})"
        node = self.allocations.node_at(address)
        return f"{node.name} ({address})" if node else f"unknown node {address}"

    # What is asked

    def established(self) -> list[Address]:
        """The peers whose session is up."""
        return [peer.address for peer in self.peers.values() if peer.up]

    def passing(self) -> Mapping[str, int]:
        """The racks that are only observed, and how many routes of each pass that would be rejected."""
        found = dict.fromkeys(self.rules.observed, 0)
        for peer in self.peers.values():
            if (rack := self.rules.rack_of(peer.address)) in found:
                found[rack] += sum(heard.observed for heard in peer.heard.values())
        return found

    def heard(self) -> Iterator[tuple[Peer, Heard]]:
        """Everything announced, accepted or not."""
        for peer in self.peers.values():
            for heard in peer.heard.values():
                yield peer, heard

    def receivers(self, origins: Iterable[Address]) -> list[Address]:
        """Who may have been sent routes of these peers: ToRs first, then nodes."""
        reflect = self.rules.instance.reflect
        racks = {self.rack(origin) for origin in origins}
        everyone = "all" in (reflect.nodes, reflect.vips)
        up = [peer.address for peer in self.peers.values() if peer.up]
        nodes = [a for a in up if self.role(a) is Role.NODE and (everyone or self.rack(a) in racks)]
        return [a for a in up if self.role(a) is not Role.NODE] + nodes

    def over_limit(self) -> Iterator[tuple[Address, int, int]]:
        """Nodes that announce more prefixes than their rack allows, over all their sessions.

        Yields an address, how many there are, and how many are allowed.
        """
        many: dict[str, tuple[Address, int, set[Network]]] = {}
        for peer in self.peers.values():
            rack = self.rules.rack_of(peer.address)
            if rack and peer.heard:
                node = self.allocations.node_at(peer.address)
                most = self.rules.instance.racks[rack].nodes.max_prefixes
                _, _, prefixes = many.setdefault(
                    node.name if node else str(peer.address), (peer.address, most, set())
                )
                prefixes.update(peer.heard)
        for address, most, prefixes in many.values():
            if len(prefixes) > most:
                yield address, len(prefixes), most

    def excesses(self) -> Iterator[str]:
        """Say which nodes announce more than their rack allows."""
        for address, prefixes, most in self.over_limit():
            rack = self.rules.rack_of(address)
            yield f"{self.called(address)} announces {prefixes} prefixes, {rack} allows {most}"

    def announcers(
        self, matches: frozenset[PrefixMatch], received: Mapping[Address, int] | None = None
    ) -> set[Address] | None:
        """Peers that announce something that one of these matches, accepted or not.

        Where it is not known of every peer what it announces, it takes how many routes the engine `received` from each:
        whoever announces more than was heard of may announce that too; where nobody does, it is known from then on.
        None without it.
        """
        if self.complete and not self.counting:
            received = {}
        elif received is None:
            return None
        elif self.counting:
            return set(received)
        hosts = [m.network for m in matches if m.network.prefixlen == m.network.max_prefixlen]
        wide = [m for m in matches if m.network.prefixlen < m.network.max_prefixlen]
        found = {
            peer.address
            for peer in self.peers.values()
            if any(host in peer.heard for host in hosts)
            or any(match.covers(prefix) for match in wide for prefix in peer.heard)
        }
        heard = {peer.address: len(peer.heard) for peer in self.peers.values()}
        unheard = {peer for peer, routes in received.items() if routes > heard.get(peer, 0)}
        self.complete = not unheard
        return found | unheard

    def leaks(self) -> set[Address]:
        """Peers of which the engine holds a route that the rules refuse."""
        return {p.address for p, h in self.heard() if h.accepted and not self.judge(h.announcement).accepted}

    def withheld(self) -> set[Address]:
        """Peers of which the engine rejects a route that the rules accept."""
        return {
            p.address
            for p, h in self.heard()
            if p.up and not h.accepted and h.reason is None and self.judge(h.announcement).accepted
        }
