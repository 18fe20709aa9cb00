"""Settings: who may do what, over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace.process import host_names


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what."""

    auth: Annotated[
        Literal["off", "keys", "jwt", "keys,jwt", ""],
        Meta(description="keys, jwt, keys,jwt or off; empty: off, on loopback addresses only"),
    ] = ""
    """How clients of the HTTP ports authenticate: with API keys or JSON Web Tokens, see docs/access.md. off: not at
    all, although the worker may listen beyond loopback."""
    auth_open_docs: Annotated[Literal["on", "off"], Meta(description="on or off")] = "off"
    """Whether /docs and /openapi.json need no key where AUTH is on."""
    allowed_hosts: Annotated[
        str, Meta(pattern=host_names.HOSTS_PATTERN, description="comma-separated names, .name with subdomains, or *")
    ] = ""
    """Names that the workers are reached by, besides loopback and the listening address; other `Host`s are refused."""
    cors_origins: Annotated[
        str, Meta(pattern=host_names.ORIGINS_PATTERN, description="comma-separated origins such as https://example.com")
    ] = ""
    """Origins of foreign web pages that may read and post (CORS)."""

    @property
    def authenticates(self) -> bool:
        """Whether clients must show who they are."""
        return self.auth not in {"", "off"}

    @property
    def accepts_keys(self) -> bool:
        """Whether API keys authenticate."""
        return "keys" in self.auth.split(",")
