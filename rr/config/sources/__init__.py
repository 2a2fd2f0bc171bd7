"""The sources of allocations as rr.yaml names them, a module for each kind; `type` tells them apart."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from rr.config.sources.base import SourceSettings
from rr.config.sources.file import FileSettings, FolderSettings
from rr.config.sources.http import HttpSettings
from rr.config.sources.kubernetes import KubernetesSettings
from rr.config.sources.netbox import NetboxSettings

__all__ = [
    "FileSettings",
    "FolderSettings",
    "HttpSettings",
    "KubernetesSettings",
    "NetboxSettings",
    "Source",
    "SourceSettings",
]

Source: TypeAlias = Annotated[
    FileSettings | FolderSettings | KubernetesSettings | HttpSettings | NetboxSettings,
    Field(discriminator="type"),
]
"""Any of them."""
