"""What the appliance says of itself: problems by severity, the one line of the check, and explanations."""

import asyncio
import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rr.api import keys
from rr.api.appliance import NotFound, Refused
from rr.appliance import Appliance, plans
from rr.config.model import Config, Guard
from rr.continuity.comeback import Comeback
from rr.continuity.drain import Drain
from rr.continuity.roster import Known, Roster
from rr.engine.events import PeerChanged, RouteSeen
from rr.errors import RRError
from rr.instance.health import EngineState
from rr.instance.runner import InstanceRunner
from rr.instance.wants import Setting
from rr.ipam.allocations import Allocations, VipPool
from rr.ipam.reading import Reading
from rr.net import Address
from rr.policy.verdict import Announcement
from tests.unit.api.serving import until
from tests.unit.policy.worlds import addresses, allocations, networks
from tests.unit.test_changes import MAIN, SOURCES

NODE, TOR = addresses("10.2.0.11", "10.3.0.1")
POD, FOREIGN = networks("10.244.1.0/24", "10.244.2.0/24")
OWNED = allocations(
    {"node-1": (["10.2.0.11"], ["10.244.1.0/24"]), "node-2": (["10.2.0.12"], ["10.244.2.0/24"])}
)
SOURCE = "file:/etc/rr/allocations.yaml"


@pytest.fixture
async def appliance(tmp_path: Path) -> Appliance:
    """One whose engine runs and whose ToR is up, as far as it knows."""
    values: dict[str, Any] = {"name": "rr-a", "instances": {"main": MAIN}, "ipam": SOURCES}
    config = Config.model_validate({**values, "state_dir": tmp_path / "state", "run_dir": tmp_path / "run"})
    found = Appliance(tmp_path / "rr.yaml", config, None)
    setting = Setting(config.instances["main"], plans(config)["main"])
    runner = InstanceRunner(
        "main", setting, config.run_dir, None, found.history.add, Roster(config.state_dir / "roster.json")
    )
    found.instances["main"] = runner
    runner.health.become(EngineState.RUNNING)
    runner.health.in_force = True
    runner.view.apply(PeerChanged(TOR, "established", "10.3.0.1", 64512, False))
    return found


def read(appliance: Appliance, owned: Allocations | None, error: str | None = None) -> None:
    appliance.allocating.read(Reading(SOURCE, owned, RRError(error) if error else None, time.time()))
    appliance.instances["main"].applied.set()


def said(appliance: Appliance) -> list[tuple[str, str]]:
    return [(row["severity"], row["text"]) for row in appliance.problems()]


async def test_with_everything_up_there_is_no_problem(appliance: Appliance) -> None:
    read(appliance, OWNED)
    assert said(appliance) == []
    assert appliance.status()["ready"]
    assert appliance.check()["exit"] == 0


async def test_without_any_allocations_ever_it_is_critical(appliance: Appliance) -> None:
    assert said(appliance) == [("critical", "No allocations were ever known: no route is accepted")]
    assert appliance.check()["exit"] == 2


async def test_whether_it_serves_is_no_matter_of_allocations_but_of_its_engine_its_address_and_a_drain(
    appliance: Appliance,
) -> None:
    assert appliance.check()["exit"] == 2
    assert appliance.check(serving=True)["line"] == "RR OK - serving: main"
    runner = appliance.instances["main"]
    runner.maintain(Drain(time.time(), 10.0))
    assert appliance.check(serving=True)["exit"] == 0
    runner.maintain(Drain(time.time(), 10.0, closed=True))
    assert appliance.check(serving=True)["line"] == "RR CRITICAL - Instance main: a drain has closed it"
    runner.maintain(None)
    (listen,) = appliance.settings.instances["main"].listen
    appliance._missing = frozenset({listen})
    gone = f"RR CRITICAL - Instance main: {listen} is not an address of this host"
    assert appliance.check(serving=True)["line"] == gone
    appliance._missing = frozenset()
    runner.health.become(EngineState.DOWN)
    assert appliance.check(serving=True)["line"] == "RR CRITICAL - Instance main: the engine is down"


async def test_a_broken_source_warns_and_names_what_stays_in_force(appliance: Appliance) -> None:
    read(appliance, OWNED)
    read(appliance, None, "it is gone")
    ((severity, text),) = said(appliance)
    assert severity == "warning"
    assert "stay in force" in text
    assert "it is gone" in text
    assert appliance.check()["exit"] == 1


async def test_a_tor_without_a_session_warns(appliance: Appliance) -> None:
    read(appliance, OWNED)
    appliance.instances["main"].view.apply(PeerChanged(TOR, "active", "", 64512, False))
    assert said(appliance) == [("warning", "Instance main: ToR 10.3.0.1 has no session")]


async def test_that_no_node_has_a_session_is_critical_where_some_had_and_only_after_a_minute(
    appliance: Appliance,
) -> None:
    read(appliance, OWNED)
    presence, now = appliance.instances["main"].view.presence, time.monotonic()
    presence.see(2, now - 100)
    presence.see(0, now - 50)
    assert said(appliance) == []
    presence.see(1, now - 49)
    presence.see(0, now - 61)
    assert said(appliance) == [("critical", "Instance main: no node has a session, and 2 of 2 had one")]
    read(appliance, Allocations({}))
    appliance.allocating.accept(None)
    assert not any("no node has a session" in text for _, text in said(appliance))


async def test_an_engine_that_is_down_is_critical_and_its_tors_are_not_told_besides(
    appliance: Appliance,
) -> None:
    read(appliance, OWNED)
    runner = appliance.instances["main"]
    runner.health.become(EngineState.DOWN)
    runner.health.problem = "nobody listens"
    runner.view.restarted()
    ((severity, text),) = said(appliance)
    assert severity == "critical"
    assert text.startswith("Instance main: the engine is down: nobody listens")
    assert not appliance.status()["ready"]


async def test_a_policy_that_is_not_in_force_is_critical(appliance: Appliance) -> None:
    read(appliance, OWNED)
    health = appliance.instances["main"].health
    health.in_force, health.problem = False, "the engine refused SetPolicies"
    assert [severity for severity, _ in said(appliance)] == ["critical"]
    assert appliance.check()["exit"] == 2


async def test_the_worst_comes_first(appliance: Appliance) -> None:
    appliance.instances["main"].view.apply(PeerChanged(TOR, "active", "", 64512, False))
    assert [severity for severity, _ in said(appliance)] == ["critical", "warning"]


async def test_each_node_that_gains_or_loses_a_prefix_is_an_event(appliance: Appliance) -> None:
    read(appliance, OWNED)
    node = OWNED.nodes["node-1"]
    moved = replace(node, prefixes=networks("10.244.9.0/26"))
    read(appliance, Allocations({**OWNED.nodes, "node-1": moved}))
    texts = [event["text"] for event in appliance.events(0) if event["kind"] in ("grant", "revoke")]
    assert texts[-2:] == [
        f"node-1 is given 10.244.9.0/26 (by {SOURCE})",
        f"node-1 loses 10.244.1.0/24 (by {SOURCE})",
    ]


async def test_all_answers_have_the_documented_keys(appliance: Appliance) -> None:
    read(appliance, OWNED)
    view = appliance.instances["main"].view
    view.apply(PeerChanged(NODE, "established", "10.2.0.11", 64512, False))
    view.apply(RouteSeen(Announcement(NODE, POD, NODE), True, 100, False))
    view.apply(RouteSeen(Announcement(NODE, FOREIGN, NODE), False, 100, False))
    status = appliance.status()
    assert keys.faults("status", status) == []
    assert keys.faults("peers", appliance.peers()) == []
    assert keys.faults("routes", appliance.routes(None)) == []
    assert keys.faults("violations", appliance.violations()) == []
    assert keys.faults("events", appliance.events(0)) == []
    assert keys.faults("topology", appliance.topology()) == []
    assert keys.faults("status.ipam", status["ipam"]) == []
    assert keys.faults("ipam.sources", appliance.ipam_sources()) == []
    assert keys.faults("allocations.nodes", appliance.allocations()["nodes"]) == []
    assert keys.faults("allocations.vips", appliance.allocations()["vips"]) == []
    assert keys.faults("explain", appliance.explain("10.244.1.0/24", "node-1", None)) == []
    assert status["instances"][0]["routes"] == {"accepted": 1, "rejected": 1, "observed": 0}
    assert status["instances"][0]["sessions"]["nodes"] == {"up": 1, "known": 1, "expected": 2}


async def test_an_explanation_says_where_a_route_goes_or_why_it_does_not(appliance: Appliance) -> None:
    read(appliance, OWNED)
    good = appliance.explain("10.244.1.0/24", "node-1", None)
    assert good["accepted"]
    assert [row["text"] for row in good["sent_to"]] == ["the ToRs of rack-1", "the nodes of rack-1"]
    bad = appliance.explain("10.244.2.0/24", "10.2.0.11", "main")
    assert (bad["accepted"], bad["reason"], bad["sent_to"]) == (False, "foreign-prefix", [])
    assert bad["text"] == "10.244.2.0/24 belongs to node-2, not to node-1"


async def test_an_explanation_for_nobody_says_whom_one_may_ask_about(appliance: Appliance) -> None:
    read(appliance, OWNED)
    with pytest.raises(NotFound, match="there is no instance other"):
        appliance.explain("10.244.1.0/24", "node-1", "other")
    with pytest.raises(NotFound):
        appliance.explain("10.244.1.0/24", "node-77", None)


async def test_there_is_nothing_to_accept_when_nothing_is_held(appliance: Appliance) -> None:
    read(appliance, OWNED)
    with pytest.raises(Refused, match="no allocations are held back"):
        await appliance.accept()


THIEF = allocations({"node-3": (["10.2.0.13"], ["10.244.1.0/24"])})
OTHER = "file:/other"


@pytest.fixture
def guarded(appliance: Appliance) -> Appliance:
    """One that lets nothing be removed, and reads two sources."""
    appliance.keeper.configure(Guard(max_removed=0), [SOURCE, OTHER], 0)
    return appliance


async def test_a_conflict_is_a_warning_and_two_events(appliance: Appliance) -> None:
    appliance.keeper.configure(None, [SOURCE, OTHER], 0)
    read(appliance, OWNED)
    appliance.allocating.read(Reading(OTHER, THIEF, None, time.time()))
    text = f"10.244.1.0/24 of node-3 ({OTHER}) already belongs to node-1 ({SOURCE})"
    assert said(appliance) == [("warning", f"IPAM conflict, the newcomer is refused: {text}")]
    assert appliance.check()["exit"] == 1
    appliance.allocating.read(Reading(OTHER, allocations({}), None, time.time()))
    assert said(appliance) == []
    events = [
        (row["kind"], row["subject"], row["text"]) for row in appliance.events(0) if row["kind"] == "conflict"
    ]
    assert events == [
        ("conflict", OTHER, f"refused: {text}"),
        ("conflict", OTHER, "no longer in conflict: 10.244.1.0/24 of node-3"),
    ]


async def test_many_conflicts_are_not_all_told(appliance: Appliance) -> None:
    nodes = {f"node-{n}": ([f"10.2.1.{n}"], [f"10.245.{n}.0/24"]) for n in range(10)}
    thieves = {f"x-{n}": ([f"10.2.2.{n}"], [f"10.245.{n}.0/24"]) for n in range(10)}
    read(appliance, allocations({**nodes, **thieves}))
    assert len(said(appliance)) == 6
    assert said(appliance)[-1] == ("warning", "5 more IPAM conflicts: see `rrctl ipam diff`")
    assert len([row for row in appliance.ipam_diff() if row["state"] == "refused"]) == 10


async def test_what_a_source_says_wrong_warns_while_it_does(appliance: Appliance) -> None:
    left_out = ("a", "node-9 has no address", "b")
    appliance.allocating.read(Reading(SOURCE, OWNED, left_out=left_out, mistakes=("a", "b")))
    wrong = f"{SOURCE} says what cannot be used and counts for nothing: a and 1 more"
    assert said(appliance) == [("warning", f"{wrong} (`rrctl ipam sources` names all)")]
    read(appliance, None, "it is away")
    assert any(text.startswith(wrong) for _, text in said(appliance)), "it was not put right"
    appliance.allocating.read(Reading(SOURCE, OWNED, left_out=("node-9 has no address",)))
    assert said(appliance) == []


async def test_what_is_no_longer_held_is_not_accepted_by_its_digest(guarded: Appliance) -> None:
    read(guarded, OWNED)
    read(guarded, Allocations({"node-1": OWNED.nodes["node-1"]}))
    looked_at = guarded.ipam_sources()[0]["held_digest"]
    assert any(f"`rrctl ipam accept --digest {looked_at}`" in text for _, text in said(guarded))
    read(guarded, allocations({}))
    now = guarded.ipam_sources()[0]["held_digest"]
    sentence = (
        f"nothing is held back any more that has the digest {looked_at}, but {now} of {SOURCE}; look at it"
    )
    with pytest.raises(Refused, match=sentence):
        await guarded.accept(None, looked_at)
    assert guarded.keeper.allocations == OWNED
    assert len((await guarded.accept(None, now))["changed"]) == 4


async def test_a_source_that_is_removed_warns_until_the_new_one_has_spoken(appliance: Appliance) -> None:
    read(appliance, OWNED)
    other = {"sources": [{"type": "file", "path": "/other"}]}
    new = Config.model_validate({**appliance.settings.model_dump(mode="json"), "ipam": other})
    fate = f"what it gives stays until {OTHER} has said something (prefixes that no other source gives: 2)"
    assert f"{SOURCE} is no longer read: {fate}" in appliance.difference(new).changes
    appliance.allocating.decided(appliance.allocating.configure(new))
    stays = f"{SOURCE} is no longer configured; what it said stays in force until {OTHER} has said something"
    assert ("warning", stays) in said(appliance)
    assert [(row["source"], row["state"]) for row in appliance.ipam_sources()] == [
        (OTHER, "silent"),
        (SOURCE, "removed"),
    ]
    assert keys.faults("ipam.sources", appliance.ipam_sources()) == []
    appliance.allocating.read(Reading(OTHER, OWNED, None, time.time()))
    assert said(appliance) == []
    texts = [row["text"] for row in appliance.events(0)]
    assert stays in texts
    assert texts[-1] == f"what {SOURCE} said counts no longer: it is no longer configured"
    assert not [row for row in appliance.events(0) if row["kind"] == "revoke"]


async def test_a_source_that_is_only_removed_is_held_by_the_guard(guarded: Appliance) -> None:
    read(guarded, OWNED)
    guarded.allocating.read(Reading(OTHER, allocations({}), None, time.time()))
    guarded.keeper.configure(Guard(max_removed=0), [OTHER], 0)
    assert guarded.keeper.allocations == OWNED
    held = f"the configuration without {SOURCE} removes 2 of 2 prefixes"
    assert [severity for severity, text in said(guarded) if held in text] == ["critical"]
    assert guarded.ipam_sources()[1]["state"] == "held"
    await guarded.reject(SOURCE)
    assert any("its removal was rejected: name it in rr.yaml again" in text for _, text in said(guarded))
    guarded.keeper.configure(Guard(max_removed=0), [SOURCE, OTHER], 0)
    guarded.keeper.configure(Guard(max_removed=0), [OTHER], 0)
    assert len((await guarded.accept(SOURCE))["changed"]) == 4
    assert [row["source"] for row in guarded.ipam_sources()] == [OTHER]


async def test_what_is_held_is_critical_shown_and_rejected(guarded: Appliance) -> None:
    read(guarded, OWNED)
    less = Allocations({"node-1": OWNED.nodes["node-1"]})
    read(guarded, less)
    assert next(severity for severity, _ in said(guarded)) == "critical"
    assert [(row["change"], row["value"], row["state"]) for row in guarded.ipam_diff()] == [
        ("revoke", "10.2.0.12", "held"),
        ("revoke", "10.244.2.0/24", "held"),
    ]
    with pytest.raises(Refused, match=f"no allocations of {OTHER} are held back"):
        await guarded.reject(OTHER)
    with pytest.raises(NotFound, match=f"there is no IPAM source nobody; it is one of {SOURCE}, {OTHER}"):
        await guarded.accept("nobody")
    assert await guarded.reject(SOURCE) == {"rejected": [SOURCE]}
    told = [text for severity, text in said(guarded) if severity == "warning"]
    assert any("still says what was rejected" in text for text in told)
    assert guarded.check()["exit"] == 1
    read(guarded, OWNED)
    assert not any("rejected" in text for _, text in said(guarded))


async def test_what_is_held_and_meets_another_owner_by_now_is_refused_that_alone(guarded: Appliance) -> None:
    read(guarded, OWNED)
    read(guarded, allocations({"node-3": (["10.2.0.13"], ["10.244.3.0/24", "10.244.9.0/24"])}))
    other = allocations({"node-4": (["10.2.0.14"], ["10.244.3.0/25"])})
    guarded.allocating.read(Reading(OTHER, other, None, time.time()))
    guarded.instances["main"].applied.set()
    await guarded.accept()
    assert set(guarded.keeper.allocations.nodes) == {"node-3", "node-4"}
    assert guarded.keeper.allocations.nodes["node-3"].prefixes == networks("10.244.9.0/24")
    assert guarded.status()["ipam"]["conflicts"] == 1


async def test_a_source_that_says_nothing_is_told_and_gives_nothing(guarded: Appliance) -> None:
    read(guarded, OWNED)
    assert said(guarded) == [("warning", f"Nothing of {OTHER} is allocated: it has not said anything yet")]
    guarded.keeper.started -= 1000
    assert [severity for severity, _ in said(guarded)] == ["critical"]


async def test_an_error_is_one_event_and_so_is_its_end(appliance: Appliance) -> None:
    read(appliance, OWNED)
    for _ in range(3):
        read(appliance, None, "it is gone")
    read(appliance, OWNED)
    told = [row["text"] for row in appliance.events(0) if row["subject"] == SOURCE]
    assert told == [
        "the last good allocations stay in force: it is gone",
        f"{SOURCE} can be read again",
    ]


async def test_a_vip_that_opens_and_closes_is_told_with_its_source(appliance: Appliance) -> None:
    read(appliance, Allocations(OWNED.nodes, (VipPool(networks("10.100.0.1/32"), frozenset({"node-1"})),)))
    read(appliance, Allocations(OWNED.nodes, (VipPool(networks("10.100.0.1/32"), frozenset({"node-2"})),)))
    told = [row["text"] for row in appliance.events(0) if row["subject"] == "10.100.0.1/32"]
    assert told == [
        f"the VIP prefix 10.100.0.1/32 is opened to node-1 (by {SOURCE})",
        f"the VIP prefix 10.100.0.1/32 is opened to node-2 (by {SOURCE})",
        f"the VIP prefix 10.100.0.1/32 is closed to node-1 (by {SOURCE})",
    ]


async def test_of_many_readings_at_once_the_last_counts_and_none_is_lost(appliance: Appliance) -> None:
    working = asyncio.create_task(appliance.allocating.run())
    try:
        for number in range(200):
            node = replace(OWNED.nodes["node-1"], prefixes=networks(f"10.245.{number}.0/24"))
            appliance.allocating.hear(Reading(SOURCE, Allocations({**OWNED.nodes, "node-1": node})))
            await asyncio.sleep(0.001)
        wanted = networks("10.245.199.0/24")
        await until(lambda: appliance.keeper.allocations.nodes["node-1"].prefixes == wanted)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    changes = [row for row in appliance.events(0) if row["kind"] == "grant"]
    assert len(changes) < 100, "200 readings within a fifth of a second are some twenty looks"
    assert appliance.allocating.heard.is_set()


async def test_a_grace_ends_by_itself(appliance: Appliance) -> None:
    appliance.keeper.configure(None, [SOURCE], 0.2)
    working = asyncio.create_task(appliance.allocating.run())
    try:
        appliance.allocating.hear(Reading(SOURCE, OWNED))
        await until(lambda: appliance.keeper.known)
        appliance.allocating.hear(Reading(SOURCE, Allocations({"node-1": OWNED.nodes["node-1"]})))
        await until(lambda: bool(appliance.keeper.settled.lingering))
        assert "node-2" in appliance.keeper.allocations.nodes
        await until(lambda: "node-2" not in appliance.keeper.allocations.nodes)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_drain_is_a_warning_that_says_the_way_back_and_explains_missing_sessions(
    appliance: Appliance,
) -> None:
    read(appliance, OWNED)
    runner = appliance.instances["main"]
    drain = Drain(1_764_000_000.0, 10.0)
    told = {}
    for name, decided in (("draining", drain), ("closed", replace(drain, closed=True))):
        runner.maintain(decided)
        told[name] = said(appliance)
    runner.resent = time.monotonic()
    runner.view.apply(PeerChanged(TOR, "idle", "", 0, False))
    runner.emptied = True
    told["drained"] = said(appliance)
    since = "since 2025-11-24T16:00:00.000Z"
    assert told == {
        "draining": [("warning", f"Instance main is being drained {since}: routes are being marked")],
        "closed": [("warning", f"Instance main is being drained {since}: sessions are ended, 1 still up")],
        "drained": [
            ("warning", f"Instance main is drained {since}: `rrctl undrain main` lets peers in again")
        ],
    }
    assert appliance.check()["exit"] == 1
    assert appliance.status()["ready"], "a drained appliance can be upgraded and waited for"
    assert keys.faults("status.instances", appliance.status()["instances"]) == []
    assert {row["drain"] for row in appliance.peers()} == {"drained"}
    runner.maintain(replace(drain, ended=True))
    assert said(appliance) == [("warning", f"Instance main: ToR {TOR} has no session")]


async def test_decisions_that_are_not_kept_are_a_warning(appliance: Appliance) -> None:
    read(appliance, OWNED)
    appliance.drains.problem = "drains cannot be written"
    assert said(appliance) == [("warning", "The state is not kept: drains cannot be written")]


async def test_an_unknown_instance_cannot_be_drained(appliance: Appliance) -> None:
    with pytest.raises(NotFound, match="there is no instance other; it is one of main"):
        await appliance.drain("other", None, force=False)
    with pytest.raises(NotFound, match="there is no instance other; it is one of main"):
        await appliance.undrain("other")


async def test_of_an_observed_rack_it_is_said_what_would_be_rejected_and_what_enforcing_takes(
    appliance: Appliance,
) -> None:
    observed = copy.deepcopy(MAIN)
    observed["racks"]["rack-1"] |= {"enforce": "observe", "observe": {"prefixes": ["10.244.0.0/16"]}}
    values = appliance.settings.model_dump(mode="json")
    lenient = Config.model_validate({**values, "instances": {"main": observed}})
    runner = appliance.instances["main"]
    runner.configure(Setting(lenient.instances["main"], plans(lenient)["main"]))
    strict, appliance.settings = appliance.settings, lenient
    read(appliance, OWNED)
    runner.view.apply(PeerChanged(NODE, "established", "10.2.0.11", 64512, False))
    for prefix in (POD, FOREIGN):
        runner.view.apply(RouteSeen(Announcement(NODE, prefix, NODE), True, 100, False))
    status = appliance.status()
    assert status["instances"][0]["routes"] == {"accepted": 2, "rejected": 0, "observed": 1}
    assert status["instances"][0]["observed"] == [{"rack": "rack-1", "routes": 1}]
    assert said(appliance) == []
    assert appliance.check()["exit"] == 0
    assert "rack-1 of main is only observed, routes that would be rejected: 1" in appliance.check()["line"]
    told = appliance.explain("10.244.2.0/24", "node-1", None)
    assert keys.faults("explain", told) == []
    assert (told["accepted"], told["reason"], told["objection"]) == (True, None, "foreign-prefix")
    assert [row["observed"] for row in appliance.routes(None)] == [False, True]
    changes = appliance.difference(strict).changes
    assert changes[-1] == (
        "rack-1 of main is enforced: no session is reset; routes that pass now and are rejected then: 1 "
        "(`rrctl violations --passing`)"
    )
    assert appliance.difference(strict).resets == ()


async def looked_after(appliance: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin to look after its instances, without engines."""
    monkeypatch.setattr(InstanceRunner, "run", lambda runner: asyncio.sleep(60))
    appliance.start_instances()
    await asyncio.sleep(0)


async def test_a_task_that_ends_although_nobody_let_it_go_is_a_fault_however_it_ends(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was cancelled: an instance that nobody looks after must not look like one that is well."""
    await looked_after(appliance, monkeypatch)
    appliance.tasks["main"].cancel()
    with pytest.raises(RRError, match="the work on instance main ended, and nobody asked for it"):
        await asyncio.wait_for(appliance.failed, 5)


async def test_instances_that_are_let_go_are_no_fault(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await looked_after(appliance, monkeypatch)
    await appliance.stop_instances(engines=False)
    await asyncio.sleep(0)
    assert not appliance.failed.done()


class Empty:
    """An engine without any peer."""

    async def peers(self, address: Address) -> list[Any]:
        return []


async def test_who_did_not_come_back_after_a_restart_is_named_until_it_is_said_to_be_down(
    appliance: Appliance,
) -> None:
    read(appliance, OWNED)
    runner = appliance.instances["main"]
    runner.view.allocations = OWNED
    runner.continuity.comeback = Comeback({NODE: Known(NODE, 0.0)})
    runner.engine = Empty()  # type: ignore[assignment]
    row = appliance.status()["instances"][0]["restart"]
    assert row == {"under_way": False, "awaited": 1, "missing": 1, "missing_peers": [str(NODE)]}
    await appliance.node_down("node-1")
    row = appliance.status()["instances"][0]["restart"]
    assert (row["missing"], row["missing_peers"]) == (0, [])
