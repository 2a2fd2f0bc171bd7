"""What the keeper says of itself, as rows for the API: sources, who owns what, and what is not as the sources say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rr.ipam.allocations import Allocations
from rr.ipam.claims import Claim, Kind, claims_of
from rr.ipam.keeper import Held, Keeper
from rr.ipam.moves import node_sources, vip_nodes
from rr.ipam.settle import Settled, settle
from rr.text import few

Row = dict[str, Any]
GOOD, FAILING, SILENT, HELD, REJECTED = "good", "failing", "silent", "held", "rejected"
REMOVED = "removed"


def status(keeper: Keeper) -> Row:
    """For `rrctl status` and metrics; `age_seconds` is 0 while every source is good and nothing is held."""
    settled = keeper.settled
    errors = [str(keeper.errors[name].trouble) for name in sorted(keeper.errors)]
    return {
        "source": ", ".join(sorted({*keeper.parts, *keeper.errors})),
        "known": keeper.known,
        "age_seconds": round(keeper.age(), 3),
        "error": "; ".join(errors) or None,
        "held": [_held(name, held) for name, held in sorted(keeper.held.items())] or None,
        "conflicts": sum(conflict.until is None for conflict in settled.conflicts),
        "lingering": len(settled.lingering),
        "nodes": len(settled.allocations.nodes),
        "prefixes": settled.allocations.size,
        "vip_prefixes": len(settled.allocations.index.pools),
        "digest": settled.allocations.digest(),
        "state_error": keeper.state_error,
    }


def _held(name: str, held: Held) -> Row:
    return {
        "source": name,
        "reason": held.text,
        "digest": held.digest,
        "since": moment(held.since),
        "nodes": len(held.snapshot.nodes),
        "prefixes": held.snapshot.size,
    }


def moment(seconds: float) -> str:
    """A time as RFC 3339, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# Sources


def source_names(keeper: Keeper) -> list[str]:
    """The configured sources in their order, then those that are leaving; without a configuration, whoever spoke."""
    return [*(keeper.sources or dict.fromkeys((*keeper.parts, *keeper.errors))), *keeper.leaving]


def state_of(keeper: Keeper, source: str) -> tuple[str, float]:
    """How a source is, and since when it is not as it should be; for a good one, now."""
    part = keeper.parts.get(source)
    if source in keeper.held:
        return HELD, keeper.held[source].since
    if source in keeper.errors:
        return FAILING, keeper.since[source]
    if source in keeper.refusing and source in keeper.rejected:
        return REJECTED, keeper.rejected[source].since
    if part and source in keeper.leaving:
        return REMOVED, part.time
    if source not in keeper.good:
        return SILENT, part.time if part else keeper.started
    return GOOD, keeper.clock()


def staying(keeper: Keeper, source: str) -> str:
    """Why what a source said is in force although it is no longer configured: a sentence without its end."""
    if source in keeper.held:
        return keeper.held[source].text
    stays = f"{source} is no longer configured; what it said stays in force"
    if source in keeper.rejected:
        return f"{stays}, since its removal was rejected: name it in rr.yaml again"
    silent = [name for name in keeper.awaited if name not in keeper.held and name not in keeper.rejected]
    if silent:
        return f"{stays} until {few(silent)} {'has' if len(silent) == 1 else 'have'} said something"
    return f"{stays} until what {few(keeper.awaited) or 'the others'} said is judged"


_NAMED = 100
"""Things that are left out of a source and named one by one."""


def sources(keeper: Keeper, types: Mapping[str, str], left_out: Mapping[str, tuple[str, ...]]) -> list[Row]:
    """One row for each source; `types` are their kinds, by name, and `left_out` what nothing can be made of."""
    return [
        _source(keeper, name, types.get(name, ""), left_out.get(name, ())) for name in source_names(keeper)
    ]


def _source(keeper: Keeper, name: str, kind: str, left_out: tuple[str, ...]) -> Row:
    part, (state, since) = keeper.parts.get(name), state_of(keeper, name)
    error = keeper.errors[name].trouble if name in keeper.errors else None
    if state == HELD:
        error = error or keeper.held[name].text
    elif name in keeper.leaving:
        error = staying(keeper, name)
    elif state == REJECTED:
        error = f"rejected by hand; it was {keeper.rejected[name].reason.partition(';')[0]}"
    allocations = part.allocations if part else Allocations({})
    return {
        "source": name,
        "type": kind,
        "state": state,
        "last_good": moment(since) if part else None,
        "age_seconds": round(max(0.0, keeper.clock() - since), 3),
        "nodes": len(allocations.nodes),
        "prefixes": allocations.size,
        "vip_prefixes": len(allocations.index.pools),
        "conflicts": sum(c.source == name and c.until is None for c in keeper.settled.conflicts),
        "left_out": len(left_out),
        "left_out_named": list(left_out[:_NAMED]),
        "held_digest": keeper.held[name].digest if name in keeper.held else None,
        "error": error,
    }


# Allocations


def allocations(keeper: Keeper) -> Row:
    """Who owns what, each with the sources that say so, and until when what none says any more."""
    settled = keeper.settled
    until = _until(settled)
    return {
        "nodes": [
            {
                "node": node.name,
                "addresses": [str(a) for a in node.addresses],
                "prefixes": [str(p) for p in node.prefixes],
                "borrowed": [str(p) for p in node.borrowed],
                "source": node_sources(settled.parts, node.name) or _lingering_source(settled, node.name),
                "until": until.get(node.name, {}),
            }
            for node in settled.allocations.nodes.values()
        ],
        "vips": [
            {
                "prefixes": [str(p) for p in pool.prefixes],
                "nodes": None if pool.nodes is None else sorted(pool.nodes),
                "source": settled.ledger.vips.get(pool.prefixes[0]) if pool.prefixes else None,
            }
            for pool in settled.allocations.vips
        ],
    }


def _until(settled: Settled) -> dict[str, dict[str, str]]:
    """When what nodes have a grace for goes: by node, by address or prefix."""
    found: dict[str, dict[str, str]] = {}
    for claim, entry in settled.lingering.items():
        if claim.kind is not Kind.VIP and claim.node is not None:
            found.setdefault(claim.node, {})[claim.value] = moment(entry.until)
    return found


def _lingering_source(settled: Settled, name: str) -> str:
    names = (entry.source for claim, entry in settled.lingering.items() if claim.node == name)
    return ", ".join(dict.fromkeys(names))


# What is not as the sources say


def differences(keeper: Keeper) -> list[Row]:
    """What sources say and is not in force, and what is in force and no source says."""
    return [*_waiting(keeper), *_refused(keeper.settled), *_lingering(keeper.settled)]


def _waiting(keeper: Keeper) -> Iterator[Row]:
    """What would change if a snapshot came into force that is held back, or was rejected."""
    found = {name: (HELD, held.allocations, held.text) for name, held in keeper.held.items()}
    for name, reading in keeper.refusing.items():
        if reading.allocations and name in keeper.rejected:
            found[name] = (REJECTED, reading.allocations, "rejected by hand")
    for source, (state, snapshot, text) in sorted(found.items()):
        after = settle(keeper.settled, keeper.saying(source, snapshot), now=keeper.clock(), sweep=False)
        old, new = tokens(keeper.allocations), tokens(after.allocations)
        for change, claims in (("grant", new - old), ("revoke", old - new)):
            for claim in sorted(claims, key=_order):
                yield _row(change, claim, source, state, None, text)


def tokens(allocations: Allocations) -> set[Claim]:
    """Everything that is in force, one by one."""
    found = {claim for node in allocations.nodes.values() for claim in claims_of(node)}
    for prefix, nodes in vip_nodes(allocations).items():
        named: Iterable[str | None] = (None,) if nodes is None else nodes
        found.update(Claim(name, Kind.VIP, prefix) for name in named)
    return found


def _refused(settled: Settled) -> Iterator[Row]:
    for conflict in settled.conflicts:
        yield _row("grant", conflict.claim, conflict.source, "refused", conflict.until, conflict.text)


def _lingering(settled: Settled) -> Iterator[Row]:
    for claim in sorted(settled.lingering, key=_order):
        entry = settled.lingering[claim]
        text = f"{entry.source} says it no longer"
        yield _row("revoke", claim, entry.source, "grace", entry.until, text)


def _row(change: str, claim: Claim, source: str, state: str, until: float | None, text: str) -> Row:
    return {
        "change": change,
        "kind": str(claim.kind),
        "node": claim.node,
        "value": claim.value,
        "source": source,
        "state": state,
        "until": None if until is None else moment(until),
        "text": text,
    }


def _order(claim: Claim) -> tuple[str, str, int, int, int]:
    network = claim.network
    place = network.version, int(network.network_address), network.prefixlen
    return claim.node or "", claim.kind, *place
