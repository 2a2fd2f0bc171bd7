"""The documented keys of all JSON that HTTP and `rrctl --output json` answer.

Scripts and monitoring build on these: no key is ever renamed or given another meaning.
This module imports nothing heavy, for rrctl's sake.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

ROLES = ("node", "tor", "pair")
STATES = ("idle", "connect", "active", "opensent", "openconfirm", "established")
KINDS = ("pod", "vip")
DRAIN_STATES = SERVING, DRAINING, CLOSING, DRAINED = ("serving", "draining", "closing", "drained")
DRAIN_LONGEST = 3600.0
"""Seconds that a drain may wait at most before it ends sessions."""
SOURCE_STATES = ("good", "failing", "silent", "held", "rejected", "removed")
DIFF_STATES = ("held", "rejected", "refused", "grace")
ENGINE_STATES = ("starting", "running", "down")
REASONS = {
    "unknown-node": "the peer's address belongs to no node that the IPAM knows",
    "default-route": "a default route",
    "not-allocated": "the prefix is allocated to nobody",
    "more-specific": "a part of what is allocated to the node, not exactly it",
    "less-specific": "more than what is allocated to the node",
    "foreign-prefix": "the prefix is another node's, or a part of it",
    "vip-not-allowed": "a VIP that the node may not announce, or not a host route",
    "next-hop": "the next hop is none of the node's own addresses",
    "as-path": "the AS_PATH is not empty",
    "reflected": "the route carries an ORIGINATOR_ID or CLUSTER_LIST: a node reflects what it heard",
    "revoked": "the prefix was the node's and the IPAM took it away",
    "tor-not-allowed": "a ToR sent a prefix that `from_tors` does not list",
    "family": "a route of an address family that the instance does not carry",
}
EXPLAINED = {
    "unknown-peer": "the address is in no range, and no ToR's: it gets no session; `explain` alone says this",
    **REASONS,
}
"""Why something is or would be rejected: whoever has no session announces nothing, and can be asked about."""

OFFENCES = ("max-prefixes", "flapping", "churn", "garbage", "slow")

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "true/false": (bool,),
    "time": (str,),
    "list": (list, tuple),
    "object": (dict,),
}


class Key(NamedTuple):
    """One key of a JSON object: its name, its type in words, and what it says."""

    name: str
    type: str
    meaning: str
    nullable: bool = False
    optional: bool = False


def _one_of(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


OBJECTS: Mapping[str, tuple[Key, ...]] = {
    "peers": (
        Key("instance", "text", "the instance (BGP speaker) that has the session"),
        Key("address", "text", "the peer's address"),
        Key(
            "node",
            "text",
            "the node that the IPAM says has this address; null for a ToR or an unknown node",
            True,
        ),
        Key("rack", "text", "the rack whose range or ToR list has the address", True),
        Key("role", "text", f"one of {_one_of(ROLES)}"),
        Key("state", "text", f"the BGP session's state: one of {_one_of(STATES)}"),
        Key("since", "time", "when the session came into this state; null if that is not known", True),
        Key("received", "number", "prefixes that the peer announces"),
        Key("accepted", "number", "of these, how many are accepted"),
        Key("rejected", "number", "of these, how many are rejected"),
        Key("advertised", "number", "prefixes announced to the peer; null where that is not counted", True),
        Key("families", "list", "the address families of the session", optional=True),
        Key("stale", "number", "routes kept after the session dropped (RFC 4724)", optional=True),
        Key(
            "observed",
            "number",
            "of those accepted, how many only because the rack is observed (`enforce: observe`)",
            optional=True,
        ),
        Key(
            "drain", "text", f"how far its instance is drained: one of {_one_of(DRAIN_STATES)}", optional=True
        ),
    ),
    "routes": (
        Key("instance", "text", "the instance that holds the route"),
        Key("prefix", "text", "the destination"),
        Key("node", "text", "the node that announces it; null for a ToR's route", True),
        Key("rack", "text", "the rack of the peer that announces it", True),
        Key("next_hop", "text", "the next hop, as announced: the appliance never changes it"),
        Key("kind", "text", "`pod` or `vip`; null for a ToR's route", True),
        Key("best", "true/false", "the engine's best path of this prefix"),
        Key("since", "time", "when this path was first seen", True),
        Key("peer", "text", "the address of the peer that announces it"),
        Key("stale", "true/false", "kept while the peer restarts (RFC 4724)"),
        Key(
            "observed",
            "true/false",
            "accepted only because the rack is observed; a violation says what would reject it",
            optional=True,
        ),
    ),
    "violations": (
        Key("instance", "text", "the instance that got the announcement"),
        Key("prefix", "text", "what was announced"),
        Key("peer", "text", "the address of the peer that announced it"),
        Key("node", "text", "that peer's node; null if the IPAM knows none", True),
        Key("reason", "text", "why it was rejected, or would be, a word of the closed list below"),
        Key("text", "text", "the same as a sentence, with the facts"),
        Key("count", "number", "how often it was announced"),
        Key("first_seen", "time", "the first time"),
        Key("last_seen", "time", "the last time"),
        Key("active", "true/false", "still announced, and still against the rules"),
        Key(
            "enforced",
            "true/false",
            "rejected; false where it passes, since its rack is observed (`enforce: observe`), and would be rejected",
        ),
    ),
    "events": (
        Key("id", "number", "grows by event; `--since` and Last-Event-ID take it"),
        Key("time", "time", "when it happened"),
        Key("kind", "text", "a word for the kind of event"),
        Key("subject", "text", "the instance, peer, node or prefix that it is about"),
        Key("text", "text", "what happened, in a sentence"),
    ),
    "allocations.nodes": (
        Key("node", "text", "the node's name"),
        Key("addresses", "list", "the addresses that its BGP sessions come from"),
        Key("prefixes", "list", "the prefixes that it owns"),
        Key(
            "borrowed",
            "list",
            "host routes out of other nodes' prefixes that it uses and may announce",
        ),
        Key("source", "text", "the IPAM sources that know the node, with a comma between several", True),
        Key(
            "until",
            "object",
            "what no source says any more and is in its grace: by address or prefix, when it goes",
        ),
    ),
    "ipam.sources": (
        Key("source", "text", "its name"),
        Key("type", "text", "its kind, as in rr.yaml"),
        Key(
            "state",
            "text",
            f"one of {_one_of(SOURCE_STATES)}: failing while it cannot be read, silent before its first word, "
            "held while the guard holds back what it says, rejected while it still says what was rejected, "
            "removed while it is no longer configured and what it said stays in force",
        ),
        Key("last_good", "time", "until when what it says was in force as it says it; null: never", True),
        Key("age_seconds", "number", "0 while it is good; else seconds since it last was"),
        Key("nodes", "number", "nodes that it knows, as last believed"),
        Key("prefixes", "number", "prefixes that it gives to nodes"),
        Key("vip_prefixes", "number", "prefixes of its VIP pools"),
        Key("conflicts", "number", "things that it says and that are refused, since somebody else has them"),
        Key("left_out", "number", "things that it says and nothing can be made of; they grant nothing"),
        Key("left_out_named", "list", "the first hundred of those, a sentence each"),
        Key(
            "held_digest",
            "text",
            "what names the snapshot that is held, for `rrctl ipam accept --digest`; null where none is",
            True,
        ),
        Key("error", "text", "what is wrong with it now", True),
    ),
    "ipam.diff": (
        Key("change", "text", "`grant` or `revoke`: what would be done to be as the source says"),
        Key("kind", "text", "`address`, `prefix`, `borrowed` or `vip`"),
        Key("node", "text", "the node; null for a VIP prefix and every node", True),
        Key("value", "text", "the address or prefix"),
        Key("source", "text", "the source that says so, or said it last"),
        Key(
            "state",
            "text",
            f"why it is not done: one of {_one_of(DIFF_STATES)}: held back by the guard, rejected by hand, "
            "refused since somebody else has it, or in its grace",
        ),
        Key("until", "time", "when it is done by itself; null where that is not known", True),
        Key("text", "text", "the reason as a sentence"),
    ),
    "ipam.reject": (Key("rejected", "list", "the sources whose held snapshot was rejected"),),
    "allocations.vips": (
        Key("prefixes", "list", "the VIP pool: host routes inside may be announced"),
        Key("nodes", "list", "the nodes that may; null is every node", True),
        Key("source", "text", "the IPAM source that says so", True),
    ),
    "status": (
        Key("name", "text", "the appliance's name"),
        Key("version", "text", "the version of rrd"),
        Key("started", "time", "when rrd started"),
        Key("ready", "true/false", "every policy in force, every engine serving"),
        Key("config", "object", "`{file, loaded, digest}` of the configuration in force"),
        Key(
            "ipam",
            "object",
            "the allocations in force and their sources, see below",
        ),
        Key("instances", "list", "one object per instance, see below"),
        Key(
            "listen",
            "list",
            "`{instance, address, here}` of each address of `listen`: whether this host has it",
        ),
        Key("floating", "list", "`{instance, address, here}` of each floating address"),
        Key(
            "pair",
            "object",
            "the other half, as in `pair` but for `redundancy`; null for an appliance that is alone",
            True,
        ),
        Key("problems", "list", "`{severity, text}`, severity `warning` or `critical`"),
    ),
    "status.ipam": (
        Key("source", "text", "the IPAM sources by name"),
        Key("known", "true/false", "whether allocations were ever known; without them no route is accepted"),
        Key(
            "age_seconds", "number", "0 while what is in force is what every source says; else since when not"
        ),
        Key("error", "text", "what is wrong with the sources now", True),
        Key(
            "held",
            "list",
            "snapshots that the guard holds: `{source, reason, digest, since, nodes, prefixes}`",
            True,
        ),
        Key("conflicts", "number", "things that sources say and that are refused", optional=True),
        Key(
            "lingering",
            "number",
            "things that no source says any more and that are in their grace",
            optional=True,
        ),
        Key("nodes", "number", "nodes known"),
        Key("prefixes", "number", "prefixes allocated to nodes"),
        Key("vip_prefixes", "number", "prefixes of VIP pools"),
        Key("digest", "text", "a digest of what is in force"),
        Key("state_error", "text", "why the last known good allocations are not kept on disk", True),
    ),
    "status.instances": (
        Key("instance", "text", "its name"),
        Key("asn", "number", "its AS number"),
        Key("router_id", "text", "its router id"),
        Key(
            "engine",
            "object",
            f"`{{state, version, pid, restarts, since, memory, ends}}`, state one of {_one_of(ENGINE_STATES)}, "
            "memory in bytes, ends the number of restarts by cause",
        ),
        Key(
            "restart",
            "object",
            "`{under_way, awaited, missing, missing_peers}`: whether peers of the engine before this one are still to "
            "come back, how many it awaited, how many of them have not been back since, and the addresses of those, "
            "at most 50. Who is no longer allocated, or was said to be down (`rrctl node down`), does not count",
        ),
        Key("drain", "object", "how far it is drained: the keys of `drain`, without `text`"),
        Key("policy", "object", "`{in_force, digest, statements, verified, changes, repairs}`"),
        Key(
            "sessions",
            "object",
            "`{nodes: {up, known, expected}, tors: {up, expected}, pair: {up, expected}}`",
        ),
        Key(
            "routes",
            "object",
            "`{accepted, rejected, observed}`, now; observed are those accepted only because their rack is observed",
        ),
        Key(
            "observed",
            "list",
            "`{rack, routes}` of each rack that is only observed: how many routes pass that would be rejected",
        ),
    ),
    "explain": (
        Key("instance", "text", "the instance whose rules were asked"),
        Key("prefix", "text", "the prefix asked about"),
        Key("from", "text", "the address of the peer"),
        Key("node", "text", "its node; null if the IPAM knows none", True),
        Key("rack", "text", "its rack", True),
        Key("accepted", "true/false", "the verdict"),
        Key("reason", "text", "why not, a word of the closed list; null when accepted", True),
        Key("observed", "true/false", "accepted only because the rack is observed", optional=True),
        Key("objection", "text", "the reason for which it is rejected, or would be", True, optional=True),
        Key("text", "text", "the verdict as a sentence"),
        Key("announced", "true/false", "whether the peer announces it right now", optional=True),
        Key(
            "checks",
            "list",
            "`{check, ok, text}` in their order; ok is null for one that was not reached",
        ),
        Key("sent_to", "list", "`{role, rack, text}`: whom the route goes to"),
    ),
    "check": (
        Key("exit", "number", "0 ok, 1 warning, 2 critical, 3 unknown"),
        Key("line", "text", "the line to show"),
        Key("perfdata", "text", "what follows the `|`"),
    ),
    "config": (
        Key("file", "text", "the file that was read"),
        Key("loaded", "time", "when"),
        Key("digest", "text", "a digest of what is in force"),
        Key(
            "config",
            "object",
            "the configuration in force, as rr.yaml says it, defaults included; never what is in password files",
        ),
    ),
    "config.reload": (
        Key("changed", "list", "what changed, in sentences; empty if nothing did"),
        Key("resets", "list", "the sessions that were reset for it"),
    ),
    "config.diff": (
        Key("changes", "list", "what would change, in sentences"),
        Key("resets", "list", "the sessions that would be reset"),
    ),
    "engine.restart": (
        Key("instance", "text", "the instance whose engine was ended, to be started again"),
        Key("changed", "true/false", "false when it already runs the program that would be started"),
        Key("peers", "number", "peers that are to come back"),
        Key("version", "text", "the version of the program that is started", True),
    ),
    "ipam.accept": (Key("changed", "list", "what changed, in sentences"),),
    "drain": (
        Key("instance", "text", "the instance"),
        Key(
            "state",
            "text",
            f"one of {_one_of(DRAIN_STATES)}: draining while routes are marked, closing while sessions end",
        ),
        Key("since", "time", "when the drain was asked for; null while serving", True),
        Key("seconds_left", "number", "until sessions end; null before routes are marked, and after", True),
        Key("sessions", "number", "sessions that are up"),
        Key("text", "text", "what was done, as a sentence"),
    ),
    "quarantine": (
        Key("instance", "text", "the instance that keeps the node out"),
        Key("node", "text", "the node; for a peer that the IPAM does not know, its address"),
        Key("addresses", "list", "the addresses from which it may not dial"),
        Key("reason", "text", f"one of {_one_of(OFFENCES)}"),
        Key("text", "text", "what it did, with the figures"),
        Key("since", "time", "since when it is kept out"),
        Key("until", "time", "when it may dial again"),
        Key(
            "strikes",
            "number",
            "how often it was kept out and has not made good for: its term doubles each time",
        ),
    ),
    "quarantine.release": (Key("released", "list", "the nodes that were let in again"),),
    "node.down": (
        Key("node", "text", "the node or address that was named"),
        Key(
            "closed",
            "list",
            "`{instance, address, routes}` of each session or kept routes; empty if there were none",
        ),
    ),
    "pair": (
        Key("name", "text", "the other half's name"),
        Key("reachable", "true/false", "whether it answers over the health channel"),
        Key("problem", "text", "why the last question had no answer, or why none can be asked", True),
        Key("version", "text", "its version of rrd, as last heard", True),
        Key("heard", "time", "when it last answered", True),
        Key(
            "differences",
            "list",
            "`{text, since}`: where the halves do not do the same, once it has lasted 3 s",
        ),
        Key("refusal", "text", "why this half cannot be spared now; null where it can", True),
        Key("certificate_ends", "time", "when this half's certificate ends; null where it has none", True),
        Key(
            "instances",
            "list",
            "`{instance, address, session, serving, nodes: {both, one, none}, tors: {both, one, none}, lent}`: "
            "address and state of the BGP session with it (null: none is configured), whether it serves, nodes and "
            "ToRs by the number of halves that they have a session with, prefixes that it is given",
        ),
        Key(
            "redundancy",
            "list",
            "`{instance, node, here, there}` of each node that has no session with both halves",
            optional=True,
        ),
    ),
    "topology": (
        Key("name", "text", "the appliance's name"),
        Key(
            "instances",
            "list",
            "`{instance, asn, racks: [{rack, ranges, observed, tors: [{address, state}], "
            "nodes: [{node, addresses, state}]}]}`",
        ),
    ),
}


def faults(kind: str, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> list[str]:
    """Say what is missing, undocumented or of a wrong type in one object or a list of objects of `kind`."""
    if isinstance(rows, Mapping):
        rows = (rows,)
    found: dict[str, None] = {}
    for row in rows:
        found.update(dict.fromkeys(_row_faults(kind, row)))
    return list(found)


def _row_faults(kind: str, row: Mapping[str, Any]) -> Iterable[str]:
    keys = {key.name: key for key in OBJECTS[kind]}
    yield from (f"{kind}: `{name}` is not documented" for name in row if name not in keys)
    for name, key in keys.items():
        if name not in row:
            if not key.optional:
                yield f"{kind}: `{name}` is missing"
        elif row[name] is None:
            if not key.nullable:
                yield f"{kind}: `{name}` is null"
        elif not isinstance(row[name], _TYPES[key.type]):
            yield f"{kind}: `{name}` is {type(row[name]).__name__}, not {key.type}"
