"""The kinds of values that rr.yaml knows: how each is written, and the sentence when it is not.

YAML's own guesses are not used (`yes`, `1_000`, `12:30`, `010`): every scalar arrives here as the text that
stands in the file. Values that are already of the right type pass: a model can also be built in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from rr.addresses import (
    NotValid,
    host_trouble,
    range_trouble,
    read_address,
    read_prefix,
    routed_trouble,
    shown,
)
from rr.net import Address, Network

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
NAME_RULE = "write 1 to 63 letters, digits, '_', '.' or '-', beginning with a letter or digit"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_ASDOT = re.compile(r"([0-9]{1,5})\.([0-9]{1,5})", re.ASCII)
_SIZE = re.compile(r"([1-9][0-9]{0,6})(MiB|GiB)", re.ASCII)
_FRACTION = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)(%?)", re.ASCII)


class Text(str):
    """A scalar as it stands in the file; `plain` is false when it stands in quotes or is a block."""

    __slots__ = ("plain",)
    plain: bool

    @classmethod
    def of(cls, text: str, plain: bool) -> Text:
        """Make one; a `str` cannot take more arguments in its constructor."""
        made = cls(text)
        made.plain = plain
        return made


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field holds, in words: for the reference and for the sentence when it is missing or wrong."""

    text: str


def refusal(wrong: str, right: str) -> PydanticCustomError:
    """An error that carries both halves of the sentence through pydantic."""
    return PydanticCustomError("rr", "{wrong}; {right}", {"wrong": wrong, "right": right})


def scalar(value: Any, right: str) -> str:
    """The text of a value; lists and mappings are refused with what would be right."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        raise refusal("is a mapping", right)
    if isinstance(value, (list, tuple)):
        raise refusal("is a list", right)
    raise refusal(f"{value!r} is of the wrong type", right)


def _unquoted(value: str, what: str) -> None:
    if isinstance(value, Text) and not value.plain:
        raise refusal(f'"{shown(value)}" is text, because of its quotes', f"write {what} without quotes")


def integer(low: int, high: int, what: str, never: Mapping[int, str] | None = None) -> Callable[[Any], int]:
    """A whole number within bounds, written in decimal digits; `never` names those that are not allowed."""
    right = f"write a whole number from {low} to {high}"

    def read(value: Any) -> int:
        if type(value) is int:
            number = value
        else:
            text = scalar(value, right)
            if not _INTEGER.fullmatch(text):
                raise refusal(f"{shown(text)} is not {what}", right)
            _unquoted(text, text)
            number = int(text) if len(text) < 20 else high + 1
        if not low <= number <= high:
            raise refusal(f"{shown(str(value))} is not {what}", right)
        if never and number in never:
            raise refusal(f"{number} is not {what} to use: {never[number]}", right)
        return number

    return read


def size(value: Any) -> int:
    """A number of bytes, written in MiB or GiB."""
    if type(value) is int:
        return value
    right = "write a number with MiB or GiB, such as 512MiB or 4GiB"
    text = scalar(value, right)
    found = _SIZE.fullmatch(text)
    if not found:
        raise refusal(f"{shown(text)} is not a size", right)
    return int(found[1]) << {"MiB": 20, "GiB": 30}[found[2]]


_as_number = integer(
    1,
    4294967294,
    "an AS number",
    {23456: "it stands for a 4-octet one (RFC 6793)", 65535: "it is reserved (RFC 7300)"},
)


def as_number(value: Any) -> int:
    """An AS number in plain decimal digits; asdot is recognised in order to say the right number."""
    dotted = _ASDOT.fullmatch(value) if isinstance(value, str) else None
    if dotted and max(map(int, dotted.groups())) < 65536:
        raise refusal(f"{value} is in asdot notation", f"write {int(dotted[1]) * 65536 + int(dotted[2])}")
    return _as_number(value)


_hold_time = integer(3, 65535, "a hold time")


def hold_time(value: Any) -> int:
    """At least 3 seconds (RFC 4271, 4.2). 0 is refused: gobgpd would take it for 90."""
    if value == 0 or value == "0":
        wrong = "0 is not supported: the engine would take it for 90 seconds"
        raise refusal(wrong, "write a whole number from 3 to 65535")
    return _hold_time(value)


def boolean(value: Any) -> bool:
    """`true` or `false`, and nothing else that YAML 1.1 takes for one."""
    if isinstance(value, bool):
        return value
    text = scalar(value, "write true or false")
    if text not in ("true", "false"):
        raise refusal(f"{shown(text)} is neither true nor false", "write true or false")
    _unquoted(text, text)
    return text == "true"


def enforcement(value: Any) -> bool | str:
    """`true` or `observe`; there is no way to ask for no filter at all."""
    right = "write true, or observe with the bounds in `observe:` beside it"
    if value is True:
        return True
    text = scalar("false" if value is False else value, right)
    if text == "false":
        raise refusal("false would let nodes announce whatever they like", right)
    if text not in ("true", "observe"):
        raise refusal(f"{shown(text)} is neither true nor observe", right)
    if text == "true":
        _unquoted(text, text)
    return True if text == "true" else "observe"


def choice(*allowed: str) -> Callable[[Any], str]:
    """One of a few words."""
    words = f"{', '.join(allowed[:-1])} or {allowed[-1]}" if len(allowed) > 1 else allowed[0]

    def read(value: Any) -> str:
        text = scalar(value, f"write {words}")
        if text not in allowed:
            raise refusal(f"{shown(text)} is not known here", f"write {words}")
        return str(text)

    return read


def name(value: Any) -> str:
    """A name that can stand in file names, set names and metrics."""
    text = scalar(value, NAME_RULE)
    if not NAME.fullmatch(text):
        raise refusal(f"{shown(text)} is not a name", NAME_RULE)
    return str(text)


def instance_name(value: Any) -> str:
    """A name that also becomes a directory in run_dir, next to the controller's own files."""
    text = name(value)
    if text.startswith("rrd."):
        raise refusal(
            f"{text} could be the name of a file of the controller", "choose one without rrd. before it"
        )
    return text


def absolute_path(value: Any) -> Path:
    """A path that means the same whatever directory the process was started in."""
    right = "write a path that begins with /"
    path = value if isinstance(value, Path) else Path(scalar(value, right))
    if not path.is_absolute():
        raise refusal(f"{shown(str(value))} is not an absolute path", right)
    if "\0" in str(path) or not str(path).isprintable():
        raise refusal(f"{shown(str(path))} has characters that no path should have", right)
    return path


def _address(value: Any) -> Address:
    if isinstance(value, (IPv4Address, IPv6Address)):
        return value
    try:
        return read_address(str(scalar(value, "write one address, such as 10.2.0.11")))
    except NotValid as error:
        raise refusal(error.wrong, error.right) from None


def host_address(value: Any) -> Address:
    """An address that a BGP session can run on: unicast, and not the wildcard."""
    address = _address(value)
    if trouble := host_trouble(address):
        raise refusal(f"{address} {trouble}", "write the address of one host")
    return address


def listen_address(value: Any) -> Address:
    """An address to listen on; the wildcard would hide whether a range holds the appliance itself."""
    address = _address(value)
    if address.is_unspecified:
        raise refusal(f"{address} means every address of this host", "name the addresses that peers dial")
    return host_address(address)


def router_id(value: Any) -> IPv4Address:
    """A BGP identifier: four octets, not all zero (RFC 6286)."""
    right = "write four octets, such as 10.0.0.11"
    if isinstance(value, IPv4Address):
        address: Address = value
    else:
        try:
            address = read_address(str(scalar(value, right)))
        except NotValid:
            raise refusal(f"{shown(str(value))} is not a router id", right) from None
    if not isinstance(address, IPv4Address):
        raise refusal(f"{address} is IPv6, and a router id has four octets", right)
    if int(address) == 0:
        raise refusal("0.0.0.0 is not a router id", right)
    return address


def _prefix(value: Any) -> Network:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    try:
        return read_prefix(str(scalar(value, "write one prefix, such as 10.2.0.0/24")))
    except NotValid as error:
        raise refusal(error.wrong, error.right) from None


def node_range(value: Any) -> Network:
    """A prefix that nodes dial from."""
    network = _prefix(value)
    if trouble := range_trouble(network):
        raise refusal(
            f"{network} {trouble}", "write the prefix that the rack's nodes have their addresses in"
        )
    return network


def bound(value: Any) -> Network:
    """A prefix in which nodes of an observed rack may announce what they do not own."""
    network = _prefix(value)
    if trouble := routed_trouble(network):
        raise refusal(f"{network} {trouble}", "write a prefix that pods or services have their addresses in")
    return network


def tor_prefix(value: Any) -> Network:
    """A prefix that a ToR may send to nodes; the default route is one."""
    network = _prefix(value)
    if network.prefixlen and (trouble := routed_trouble(network)):
        raise refusal(f"{network} {trouble}", "write a prefix that a ToR routes")
    return network


def share(value: Any) -> float:
    """A share of a whole: `20%` or 0.2."""
    right = "write a percentage such as 20%, or a fraction from 0 to 1"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 0 <= value <= 1:
            return float(value)
        raise refusal(f"{value} is not a share", right)
    text = scalar(value, right)
    match = _FRACTION.fullmatch(text)
    if not match:
        raise refusal(f"{shown(text)} is not a share", right)
    part = Decimal(match[1]) / 100 if match[2] else Decimal(match[1])
    if part > 1:
        hint = f"write {text}%, or a fraction from 0 to 1" if not match[2] and part <= 100 else right
        raise refusal(f"{text} is more than the whole", hint)
    return float(part)


_port = integer(1, 65535, "a port")


def host_port(value: Any) -> Any:
    """An address and a port: `127.0.0.1:9632` or `[::1]:9632`. Here the wildcard is allowed."""
    right = "write ADDRESS:PORT, such as 127.0.0.1:9632 or [::1]:9632"
    if isinstance(value, Mapping) and not value.keys() <= {"host", "port"}:
        raise refusal("is a mapping", right)
    if not isinstance(value, (str, list, tuple)):
        return value
    text = scalar(value, right)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = read_address(str(host[1:-1] if bracketed else host))
    except NotValid:
        raise refusal(f"{shown(text)} is not an address and a port", right) from None
    if not colon or bracketed != (address.version == 6):
        raise refusal(f"{shown(text)} is not an address and a port", right)
    return {"host": str(address), "port": _port(str(port))}
