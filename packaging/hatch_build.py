"""Build hook: every wheel, editable ones too, contains the compiled engine API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileProto(BuildHookInterface[Any]):
    """Compiles the .proto files before hatchling collects the wheel's files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate rr/engine/pb; hatchling calls this once per build."""
        sys.path.insert(0, str(Path(self.root) / "packaging"))
        try:
            from compile_proto import compile_proto
        finally:
            del sys.path[0]
        compile_proto()
