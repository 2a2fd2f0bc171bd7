"""What of the IPAM's words becomes an event: every grant and revocation, and what of them counts for nothing."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

from prometheus_client import CollectorRegistry

from rr.api.counters import Counters
from rr.errors import RRError
from rr.ipam.allocations import Allocations
from rr.ipam.reading import Reading
from rr.service import allocating
from rr.service.allocating import Allocating
from tests.unit.api.serving import until
from tests.unit.policy.worlds import allocations
from tests.unit.test_changes import config

SOURCE = "file:/etc/rr/allocations.yaml"
MANY = 3 * allocating._IN_ONE_GO


class Told(Allocating):
    """Keeps what it says, what it enforces, and in which order."""

    def __init__(self, state: Path) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.working: set[asyncio.Task[object]] = set()
        super().__init__(
            config(state_dir=state), Counters(CollectorRegistry()), self.note, self.enforced, self.work
        )
        self.keeper.start()
        self.keeper.begin()

    def note(self, kind: str, subject: str, text: str) -> None:
        self.said.append((kind, subject, text))

    def enforced(self, decision: object) -> None:
        self.note("enforced", "", "")

    def work(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.working.add(task)
        task.add_done_callback(self.working.discard)

    def kinds(self, kind: str) -> list[str]:
        return [text for said, _, text in self.said if said == kind]


def world(count: int) -> Allocations:
    """This many nodes with a prefix each."""
    return allocations(
        {
            f"node-{n}": ([f"10.2.{n >> 8}.{n & 255}"], [f"10.{100 + (n >> 8)}.{n & 255}.0/24"])
            for n in range(1, count + 1)
        }
    )


async def test_each_of_many_grants_is_an_event_and_enforcing_does_not_wait_for_them(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.read(Reading(SOURCE, world(MANY)))
    at_once = len(told.kinds("grant"))
    assert at_once == allocating._IN_ONE_GO
    assert told.said.index(("enforced", "", "")) < told.said.index(told.said[-1])
    await until(lambda: len(told.kinds("grant")) == MANY)
    assert set(told.kinds("grant")) == {
        f"node-{n} is given 10.100.{n}.0/24 (by {SOURCE})" for n in range(1, MANY + 1)
    }


async def test_when_rrd_ends_meanwhile_the_rest_is_told_before(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.read(Reading(SOURCE, world(MANY)))
    await asyncio.sleep(0)
    assert len(told.kinds("grant")) < MANY
    ending = list(told.working)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
    assert len(told.kinds("grant")) == MANY


async def test_events_keep_their_order_where_another_change_comes_meanwhile(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.read(Reading(SOURCE, world(MANY)))
    told.read(Reading(SOURCE, world(MANY - 1)))
    await until(lambda: bool(told.kinds("revoke")))
    assert len(told.kinds("grant")) == MANY
    assert told.said[-1] == ("revoke", f"node-{MANY}", f"node-{MANY} loses 10.100.{MANY}.0/24 (by {SOURCE})")


async def test_what_is_left_out_is_said_once_while_it_lasts_and_shown(tmp_path: Path) -> None:
    told, wrong = Told(tmp_path), "node-9 has prefixes, and no address"
    for _ in range(2):
        told.read(Reading(SOURCE, world(1), left_out=(wrong,)))
    assert [text for text in told.kinds("ipam") if "left out" in text] == [f"left out: {wrong}"]
    (row,) = told.sources()
    assert (row["left_out"], row["left_out_named"]) == (1, [wrong])
    told.read(Reading(SOURCE, world(1)))
    assert told.kinds("ipam")[-1] == "1 of what was left out counts now, or is gone"
    assert told.sources()[0]["left_out"] == 0


async def test_a_source_that_fails_does_not_make_what_it_left_out_count(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.read(Reading(SOURCE, world(1), left_out=("a thing",)))
    told.read(Reading(SOURCE, None, RRError("it is away")))
    assert told.sources()[0]["left_out"] == 1


async def test_of_many_things_left_out_the_first_are_said_and_more_are_shown(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.read(Reading(SOURCE, world(1), left_out=tuple(f"thing {n:03}" for n in range(150))))
    said = [text for text in told.kinds("ipam") if text.startswith("left out: ")]
    assert (len(said), said[-1]) == (21, "left out: 130 more, see `rrctl ipam sources`")
    assert (told.sources()[0]["left_out"], len(told.sources()[0]["left_out_named"])) == (150, 100)
