"""Our part of the engine's API says the same as the engine's own .proto files, field by field.

The engine's files come from Debian's package of the same version, through the installer.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[3]
OURS = ROOT / "rr/engine/proto"

pytestmark = pytest.mark.timeout(600)  # the first run downloads


class Field(NamedTuple):
    """What the wire format and the Python names depend on."""

    number: int
    type: str
    message: str
    label: str
    oneof: str
    optional: bool


class Method(NamedTuple):
    """One call of the service."""

    request: str
    response: str
    client_streaming: bool
    server_streaming: bool


class Api(NamedTuple):
    """One set of .proto files, each part by its full name."""

    messages: dict[str, dict[str, Field]]
    enums: dict[str, dict[str, int]]
    services: dict[str, dict[str, Method]]


@pytest.fixture(scope="module")
def engines() -> FileDescriptorSet:
    done = subprocess.run(
        [sys.executable, ROOT / "packaging/engine", "--dev"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return compiled(Path(done.stdout.strip()))


@pytest.fixture
def ours() -> FileDescriptorSet:
    return compiled(OURS)


def compiled(directory: Path) -> FileDescriptorSet:
    files = sorted(str(file.relative_to(directory)) for file in directory.glob("api/*.proto"))
    assert files, f"no .proto files in {directory}"
    include = [f"-I{directory}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    out = ["--include_imports", "--descriptor_set_out=/dev/stdout"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *include, *out, *files]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return FileDescriptorSet.FromString(done.stdout)


def read(files: FileDescriptorSet) -> Api:
    api = Api({}, {}, {})
    for file in files.file:
        if file.package == "api":
            for message in file.message_type:
                read_message(f".api.{message.name}", message, api)
            api.enums.update((f".api.{enum.name}", read_enum(enum)) for enum in file.enum_type)
            api.services.update((service.name, read_service(service)) for service in file.service)
    return api


def read_message(name: str, message: DescriptorProto, api: Api) -> None:
    api.messages[name] = {field.name: read_field(field, message) for field in message.field}
    api.enums.update((f"{name}.{enum.name}", read_enum(enum)) for enum in message.enum_type)
    for nested in message.nested_type:
        read_message(f"{name}.{nested.name}", nested, api)


def read_field(field: FieldDescriptorProto, message: DescriptorProto) -> Field:
    return Field(
        number=field.number,
        type=FieldDescriptorProto.Type.Name(field.type),
        message=field.type_name,
        label=FieldDescriptorProto.Label.Name(field.label),
        oneof=message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "",
        optional=field.proto3_optional,
    )


def read_enum(enum: EnumDescriptorProto) -> dict[str, int]:
    return {value.name: value.number for value in enum.value}


def read_service(service: ServiceDescriptorProto) -> dict[str, Method]:
    return {
        method.name: Method(
            method.input_type, method.output_type, method.client_streaming, method.server_streaming
        )
        for method in service.method
    }


def differences(ours: Api, engines: Api) -> list[str]:
    """One sentence for everything of ours that the engine does not have just so."""
    return [
        *compare("message", ours.messages, engines.messages),
        *compare("enum", ours.enums, engines.enums),
        *compare("service", ours.services, engines.services),
    ]


def compare(
    kind: str, ours: Mapping[str, Mapping[str, object]], engines: Mapping[str, Mapping[str, object]]
) -> Iterator[str]:
    for name, parts in ours.items():
        if name not in engines:
            yield f"{kind} {name}: the engine has none of this name"
            continue
        for part, what in parts.items():
            if part not in engines[name]:
                yield f"{kind} {name}: the engine has no {part}"
            elif engines[name][part] != what:
                yield f"{kind} {name}: {part} is {what}, the engine has {engines[name][part]}"


def test_every_message_enum_and_call_is_as_the_engine_has_it(
    ours: FileDescriptorSet, engines: FileDescriptorSet
) -> None:
    assert differences(read(ours), read(engines)) == []


def test_the_comparison_covers_the_whole_subset(ours: FileDescriptorSet) -> None:
    api = read(ours)
    assert len(api.services["GoBgpService"]) == 36
    assert sum(map(len, api.messages.values())) > 300
    assert {".api.WatchEventRequest.Table.Filter", ".api.Path", ".api.Peer"} <= api.messages.keys()
    assert ".api.PeerState.SessionState" in api.enums


def message(files: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(m for file in files.file for m in file.message_type if m.name == name)


def renumber(files: FileDescriptorSet) -> None:
    message(files, "Path").field[0].number = 99


def rename(files: FileDescriptorSet) -> None:
    message(files, "Global").field[0].name = "as"


def retype(files: FileDescriptorSet) -> None:
    message(files, "Global").field[0].type = FieldDescriptorProto.TYPE_UINT64


def make_singular(files: FileDescriptorSet) -> None:
    message(files, "AsSegment").field[1].label = FieldDescriptorProto.LABEL_OPTIONAL


def take_out_of_the_oneof(files: FileDescriptorSet) -> None:
    message(files, "NLRI").field[0].ClearField("oneof_index")


def renumber_an_enum_value(files: FileDescriptorSet) -> None:
    message(files, "PeerState").enum_type[0].value[1].number = 42


def stop_streaming(files: FileDescriptorSet) -> None:
    methods = [m for file in files.file for service in file.service for m in service.method]
    next(m for m in methods if m.name == "WatchEvent").server_streaming = False


def invent_a_message(files: FileDescriptorSet) -> None:
    files.file[-1].message_type.add(name="Invented")


@pytest.mark.parametrize(
    "change",
    [
        renumber,
        rename,
        retype,
        make_singular,
        take_out_of_the_oneof,
        renumber_an_enum_value,
        stop_streaming,
        invent_a_message,
    ],
)
def test_a_difference_of_any_kind_is_found(
    change: Callable[[FileDescriptorSet], None], ours: FileDescriptorSet, engines: FileDescriptorSet
) -> None:
    change(ours)
    assert len(differences(read(ours), read(engines))) == 1
