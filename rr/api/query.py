"""The parameters of a question, each checked: what is not understood is refused, never ignored."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from aiohttp import web

from rr.api.appliance import BadRequest

Reader = Callable[[str, str], Any]


def read(request: web.Request, **known: Reader) -> dict[str, Any]:
    """Answer the parameters that were given, converted; raise BadRequest for unknown, repeated or wrong ones.

    A parameter named `from` is passed as `from_`.
    """
    readers = {name.rstrip("_"): reader for name, reader in known.items()}
    answer: dict[str, Any] = {}
    for name, value in request.query.items():
        if name not in readers:
            knows = f"it knows {', '.join(readers)}" if readers else "it takes none"
            raise BadRequest(f"{request.path} has no parameter {name!r}; {knows}")
        if name in answer:
            raise BadRequest(f"Parameter {name!r} is given twice; give it once")
        answer[name] = readers[name](name, value)
    return answer


def text(name: str, value: str) -> str:
    """Take any text but an empty one."""
    if not value.strip():
        raise BadRequest(f"Parameter {name!r} is empty; leave it out or give it a value")
    return value.strip()


def one_of(*values: str) -> Reader:
    """Take one word of a closed list."""

    def reader(name: str, value: str) -> str:
        if value not in values:
            raise BadRequest(f"{value!r} is not a {name}; it is one of {', '.join(values)}")
        return value

    return reader


def flag(name: str, value: str) -> bool:
    """Take `true` or `false`."""
    return bool(one_of("true", "false")(name, value) == "true")


def seconds(most: float) -> Reader:
    """Take a number of seconds, from 0."""

    def reader(name: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= most:
            raise BadRequest(f"{name} must be seconds from 0 to {most:g}; it is {value!r}")
        return number

    return reader


def event_id(name: str, value: str) -> int:
    """Take the id of an event."""
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadRequest(f"{name} must be the id of an event, a whole number such as 120; it is {value!r}")
    return int(value)


def prefix(name: str, value: str) -> str:
    """Take a prefix, or an address (which stands for its host route), and answer it in canonical text."""
    try:
        return str(ip_network(value.strip()))
    except ValueError:
        pass
    try:
        meant = ip_network(value.strip(), strict=False)
    except ValueError:
        raise BadRequest(
            f"{value!r} is not a prefix; write it like 10.244.1.0/24 or fd00:10:1::/64"
        ) from None
    raise BadRequest(f"{value} has bits set behind its prefix length; did you mean {meant}?")


def prefix_or_address(name: str, value: str) -> str:
    """Take a prefix or an address, kept apart: an address has no slash."""
    try:
        return str(ip_address(value.strip()))
    except ValueError:
        return prefix(name, value)


def matching(rows: Any, wanted: Mapping[str, Any]) -> Any:
    """Keep the rows whose keys have the wanted values."""
    if not wanted:
        return rows
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def covering(rows: Any, address: str) -> list[Any]:
    """Keep the routes whose prefix holds `address`, the most specific first."""
    host = ip_network(address)
    holders = [str(host.supernet(new_prefix=length)) for length in range(host.prefixlen, -1, -1)]
    order = {holder: place for place, holder in enumerate(holders)}
    return sorted((row for row in rows if row["prefix"] in order), key=lambda row: order[row["prefix"]])
