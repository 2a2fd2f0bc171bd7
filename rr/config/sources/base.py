"""What every source of allocations has in common in rr.yaml."""

from __future__ import annotations

from pydantic import Field

from rr.config.types import Model, Name


class SourceSettings(Model):
    """A place that allocations come from. Each kind adds `type`, a literal by which it is told apart."""

    name: Name | None = Field(
        default=None,
        description="How the source is called in messages, metrics and `rrctl ipam sources`.",
        json_schema_extra={"default": "its type and place, such as `file:/etc/rr/allocations.yaml`"},
    )

    @property
    def called(self) -> str:
        """The name, given or made."""
        return self.name or self.place

    @property
    def place(self) -> str:
        """The source's type and where it is; no two sources of a configuration share it."""
        raise NotImplementedError
