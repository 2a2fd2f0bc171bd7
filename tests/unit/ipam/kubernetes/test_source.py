"""The source against a stand-in for the API server, over real TCP and TLS, with everything that goes wrong there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rr.ipam.allocations import Allocations
from rr.ipam.sources.kubernetes.handover import HANDOVER
from tests.lab.kube_api import KubeApi
from tests.lab.kube_objects import (
    Object,
    affinity,
    block,
    cilium_node,
    endpoint_slice,
    ip_pool,
    node,
    service,
)
from tests.lab.kube_tls import Authority
from tests.unit.ipam.kubernetes.feed import following, kubeconfig

ONE = node("node-1", "10.2.0.11", cidrs=["10.244.1.0/24"])
TWO = node("node-2", "10.2.0.12", cidrs=["10.244.2.0/24"])


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with KubeApi(bookmark_every=0.2) as api:
        api.apply(ONE, TWO)
        yield api


@pytest.fixture
def config(tmp_path: Path, api: KubeApi) -> Path:
    return kubeconfig(tmp_path, api)


def prefixes(found: Allocations, name: str = "node-1") -> list[str]:
    return [str(prefix) for prefix in found.nodes[name].prefixes] if name in found.nodes else []


def has(*wanted: str, name: str = "node-1") -> Callable[[Allocations], bool]:
    return lambda found: prefixes(found, name) == list(wanted)


def grow(api: KubeApi, *cidrs: str) -> None:
    api.apply(node("node-1", "10.2.0.11", cidrs=["10.244.1.0/24", *cidrs]))


async def watched(api: KubeApi, kind: str = "Node", within: float = 5.0) -> None:
    """Wait until a kind is watched: what is listed is known a moment before."""
    deadline = time.monotonic() + within
    while not api.watching(kind):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def listed_again(api: KubeApi, within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while len(api.lists("Node")) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_nodes_are_listed_and_then_followed(api: KubeApi, config: Path) -> None:
    async with following(config) as feed:
        first = await feed.allocated(lambda found: len(found.nodes) == 2)
        assert str(first.nodes["node-1"].addresses[0]) == "10.2.0.11"
        grow(api, "10.244.9.0/24")
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
        grow(api)
        await feed.allocated(has("10.244.1.0/24"))
        api.delete(TWO)
        await feed.allocated(lambda found: len(found.nodes) == 1)
        assert len(api.lists("Node")) == 1


async def test_nothing_is_said_before_everything_is_listed(api: KubeApi, config: Path) -> None:
    api.faults.status["Service"] = 500
    async with following(config, patience=30) as feed:
        await asyncio.sleep(0.5)
        assert feed.readings == []
        api.faults.status.clear()
        await feed.allocated(lambda found: len(found.nodes) == 2)


async def test_a_change_is_told_within_milliseconds(api: KubeApi, config: Path) -> None:
    took = []
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        for number in range(20):
            await asyncio.sleep(0.015)
            start = time.perf_counter()
            grow(api, f"10.244.{100 + number}.0/24")
            await feed.allocated(has("10.244.1.0/24", f"10.244.{100 + number}.0/24"))
            took.append(time.perf_counter() - start)
    took.sort()
    print(f"median {took[10] * 1000:.1f} ms, worst {took[-1] * 1000:.1f} ms")
    assert took[10] < 0.05


async def test_of_many_changes_none_is_lost_and_few_are_told(api: KubeApi, config: Path) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        before, start = len(feed.readings), time.monotonic()
        for number in range(200):
            name, third = f"late-{number:03d}", number
            api.apply(node(name, f"10.3.0.{number + 1}", cidrs=[f"10.245.{third}.0/24"]))
        found = await feed.allocated(lambda found: len(found.nodes) == 202)
        most = (time.monotonic() - start) / 0.01 + 2
        assert prefixes(found, "late-199") == ["10.245.199.0/24"]
        assert len(feed.readings) - before <= most


async def test_long_lists_come_in_pages(api: KubeApi, config: Path) -> None:
    for number in range(1200):
        api.apply(node(f"n-{number}", f"10.3.{number // 250}.{number % 250 + 1}"))
    api.faults.lost_pages = 1
    async with following(config) as feed:
        await feed.allocated(lambda found: len(found.nodes) == 1202)
    pages = [asked for asked in api.asked if asked.path == "/api/v1/nodes" and not asked.watch]
    assert [asked.status for asked in pages] == [200, 410, 200, 200, 200]


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_version_that_is_forgotten_makes_a_new_list(
    api: KubeApi, config: Path, in_stream: bool
) -> None:
    api.faults.gone_in_stream = in_stream
    async with following(config, patience=10) as feed:
        await feed.allocated(lambda found: found.nodes)
        api.stop()
        grow_quietly(api)
        api.start()
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
        assert len(api.lists("Node")) == 2
        assert not [one for one in feed.readings if one.error and "forgotten" in str(one.error)]


def grow_quietly(api: KubeApi) -> None:
    grow(api, "10.244.9.0/24")
    api.forget()


async def test_a_new_list_that_says_the_same_says_nothing(api: KubeApi, config: Path) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        api.forget()
        api.faults.gone_in_stream = True
        api.stop()
        api.start()
        await listed_again(api)
        await asyncio.sleep(0.3)
        assert len([one for one in feed.readings if one.allocations]) <= 2
        assert len({id(one.allocations) for one in feed.readings if one.allocations}) == 1


@pytest.mark.parametrize("half_a_line", [True, False])
async def test_a_watch_that_breaks_goes_on_where_it_was(
    api: KubeApi, config: Path, half_a_line: bool
) -> None:
    async with following(config, patience=10) as feed:
        await feed.allocated(lambda found: found.nodes)
        grow(api, "10.244.8.0/24")
        await feed.allocated(has("10.244.1.0/24", "10.244.8.0/24"))
        await watched(api)
        api.cut(half_a_line)
        grow(api, "10.244.9.0/24")
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
        assert len(api.lists("Node")) == 1
        assert [one for one in feed.readings if one.error] == []


async def test_a_watch_that_falls_silent_is_begun_anew(api: KubeApi, config: Path) -> None:
    async with following(config, silence=0.5, patience=10) as feed:
        await feed.allocated(lambda found: found.nodes)
        await watched(api)
        api.hush()
        grow(api, "10.244.9.0/24")
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
        assert len(api.lists("Node")) == 1
        assert [one for one in feed.readings if one.error] == []


async def test_bookmarks_bring_the_version_on(api: KubeApi, config: Path) -> None:
    async with following(config, vips=()) as feed:
        await feed.allocated(lambda found: found.nodes)
        await watched(api)
        for number in range(5):
            api.apply(service(f"web-{number}", "10.100.0.1"))
        await asyncio.sleep(0.5)
        api.cut()
        await asyncio.sleep(0.3)
        versions = [int(asked.parameters["resourceVersion"]) for asked in api.watches("Node")]
        assert versions[-1] == versions[0] + 5


async def test_a_server_that_is_away_is_told_after_a_while_with_its_reason_and_since_when(
    api: KubeApi, config: Path
) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        api.stop()
        text = await feed.failed("does not answer", "connection refused", ", since 20")
        assert text.startswith(api.url)
        grow(api, "10.244.9.0/24")
        api.start()
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"), within=15)
        assert len(api.lists("Node")) == 1


async def test_an_error_that_ends_gives_a_good_reading_though_nothing_changed(
    api: KubeApi, config: Path
) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        api.stop()
        await feed.failed("does not answer")
        api.start()
        await feed.allocated(has("10.244.1.0/24"), within=15)


async def test_a_short_break_is_told_nobody(api: KubeApi, config: Path) -> None:
    async with following(config, patience=10) as feed:
        await feed.allocated(lambda found: found.nodes)
        api.stop()
        await asyncio.sleep(0.2)
        api.start()
        grow(api, "10.244.9.0/24")
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
        assert [one for one in feed.readings if one.error] == []


async def test_faults_of_the_server_keep_what_was_good(api: KubeApi, config: Path) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        await watched(api)
        api.faults.status["*"] = 503
        api.cut()
        await feed.failed("cannot give us", "503")
        api.faults.status.clear()
        await feed.allocated(has("10.244.1.0/24"), within=15)


async def test_a_watch_that_is_not_answered_is_told(api: KubeApi, config: Path) -> None:
    async with following(config, timeout=1, patience=0.9) as feed:
        await feed.allocated(lambda found: found.nodes)
        await watched(api)
        api.faults.delay = 10
        api.cut()
        await feed.failed("does not answer", "nothing was heard for 1 s")


async def test_an_answer_that_is_slow_is_told(api: KubeApi, config: Path) -> None:
    api.faults.delay = 10
    async with following(config) as feed:
        await feed.failed("does not answer", "nothing was heard for 2 s")


async def test_a_login_page_is_no_cluster(api: KubeApi, config: Path) -> None:
    api.faults.html = True
    async with following(config) as feed:
        await feed.failed("answers with something else than a list of nodes", "login page")


async def test_a_line_that_is_no_event_makes_a_new_list(api: KubeApi, config: Path) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        await watched(api)
        api.say("Node", b"garbage\n")
        await listed_again(api)
        grow(api, "10.244.9.0/24")
        await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))


async def test_an_empty_list_by_mistake_is_passed_on_for_the_guard_to_hold(
    api: KubeApi, config: Path
) -> None:
    async with following(config) as feed:
        await feed.allocated(lambda found: found.nodes)
        await watched(api)
        api.faults.empty.add("Node")
        api.forget()
        api.cut()
        api.stop()
        api.start()
        await feed.allocated(lambda found: not found.nodes)


async def test_what_may_not_be_read_is_named_with_the_rule_that_is_missing(
    api: KubeApi, config: Path
) -> None:
    api.faults.status["EndpointSlice"] = 403
    async with following(config, patience=30) as feed:
        text = await feed.failed("does not let us read endpointslices.discovery.k8s.io")
        assert '{apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [list, watch]}' in text
        api.faults.status.clear()
        await feed.allocated(lambda found: found.nodes, within=15)


async def test_a_resource_that_is_not_there_is_named_with_the_setting_that_asks_for_it(
    tmp_path: Path,
) -> None:
    with KubeApi(without=("BlockAffinity", "IPAMBlock")) as api:
        async with following(kubeconfig(tmp_path, api), prefixes=("calico",), patience=30) as feed:
            await feed.failed("has no blockaffinities.crd.projectcalico.org", "`prefixes: calico`")


async def test_an_old_version_of_a_resource_does_too(tmp_path: Path) -> None:
    with KubeApi() as api:
        api.tables["/apis/cilium.io/v2alpha1/ciliumloadbalancerippools"] = api.tables.pop(
            "/apis/cilium.io/v2/ciliumloadbalancerippools"
        )
        api.tables["/apis/cilium.io/v2/ciliumloadbalancerippools"] = api.tables[
            "/apis/cilium.io/v2alpha1/ciliumloadbalancerippools"
        ]
        api.apply(ip_pool("blue", "10.100.0.0/24"))
        del api.tables["/apis/cilium.io/v2/ciliumloadbalancerippools"]
        async with following(kubeconfig(tmp_path, api), vips=("cilium-pools",)) as feed:
            await feed.allocated(
                lambda found: [str(p) for pool in found.vips for p in pool.prefixes] == ["10.100.0.0/24"]
            )


async def test_a_bad_object_does_not_take_the_others_down(api: KubeApi, config: Path) -> None:
    api.apply(node("node-3", "10.2.0.13", cidrs=["10.244.3.0/33", "10.244.3.0/24"]))
    broken = node("node-4", "10.2.0.14")
    broken["spec"]["podCIDRs"] = "10.244.4.0/24"
    api.apply(broken, node("node-5", cidrs=["10.244.5.0/24"]))
    async with following(config) as feed:
        found = await feed.allocated(lambda found: len(found.nodes) == 3)
        assert prefixes(found, "node-3") == ["10.244.3.0/24"]
        assert list(feed.readings[-1].left_out) == [
            "node-5 has prefixes, and no address that its session could come from",
            "nodes/node-3: spec.podCIDRs: 10.244.3.0/33 is longer than an IPv4 address",
            "nodes/node-4: Expected array | null, got str - at spec.podCIDRs",
        ]
        assert feed.readings[-1].mistakes == feed.readings[-1].left_out[1:]
        api.apply(node("node-4", "10.2.0.14"), node("node-5", "10.2.0.15", cidrs=["10.244.5.0/24"]))
        await feed.allocated(lambda found: len(found.nodes) == 5)
        assert len(feed.readings[-1].left_out) == 1
        api.apply(node("node-3", "10.2.0.13", cidrs=["10.244.3.0/24"]))
        await feed.until(lambda reading: not reading.left_out)


async def test_a_token_that_was_rotated_is_read_again(tmp_path: Path) -> None:
    with KubeApi(tokens={"old"}) as api:
        api.apply(ONE)
        token = tmp_path / "token"
        token.write_text("old\n")
        config = kubeconfig(tmp_path, api, {"tokenFile": str(token)})
        async with following(config, patience=10) as feed:
            await feed.allocated(lambda found: found.nodes)
            await watched(api)
            token.write_text("new\n")
            api.tokens = {"new"}
            api.cut()
            grow(api, "10.244.9.0/24")
            await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
            await watched(api)
            assert [one for one in feed.readings if one.error] == []
            api.tokens = {"newer"}
            api.cut()
            await feed.failed("does not know us", "renew the token")
            token.write_text("newer\n")
            await feed.allocated(lambda found: found.nodes, within=15)


async def test_a_token_that_is_read_while_it_is_written_is_read_again(tmp_path: Path) -> None:
    with KubeApi(tokens={"new"}) as api:
        api.apply(ONE)
        token = tmp_path / "token"
        token.write_text("")
        async with following(kubeconfig(tmp_path, api, {"tokenFile": str(token)}), patience=30) as feed:
            await feed.failed("is none that can be sent", "write the token into it")
            token.write_text("new")
            await feed.allocated(lambda found: found.nodes)


async def test_a_token_in_the_kubeconfig_is_read_again_too(tmp_path: Path) -> None:
    with KubeApi(tokens={"old"}) as api:
        api.apply(ONE)
        config = kubeconfig(tmp_path, api, {"token": "old"})
        async with following(config, patience=10) as feed:
            await feed.allocated(lambda found: found.nodes)
            await watched(api)
            api.tokens = {"new"}
            kubeconfig(tmp_path, api, {"token": "new"})
            api.cut()
            grow(api, "10.244.9.0/24")
            await feed.allocated(has("10.244.1.0/24", "10.244.9.0/24"))
            assert [one for one in feed.readings if one.error] == []


async def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    with KubeApi(tls=authority.server("127.0.0.1"), tokens={"pod"}) as api:
        api.apply(ONE)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.address[1]))
        (tmp_path / "token").write_text("pod")
        (tmp_path / "namespace").write_text("rr")
        async with following(None, service_account=tmp_path) as feed:
            await feed.allocated(lambda found: found.nodes)


async def test_a_client_certificate_lets_us_in(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with KubeApi(tls=authority.server("127.0.0.1"), tokens=set()) as api:
        api.apply(ONE)
        certificate, key = authority.sign("rr")
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        async with following(kubeconfig(tmp_path, api, user, authority.certificate)) as feed:
            await feed.allocated(lambda found: found.nodes)


async def test_a_server_with_a_wrong_certificate_is_not_believed(tmp_path: Path) -> None:
    right, wrong = Authority(tmp_path), Authority(tmp_path / "other", "other")
    with KubeApi(tls=right.server("127.0.0.1")) as api:
        api.apply(ONE)
        async with following(kubeconfig(tmp_path, api, ca=right.certificate), patience=30) as feed:
            await feed.allocated(lambda found: found.nodes)
            api.stop()
            api.tls = wrong.server("127.0.0.1")
            api.apply(TWO)
            api.start()
            await feed.failed("cannot be trusted (self-signed certificate in certificate chain), since")
            assert not any(one.allocations and "node-2" in one.allocations.nodes for one in feed.readings)
            api.stop()
            api.tls = right.server("127.0.0.1")
            api.start()
            await feed.allocated(lambda found: len(found.nodes) == 2, within=15)


async def test_a_kubeconfig_that_is_missing_or_broken_is_told_at_once_and_read_when_it_is_there(
    api: KubeApi, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    async with following(path, patience=30) as feed:
        await feed.failed(f"there is no file {path}", "write a kubeconfig")
        path.write_text("clusters: 1")
        await feed.failed(f"{path} is no usable kubeconfig")
        kubeconfig(tmp_path, api)
        await feed.allocated(lambda found: found.nodes, within=15)


async def test_outside_a_pod_a_kubeconfig_is_needed(tmp_path: Path) -> None:
    async with following(None, service_account=tmp_path / "none", patience=30) as feed:
        await feed.failed("name a `kubeconfig:`")


async def test_selectors_are_the_servers_work(api: KubeApi, config: Path) -> None:
    api.apply(node("node-3", "10.2.0.13", labels={"rack": "r1"}), node("node-4", "10.2.0.14"))
    async with following(config, node_selector="rack=r1") as feed:
        await feed.allocated(lambda found: set(found.nodes) == {"node-3"})
        api.apply(node("node-4", "10.2.0.14", labels={"rack": "r1"}))
        await feed.allocated(lambda found: set(found.nodes) == {"node-3", "node-4"})
        api.apply(node("node-3", "10.2.0.13", labels={"rack": "r2"}))
        await feed.allocated(lambda found: set(found.nodes) == {"node-4"})


async def test_an_old_server_that_cannot_select_services_by_type_lists_all(
    api: KubeApi, config: Path
) -> None:
    api.faults.old = True
    api.apply(service("web", "10.100.0.1"), service("dns", "10.100.0.2", kind="ClusterIP"))
    async with following(config) as feed:
        found = await feed.allocated(lambda found: found.nodes)
        assert [str(pool.prefixes[0]) for pool in found.vips] == ["10.100.0.1/32"]
        await watched(api, "Service")
        assert "fieldSelector" not in api.watches("Service")[-1].parameters


async def test_a_selector_that_the_server_refuses_is_told(api: KubeApi, config: Path) -> None:
    api.faults.status["Node"] = 400
    async with following(config, node_selector="a in b", patience=30) as feed:
        await feed.failed("refuses to list nodes", "correct the selectors")


async def test_everything_at_once(api: KubeApi, config: Path) -> None:
    api.apply(
        cilium_node("node-1", pools={"default": ["10.245.1.0/27"]}),
        affinity("node-2", "10.246.2.0/26"),
        block("10.246.2.0/26", "node-2", {1: "node-2", 5: "node-1"}),
        service("web", "10.100.0.1", policy="Local"),
        endpoint_slice("web", "node-2"),
        ip_pool("blue", "10.100.0.0/30"),
    )
    async with following(
        config, prefixes=("node", "cilium", "calico"), vips=("services", "cilium-pools")
    ) as feed:
        found = await feed.allocated(lambda found: found.nodes)
    assert prefixes(found) == ["10.245.1.0/27", "10.244.1.0/24"]
    assert [str(one) for one in found.nodes["node-1"].borrowed] == ["10.246.2.5/32"]
    assert prefixes(found, "node-2") == ["10.246.2.0/26", "10.244.2.0/24"]
    pools = {str(prefix): pool.nodes for pool in found.vips for prefix in pool.prefixes}
    assert pools == {"10.100.0.1/32": {"node-2"}, "10.100.0.0/32": None, "10.100.0.2/31": None}


def open_to(*names: str) -> Callable[[Allocations], bool]:
    return lambda found: [pool.nodes for pool in found.vips] == [frozenset(names)]


def local(*names: str) -> list[Object]:
    return [service("web", "10.100.0.1", policy="Local"), endpoint_slice("web", *names)]


async def test_a_rolling_update_is_handed_over_and_its_end_is_said_without_another_change(
    api: KubeApi, config: Path
) -> None:
    api.apply(*local("node-1"))
    async with following(config) as feed:
        await feed.allocated(open_to("node-1"))
        await watched(api, "EndpointSlice")
        before = len(feed.readings)
        api.apply(*local("node-1", "node-2"))
        await asyncio.sleep(0.02)
        api.apply(*local("node-2"))
        await feed.allocated(open_to("node-2"))
    *shared, ended = feed.readings[before:]
    assert shared
    assert all(one.allocations and open_to("node-1", "node-2")(one.allocations) for one in shared)
    assert 0.9 * HANDOVER < ended.time - shared[0].time < 3 * HANDOVER


async def test_what_goes_wrong_during_a_handover_is_told_when_it_is_over(api: KubeApi, config: Path) -> None:
    api.apply(*local("node-1"))
    async with following(config, patience=0.0) as feed:
        await feed.allocated(open_to("node-1"))
        for kind in ("Node", "Service", "EndpointSlice"):
            await watched(api, kind)
        api.apply(*local("node-2"))
        await feed.allocated(open_to("node-1", "node-2"))
        handing_over = len(feed.readings)
        api.faults.status["*"] = 403
        api.cut()
        await feed.failed("does not let us read")
        ended, *troubles = feed.readings[handing_over:]
        assert ended.allocations
        assert open_to("node-2")(ended.allocations)
        assert all(one.error for one in troubles)
