"""What the bounds of an observed rack must keep clear of: with no owner to ask, only they keep the network safe."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rr.addresses import order_of, overlap, overlaps
from rr.config.document import Document, Route, dotted
from rr.errors import Problem
from rr.net import Network


@dataclass(frozen=True, slots=True)
class Placed:
    """A prefix or the host route of an address, and where it stands."""

    route: Route
    network: Network
    text: str = ""
    """What it is, for a sentence."""


def stated(document: Document, rack: Route) -> Iterator[Problem]:
    """Whoever asks for a rack to be observed says what may pass."""
    if document.at(*rack, "enforce") == "observe" and document.at(*rack, "observe") is None:
        wrong = "observe lets nodes announce what they do not own, and nothing says within which bounds"
        right = (
            "add `observe: {prefixes: [...]}` beside it, with what pods and services have their addresses in"
        )
        yield document.problem((*rack, "enforce"), wrong, right)


def bounds_clear(
    document: Document, bounds: Iterable[Placed], taken: Iterable[Placed], carried: set[str]
) -> Iterator[Problem]:
    """No bound holds what the network stands on, or lies in another; `bounds` are one rack's."""
    listed, others = list(bounds), list(taken)
    for bound in listed:
        if met := next((other for other in others if overlap(bound.network, other.network)), None):
            wrong = f"{bound.network} overlaps {met.text} at {_where(document, met)}"
            right = "name narrower prefixes, or a node could take its traffic"
            yield document.problem(bound.route, wrong, right)
        family = f"ipv{bound.network.version}"
        if carried and family not in carried:
            instance = dotted(bound.route[:2])
            wrong = (
                f"{bound.network} is {family}, and {instance} carries only {' and '.join(sorted(carried))}"
            )
            yield document.problem(bound.route, wrong, f"add {family} to {instance}.families")
    for inside, outside in overlaps([order_of(bound.network) for bound in listed]):
        wrong = f"{listed[inside].network} lies in {listed[outside].network} at {_where(document, listed[outside])}"
        yield document.problem(listed[inside].route, wrong, "keep one of them")


def next_hops_own(document: Document, hops: Iterable[Placed], taken: Iterable[Placed]) -> Iterator[Problem]:
    """The next hops of an observed rack are addresses of its own nodes; `taken` is what others have."""
    others = list(taken)
    for hop in hops:
        if met := next((other for other in others if overlap(hop.network, other.network)), None):
            wrong = f"{hop.network} overlaps {met.text} at {_where(document, met)}"
            yield document.problem(
                hop.route, wrong, "name only where nodes of this rack have their addresses"
            )


def _where(document: Document, placed: Placed) -> str:
    return f"{dotted(placed.route)} (line {document.place(placed.route)[0]})"
