"""What lies between two configurations, as an operator reads it before he reloads."""

from pathlib import Path
from typing import Any

import pytest

from rr import changes
from rr.config.model import Config
from rr.engine.speaker import Plan, plan

RACK: dict[str, Any] = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": "10.3.0.1"}]}
MAIN: dict[str, Any] = {"asn": 64512, "router_id": "10.0.0.11", "racks": {"rack-1": RACK}}
SOURCES = {"sources": [{"type": "file", "path": "/etc/rr/allocations.yaml"}]}


def config(main: dict[str, Any] | None = None, **more: Any) -> Config:
    values = {"name": "rr-a", "instances": {"main": main or MAIN}, "ipam": SOURCES, **more}
    return Config.model_validate(values)


def plans(of: Config, secrets: dict[str, str] | None = None) -> dict[str, Plan]:
    def secret(file: Path | None) -> str:
        return (secrets or {}).get(str(file), "tulip") if file else ""

    return {name: plan(instance, secret) for name, instance in of.instances.items()}


def difference(new: Config, old: Config | None = None) -> changes.Difference:
    before = old or config()
    return changes.between(before, new, plans(before), plans(new))


def rack(**more: Any) -> dict[str, Any]:
    return {**MAIN, "racks": {"rack-1": {**RACK, **more}}}


@pytest.mark.parametrize(
    ("new", "said", "resets"),
    [
        (config(), (), ()),
        (config({**MAIN, "hold_time": 30}), ("instances.main.hold_time changes from 9 to 30",), ()),
        (
            config({**MAIN, "reflect": {"vips": "rack"}}),
            ("instances.main.reflect.vips changes from none to rack",),
            (),
        ),
        (
            config({**MAIN, "asn": 64999}),
            ("instances.main.asn changes from 64512 to 64999",),
            ("every session of main: its AS, router id, port or addresses change, so its engine is restarted",),
        ),
        (
            config(rack(tors=[])),
            (("instances.main.racks.rack-1.tors changes from [{address: 10.3.0.1, port: 179, add_paths: 16, "
             "bfd: false, passive: false}] to []"),),
            ("ToR 10.3.0.1 of main: it is removed",),
        ),
        (
            config(rack(tors=[{"address": "10.3.0.1", "add_paths": 4}])),
            (("instances.main.racks.rack-1.tors changes from [{address: 10.3.0.1, port: 179, add_paths: 16, "
             "bfd: false, passive: false}] to [{address: 10.3.0.1, port: 179, add_paths: 4, bfd: false, "
             "passive: false}]"),),
            ("ToR 10.3.0.1 of main: its settings change",),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.0.0/25"]})),
            ("instances.main.racks.rack-1.nodes.ranges changes from [10.2.0.0/24] to [10.2.0.0/25]",),
            ("nodes of main that dialed from 10.2.0.0/24 and are in no other range",),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.0.0/23"]})),
            ("instances.main.racks.rack-1.nodes.ranges changes from [10.2.0.0/24] to [10.2.0.0/23]",),
            (),
        ),
        (config(name="rr-b"), ("name changes from rr-a to rr-b, when rrd starts again",), ()),
    ],
)  # fmt: skip
def test_each_change_is_a_sentence_and_says_whose_sessions_it_resets(
    new: Config, said: tuple[str, ...], resets: tuple[str, ...]
) -> None:
    found = difference(new)
    assert found.changes == said
    assert found.resets == resets


def test_an_instance_that_comes_resets_nobody_and_one_that_goes_all_of_its_own() -> None:
    edge = {
        "asn": 64513,
        "router_id": "10.0.0.12",
        "racks": {"rack-9": {"nodes": {"ranges": ["10.9.0.0/24"]}}},
    }
    both = config(instances={"main": MAIN, "edge": edge})
    assert difference(both).changes == ("instances.edge is added",)
    assert difference(both).resets == ()
    back = difference(config(), both)
    assert back.changes == ("instances.edge is removed",)
    assert back.resets == ("every session of edge: the instance is removed",)


def test_another_password_in_the_same_file_is_told_and_never_shown() -> None:
    secured = rack(
        nodes={"ranges": ["10.2.0.0/24"], "password_file": "/etc/rr/nodes"},
        tors=[{"address": "10.3.0.1", "password_file": "/etc/rr/tor"}],
    )
    same = config(secured)
    found = changes.between(
        same, same, plans(same), plans(same, {"/etc/rr/nodes": "rose", "/etc/rr/tor": "daisy"})
    )
    assert found.changes == (
        "the password of nodes/rack-1 of main changes, for sessions that start from now on",
        "the password of ToR 10.3.0.1 of main changes",
    )
    assert found.resets == ("ToR 10.3.0.1 of main: its settings change",)
    assert not any(word in str(found) for word in ("tulip", "rose", "daisy"))
