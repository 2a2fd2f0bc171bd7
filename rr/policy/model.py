"""Plain data for a speaker's routing policy: what the engine should hold, in no engine's language.

All of it is immutable and comparable, so that "desired" and "held" can be compared with `==` and diffed
key by key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from rr.net import Address, Network


class Action(StrEnum):
    """What a statement does with a route that meets its conditions."""

    ACCEPT = "accept"
    REJECT = "reject"
    CONTINUE = "continue"


class Match(StrEnum):
    """How a community set is compared: one of its members is present, or all of them are."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """Routes inside `network` whose length is `shortest` to `longest` (bits)."""

    network: Network
    shortest: int
    longest: int

    @classmethod
    def exactly(cls, network: Network) -> "PrefixMatch":
        """Only the prefix itself."""
        return cls(network, network.prefixlen, network.prefixlen)

    @classmethod
    def hosts_of(cls, network: Network) -> "PrefixMatch":
        """Host routes (/32 or /128) inside a pool."""
        return cls(network, network.max_prefixlen, network.max_prefixlen)

    def covers(self, prefix: Network) -> bool:
        """Say whether a route for `prefix` matches."""
        return (
            prefix.version == self.network.version
            and self.shortest <= prefix.prefixlen <= self.longest
            and prefix.network_address in self.network
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """One rule: every condition that is set must hold; then `edits` are made and `action` decides.

    `neighbors` is the sender in an import policy and the receiver in an export policy.
    """

    name: str
    action: Action
    prefixes: str | None = None
    neighbors: str | None = None
    communities: str | None = None
    communities_match: Match = Match.ANY
    next_hops: frozenset[Address] = frozenset()
    empty_as_path: bool = False
    add_community: str | None = None
    remove_communities: str | None = None
    """A regular expression over `HIGH:LOW`."""
    neutral: bool = False
    """Level the attributes by which a sender could make its path win: LOCAL_PREF 100, MED 0, ORIGIN IGP."""
    local_pref: int | None = None
    """Set LOCAL_PREF to this, and nothing else; from 1, since the engine takes 0 for none."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All sets and statements of one speaker. Whatever no statement accepts is rejected, both ways."""

    prefix_sets: Mapping[str, frozenset[PrefixMatch]] = field(default_factory=dict)
    neighbor_sets: Mapping[str, frozenset[Network]] = field(default_factory=dict)
    community_sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    as_path_sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    imports: tuple[Statement, ...] = ()
    exports: tuple[Statement, ...] = ()

    def structure(self) -> tuple[object, ...]:
        """Everything but the content of the prefix sets, which alone can be edited while in use."""
        return (
            self.imports,
            self.exports,
            dict(self.neighbor_sets),
            dict(self.community_sets),
            dict(self.as_path_sets),
            frozenset(self.prefix_sets),
        )

    def digest(self) -> str:
        """Sixteen hexadecimal digits that are equal exactly where the enforced rules are equal."""
        text = hashlib.sha256()
        for name, prefixes in sorted(self.prefix_sets.items()):
            text.update(f"p {name} {sorted(map(str, prefixes))}\n".encode())
        for kind in ("neighbor_sets", "community_sets", "as_path_sets"):
            for name, members in sorted(getattr(self, kind).items()):
                text.update(f"{kind} {name} {sorted(map(str, members))}\n".encode())
        for direction in ("imports", "exports"):
            for statement in getattr(self, direction):
                text.update(f"{direction} {statement_text(statement)}\n".encode())
        return text.hexdigest()[:16]


def statement_text(statement: Statement) -> str:
    """One line that says all of a statement, the same in every process."""
    return (
        f"{statement.name} {statement.action} {statement.prefixes} {statement.neighbors} {statement.communities}"
        f" {statement.communities_match} {sorted(map(str, statement.next_hops))} {statement.empty_as_path}"
        f" {statement.add_community} {statement.remove_communities} {statement.neutral} {statement.local_pref}"
    )


NOTHING = PolicySet(
    prefix_sets=MappingProxyType({}),
    neighbor_sets=MappingProxyType({}),
    community_sets=MappingProxyType({}),
    as_path_sets=MappingProxyType({}),
)
"""A policy that rejects everything."""
