"""Keeps docs/http.md and docs/metrics.md true to the code: `python -m rr.api.reference docs`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from rr.api.counters import Counters
from rr.api.keys import OBJECTS
from rr.api.markdown import fill, key_table, reason_table
from rr.api.metrics import FAMILIES

SECTIONS = (
    "status", "status.ipam", "status.instances", "peers", "routes", "violations", "events", "explain", "check",
    "allocations.nodes", "allocations.vips", "ipam.sources", "ipam.diff", "topology", "pair", "config", "quarantine",
    "drain", "engine.restart",
)  # fmt: skip
TITLES = {
    "status.ipam": "`ipam` in `status`",
    "status.instances": "Instances in `status`",
    "allocations.nodes": "allocations",
    "ipam.sources": "ipam/sources",
    "ipam.diff": "ipam/diff",
    "engine.restart": "engine/restart",
    "allocations.vips": "VIP pools in `allocations`",
}


def http_blocks() -> dict[str, str]:
    """Write what docs/http.md takes from the code."""
    keys = [f"\n### {TITLES.get(name, name)}\n\n{key_table(OBJECTS[name])}\n" for name in SECTIONS]
    return {"keys": "".join(keys), "reasons": reason_table()}


def metrics_blocks() -> dict[str, str]:
    """Write what docs/metrics.md takes from the code."""
    head = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    return {"metrics": "\n".join([*head, *_metric_rows()])}


def _metric_rows() -> Iterator[str]:
    for name, family in FAMILIES.items():
        yield _metric_row(name, "counter" if family.counter else "gauge", family.labels, family.help)
    registry = CollectorRegistry()
    labels = {name: made._labelnames for name, made in vars(Counters(registry)).items()}
    for metric in registry.collect():
        name = metric.name + "_total" * (metric.type == "counter")
        yield _metric_row(name, metric.type, labels[metric.name.removeprefix("rr_")], metric.documentation)


def _metric_row(name: str, kind: str, labels: Iterable[str], said: str) -> str:
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {said} |"


def main() -> None:
    """Bring both pages up to date in the directory that is named."""
    directory = Path(sys.argv[1])
    fill(directory / "http.md", http_blocks())
    fill(directory / "metrics.md", metrics_blocks())


if __name__ == "__main__":
    main()
