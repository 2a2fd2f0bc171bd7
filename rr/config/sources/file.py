"""A file of allocations, and a folder of such files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rr.config.sources.base import SourceSettings
from rr.config.types import AbsolutePath


class FileSettings(SourceSettings):
    """One file (allocations.md)."""

    type: Literal["file"] = Field(examples=["file"], description="One file.")
    path: AbsolutePath = Field(
        examples=["/etc/rr/allocations.yaml"],
        description="The file; its form is in allocations.md. It is re-read when it changes.",
    )

    @property
    def place(self) -> str:
        """The type and the path."""
        return f"{self.type}:{self.path}"


class FolderSettings(SourceSettings):
    """A folder of files (allocations.md)."""

    type: Literal["folder"] = Field(examples=["folder"], description="All files of a folder together.")
    path: AbsolutePath = Field(
        examples=["/etc/rr/allocations.d"],
        description="The folder. Every file in it whose name ends in .yaml or .yml, and does not begin with a dot, is "
        "read, and they count as one document: what contradicts itself between two of them is refused with both "
        "places named.",
    )

    @property
    def place(self) -> str:
        """The type and the path."""
        return f"{self.type}:{self.path}"
