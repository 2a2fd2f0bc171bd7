"""Allocations as YAML nodes: one walk that finds every mistake, at its place.

A document of 1,000 nodes is read anew at every change, so the walk goes over PyYAML's nodes directly,
and what an address or prefix means is remembered by its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rr.addresses import (
    NotValid,
    host_trouble,
    order_of,
    read_address,
    read_prefix,
    routed_trouble,
    shown,
)
from rr.errors import AllocationsError, Problem
from rr.ipam.allocations import Allocations, NodeAllocation, VipPool
from rr.ipam.contradictions import Allocated, Claim, Place, contradictions
from rr.net import Address, Network
from rr.yamlfile import described, is_nothing

NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}", re.ASCII)


@lru_cache(maxsize=131072)
def _prefix(text: str) -> Allocated:
    network = read_prefix(text)
    if trouble := routed_trouble(network):
        raise NotValid(f"{network} {trouble}", "allocate only prefixes that can be routed to a node")
    return network, order_of(network)


@lru_cache(maxsize=65536)
def _address(text: str) -> Address:
    address = read_address(text)
    if trouble := host_trouble(address):
        raise NotValid(f"{address} {trouble}", "write the address that the node's session comes from")
    return address


class Reader:
    """One pass over the files of a document that collects problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.file = ""
        """The file that is being read."""
        self.problems: list[Problem] = []
        self.claims: list[Claim] = []
        self.borrowed: list[Claim] = []
        self.addresses: dict[Address, tuple[str, Place]] = {}
        self.names: dict[str, Place] = {}
        self.guesses = 5

    def read(self, roots: Mapping[str, Node]) -> Allocations:
        """The snapshot that all files say together; raises AllocationsError.

        In one file `nodes` must stand; of several, each has `nodes` or `vips`.
        """
        found = {file: self.root(file, root, alone=len(roots) == 1) for file, root in roots.items()}
        nodes: dict[str, NodeAllocation] = {}
        for self.file, keys in found.items():
            nodes |= self.nodes(*keys["nodes"]) if "nodes" in keys else {}
        vips: list[VipPool] = []
        for self.file, keys in found.items():
            vips += self.vips(*keys["vips"]) if "vips" in keys else ()
        self.problems += contradictions(self.claims, self.borrowed, self.addresses)
        if self.problems:
            raise AllocationsError(self.problems)
        return Allocations(nodes, tuple(vips))

    def root(self, file: str, root: Node, *, alone: bool) -> dict[str, tuple[Node, Node]]:
        """The members of one file."""
        self.file = file
        if not isinstance(root, MappingNode):
            wrong = f"is {described(root)}, not a mapping"
            self.wrong(root, "", wrong, "write `nodes:` and what they own below")
            return {}
        before = len(self.problems)
        keys = self.keys(root, "", ("nodes", "vips"))
        if "nodes" not in keys and (alone or "vips" not in keys) and len(self.problems) == before:
            self.wrong(root, "nodes", "is missing", "write `nodes: {}` if nothing is allocated")
        return keys

    def place(self, node: Node) -> Place:
        """Where a node of the YAML stands."""
        return Place(self.file, node)

    def wrong(self, node: Node, key: str, wrong: str, right: str, name: Node | None = None) -> None:
        """Note a problem at a node, or at its key when the value begins elsewhere."""
        self.problems.append(self.place(node).problem(key, wrong, right, name))

    def keys(self, node: MappingNode, path: str, known: tuple[str, ...]) -> dict[str, tuple[Node, Node]]:
        """The members of a mapping with fixed keys: key node and value node by name."""
        found: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            dotted = f"{path}.{shown(name)}" if path else shown(name)
            if name not in known:
                near = get_close_matches(name, known, n=1, cutoff=0.6)
                right = f"did you mean `{near[0]}`?" if near else f"the keys here are {' and '.join(known)}"
                self.wrong(key, dotted, "is not a known key here", right)
            elif name in found:
                first = found[name][0].start_mark.line + 1
                self.wrong(key, dotted, f"is given twice, first in line {first}", "keep one of them")
            else:
                found[name] = key, value
        return found

    def items(self, key: Node, node: Node, path: str, what: str) -> list[Node]:
        """The members of a list; a problem and nothing when it is no list."""
        if isinstance(node, SequenceNode):
            return list(node.value)
        found = "has no value" if is_nothing(node) else f"is {described(node)}, not a list"
        one = f"[{shown(node.value)}]" if isinstance(node, ScalarNode) and node.value else "[]"
        self.wrong(node, path, found, f"write {one}, a list of {what}", key)
        return []

    def text(self, item: Node, path: str, index: int, what: str) -> str | None:
        """The text of a member of a list; a problem and None when it is none."""
        if isinstance(item, ScalarNode) and not item.tag and not is_nothing(item):
            return str(item.value)
        found = f"has the tag {shown(item.tag)}" if item.tag else f"is {described(item)}"
        self.wrong(item, f"{path}[{index}]", found, f"write {what}")
        return None

    def nodes(self, key: Node, node: Node) -> dict[str, NodeAllocation]:
        """All nodes, by name."""
        if not isinstance(node, MappingNode):
            found = "has no value" if is_nothing(node) else f"is {described(node)}, not a mapping"
            self.wrong(
                node,
                "nodes",
                found,
                "write names and what they own below, or {} if nothing is allocated",
                key,
            )
            return {}
        nodes: dict[str, NodeAllocation] = {}
        for name_node, value in node.value:
            name = self.name(name_node)
            if name is not None:
                self.names[name] = self.place(name_node)
                nodes[name] = self.node(name, name_node, value)
        return nodes

    def name(self, node: Node) -> str | None:
        """A node's name, unless it is none or was there before."""
        name = str(node.value) if isinstance(node, ScalarNode) else ""
        if not NODE_NAME.fullmatch(name):
            wrong = f"{shown(name)} is not a node's name" if isinstance(node, ScalarNode) else "is no name"
            right = "write up to 253 letters, digits, '_', '.' or '-', beginning with a letter or digit"
            self.wrong(node, f"nodes.{shown(name)}", wrong, right)
            return None
        if name in self.names:
            first = self.names[name].first(self.place(node))
            self.wrong(
                node,
                f"nodes.{name}",
                f"is given twice, first {first}",
                "put all that it owns in one place",
            )
            return None
        return name

    def node(self, name: str, key: Node, node: Node) -> NodeAllocation:
        """What one node has."""
        path = f"nodes.{name}"
        members: dict[str, tuple[Node, Node]] = {}
        if isinstance(node, MappingNode):
            members = self.keys(node, path, ("addresses", "prefixes", "borrowed"))
        elif not is_nothing(node):
            self.wrong(
                node, path, f"is {described(node)}, not a mapping", "write `addresses:` and `prefixes:`", key
            )
            return NodeAllocation(name, (), ())
        addresses: tuple[Address, ...] = ()
        if "addresses" in members:
            addresses = self.node_addresses(name, f"{path}.addresses", *members["addresses"])
        if not ("addresses" in members and getattr(members["addresses"][1], "value", None)):
            right = "write the addresses that its sessions come from, such as `addresses: [10.2.0.11]`"
            self.wrong(key, f"{path}.addresses", "the node has no address", right)
        prefixes: tuple[Network, ...] = ()
        if "prefixes" in members:
            prefixes = self.prefixes(self.claims, name, f"{path}.prefixes", *members["prefixes"])
        borrowed: tuple[Network, ...] = ()
        if "borrowed" in members:
            borrowed = self.prefixes(self.borrowed, name, f"{path}.borrowed", *members["borrowed"])
        return NodeAllocation(name, addresses, prefixes, borrowed)

    def node_addresses(self, name: str, path: str, key: Node, node: Node) -> tuple[Address, ...]:
        """A node's addresses; each belongs to it alone."""
        found: list[Address] = []
        for index, item in enumerate(self.items(key, node, path, "addresses") if node.value else ()):
            text = self.text(item, path, index, "an address such as 10.2.0.11")
            if text is None:
                continue
            try:
                address = _address(text)
            except NotValid as error:
                self.wrong(item, f"{path}[{index}]", error.wrong, error.right)
                continue
            if (first := self.addresses.get(address)) is None:
                self.addresses[address] = name, Place(self.file, item)
                found.append(address)
            else:
                self.same_address(address, name, f"{path}[{index}]", item, first)
        return tuple(found)

    def same_address(
        self, address: Address, name: str, key: str, item: Node, first: tuple[str, Place]
    ) -> None:
        """An address for the second time."""
        if first[0] == name:
            self.wrong(item, key, f"{address} is listed twice, first at {first[1]}", "keep one of them")
        else:
            wrong = f"{address} is already an address of {first[0]} at {first[1]}"
            self.wrong(item, key, wrong, "an address belongs to one node: keep it at one of them")

    def prefixes(
        self, claims: list[Claim], name: str | None, path: str, key: Node, node: Node
    ) -> tuple[Network, ...]:
        """The prefixes of a node or, without name, of a VIP pool; each is added to the claims."""
        found: list[Network] = []
        for index, item in enumerate(self.items(key, node, path, "prefixes")):
            text = self.text(item, path, index, "a prefix such as 10.244.1.0/24")
            if text is None:
                continue
            try:
                allocated = _prefix(text)
            except NotValid as error:
                self.wrong(item, f"{path}[{index}]", error.wrong, error.right)
                continue
            found.append(allocated[0])
            claims.append(Claim(allocated, name, self.file, item, path, index))
        return tuple(found)

    def vips(self, key: Node, node: Node) -> tuple[VipPool, ...]:
        """The VIP pools, in order."""
        items = self.items(key, node, "vips", "pools such as {prefixes: [10.100.0.0/24]}")
        return tuple(self.pool(f"vips[{index}]", item) for index, item in enumerate(items))

    def pool(self, path: str, node: Node) -> VipPool:
        """One pool."""
        if not isinstance(node, MappingNode):
            self.wrong(
                node, path, f"is {described(node)}, not a mapping", "write {prefixes: [10.100.0.0/24]}"
            )
            return VipPool((), None)
        members = self.keys(node, path, ("prefixes", "nodes"))
        if "prefixes" not in members:
            self.wrong(node, f"{path}.prefixes", "is missing", "add it, such as `prefixes: [10.100.0.0/24]`")
        prefixes = (
            self.prefixes(self.claims, None, f"{path}.prefixes", *members["prefixes"])
            if "prefixes" in members
            else ()
        )
        nodes = self.pool_nodes(f"{path}.nodes", *members["nodes"]) if "nodes" in members else None
        return VipPool(prefixes, nodes)

    def pool_nodes(self, path: str, key: Node, node: Node) -> frozenset[str]:
        """The nodes that a pool is open to; each must be there."""
        found: set[str] = set()
        for index, item in enumerate(self.items(key, node, path, "names of nodes")):
            name = self.text(item, path, index, "the name of a node")
            if name is None:
                continue
            if name in found:
                self.wrong(item, f"{path}[{index}]", f"{shown(name)} is listed twice", "keep one of them")
            elif name not in self.names:
                self.wrong(item, f"{path}[{index}]", f"there is no node {shown(name)}", self.way_to(name))
            found.add(name)
        return frozenset(found)

    def way_to(self, name: str) -> str:
        """What to write instead of an unknown node; looking for a similar name is slow, so a few times only."""
        self.guesses -= 1
        near = get_close_matches(name, self.names, n=1, cutoff=0.7) if self.guesses >= 0 else []
        return f"did you mean {near[0]}?" if near else "add it to `nodes:`, or take it out here"
