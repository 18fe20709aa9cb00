"""Settings: TLS of the HTTP ports."""

from __future__ import annotations

from app.setting_groups.access import AccessSettings


class TlsSettings(AccessSettings, frozen=True, kw_only=True):
    """TLS of the HTTP ports."""
