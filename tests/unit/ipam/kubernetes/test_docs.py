"""What docs/sources-kubernetes.md tells operators to write is what the source needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rr.config.load import parse
from rr.config.sources import KubernetesSettings
from rr.ipam.sources.kubernetes.resources import Resource, resources

PAGE = (Path(__file__).parents[4] / "docs" / "sources-kubernetes.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
EVERYTHING = KubernetesSettings(
    type="kubernetes", prefixes=("node", "cilium", "calico"), vips=("services", "cilium-pools")
)


def documents() -> list[dict[str, Any]]:
    return [document for block in BLOCKS for document in yaml.safe_load_all(block)]


def test_the_source_in_the_page_can_be_used() -> None:
    good = (Path(__file__).parents[2] / "config" / "good.yaml").read_text()
    before, _, after = good.partition("ipam:\n")
    pair = after[after.index("pair:") :]
    config = parse(before + BLOCKS[0] + pair)
    assert config.ipam.sources[0].called == "kubernetes:/etc/rr/kubeconfig"


def test_the_role_in_the_page_is_what_the_default_settings_need_and_no_more() -> None:
    role = next(document for document in documents() if document.get("kind") == "ClusterRole")
    allowed = {
        (group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    needed = resources(KubernetesSettings(type="kubernetes"))
    assert allowed == {(resource.group, resource.plural) for resource in needed}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}


def test_the_manifest_in_the_package_is_the_one_in_the_page() -> None:
    manifest = Path(__file__).parents[4] / "packaging" / "examples" / "kubernetes-rbac.yaml"
    found = list(yaml.safe_load_all(manifest.read_text()))
    assert found in [list(yaml.safe_load_all(block)) for block in BLOCKS]


@pytest.mark.parametrize("resource", resources(EVERYTHING), ids=lambda resource: resource.plural)
def test_every_rule_stands_in_the_table(resource: Resource) -> None:
    rules = [
        yaml.safe_load(rule)
        for setting, rule in re.findall(r"\| (`.*`) \| `(\{apiGroups.*\})` \|", PAGE)
        if resource.wanted_by.split(": ")[0] in setting
    ]
    assert any(resource.group in rule["apiGroups"] and resource.plural in rule["resources"] for rule in rules)


def test_a_daemon_without_a_cluster_does_not_load_the_client() -> None:
    code = "import rr.daemon, sys; print([name for name in ('lightkube', 'httpx2', 'msgspec') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
