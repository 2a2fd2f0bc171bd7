"""Compile the engine's .proto file into the package ``rr.engine.pb``.

Run by ``make proto`` and by the build of a wheel (``packaging/hatch_build.py``).
Generated code is never committed. The virtual path given to protoc is the
package's own, so that the generated modules import each other as
``rr.engine.pb...`` and need no rewriting.

Type stubs come from mypy-protobuf and are written only where it is installed
(the development environment): nothing at run time needs them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "rr" / "engine" / "proto" / "api"
TARGET = ROOT / "rr" / "engine" / "pb"
PACKAGE = "rr/engine/pb"
STUB_PLUGINS = ("mypy", "mypy_grpc")
INIT = '"""Generated from rr/engine/proto/api by packaging/compile_proto.py; never edited."""\n'


def protoc_arguments(out: Path) -> list[str]:
    """The command line for protoc that generates everything below ``out``."""
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"--proto_path={PACKAGE}={SOURCE}",
        f"--proto_path={well_known}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
    ]
    for name in STUB_PLUGINS:
        if plugin := find_plugin(f"protoc-gen-{name}"):
            arguments += [f"--plugin=protoc-gen-{name}={plugin}", f"--{name}_out=quiet:{out}"]
    return arguments + [f"{PACKAGE}/{proto.name}" for proto in sorted(SOURCE.glob("*.proto"))]


def find_plugin(name: str) -> str | None:
    """The protoc plugin beside this interpreter, if the interpreter can run it (an isolated build cannot)."""
    if importlib.util.find_spec("mypy_protobuf") is None:
        return None
    return shutil.which(name, path=os.path.dirname(sys.executable))


def compile_proto(target: Path = TARGET) -> None:
    """Generate into ``target``, replacing file by file what is there.

    Raises SystemExit with protoc's exit code if the file does not compile.
    """
    from grpc_tools import protoc

    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pb-", dir=target.parent) as scratch:
        out = Path(scratch)
        code = protoc.main(protoc_arguments(out))
        if code != 0:
            raise SystemExit(code)
        generated = out / PACKAGE
        (generated / "__init__.py").write_text(INIT, encoding="utf-8")
        for file in sorted(generated.iterdir()):
            os.replace(file, target / file.name)


if __name__ == "__main__":
    compile_proto()
