"""A cluster's objects as allocations: whatever the order in which they were heard of, the result is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rr.ipam.allocations import EMPTY, Allocations, NodeAllocation
from rr.ipam.sources.kubernetes.parts import Decoded, Endpoints, OpenPool, ServiceVips, Share
from rr.ipam.sources.kubernetes.vips import Vips

NOTHING = Decoded()


class Cluster:
    """What is known of a cluster, kept by kind and key. A change costs what it touches, not all that there is."""

    def __init__(self, *, name_addressless: bool = True) -> None:
        self._objects: dict[str, dict[str, Decoded]] = {}
        self._troubled: dict[tuple[str, str], tuple[str, ...]] = {}
        self._nodes = Nodes()
        self._vips = Vips()
        self._name_addressless = name_addressless
        self._snapshot: Allocations = EMPTY

    def put(self, kind: str, key: str, new: Decoded | None) -> None:
        """An object is like this now; None: it is gone."""
        objects = self._objects.setdefault(kind, {})
        old = objects.pop(key, None)
        if new is not None and new != NOTHING:
            objects[key] = new
        self._troubled.pop((kind, key), None)
        if new and new.troubles:
            self._troubled[kind, key] = new.troubles
        before = old.contribution if old else None
        after = new.contribution if new else None
        if before == after:
            return
        if type(before) is not type(after):
            self._place(kind, key, before, gone=True)
        self._place(kind, key, after if after is not None else before, gone=after is None)

    def _place(self, kind: str, key: str, part: object, *, gone: bool) -> None:
        match part:
            case ServiceVips():
                self._vips.service(key, None if gone else part)
            case Endpoints():
                self._vips.endpoints(key, None if gone else part)
            case OpenPool():
                self._vips.pool(key, None if gone else part)
            case tuple():
                self._nodes.put((kind, key), () if gone else part)

    def replace(self, kind: str, found: Mapping[str, Decoded]) -> None:
        """These are all objects of a kind that there are."""
        for key in [key for key in self._objects.get(kind, {}) if key not in found]:
            self.put(kind, key, None)
        for key, decoded in found.items():
            self.put(kind, key, decoded)

    def snapshot(self) -> Allocations:
        """The allocations now; the same object as before when nothing changed."""
        nodes, vips = self._nodes.settle(), self._vips.settle()
        if nodes is not self._snapshot.nodes or vips is not self._snapshot.vips:
            self._snapshot = Allocations(nodes, vips)
        return self._snapshot

    def left_out(self) -> tuple[str, ...]:
        """What nothing can be made of, of what the cluster says, a sentence each; the rest counts."""
        return tuple(sorted((*self.mistakes(), *self._addressless())))

    def mistakes(self) -> tuple[str, ...]:
        """Objects and values that cannot be read. A node without an address is none: it may be about to get one."""
        return tuple(
            sorted(
                f"{kind}/{key}: {trouble}"
                for (kind, key), troubles in self._troubled.items()
                for trouble in troubles
            )
        )

    def _addressless(self) -> Iterator[str]:
        for node in self._nodes.addressless if self._name_addressless else ():
            yield f"{node} has prefixes, and no address that its session could come from"


class Nodes:
    """Nodes' allocations, put together from what several objects say of each."""

    def __init__(self) -> None:
        self._shares: dict[tuple[str, str], tuple[Share, ...]] = {}
        self._of: dict[str, dict[tuple[str, str], Share]] = {}
        self._changed: set[str] = set()
        self._settled: dict[str, NodeAllocation] = {}
        self.addressless: set[str] = set()
        """Nodes that own something and have no address."""

    def put(self, key: tuple[str, str], shares: tuple[Share, ...]) -> None:
        """An object says this now; nothing: it is gone."""
        for share in self._shares.pop(key, ()):
            del self._of[share.node][key]
            self._changed.add(share.node)
        for share in shares:
            self._of.setdefault(share.node, {})[key] = share
            self._changed.add(share.node)
        if shares:
            self._shares[key] = shares

    def settle(self) -> dict[str, NodeAllocation]:
        """All nodes now; the same object as before when nothing changed."""
        moved = {name: self._made(name) for name in self._changed}
        self._changed.clear()
        moved = {name: node for name, node in moved.items() if node != self._settled.get(name)}
        if moved:
            settled = {**self._settled, **{name: node for name, node in moved.items() if node}}
            for name in [name for name, node in moved.items() if not node]:
                del settled[name]
            self._settled = settled
        return self._settled

    def _made(self, name: str) -> NodeAllocation | None:
        """A node out of its shares, in the order of their keys; None when it has no address."""
        shares = [share for _, share in sorted(self._of[name].items())]
        if not shares:
            del self._of[name]
        addresses = tuple(dict.fromkeys(address for share in shares for address in share.addresses))
        prefixes = tuple(dict.fromkeys(prefix for share in shares for prefix in share.prefixes))
        borrowed = tuple(dict.fromkeys(prefix for share in shares for prefix in share.borrowed))
        self.addressless.discard(name)
        if addresses:
            return NodeAllocation(name, addresses, prefixes, borrowed)
        if prefixes or borrowed:
            self.addressless.add(name)
        return None
