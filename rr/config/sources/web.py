"""What the sources that are asked over HTTP have in common: where they are, who asks, and how often."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from rr.config import scalars
from rr.config.scalars import Kind
from rr.config.sources.base import SourceSettings
from rr.config.types import AbsolutePath, Flag
from rr.config.urls import web_url

WebUrl = Annotated[str, BeforeValidator(web_url), Kind("a URL")]
Interval = Annotated[
    int, BeforeValidator(scalars.integer(1, 3600, "a number of seconds")), Kind("seconds, 1 to 3600")
]
Patience = Annotated[
    int, BeforeValidator(scalars.integer(1, 600, "a number of seconds")), Kind("seconds, 1 to 600")
]


class WebSettings(SourceSettings):
    """A server that is asked again and again."""

    url: WebUrl = Field(examples=["https://ipam.example.net"], description="Where it is.")
    token_file: AbsolutePath | None = Field(
        default=None,
        description="A file of mode 0600 with the token that is sent along, one line. Read anew for each question, so "
        "a new token counts at once. The token never goes to another host, whatever the server says.",
    )
    ca: AbsolutePath | None = Field(
        default=None,
        description="The CA of the server's certificate, in PEM.",
        json_schema_extra={"default": "the CAs that this host trusts"},
    )
    certificate: AbsolutePath | None = Field(
        default=None, description="Our certificate in PEM, for a server that asks for one; with `key`."
    )
    key: AbsolutePath | None = Field(
        default=None, description="The certificate's private key in PEM, without a password; mode 0600."
    )
    plain_http: Flag = Field(
        default=False,
        description="Allow http:// to another host. Whoever is on the way can then read the token and change who owns "
        "what. To a loopback address http:// is always allowed.",
    )
    interval: Interval = Field(default=5, description="Time between an answer and the next question.")
    timeout: Patience = Field(default=10, description="How long one answer may take, to its last byte.")
