"""Who verifies JSON Web Tokens, from the settings."""

from __future__ import annotations

from app.setting_groups.refusals import refused
from app.settings import Settings
from web.access.claims import ClaimNames, Expected
from web.access.jwks import TokenKeys
from web.access.key_sources import FileSource, KeySource, UrlSource
from web.access.tokens import TokenVerifier


def token_verifier(settings: Settings) -> TokenVerifier | None:
    """The verifier; None where AUTH accepts no tokens. Raises InvalidSettingError.

    The applications of all ports may share it. Each calls `on_startup` and `on_cleanup` of it.
    """
    if not settings.accepts_tokens:
        return None
    algorithms = frozenset(name.strip() for name in settings.jwt_algorithms.split(","))
    keys = TokenKeys(_source(settings), algorithms, refresh_seconds=settings.jwt_keys_refresh_seconds)
    names = ClaimNames(
        settings.jwt_scopes_claim,
        settings.jwt_scopes_prefix,
        sources=settings.jwt_sources_claim,
        subjects=settings.jwt_subjects_claim,
        types=settings.jwt_types_claim,
    )
    return TokenVerifier(keys, algorithms, Expected(settings.jwt_issuer, settings.jwt_audience), names)


def _source(settings: Settings) -> KeySource:
    if settings.jwt_keys_file:
        return FileSource(settings.jwt_keys_file)
    try:
        return UrlSource(settings.jwt_keys_url, settings.jwt_keys_ca_file)
    except OSError as error:
        reason = f"PEM file with certificates (it cannot be used: {error})"
        raise refused("jwt_keys_ca_file", settings.jwt_keys_ca_file, reason) from error
