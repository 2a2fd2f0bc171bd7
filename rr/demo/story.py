"""The story that the demo tells, chapter by chapter; each finding is waited for, checked and counted."""

import asyncio
import time
from ipaddress import ip_network

from rr.demo.appliance import Appliance
from rr.demo.counts import Counts
from rr.demo.errors import DemoError
from rr.demo.kills import Kills
from rr.demo.ledger import Ledger
from rr.demo.network import Network
from rr.demo.plan import HONEST_VIP, NODES_PER_RACK, VIP, Plan, Route
from rr.demo.telling import Teller
from rr.net import Network as Prefix

SESSIONS_SECONDS = 30.0
CHANGE_SECONDS = 10.0
THIEF, VICTIM, GROWING = "node-1", "node-2", "node-3"
SECOND_PODCIDR: Prefix = ip_network("10.244.23.0/24")


def at_the_end(plan: Plan) -> Plan:
    """What is announced and allocated when the story is over: the same, and one more virtual IP."""
    return plan.announcing(HONEST_VIP, THIEF)


class Story:
    """Tells the story and fills in the counts."""

    def __init__(
        self,
        plan: Plan,
        network: Network,
        appliance: Appliance,
        ledger: Ledger,
        teller: Teller,
        counts: Counts,
    ) -> None:
        self.plan = plan
        self.network = network
        self.appliance = appliance
        self.ledger = ledger
        self.teller = teller
        self.counts = counts
        self._final = at_the_end(plan)
        self._kills = Kills(network, appliance, ledger, teller, counts)
        self.tors = [tor.name for tor in plan.tors]
        self.nodes = [node.name for node in plan.nodes]

    async def tell(self) -> None:
        """All chapters in their order. DemoError at the first thing that is not as it should be."""
        await self.sessions()
        await self.tors_hold_every_path()
        await self.reflection()
        await self.hijacks()
        await self.allocations_change()
        await self._kills.engine()
        await self.controller_is_killed()
        self.count()
        self.check()

    async def sessions(self) -> None:
        """Nodes dial in and are let in, although none of them is configured."""
        await self.teller.chapter("Sessions come up by themselves")
        ranges = " and ".join(str(self.plan.range_of(tor.rack)) for tor in self.plan.tors)
        self.teller.say(f"The appliance, {self.plan.appliance}, knows no node: it lets in who dials from")
        self.teller.say(f"{ranges}, and dials two ToRs itself. Six nodes start;")
        self.teller.say(f"each announces an IPv4 and an IPv6 PodCIDR, and all of them the virtual IP {VIP}.")
        await self.network.announce_own()
        await self.ledger.until_as_planned([*self.tors, *self.nodes], SESSIONS_SECONDS)
        self.teller.found(f"{len(self.nodes)} nodes and {len(self.tors)} ToRs have their sessions and routes")
        self.teller.command(*await self.appliance.rrctl("peers"))

    async def tors_hold_every_path(self) -> None:
        """A ToR needs all paths of a virtual IP, not one best path."""
        await self.teller.chapter("ToRs hold every path of a VIP")
        paths = self.ledger.paths_of(VIP)
        self.teller.found(f"each ToR holds {paths} paths of {VIP}, one for each node that serves it")
        for tor in self.plan.tors:
            self.teller.say(f"{tor.name} holds, next hops unchanged:")
            self.teller.lines(self._table(tor.name))

    async def reflection(self) -> None:
        """Neighbours in a rack learn each other's PodCIDRs; another rack's are reached through the ToR."""
        await self.teller.chapter("Reflection inside a rack, and not across")
        neighbours = NODES_PER_RACK - 1
        self.teller.found(
            f"each node holds its {neighbours} neighbours' PodCIDRs, and nothing of the other rack"
        )
        self.teller.say(f"{self.nodes[0]} of rack-1 holds (the rest goes to its default route, the ToR):")
        self.teller.lines(self._table(self.nodes[0]))
        self.ledger.refuse_leaks()

    async def hijacks(self) -> None:
        """A node announces what is not its own; the ToRs never see it."""
        await self.teller.chapter("A node announces what is not its own")
        stolen = self._stolen()
        thief = self.plan.node(THIEF)
        for prefix, what in stolen.items():
            self.teller.say(f"{THIEF} announces {prefix!s:<16} {what}")
            await self.network.speakers[THIEF].announce(Route(prefix, thief.next_hop(prefix)))
        await self._until_violations(set(stolen))
        self.teller.found(f"{self.counts.rejected} of {len(stolen)} rejected; the appliance says why:")
        for prefix in stolen:
            self.teller.command(*await self.appliance.rrctl("explain", str(prefix), "--from", THIEF))
        # A session carries UPDATEs in order: once this later one is at the ToRs, the others would be too.
        self.ledger.plan = self.plan = self._final
        await self.network.speakers[THIEF].announce(Route(HONEST_VIP, thief.next_hop(HONEST_VIP)))
        await self.ledger.until_as_planned(self.tors, CHANGE_SECONDS)
        self.ledger.refuse_leaks()
        self.teller.found(f"what {THIEF} may announce, {HONEST_VIP}, reached both ToRs; the three never did")
        self.teller.say(f"{THIEF} goes on announcing all three.")

    async def allocations_change(self) -> None:
        """The IPAM gives a PodCIDR and takes it away; the ToR follows at once."""
        await self.teller.chapter("The IPAM gives a PodCIDR, and takes it away")
        tor, route = self._growth()
        after = self.plan.granting(GROWING, SECOND_PODCIDR)

        await self.network.speakers[GROWING].announce(route)
        await self._until_violation(SECOND_PODCIDR, GROWING)
        self.teller.found(f"{GROWING} already announces {SECOND_PODCIDR}; not allocated, so no one has it")

        self.ledger.plan = after
        written = self.appliance.allocate(after)
        await self.ledger.until_as_planned(self.tors, CHANGE_SECONDS)
        self.counts.grant_ms = _milliseconds(self.ledger.changed_at(tor, route) - written)
        took = self.counts.grant_ms
        self.teller.found(f"the IPAM gives it to {GROWING} (allocations.yaml): {tor} has it {took} ms later")

        await self.ledger.until_as_planned(self.nodes, CHANGE_SECONDS)
        self.counts.revoke_ms = await self._taken_away(tor, route)
        self.teller.found(f"the IPAM takes it away again: {tor} has lost it {self.counts.revoke_ms} ms later")

    async def controller_is_killed(self) -> None:
        """The IPAM gives the same PodCIDR while there is no controller, and takes it away afterwards."""
        tor, route = self._growth()
        await self._kills.controller(self.plan.granting(GROWING, SECOND_PODCIDR), route, tor)
        took = await self._taken_away(tor, route)
        self.teller.found(
            f"the IPAM takes it away again, from the new rrd: {tor} has lost it {took} ms later"
        )

    def count(self) -> None:
        """Fill in what can be counted at this moment, the story complete or not."""
        self.counts.accepted = self.ledger.held_of(self._final)
        self.counts.leaked = len(self.ledger.leaks)
        self.counts.vip_paths = self.ledger.paths_of(VIP)
        self._kills.count()

    def check(self) -> None:
        """DemoError unless everything was counted and is right."""
        self.ledger.refuse_leaks()
        if not self.counts.complete(vip_paths=len(self.nodes)):
            raise DemoError(f"the counts are not right: {self.counts.as_dict()}")

    def _growth(self) -> tuple[str, Route]:
        """The route that the IPAM gives and takes away, and the ToR that gets it."""
        node = self.plan.node(GROWING)
        tor = next(tor.name for tor in self.plan.tors if tor.rack == node.rack)
        return tor, Route(SECOND_PODCIDR, node.next_hop(SECOND_PODCIDR))

    async def _taken_away(self, tor: str, route: Route) -> float:
        """Allocate as before, and wait until nobody has the route: milliseconds until `tor` has lost it."""
        written = self.appliance.allocate(self.plan)
        await self.ledger.until(lambda: self._still(tor, route), CHANGE_SECONDS)
        took = _milliseconds(self.ledger.changed_at(tor, route) - written)
        self.ledger.plan = self.plan
        await self.ledger.until_as_planned([*self.tors, *self.nodes], CHANGE_SECONDS)
        self.ledger.refuse_leaks()
        return took

    def _stolen(self) -> dict[Prefix, str]:
        podcidr = next(prefix for prefix in self.plan.node(VICTIM).prefixes if prefix.version == 4)
        half = next(iter(podcidr.subnets()))
        return {
            podcidr: f"the PodCIDR of its neighbour {VICTIM}",
            half: "half of it: more specific, so it would win",
            ip_network("0.0.0.0/0"): "a default route",
        }

    async def _until_violations(self, prefixes: set[Prefix]) -> None:
        deadline = time.monotonic() + CHANGE_SECONDS
        while missing := prefixes - await self._violated(THIEF):
            self.counts.rejected = len(prefixes) - len(missing)
            if time.monotonic() > deadline:
                self.ledger.refuse_leaks()
                raise DemoError(f"the appliance lists no violation of {THIEF} for {min(map(str, missing))}")
            await asyncio.sleep(0.05)
        self.counts.rejected = len(prefixes)

    async def _until_violation(self, prefix: Prefix, node: str) -> None:
        deadline = time.monotonic() + CHANGE_SECONDS
        while prefix not in await self._violated(node):
            if time.monotonic() > deadline:
                raise DemoError(f"the appliance lists no violation of {node} for {prefix}")
            await asyncio.sleep(0.05)

    async def _violated(self, node: str) -> set[Prefix]:
        listed = await self.appliance.violations()
        return {ip_network(violation["prefix"]) for violation in listed if violation["node"] == node}

    def _still(self, listener: str, route: Route) -> str | None:
        return f"{listener} still holds {route}" if route in self.ledger.routes(listener) else None

    def _table(self, listener: str) -> str:
        by_prefix: dict[Prefix, list[str]] = {}
        for route in sorted(self.ledger.routes(listener), key=_for_people):
            by_prefix.setdefault(route.prefix, []).append(self.plan.owner_at(route.next_hop))
        return "\n".join(f"{prefix!s:<18} via {', '.join(owners)}" for prefix, owners in by_prefix.items())


def _for_people(route: Route) -> tuple[int, int, int]:
    return route.prefix.version, int(route.prefix.network_address), int(route.next_hop)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
