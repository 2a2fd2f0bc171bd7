"""What lies between two configurations, as an operator reads it before he reloads."""

from pathlib import Path
from typing import Any

import pytest

from rr import changes
from rr.config.model import Config
from rr.engine.speaker import Plan, half_of, plan

RACK: dict[str, Any] = {"nodes": {"ranges": ["10.2.0.0/24"]}, "tors": [{"address": "10.3.0.1"}]}
MAIN: dict[str, Any] = {"asn": 64512, "router_id": "10.0.0.11", "racks": {"rack-1": RACK}}
SOURCES = {"sources": [{"type": "file", "path": "/etc/rr/allocations.yaml"}]}


def config(main: dict[str, Any] | None = None, **more: Any) -> Config:
    values = {"name": "rr-a", "instances": {"main": main or MAIN}, "ipam": SOURCES, **more}
    return Config.model_validate(values)


def plans(of: Config, secrets: dict[str, str] | None = None) -> dict[str, Plan]:
    def secret(file: Path | None) -> str:
        return (secrets or {}).get(str(file), "tulip") if file else ""

    return {name: plan(instance, secret, half_of(of, name)) for name, instance in of.instances.items()}


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
            config({**MAIN, "listen": ["10.0.0.11", "10.0.0.12"]}),
            ("instances.main.listen: 10.0.0.12 added",),
            ("every session of main: its AS, router id, port or addresses change, so its engine is restarted",),
        ),
        (
            config(rack(tors=[])),
            ("rack-1 of main: ToR 10.3.0.1 removed: its session is closed",),
            ("ToR 10.3.0.1 of main: it is removed",),
        ),
        (
            config(rack(tors=[{"address": "10.3.0.1"}, {"address": "10.3.0.2"}])),
            ("rack-1 of main: ToR 10.3.0.2 added: no session is reset",),
            (),
        ),
        (
            config(rack(tors=[{"address": "10.3.0.1", "add_paths": 4, "bfd": True}])),
            (("rack-1 of main: ToR 10.3.0.1: add_paths changes from 16 to 4, bfd changes from false to true: "
             "its session is reset"),),
            ("ToR 10.3.0.1 of main: its settings change",),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.1.0/24", "10.2.0.0/24"]})),
            ("rack-1 of main: node range 10.2.1.0/24 added: no session is reset",),
            (),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.1.0/24"]})),
            (
                "rack-1 of main: node range 10.2.0.0/24 removed: sessions from it are closed",
                "rack-1 of main: node range 10.2.1.0/24 added: no session is reset",
            ),
            ("nodes of main that dialed from 10.2.0.0/24 and are in no other range",),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.0.0/25"]})),
            (
                ("rack-1 of main: node range 10.2.0.0/24 removed: sessions from it are closed, "
                 "but for nodes in another range"),
                "rack-1 of main: node range 10.2.0.0/25 added: no session is reset",
            ),
            ("nodes of main that dialed from 10.2.0.0/24 and are in no other range",),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.0.0/23"]})),
            (
                "rack-1 of main: node range 10.2.0.0/24 removed: no session is reset",
                "rack-1 of main: node range 10.2.0.0/23 added: no session is reset",
            ),
            (),
        ),
        (
            config(rack(nodes={"ranges": ["10.2.0.0/25", "10.2.0.128/25"]})),
            (
                "rack-1 of main: node range 10.2.0.0/24 removed: no session is reset",
                "rack-1 of main: node range 10.2.0.0/25 added: no session is reset",
                "rack-1 of main: node range 10.2.0.128/25 added: no session is reset",
            ),
            (),
        ),
        (
            config(rack(from_tors=["0.0.0.0/0"])),
            ("rack-1 of main: ToRs may send 0.0.0.0/0: no session is reset",),
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


def test_the_order_of_a_list_is_no_change() -> None:
    tors = [{"address": "10.3.0.1"}, {"address": "10.3.0.2"}]
    ranges = ["10.2.0.0/24", "10.4.0.0/24"]
    one = config(rack(tors=tors, nodes={"ranges": ranges}))
    other = config(rack(tors=tors[::-1], nodes={"ranges": ranges[::-1]}))
    assert difference(one, other) == changes.Difference((), ())


def test_a_range_and_a_tor_that_go_to_another_rack_keep_their_sessions() -> None:
    spare = {"nodes": {"ranges": ["10.9.0.0/24"]}}
    empty = {"nodes": {"ranges": ["10.8.0.0/24"]}}
    moved = {"nodes": {"ranges": ["10.9.0.0/24", "10.2.0.0/24"]}, "tors": RACK["tors"]}
    before = config({**MAIN, "racks": {"rack-1": RACK, "rack-2": spare}})
    after = config({**MAIN, "racks": {"rack-1": empty, "rack-2": moved}})
    found = difference(after, before)
    assert found.changes == (
        "rack-1 of main: node range 10.2.0.0/24 removed: no session is reset",
        "rack-1 of main: node range 10.8.0.0/24 added: no session is reset",
        "rack-1 of main: ToR 10.3.0.1 removed: no session is reset",
        "rack-2 of main: node range 10.2.0.0/24 added: no session is reset",
        "rack-2 of main: ToR 10.3.0.1 added: no session is reset",
    )
    assert found.resets == ()


def test_beside_a_restart_of_the_engine_no_element_says_that_it_resets_nobody() -> None:
    more = config({**rack(nodes={"ranges": ["10.2.0.0/24", "10.4.0.0/24"]}), "port": 1179})
    assert difference(more).changes == (
        "instances.main.port changes from 179 to 1179",
        "rack-1 of main: node range 10.4.0.0/24 added",
    )


def test_another_file_with_the_same_password_resets_nobody() -> None:
    one, other = (
        config(rack(tors=[{"address": "10.3.0.1", "password_file": file}])) for file in ("/one", "/other")
    )
    assert difference(other, one) == changes.Difference(
        ("rack-1 of main: ToR 10.3.0.1: password_file changes from /one to /other: no session is reset",), ()
    )


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
        "rack-1 of main: ToR 10.3.0.1: the password in /etc/rr/tor changes: its session is reset",
        "the password of nodes/rack-1 of main changes, for sessions that start from now on",
    )
    assert found.resets == ("ToR 10.3.0.1 of main: its settings change",)
    assert not any(word in str(found) for word in ("tulip", "rose", "daisy"))


PAIR = {
    "name": "rr-b", "peers": {"main": "10.0.0.12"}, "listen": "10.0.0.11:9633", "connect": "10.0.0.12:9633",
    "certificate": "/etc/rr/pair/rr-a.crt", "key": "/etc/rr/pair/rr-a.key", "ca": "/etc/rr/pair/ca.crt",
}  # fmt: skip


def test_a_pair_that_comes_resets_nobody_and_one_that_goes_its_own_session_alone() -> None:
    paired = config(pair=PAIR)
    assert difference(paired).resets == ()
    gone = difference(config(), old=paired)
    assert gone.resets == ("the other half 10.0.0.12 of main: it is removed",)
    (said,) = gone.changes
    assert said.startswith("pair changes from {name: rr-b, peers: {main: 10.0.0.12}")
    other = difference(config(pair={**PAIR, "name": "aa-b"}), old=paired)
    assert other.changes == ("pair.name changes from rr-b to aa-b",)
    assert other.resets == ("the other half 10.0.0.12 of main: its settings change",)
