"""`rrctl engine`: restart or upgrade engines, one instance after the other, each only when the last is whole again."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from rr.cli.client import Client
from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.output import Output, count
from rr.errors import RRError

LOOK_EVERY = 0.25
LONGEST = 120.0
"""Seconds past the deferral time after which a restart is given up on; the engine itself gives up before."""

_instance = click.argument("instance", required=False, shell_complete=names("peers", "instance"))
_force = click.option(
    "--force", is_flag=True, help="Also where routes may be lost for it; the refusal says why that is."
)


class NotWhole(RRError):
    """An engine did not get everybody back: the next one is left alone."""


@click.group()
def engine() -> None:
    """Restart engines, or upgrade them to another gobgpd, without losing a route.

    \b
    Examples:
      rrctl engine restart
      rrctl engine upgrade main
    """


@command(engine)
@_instance
@_force
@click.pass_obj
def restart(session: Session, instance: str | None, force: bool) -> None:
    """Restart the engine of INSTANCE, or all, one after the other.

    Peers keep its routes meanwhile (RFC 4724). The next one is restarted only when every peer of the last is back.

    \b
    Examples:
      rrctl engine restart
      rrctl engine restart main
    """
    _work_off(session, "restart", instance, force)


@command(engine)
@_instance
@_force
@click.pass_obj
def upgrade(session: Session, instance: str | None, force: bool) -> None:
    """Restart every engine that is not of the gobgpd which is installed now; the others are left alone.

    The new program is tried before the first engine is ended.

    \b
    Examples:
      rrctl engine upgrade
      rrctl engine upgrade main
    """
    _work_off(session, "upgrade", instance, force)


def _work_off(session: Session, verb: str, instance: str | None, force: bool) -> None:
    client, output = session.client, session.output
    wanted = [instance] if instance else [row["instance"] for row in client.get("status")["instances"]]
    done: list[dict[str, Any]] = []
    try:
        done.extend(_one(client, output, verb, name, force) for name in wanted)
    finally:
        if output.as_json:
            output.json(done)


def _one(client: Client, output: Output, verb: str, name: str, force: bool) -> dict[str, Any]:
    began = time.monotonic()
    answer: dict[str, Any] = client.post(f"engine/{verb}", instance=name, force="true" if force else None)
    if not answer["changed"]:
        _tell(output, f"{name}: the engine runs gobgpd {answer['version']} already.")
        return {**answer, "seconds": 0.0, "missing": 0}
    _tell(output, f"{name}: the engine was ended; {count(answer['peers'], 'peer')} are to come back.")
    missing = 0
    for row in _until_whole(client, name, began):
        missing = row["restart"]["missing"]
        back = row["restart"]["awaited"] - missing
        _tell(
            output, f"{name}: {row['engine']['state']}, {back} of {row['restart']['awaited']} peers are back"
        )
    seconds = round(time.monotonic() - began, 1)
    if missing:
        lost = f"{count(missing, 'peer')} of {answer['peers']}"
        wrong = f"{name} is up again, but {lost} did not come back within {seconds} s"
        raise NotWhole(wrong, "see `rrctl peers` and `rrctl status`; no other engine was touched after it")
    _tell(output, f"{name}: whole again after {seconds} s.")
    return {**answer, "seconds": seconds, "missing": missing}


def _until_whole(client: Client, name: str, began: float) -> Iterator[Mapping[str, Any]]:
    """Yield the instance's status whenever it has changed, until nobody is awaited any more."""
    shown = None
    while time.monotonic() - began < LONGEST:
        row = next(row for row in client.get("status")["instances"] if row["instance"] == name)
        serves = row["engine"]["state"] == "running" and row["policy"]["in_force"]
        if (row["engine"]["state"], row["restart"]) != shown:
            shown = (row["engine"]["state"], row["restart"])
            yield row
        if serves and not row["restart"]["under_way"]:
            return
        time.sleep(LOOK_EVERY)
    raise NotWhole(
        f"{name} is not whole again after {LONGEST:g} s", "see `rrctl status`; no other engine was touched"
    )


def _tell(output: Output, text: str) -> None:
    if not output.as_json:
        output.line(text)
