"""The rules again, on one announcement: accepted, or why not. What `rrctl explain` and the violations say.

This is the same truth as `rr.policy.rules`, told for a person: the checks come in the order in which an operator
would ask them, and the first that fails names the reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv6Address

from rr.ipam.allocations import Allocations, NodeAllocation
from rr.net import Address, Network
from rr.policy.observing import inside
from rr.policy.rules import Rules


class Reason(StrEnum):
    """Why an announcement is rejected. The values are part of the JSON contract."""

    UNKNOWN_PEER = "unknown-peer"
    UNKNOWN_NODE = "unknown-node"
    FAMILY = "family"
    DEFAULT_ROUTE = "default-route"
    FOREIGN_PREFIX = "foreign-prefix"
    MORE_SPECIFIC = "more-specific"
    LESS_SPECIFIC = "less-specific"
    VIP_NOT_ALLOWED = "vip-not-allowed"
    REVOKED = "revoked"
    NOT_ALLOCATED = "not-allocated"
    NEXT_HOP = "next-hop"
    AS_PATH = "as-path"
    REFLECTED = "reflected"
    TOR_NOT_ALLOWED = "tor-not-allowed"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One route as a peer announced it, before any policy."""

    peer: Address
    prefix: Network
    next_hop: Address | None = None
    """None: not known or not asked about; then it is not judged."""
    as_path: str = ""
    originator_id: str | None = None
    cluster_list: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One question that was asked of the announcement."""

    name: str
    ok: bool
    text: str
    reason: Reason | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome of all checks."""

    announcement: Announcement
    node: str | None
    rack: str | None
    kind: str | None
    """`pod`, `vip` or `tor`; None where the prefix is none of them."""
    checks: tuple[Check, ...]
    bounds: Check | None = None
    """Whether it is within the bounds of a rack that is only observed; None where the rack is enforced."""

    @cached_property
    def failed(self) -> Check | None:
        """The first check that does not hold."""
        return next((check for check in self.checks if not check.ok), None)

    @property
    def observed(self) -> bool:
        """Whether the route passes only because its rack is observed: `failed` says what would reject it."""
        return self.failed is not None and self.bounds is not None and self.bounds.ok

    @property
    def accepted(self) -> bool:
        """Whether the route may pass."""
        return self.failed is None or self.observed

    @property
    def objection(self) -> Reason | None:
        """The machine-readable reason of a rejection, also of one that is only observed."""
        return self.failed.reason if self.failed else None

    @property
    def reason(self) -> Reason | None:
        """The machine-readable reason of a rejection."""
        return None if self.accepted else self.objection

    @property
    def text(self) -> str:
        """The verdict as one sentence."""
        if self.failed and not self.observed:
            return self.failed.text
        if self.failed:
            return f"{self.rack} is only observed; enforced, it would be rejected: {self.failed.text}"
        return f"{self.announcement.prefix} from {self.node or self.announcement.peer} is accepted"

    def refused(self, check: Check) -> "Verdict":
        """The same with one more check, which the rules alone cannot make."""
        return replace(self, checks=(*self.checks, check))

    def because(self, reason: Reason, text: str) -> "Verdict":
        """The same rejection, for a reason that the rules alone cannot know."""
        checks = tuple(replace(c, reason=reason, text=text) if c is self.failed else c for c in self.checks)
        return replace(self, checks=checks)


def judge(rules: Rules, allocations: Allocations, announcement: Announcement) -> Verdict:
    """Apply the rules of one instance to one announcement."""
    if rack := rules.rack_of_tor(announcement.peer):
        return Verdict(announcement, None, rack, "tor", (_tor_check(rules, rack, announcement),))
    if announcement.peer == rules.pair:
        return _judge_pair(rules, allocations, announcement)
    rack = rules.rack_of(announcement.peer)
    node = allocations.node_at(announcement.peer) if rack else None
    checks = tuple(_node_checks(rules, allocations, announcement, rack, node))
    bounds = _bounds_check(rules, allocations, announcement, rack)
    kind = _kind(allocations, announcement.prefix, node)
    if bounds and bounds.ok and kind != "pod":
        kind = "vip" if _is_vip(allocations, announcement.prefix) else "pod"
    return Verdict(announcement, node.name if node else None, rack, kind, checks, bounds)


def _judge_pair(rules: Rules, allocations: Allocations, announcement: Announcement) -> Verdict:
    """The other half hands on what a node announced to it: judged as that node's, and reflected by its nature."""
    prefix, next_hop = announcement.prefix, announcement.next_hop
    owner = allocations.owner_of(prefix) if next_hop is None else None
    node = allocations.node_at(next_hop) if next_hop else allocations.nodes.get(owner or "")
    rack = rules.home_of(node) if node else None
    checks = [Check("peer", True, f"{announcement.peer} is the other half of the pair")]
    if prefix.version not in rules.versions:
        text = f"{prefix} is IPv{prefix.version}, which this instance does not carry"
        checks.append(Check("family", False, text, Reason.FAMILY))
    if node is None or rack is None:
        text = f"{prefix} comes over the other half with next hop {next_hop}, which is no node's of this instance"
        checks.append(Check("node", False, text, Reason.UNKNOWN_NODE))
        checks.append(_prefix_check(allocations, prefix, node))
    else:
        checks.append(Check("node", True, f"{next_hop or prefix} is {node.name}'s"))
        checks.append(_prefix_check(allocations, prefix, node))
        own = replace(announcement, originator_id=None, cluster_list=())
        checks += _attribute_checks(own, node)
    kind = _kind(allocations, prefix, node)
    return Verdict(announcement, node.name if node else None, rack, kind, tuple(checks))


def _kind(allocations: Allocations, prefix: Network, node: NodeAllocation | None) -> str | None:
    if node and prefix in node.announces:
        return "pod"
    return "vip" if allocations.vip_pool_of(prefix) else None


def _is_vip(allocations: Allocations, prefix: Network) -> bool:
    return prefix.prefixlen == prefix.max_prefixlen and allocations.vip_pool_of(prefix) is not None


def _bounds_check(
    rules: Rules, allocations: Allocations, announcement: Announcement, rack: str | None
) -> Check | None:
    if rack is None or rack not in rules.observed:
        return None
    if beyond := _beyond(rules, allocations, announcement, rack):
        return Check("bounds", False, beyond)
    return Check(
        "bounds", True, f"{announcement.prefix} is within the bounds of {rack}, which is only observed"
    )


def _beyond(rules: Rules, allocations: Allocations, announcement: Announcement, rack: str) -> str | None:
    """Why an announcement would be rejected though its rack is only observed."""
    prefix, next_hop = announcement.prefix, announcement.next_hop
    version = prefix.version
    if version not in rules.versions:
        return f"{prefix} is IPv{version}, which this instance does not carry"
    if not any(match.covers(prefix) for match in inside(rules.instance.racks[rack], version)):
        return f"{prefix} is in none of the prefixes that `observe` of {rack} names"
    if taken := rules.reserved(allocations).of(prefix):
        return f"{prefix} is, holds or is a part of {taken.text}, which only its owner may announce"
    hops = rules.next_hops(rack, version)
    if not hops:
        return (
            f"{rack} has neither a range nor `next_hops` of IPv{version}: {prefix} can have no next hop there"
        )
    if next_hop is not None and next_hop not in hops:
        return f"{prefix} has next hop {next_hop}, which is none of {rack}'s"
    if announcement.as_path:
        return f"{prefix} has AS_PATH {announcement.as_path}: it is no route of the node's own"
    if announcement.originator_id == str(rules.instance.router_id):
        return f"{prefix} is a route of this speaker that comes back to it"
    return None


def _tor_check(rules: Rules, rack: str, announcement: Announcement) -> Check:
    allowed = announcement.prefix in rules.instance.racks[rack].from_tors
    if allowed:
        return Check(
            "from-tors", True, f"{announcement.prefix} is one that {rack}'s ToRs may send to its nodes"
        )
    text = f"{announcement.prefix} comes from a ToR, and from_tors of {rack} does not name it"
    return Check("from-tors", False, text, Reason.TOR_NOT_ALLOWED)


def _node_checks(
    rules: Rules,
    allocations: Allocations,
    announcement: Announcement,
    rack: str | None,
    node: NodeAllocation | None,
) -> Iterator[Check]:
    peer = announcement.peer
    if rack is None:
        text = f"{peer} is in no rack's range and is no ToR: it gets no session"
        yield Check("peer", False, text, Reason.UNKNOWN_PEER)
        return
    yield Check("peer", True, f"{peer} is in a range of {rack}")
    if announcement.prefix.version not in rules.versions:
        text = (
            f"{announcement.prefix} is IPv{announcement.prefix.version}, which this instance does not carry"
        )
        yield Check("family", False, text, Reason.FAMILY)
    if node is None:
        text = (
            f"{announcement.prefix} comes from {peer} of {rack}, and the IPAM knows no node with this address"
        )
        yield Check("node", False, text, Reason.UNKNOWN_NODE)
    else:
        yield Check("node", True, f"{peer} is {node.name}")
    yield _prefix_check(allocations, announcement.prefix, node)
    if node is not None:
        yield from _attribute_checks(announcement, node)


def _prefix_check(allocations: Allocations, prefix: Network, node: NodeAllocation | None) -> Check:
    if prefix.prefixlen == 0:
        return Check(
            "prefix", False, f"{prefix} is a default route, which no node may announce", Reason.DEFAULT_ROUTE
        )
    name = node.name if node else "an unknown node"
    if node and prefix in node.prefixes:
        return Check("prefix", True, f"{prefix} is allocated to {name}")
    if borrower := allocations.borrower_of(prefix):
        own = node is not None and node.name == borrower
        text = f"{prefix} is borrowed by {borrower}{_lender(allocations, prefix)}"
        return Check("prefix", own, text, None if own else Reason.FOREIGN_PREFIX)
    pool = allocations.vip_pool_of(prefix)
    if pool and node and prefix.prefixlen == prefix.max_prefixlen:
        if pool.nodes is None or node.name in pool.nodes:
            return Check("prefix", True, f"{prefix} is a host route of a VIP pool that is open to {name}")
        text = f"{prefix} is a VIP that {name} may not announce: its pool is open to {', '.join(sorted(pool.nodes))}"
        return Check("prefix", False, text, Reason.VIP_NOT_ALLOWED)
    return _not_owned(allocations, prefix, node, name)


def _lender(allocations: Allocations, prefix: Network) -> str:
    """Out of which prefix a host route is borrowed, and whose that is; nothing where it is nobody's."""
    lender = allocations.holding(prefix)
    return f" out of {lender.prefix} of {lender.node}" if lender else ""


def _not_owned(allocations: Allocations, prefix: Network, node: NodeAllocation | None, name: str) -> Check:
    """Tell which allocation the prefix misses, and by how much."""
    if node:
        for own in node.prefixes:
            if prefix.version != own.version:
                continue
            if prefix.subnet_of(own):  # type: ignore[arg-type]
                text = f"{prefix} is longer than {own}, which is what {name} was allocated"
                return Check("prefix", False, text, Reason.MORE_SPECIFIC)
            if own.subnet_of(prefix):  # type: ignore[arg-type]
                text = f"{prefix} is shorter than {own}, which is what {name} was allocated"
                return Check("prefix", False, text, Reason.LESS_SPECIFIC)
    if owner := allocations.covering(prefix):
        text = f"{prefix} belongs to {owner}, not to {name}"
        return Check("prefix", False, text, Reason.FOREIGN_PREFIX)
    if pool := allocations.vip_pool_of(prefix):
        text = f"{prefix} lies in the VIP pool {pool.prefixes[0]}, where only host routes may be announced"
        return Check("prefix", False, text, Reason.VIP_NOT_ALLOWED)
    return Check("prefix", False, f"{prefix} is allocated to nobody", Reason.NOT_ALLOCATED)


def _next_hop_check(announcement: Announcement, node: NodeAllocation) -> Check | None:
    """An address of the node, of the prefix's own family; None where the next hop is not asked about."""
    prefix, next_hop = announcement.prefix, announcement.next_hop
    if not any(address.version == prefix.version for address in node.addresses):
        text = f"{node.name} has no IPv{prefix.version} address that could be the next hop of {prefix}"
        return Check("next-hop", False, text, Reason.NEXT_HOP)
    if next_hop is None:
        return None
    mapped = next_hop.ipv4_mapped if isinstance(next_hop, IPv6Address) else None
    own = next_hop in node.addresses
    text = f"{prefix} has next hop {f'::ffff:{mapped}' if mapped else next_hop}, "
    text += f"{'an' if own else 'not an'} address of {node.name}"
    if mapped:
        text += (
            ", and as an IPv4 address in IPv6 form it is of no use to a ToR: announce with an IPv6 next hop"
        )
    elif own and next_hop.version != prefix.version:
        text += (
            f", but one that resets sessions where IPv{next_hop.version} next hops were not agreed upon (RFC 8950): "
            f"announce with an IPv{prefix.version} next hop"
        )
        own = False
    return Check("next-hop", own, text, None if own else Reason.NEXT_HOP)


def _attribute_checks(announcement: Announcement, node: NodeAllocation) -> Iterator[Check]:
    if check := _next_hop_check(announcement, node):
        yield check
    if announcement.as_path:
        text = (
            f"{announcement.prefix} has AS_PATH {announcement.as_path}; a node's own routes have an empty one"
        )
        yield Check("as-path", False, text, Reason.AS_PATH)
    else:
        yield Check("as-path", True, "AS_PATH is empty")
    if announcement.originator_id or announcement.cluster_list:
        text = f"{announcement.prefix} carries ORIGINATOR_ID or CLUSTER_LIST, which only a reflector sets (RFC 4456)"
        yield Check("reflected", False, text, Reason.REFLECTED)
