"""An appliance that lives in memory: what the API is asked against in these tests, in place of the daemon."""

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence

from prometheus_client import CollectorRegistry

from rr.api import health
from rr.api.appliance import NotFound, Refused, Row
from rr.api.counters import Counters
from rr.errors import Problem, RRError

NOON = "2026-11-23T12:00:00Z"
BEFORE = "2026-11-23T11:30:00.250Z"

PAIR: Row = {
    "name": "rr-b", "reachable": True, "problem": None, "version": "0.1.0", "heard": NOON,
    "differences": [{"text": "the halves hold different allocations", "since": BEFORE}],
    "refusal": "the other half rr-b has no session with the node node-2 of main", "certificate_ends": NOON,
    "instances": [
        {"instance": "main", "address": "10.0.0.12", "session": "established", "serving": True,
         "nodes": {"both": 5, "one": 1, "none": 2}, "tors": {"both": 1, "one": 0, "none": 1}, "lent": 3}
    ],
}  # fmt: skip
STATUS: Row = {
    "name": "rr-a",
    "version": "0.1.0",
    "started": BEFORE,
    "ready": True,
    "config": {"file": "/etc/rr/rr.yaml", "loaded": BEFORE, "digest": "5e884898"},
    "ipam": {
        "source": "file:/etc/rr/allocations.yaml", "known": True, "age_seconds": 3.2,
        "error": None, "held": None,
        "conflicts": 1, "lingering": 1, "vip_prefixes": 1, "digest": "c0ffee", "state_error": None,
        "nodes": 2, "prefixes": 3,
    },
    "instances": [
        {
            "instance": "main",
            "asn": 64512,
            "router_id": "10.0.0.11",
            "engine": {
                "state": "running",
                "version": "4.8.0",
                "pid": 4711,
                "restarts": 1,
                "since": BEFORE,
                "memory": 80 << 20,
                "ends": {"died": 1, "asked": 0},
            },
            "restart": {"under_way": False, "awaited": 3, "missing": 0, "missing_peers": []},
            "drain": {"instance": "main", "state": "serving", "since": None, "seconds_left": None, "sessions": 2},
            "policy": {"in_force": True, "digest": "0badcafe", "statements": 12, "verified": NOON, "changes": 5,
                "repairs": 0},
            "sessions": {"nodes": {"up": 1, "known": 2, "expected": 2}, "tors": {"up": 1, "expected": 1},
                "pair": {"up": 0, "expected": 0}},
            "routes": {"accepted": 3, "rejected": 1, "observed": 0},
            "observed": [],
        }
    ],
    "listen": [{"instance": "main", "address": "10.0.0.11", "here": True}],
    "floating": [{"instance": "main", "address": "10.0.0.10", "here": True}],
    "pair": PAIR,
    "problems": [],
}  # fmt: skip


def peer(number: int, role: str = "node", state: str = "established") -> Row:
    """One session."""
    is_node = role == "node"
    return {
        "instance": "main", "address": f"10.2.{number // 250}.{number % 250 + 1}",
        "node": f"node-{number}" if is_node else None, "rack": "rack-1", "role": role, "state": state,
        "since": BEFORE, "received": 2 if is_node else 0, "accepted": 2 if is_node else 0, "rejected": 0,
        "advertised": 4,
    }  # fmt: skip


def route(number: int, prefix: str | None = None, kind: str = "pod") -> Row:
    """One accepted route."""
    return {
        "instance": "main", "prefix": prefix or f"10.{100 + number // 250}.{number % 250}.0/24",
        "node": f"node-{number}", "rack": "rack-1", "next_hop": f"10.2.{number // 250}.{number % 250 + 1}",
        "kind": kind, "best": True, "since": BEFORE, "peer": f"10.2.{number // 250}.{number % 250 + 1}",
        "stale": False,
    }  # fmt: skip


def event(number: int, kind: str = "session") -> Row:
    """One event."""
    return {"id": number, "time": NOON, "kind": kind, "subject": f"node-{number}", "text": "It came up."}


VIOLATION: Row = {
    "instance": "main", "prefix": "10.101.1.0/24", "peer": "10.2.0.3", "node": "node-2",
    "reason": "foreign-prefix", "text": "10.101.1.0/24 is node-1's.", "count": 4, "first_seen": BEFORE,
    "last_seen": NOON, "active": True, "enforced": True,
}  # fmt: skip

PROBLEM = Problem(
    "/etc/rr/rr.yaml", 7, 5, "instances.main.asn", "is 0", "write a number from 1 to 4294967294"
)


class MemoryAppliance:
    """Satisfies `rr.api.appliance.Appliance`; its rows are attributes that a test sets."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counters = Counters(self.registry)
        self.status_row = copy.deepcopy(STATUS)
        self.peer_rows = [peer(1), peer(2, state="idle"), peer(249, role="tor")]
        self.route_rows = [
            route(1, "10.244.0.0/16"),
            route(1, "10.244.1.0/24"),
            route(1, "10.100.0.5/32", "vip"),
        ]
        self.violation_rows = [dict(VIOLATION)]
        self.event_rows = [event(number) for number in range(1, 21)]
        held = {
            "name": "rr-a",
            "state_dir": "/var/lib/rr",
            "password_file": None,
            "http": {"listen": "127.0.0.1:9632"},
            "instances": {"main": {"listen": ["10.0.0.11"], "port": 179}},
        }
        self.config_row: Row = {**STATUS["config"], "config": held}
        self.config_fault: RRError | None = None
        self.held = False
        self.subscribers: list[asyncio.Queue[Row | None]] = []
        self.asked: list[str] = []
        self.looks = 0
        """How often somebody asked for the status."""

    def status(self) -> Row:
        self.looks += 1
        return self.status_row

    def check(self, *, serving: bool = False) -> Row:
        return health.serving(self.status_row) if serving else health.check(self.status_row)

    def peers(self) -> Sequence[Row]:
        return self.peer_rows

    def routes(self, prefix: str | None) -> Sequence[Row]:
        return [row for row in self.route_rows if prefix in (None, row["prefix"])]

    def violations(self) -> Sequence[Row]:
        return self.violation_rows

    def explain(self, prefix: str, from_: str, instance: str | None) -> Row:
        if from_ not in ("node-1", "node-2", "10.2.0.2"):
            raise NotFound(
                f"{from_!r} is neither an address nor a node that the IPAM knows; see rrctl ipam show"
            )
        accepted = from_ != "node-2"
        return {
            "instance": instance or "main", "prefix": prefix, "from": "10.2.0.2", "node": "node-1",
            "rack": "rack-1",
            "accepted": accepted, "reason": None if accepted else "foreign-prefix",
            "text": f"{prefix} is node-1's own." if accepted else f"{prefix} is not node-2's.",
            "announced": True,
            "checks": [
                {"check": "known node", "ok": True, "text": "10.2.0.2 is node-1's address"},
                {"check": "prefix", "ok": accepted, "text": "the prefix is allocated to node-1"},
                {"check": "next hop", "ok": True if accepted else None, "text": "not reached"},
            ],
            "sent_to": [{"role": "tor", "rack": "rack-1", "text": "the ToR of rack-1"}] if accepted else [],
        }  # fmt: skip

    def events(self, since: int) -> Sequence[Row]:
        return [row for row in self.event_rows if row["id"] > since]

    async def subscribe(self) -> AsyncIterator[Row]:
        queue: asyncio.Queue[Row | None] = asyncio.Queue()
        self.subscribers.append(queue)
        try:
            while (row := await queue.get()) is not None:
                yield row
        finally:
            self.subscribers.remove(queue)

    def happen(self, row: Row | None) -> None:
        """Let an event happen; None ends all subscriptions."""
        if row is not None:
            self.event_rows.append(row)
        for queue in list(self.subscribers):
            queue.put_nowait(row)

    def allocations(self) -> Row:
        source = "file:/etc/rr/allocations.yaml"
        return {
            "nodes": [
                {
                    "node": "node-1",
                    "addresses": ["10.2.0.2"],
                    "prefixes": ["10.244.1.0/24"],
                    "borrowed": [],
                    "source": source,
                    "until": {},
                },
                {
                    "node": "node-2",
                    "addresses": ["10.2.0.3"],
                    "prefixes": ["10.244.2.0/24"],
                    "borrowed": ["10.244.1.5/32"],
                    "source": source,
                    "until": {"10.244.1.5/32": NOON},
                },
            ],
            "vips": [{"prefixes": ["10.100.0.0/24"], "nodes": None, "source": source}],
        }

    def ipam_sources(self) -> list[Row]:
        return copy.deepcopy(SOURCES)

    def ipam_diff(self) -> list[Row]:
        return copy.deepcopy(DIFF)

    def topology(self) -> Row:
        rack = {
            "rack": "rack-1", "ranges": ["10.2.0.0/24"],
            "tors": [{"address": "10.2.0.250", "state": "established"}],
            "nodes": [{"node": "node-1", "addresses": ["10.2.0.2"], "state": "established"}],
        }  # fmt: skip
        return {"name": "rr-a", "instances": [{"instance": "main", "asn": 64512, "racks": [rack]}]}

    def pair(self) -> Row:
        if self.status_row["pair"] is None:
            raise NotFound("this appliance is no half of a pair; rr.yaml names the other half with `pair:`")
        missing = {"instance": "main", "node": "node-2", "here": True, "there": False}
        return {**self.status_row["pair"], "redundancy": [missing]}

    def config(self) -> Row:
        return self.config_row

    def counts(self) -> Row:
        return {
            "peers": [
                {"instance": "main", "rack": "rack-1", "role": "node", "state": "established", "count": 1},
                {"instance": "main", "rack": None, "role": "node", "state": "idle", "count": 1},
            ],
            "routes": [
                {"instance": "main", "kind": "pod", "count": 2},
                {"instance": "main", "kind": "vip", "count": 1},
            ],
            "rejected": [{"instance": "main", "reason": "foreign-prefix", "count": 1}],
            "violations": [{"instance": "main", "reason": "foreign-prefix", "count": 4}],
            "observed": [{"instance": "main", "rack": "rack-1", "reason": "unknown-node", "count": 2}],
            "observed_violations": [{"instance": "main", "reason": "unknown-node", "count": 5}],
            "allocations": [{"kind": "node", "count": 2}, {"kind": "node-prefix", "count": 2}],
            "ipam_sources": SOURCES,
            "quarantines": [{"instance": "main", "reason": "flapping", "count": 3}],
            "guarded": [
                {"instance": "main", "slow_resets": 1, "ghosts": 2, "quarantined": 1, "suspended": False}
            ],
        }

    async def reload(self) -> Row:
        self.asked.append("reload")
        if self.config_fault:
            raise self.config_fault
        return {"changed": ["Instance main: hold_time is 12, was 9."], "resets": []}

    def diff_config(self, text: str) -> Row:
        self.asked.append(text)
        if self.config_fault:
            raise self.config_fault
        return {"changes": ["Instance main: asn is 64513, was 64512."], "resets": ["10.2.0.2 (node-1)"]}

    async def accept(self, source: str | None, digest: str | None) -> Row:
        self._must_be_held(source, "accept")
        self.asked[-1] += f" {digest}" if digest else ""
        return {"changed": ["node-2 loses 10.244.2.0/24."]}

    async def reject(self, source: str | None) -> Row:
        self._must_be_held(source, "reject")
        return {"rejected": [source or "kubernetes:prod"]}

    def _must_be_held(self, source: str | None, verb: str) -> None:
        self.asked.append(f"{verb} {source}")
        if not self.held:
            raise Refused(f"No allocations are held back; there is nothing to {verb}")

    async def drain(self, instance: str | None, wait: float | None, *, force: bool) -> Sequence[Row]:
        self.asked.append(f"drain, {force=}")
        return self._drain(instance, "draining", f"main is drained, {wait=}")

    async def undrain(self, instance: str | None) -> Sequence[Row]:
        return self._drain(instance, "serving", "main serves again")

    def _drain(self, instance: str | None, state: str, text: str) -> Sequence[Row]:
        if instance not in (None, "main"):
            raise NotFound(f"there is no instance {instance}", "it is one of main")
        self.asked.append(text)
        row = self.status_row["instances"][0]["drain"]
        row |= {"state": state, "since": None if state == "serving" else NOON}
        return [{**row, "text": text}]

    async def restart_engine(self, instance: str, *, upgrade: bool, force: bool) -> Row:
        if instance != "main":
            raise NotFound(f"there is no instance {instance}", "it is main")
        self.asked.append(f"{instance} {upgrade=} {force=}")
        return {"instance": instance, "changed": not upgrade, "peers": 3, "version": "4.8.0"}

    def quarantine(self) -> list[Row]:
        return [dict(QUARANTINED)]

    async def release(self, wanted: str) -> Row:
        if wanted not in ("node-9", "10.2.0.9"):
            raise Refused(f"{wanted} is not quarantined", "see `rrctl quarantine list`")
        return {"released": ["node-9"]}

    async def node_down(self, wanted: str) -> Row:
        if wanted == "nobody":
            raise NotFound("nobody is neither an address nor a node that the IPAM knows")
        closed = [{"instance": "main", "address": "10.2.0.2", "routes": 2}] if wanted == "node-1" else []
        return {"node": wanted, "closed": closed}


QUARANTINED: Row = {
    "instance": "main", "node": "node-9", "addresses": ["10.2.0.9"], "reason": "flapping",
    "text": "its session from 10.2.0.9 was lost again and again", "since": "2026-01-02T03:04:05.000Z",
    "until": "2026-01-02T03:05:05.000Z", "strikes": 2,
}  # fmt: skip
SOURCES: list[Row] = [
    {"source": "kubernetes:prod", "type": "kubernetes", "state": "held", "last_good": BEFORE, "age_seconds": 1800.0,
     "nodes": 2, "prefixes": 3, "vip_prefixes": 0, "conflicts": 1, "left_out": 2, "left_out_named": ["a", "b"],
     "held_digest": "3f9c2a1b", "error": "held back: it removes too much"},
    {"source": "file:/etc/rr/allocations.yaml", "type": "file", "state": "good", "last_good": NOON, "age_seconds": 0,
     "nodes": 1, "prefixes": 1, "vip_prefixes": 1, "conflicts": 0, "left_out": 0, "left_out_named": [],
     "held_digest": None, "error": None},
]  # fmt: skip
DIFF: list[Row] = [
    {"change": "revoke", "kind": "prefix", "node": "node-2", "value": "10.244.2.0/24", "source": "kubernetes:prod",
     "state": "held", "until": None, "text": "held back: it removes too much"},
    {"change": "grant", "kind": "vip", "node": None, "value": "10.100.1.0/24", "source": "kubernetes:prod",
     "state": "refused", "until": None, "text": "the VIP prefix 10.100.1.0/24 (kubernetes:prod) overlaps another"},
    {"change": "revoke", "kind": "borrowed", "node": "node-2", "value": "10.244.1.5/32", "source": "kubernetes:prod",
     "state": "grace", "until": NOON, "text": "kubernetes:prod says it no longer"},
]  # fmt: skip
