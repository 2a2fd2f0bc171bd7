"""The alerts: each fires when it should and is silent when not, builds on a metric that exists, and has a remedy."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from rr.continuity.pair.tls import EXPIRES_SOON
from tests.packaging.conftest import ROOT

FOLDER = ROOT / "packaging" / "alerts"
RULES = FOLDER / "rr-appliance.rules.yml"
TESTS = FOLDER / "rr-appliance.tests.yml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
NAMES = [alert["alert"] for alert in ALERTS]


def promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_prometheus_understands_the_rules() -> None:
    ran = promtool("check", "rules", RULES)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(ALERTS)} rules found" in ran.stdout


def test_alerts_fire_when_they_should_and_are_silent_when_not() -> None:
    ran = promtool("test", "rules", TESTS)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtool_would_tell_of_an_alert_that_does_not_fire(tmp_path: Any) -> None:
    (tmp_path / RULES.name).write_text(RULES.read_text().replace("rr_ready == 0", "rr_ready == 2"))
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    ran = promtool("test", "rules", tmp_path / TESTS.name)
    assert ran.returncode != 0
    assert "RRNotReady" in ran.stdout + ran.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tried_both_ways(name: str) -> None:
    tried = [
        bool(case["exp_alerts"])
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert sorted(tried) == [False, True]


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_every_alert_builds_on_metrics_that_exist(alert: dict[str, Any]) -> None:
    documented = set(re.findall(r"^\| `(rr_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    used = set(re.findall(r"\brr_\w+", alert["expr"]))
    assert used or alert["expr"].startswith("up{")
    assert used - documented == set()
    assert alert["labels"]["severity"] in ("warning", "critical")


def test_the_alert_about_a_certificate_and_check_begin_on_the_same_day() -> None:
    (expr,) = (alert["expr"] for alert in ALERTS if alert["alert"] == "RRPairCertificate")
    days, seconds = map(int, re.findall(r"< (\d+) \* (\d+)$", expr)[0])
    assert days * seconds == EXPIRES_SOON


def test_the_runbook_has_an_entry_for_every_alert_and_for_nothing_else() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["By sentence", *NAMES]
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_commands_of_the_runbook_exist() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    known = set(re.findall(r"^## rrctl (.+)$", (ROOT / "docs/commands.md").read_text(), re.MULTILINE))
    for said in re.findall(r"`rrctl ([a-z ]+)", text):
        words = said.split()
        assert " ".join(words[:2]) in known or words[0] in known, said
