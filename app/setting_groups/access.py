"""Settings: who may do what, over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace.process import host_names


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what."""

    auth: Annotated[Literal["off", ""], Meta(description="off; empty: loopback addresses only")] = ""
    """Permission to listen beyond loopback, although Headrace does not authenticate clients."""
    allowed_hosts: Annotated[
        str, Meta(pattern=host_names.HOSTS_PATTERN, description="comma-separated names, .name with subdomains, or *")
    ] = ""
    """Names that the workers are reached by, besides loopback and the listening address; other `Host`s are refused."""
    cors_origins: Annotated[
        str, Meta(pattern=host_names.ORIGINS_PATTERN, description="comma-separated origins such as https://example.com")
    ] = ""
    """Origins of foreign web pages that may read and post (CORS)."""
