"""Settings: TLS of the HTTP ports."""

from __future__ import annotations

from app.setting_groups.jwt import JwtSettings


class TlsSettings(JwtSettings, frozen=True, kw_only=True):
    """TLS of the HTTP ports."""
