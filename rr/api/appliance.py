"""What the HTTP server needs from the daemon, as a Protocol: the daemon knows HTTP no further than this file.

Rows are plain JSON-able dictionaries; `rr.api.keys` lists the keys of each kind of row, and
`rr.api.keys.faults(kind, rows)` says which keys a list of rows lacks or has too many (for its tests).
Times are RFC 3339 text in UTC with a `Z`. Every method that is not `async` answers from memory, at once: the
server calls it on the event loop.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, TypeAlias

from prometheus_client import CollectorRegistry

from rr.errors import RRError

Row: TypeAlias = dict[str, Any]


class BadRequest(RRError):
    """The question itself is wrong (HTTP 400); the message is one sentence with the way out."""


class NotFound(RRError):
    """What was asked about does not exist here, say an unknown instance (HTTP 404)."""


class Refused(RRError):
    """The request is understood and now is not the time, say nothing is held to accept (HTTP 409)."""


class Appliance(Protocol):
    """The daemon as seen from its API."""

    @property
    def registry(self) -> CollectorRegistry:
        """Counters and histograms that the daemon keeps itself: see `rr.api.counters.Counters`."""

    def status(self) -> Row:
        """Answer how things stand: name, version, started, ready, config, ipam, instances, problems.

        `ready` is true when every instance's policy is in force and its engine serves.
        `problems` is a list of `{severity: warning|critical, text}`.
        """

    def check(self, *, serving: bool = False) -> Row:
        """Answer `{exit: 0..3, line, perfdata}`; `rr.api.health.check(status)` makes one.

        With `serving` it is only about whether this half itself serves: `rr.api.health.serving(status)`.
        """

    def peers(self) -> Sequence[Row]:
        """List all sessions, also the configured ToRs that are down; the order is the order shown."""

    def routes(self, prefix: str | None) -> Sequence[Row]:
        """List the accepted routes; with `prefix` (canonical text: `10.244.1.0/24`) those of exactly it."""

    def violations(self) -> Sequence[Row]:
        """List announcements against the rules, most recent first.

        What is still being announced has `active` true, what passed since its rack is observed `enforced` false.
        """

    def explain(self, prefix: str, from_: str, instance: str | None) -> Row:
        """Judge by the rules in force what `from_` (an address or a node's name) announces as `prefix`.

        `prefix` is canonical text. Raises NotFound for an unknown instance or a `from_` that is neither an
        address nor a known node; BadRequest when `instance` is None and the peer could be in several.
        """

    def events(self, since: int) -> Sequence[Row]:
        """List the events that are still remembered and have an id above `since`, oldest first."""

    def subscribe(self) -> AsyncIterator[Row]:
        """Yield every event from now on; the server calls `aclose()` when its reader goes.

        May end by itself when the reader is too slow (a bounded queue): the reader then comes back with the
        last id that it saw and is served from `events`.
        """

    def allocations(self) -> Row:
        """Answer `{nodes: [{node, addresses, prefixes, borrowed, source, until}], vips: [{prefixes, nodes, source}]}`.

        `nodes` of a VIP pool is null when it is open to every node.
        """

    def ipam_sources(self) -> Sequence[Row]:
        """List the sources of allocations in the order of their precedence, and how each is."""

    def ipam_diff(self) -> Sequence[Row]:
        """List what sources say and is not in force, and what is in force and no source says any more."""

    def topology(self) -> Row:
        """Answer the tree `{name, instances: [{instance, asn, racks: [{rack, ranges, tors, nodes}]}]}`.

        A ToR is `{address, state}`, a node `{node, addresses, state}`.
        """

    def pair(self) -> Row:
        """Answer how the pair is, and which nodes have no session with both halves; raises NotFound without one."""

    def config(self) -> Row:
        """Answer `{file, loaded, digest, config}`, the last being what is in force, as rr.yaml says it.

        Paths of password files may be shown, what is in them never.
        """

    def counts(self) -> Row:
        """Answer the figures that metrics are made of, cheap enough for a scrape every few seconds:

        `peers`: `[{instance, rack, role, state, count}]` ·
        `routes`: `[{instance, kind, count}]`, accepted now ·
        `rejected`: `[{instance, reason, count}]`, announced now and rejected ·
        `violations`: `[{instance, reason, count}]`, ever since the start (never goes down) ·
        `observed`: `[{instance, rack, reason, count}]`, announced now and passing only since the rack is observed ·
        `observed_violations`: `[{instance, reason, count}]`, the same since the start ·
        `allocations`: `[{kind: node|node-prefix|vip-pool, count}]` ·
        `ipam_sources`: the rows of `ipam_sources` ·
        `quarantines`: `[{instance, reason, count}]`, since the start ·
        `guarded`: `[{instance, slow_resets, ghosts, quarantined, suspended}]`.
        """

    async def reload(self) -> Row:
        """Read the configuration again, apply what differs, answer `{changed: [...], resets: [...]}`.

        Raises ConfigError with every problem; nothing is applied then.
        """

    def diff_config(self, text: str) -> Row:
        """Answer `{changes: [...], resets: [...]}` of going from what runs to the configuration `text`.

        Both are lists of sentences; `resets` names the sessions that the change would reset.
        Raises ConfigError with every problem, SecretError where a password file cannot be used.
        """

    async def restart_engine(self, instance: str, *, upgrade: bool, force: bool) -> Row:
        """End the engine of an instance for it to be started again, with graceful restart.

        Answer `{instance, changed, peers, version}` once it is gone. With `upgrade`, the program is looked for anew
        and tried, and the engine is left alone where it already runs that. Raises NotFound for an unknown instance,
        and Refused where now is not the time (unless `force`) or the program cannot be used.
        """

    async def drain(self, instance: str | None, wait: float | None, *, force: bool) -> Sequence[Row]:
        """Take an instance (None: all) out of use, answer at once where each is on its way.

        `wait`: seconds between the marks and the end of sessions, None for the usual. Each row is
        `{instance, state, since, seconds_left, sessions, text}`. Raises NotFound for an unknown instance,
        and Refused while the other half of a pair cannot take over (unless `force`).
        """

    async def undrain(self, instance: str | None) -> Sequence[Row]:
        """Let an instance (None: all) serve again; answer when engines let peers in, with rows as `drain`'s."""

    async def accept(self, source: str | None, digest: str | None) -> Row:
        """Put the held allocations of one source (None: of all) in force, answer `{changed: [...]}`.

        With a digest only those that it names. Raises Refused if none are held, or none that it names, and NotFound
        for an unknown source.
        """

    async def reject(self, source: str | None) -> Row:
        """Forget the held allocations of one source (None: of all), answer `{rejected: [...]}`, the sources.

        Raises as `accept` does.
        """

    def quarantine(self) -> Sequence[Row]:
        """List the nodes that are kept out."""

    async def release(self, wanted: str) -> Row:
        """Let a node in again, by name or address, answer `{released: [...]}`; raises Refused if it is not kept out."""

    async def node_down(self, wanted: str) -> Row:
        """Close a node's sessions and drop its routes, answer `{node, closed: [{instance, address, routes}]}`.

        Raises NotFound for what is neither an address nor a known node, Refused when an engine does not answer.
        """
