"""What values of rr.yaml are: each type with the check of a single value, and what it is called in the reference."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer

from rr.config import scalars
from rr.config.scalars import Kind
from rr.net import Address, Network

Family: TypeAlias = Literal["ipv4", "ipv6"]


def word(*allowed: str) -> tuple[BeforeValidator, Kind]:
    """What a `Literal` needs beside it: the check that says what is allowed, and the words for the reference."""
    words = ", ".join(f"`{word}`" for word in allowed[:-1])
    text = f"{words} or `{allowed[-1]}`" if words else f"`{allowed[-1]}`"
    return BeforeValidator(scalars.choice(*allowed)), Kind(text)


_COUNT = BeforeValidator(scalars.integer(1, 4294967295, "a number of prefixes"))
_PATHS = BeforeValidator(scalars.integer(0, 255, "a number of paths"))
_RESTART = BeforeValidator(scalars.integer(1, 4095, "a restart time"))
_DEFERRAL = BeforeValidator(scalars.integer(1, 65535, "a deferral time"))
_STALE = BeforeValidator(scalars.integer(0, 4095, "a number of seconds"))
_SEND_HOLD = BeforeValidator(scalars.integer(3, 65535, "a number of seconds"))
_LOSSES = BeforeValidator(scalars.integer(2, 1000, "a number of losses"))
_TERM = BeforeValidator(scalars.integer(1, 604800, "a number of seconds"))
_GRACE = BeforeValidator(scalars.integer(0, 604800, "a number of seconds"))
_TCP_PORT = BeforeValidator(scalars.integer(1, 65535, "a port"))

Name = Annotated[str, BeforeValidator(scalars.name), Kind("a name")]
InstanceName = Annotated[str, BeforeValidator(scalars.instance_name), Kind("a name")]
AbsolutePath = Annotated[Path, BeforeValidator(scalars.absolute_path), Kind("a path that begins with /")]
Flag = Annotated[bool, BeforeValidator(scalars.boolean), Kind("`true` or `false`")]
AsNumber = Annotated[int, BeforeValidator(scalars.as_number), Kind("an AS number, 1 to 4294967294")]
RouterId = Annotated[IPv4Address, BeforeValidator(scalars.router_id), Kind("four octets, such as 10.0.0.11")]
HoldTime = Annotated[int, BeforeValidator(scalars.hold_time), Kind("seconds, 3 to 65535")]
RestartTime = Annotated[int, _RESTART, Kind("seconds, 1 to 4095")]
DeferralTime = Annotated[int, _DEFERRAL, Kind("seconds, 1 to 65535")]
StaleTime = Annotated[int, _STALE, Kind("seconds, 0 to 4095")]
SendHoldTime = Annotated[int, _SEND_HOLD, Kind("seconds, 3 to 65535")]
Losses = Annotated[int, _LOSSES, Kind("a number, 2 to 1000")]
Term = Annotated[int, _TERM, Kind("seconds, 1 to 604800")]
Grace = Annotated[int, _GRACE, Kind("seconds, 0 to 604800")]
Port = Annotated[int, _TCP_PORT, Kind("a port, 1 to 65535")]
Size = Annotated[int, BeforeValidator(scalars.size), Kind("a size such as 4GiB or 512MiB")]
PathCount = Annotated[int, _PATHS, Kind("0 to 255")]
PrefixCount = Annotated[int, _COUNT, Kind("a number, at least 1")]
HostAddress = Annotated[Address, BeforeValidator(scalars.host_address), Kind("an address")]
ListenAddress = Annotated[Address, BeforeValidator(scalars.listen_address), Kind("an address of this host")]
NodeRange = Annotated[Network, BeforeValidator(scalars.node_range), Kind("a prefix")]
Bound = Annotated[Network, BeforeValidator(scalars.bound), Kind("a prefix")]
TorPrefix = Annotated[Network, BeforeValidator(scalars.tor_prefix), Kind("a prefix")]
Share = Annotated[
    float, BeforeValidator(scalars.share), Kind("a percentage such as 20%, or a fraction from 0 to 1")
]
FamilyName = Annotated[Family, *word("ipv4", "ipv6")]
NodesGet = Annotated[Literal["rack", "all", "none"], *word("rack", "all", "none")]
TorsGet = Annotated[Literal["rack", "all"], *word("rack", "all")]
Enforce = Annotated[
    Literal[True, "observe"], BeforeValidator(scalars.enforcement), Kind("`true` or `observe`")
]


class Model(BaseModel):
    """What all parts of the configuration share: frozen, and no key that the schema does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HostPort(Model):
    """An address and a TCP port."""

    host: str = Field(description="the address, without brackets")
    port: Port = Field(description="the TCP port")

    @model_serializer
    def _as_written(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Listen = Annotated[
    HostPort, BeforeValidator(scalars.host_port), Kind("ADDRESS:PORT, or [ADDRESS]:PORT for IPv6")
]
