"""Where allocations come from, one module per kind of source: the part of `rr.ipam` that waits."""

from collections.abc import AsyncIterable
from typing import assert_never

from rr.config.sources import (
    FileSettings,
    FolderSettings,
    HttpSettings,
    KubernetesSettings,
    NetboxSettings,
    Source,
)
from rr.ipam.reading import Reading


def open_source(settings: Source) -> AsyncIterable[Reading]:
    """The source that a configuration names. Iterate over it for readings, for ever; modules are loaded when used."""
    match settings:
        case FileSettings():
            from rr.ipam.sources.file import FileSource

            return FileSource(settings.path, settings.called)
        case FolderSettings():
            from rr.ipam.sources.folder import FolderSource

            return FolderSource(settings.path, settings.called)
        case KubernetesSettings():
            from rr.ipam.sources.kubernetes import KubernetesSource

            return KubernetesSource(settings)
        case HttpSettings():
            from rr.ipam.sources.http import HttpSource

            return HttpSource(settings)
        case NetboxSettings():
            from rr.ipam.sources.netbox import NetboxSource

            return NetboxSource(settings)
        case _:
            assert_never(settings)
