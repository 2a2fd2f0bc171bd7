"""`/metrics`."""

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.api.serving import Serving

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def _values(served: Serving) -> Values:
    answer = await served.ask("/metrics", tcp=True)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _value(values: Values, name: str, /, **labels: str) -> float | None:
    return values.get((name, tuple(sorted(labels.items()))))


async def test_the_state_is_read_when_it_is_scraped(served: Serving) -> None:
    values = await _values(served)
    assert _value(values, "rr_ready") == 1
    assert _value(values, "rr_info", name="rr-a", version="0.1.0") == 1
    assert _value(values, "rr_peers", instance="main", rack="rack-1", role="node", state="established") == 1
    assert _value(values, "rr_peers", instance="main", rack="", role="node", state="idle") == 1
    assert _value(values, "rr_routes", instance="main", kind="pod") == 2
    assert _value(values, "rr_rejected_routes", instance="main", reason="foreign-prefix") == 1
    assert _value(values, "rr_violations_total", instance="main", reason="foreign-prefix") == 4
    assert _value(values, "rr_ipam_age_seconds", source="file:/etc/rr/allocations.yaml") == 3.2
    assert _value(values, "rr_ipam_held", source="kubernetes:prod") == 1
    assert _value(values, "rr_ipam_held", source="file:/etc/rr/allocations.yaml") == 0
    assert _value(values, "rr_ipam_source_age_seconds", source="kubernetes:prod") == 1800
    assert _value(values, "rr_ipam_source_up", source="kubernetes:prod") == 1
    assert _value(values, "rr_ipam_source_nodes", source="kubernetes:prod") == 2
    assert _value(values, "rr_ipam_source_prefixes", source="kubernetes:prod") == 3
    assert _value(values, "rr_ipam_conflicts") == 1
    assert _value(values, "rr_policy_changes_total", instance="main") == 5
    assert _value(values, "rr_policy_repairs_total", instance="main") == 0
    assert _value(values, "rr_drain_state", instance="main") == 0
    assert _value(values, "rr_engine_restarts_total", instance="main") == 1
    assert _value(values, "rr_sessions_expected", instance="main", role="tor") == 1
    assert _value(values, "rr_sessions_expected", instance="main", role="pair") == 0
    assert _value(values, "rr_pair_reachable", pair="rr-b") == 1
    assert _value(values, "rr_pair_differences", pair="rr-b") == 1
    assert _value(values, "rr_pair_nodes", instance="main", sessions="both") == 5
    assert _value(values, "rr_pair_tors", instance="main", sessions="none") == 1
    assert _value(values, "rr_pair_lent_prefixes", instance="main") == 3
    assert _value(values, "rr_config_loaded_timestamp_seconds") == 1795433400.25
    served.appliance.status_row["pair"] = None
    assert not [name for name, _ in await _values(served) if name.startswith("rr_pair")]
    served.appliance.status_row["ready"] = False
    served.appliance.status_row["instances"][0]["engine"]["state"] = "down"
    served.appliance.status_row["instances"][0]["drain"]["state"] = "drained"
    values = await _values(served)
    assert _value(values, "rr_ready") == 0
    assert _value(values, "rr_engine_up", instance="main") == 0
    assert _value(values, "rr_drain_state", instance="main") == 3


async def test_the_daemons_own_counters_are_shown_too(served: Serving) -> None:
    counters = served.appliance.counters
    counters.grant_seconds.observe(0.04)
    counters.config_reloads.labels(result="applied").inc()
    values = await _values(served)
    assert _value(values, "rr_config_reloads_total", result="applied") == 1
    assert _value(values, "rr_grant_seconds_bucket", le="0.05") == 1
    assert _value(values, "rr_grant_seconds_bucket", le="0.03") == 0


async def test_an_appliance_that_knows_nothing_yet_can_be_scraped(served: Serving) -> None:
    served.appliance.status_row |= {
        "instances": [], "ready": False, "config": {"file": None, "loaded": None, "digest": None},
        "ipam": {"source": None, "age_seconds": None, "error": "no such file", "held": None},
    }  # fmt: skip
    values = await _values(served)
    assert _value(values, "rr_ready") == 0
    assert _value(values, "rr_ipam_error", source="none") == 1
    assert not [name for name, _labels in values if name == "rr_ipam_age_seconds"]


async def test_every_name_begins_with_rr_and_none_is_per_node(served: Serving) -> None:
    for name, labels in await _values(served):
        assert name.startswith("rr_")
        assert not {"node", "peer", "address", "prefix"} & {label for label, _ in labels}
