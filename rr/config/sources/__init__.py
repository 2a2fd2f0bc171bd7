"""The sources of allocations as rr.yaml names them, a module for each kind; `type` tells them apart."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from rr.config.sources.base import SourceSettings
from rr.config.sources.file import FileSettings, FolderSettings
from rr.config.sources.kubernetes import KubernetesSettings

__all__ = ["FileSettings", "FolderSettings", "KubernetesSettings", "Source", "SourceSettings"]

Source: TypeAlias = Annotated[
    FileSettings | FolderSettings | KubernetesSettings,
    Field(discriminator="type"),
]
"""Any of them."""
