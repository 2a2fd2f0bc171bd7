"""A URL that serves allocations in the form of allocations.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rr.config.scalars import Kind
from rr.config.sources.web import WebSettings, WebUrl


class HttpSettings(WebSettings):
    """A URL that serves allocations (sources.md)."""

    type: Annotated[Literal["http"], Kind("`http`")] = Field(examples=["http"], description="A URL.")
    url: WebUrl = Field(
        examples=["https://ipam.example.net/allocations.yaml"],
        description="Asked for, with GET. The answer has the form of allocations.yaml (allocations.md), in YAML "
        "or JSON. ETag and Last-Modified are made use of, so an unchanged answer costs a few bytes.",
    )

    @property
    def place(self) -> str:
        """The type and the URL."""
        return f"{self.type}:{self.url}"
