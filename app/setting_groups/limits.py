"""Settings: how much each caller may do."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.setting_groups.jwt import JwtSettings
from app.setting_groups.refusals import refused
from headrace.access.addresses import networks

Rate = Annotated[float, Meta(ge=0, le=1e12, description="number; 0: no limit")]


class LimitSettings(JwtSettings, frozen=True, kw_only=True):
    """How much each caller may do at each worker."""

    key_requests_per_second: Rate = 0.0
    """Requests of one caller in a second; beyond it, they receive 429."""
    key_events_per_second: Rate = 0.0
    """Events that one caller posts in a second; beyond it, posts receive 429."""
    key_bytes_per_second: Rate = 0.0
    """Bytes of bodies that one caller posts in a second; beyond it, posts receive 429."""
    key_burst_seconds: Annotated[float, Meta(ge=0.1, le=3_600, description="seconds, 0.1 to 3600")] = 10.0
    """How many seconds of its limits a caller may use at once."""
    key_held_requests: Annotated[int, Meta(ge=0, le=1_000_000_000, description="integer; 0: no limit")] = 100
    """Streams of changes and waiting requests of one caller at each port."""
    auth_failures_per_minute: Annotated[float, Meta(ge=0, le=1e6, description="number; 0: no limit")] = 20.0
    """Requests of one address that may fail to authenticate in a minute; beyond it, they receive 429 unverified."""
    trusted_proxies: Annotated[
        str, Meta(pattern=r"^[0-9A-Fa-f:./, ]*$", description="comma-separated addresses and networks (CIDR)")
    ] = ""
    """Proxies whose X-Forwarded-For is believed: its rightmost address that is not one of them is the client's."""


def check_limits(settings: LimitSettings, allowed: str) -> None:
    """Raises InvalidSettingError; `allowed` describes TRUSTED_PROXIES."""
    try:
        networks(settings.trusted_proxies)
    except ValueError:
        raise refused("trusted_proxies", settings.trusted_proxies, allowed) from None
