"""Settings: TLS of the HTTP ports."""

from __future__ import annotations

from app.setting_groups.limits import LimitSettings


class TlsSettings(LimitSettings, frozen=True, kw_only=True):
    """TLS of the HTTP ports."""
