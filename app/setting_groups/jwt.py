"""Settings: JSON Web Tokens, and what their claims allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from app.setting_groups.access import AccessSettings
from app.setting_groups.files import is_file
from app.setting_groups.refusals import refused
from headrace.access.algorithms import ALGORITHMS
from headrace.process.host_names import is_loopback

_ONE = f"(?:{'|'.join(ALGORITHMS)})"

Algorithms = Annotated[
    str, Meta(pattern=rf"^{_ONE}(?: *, *{_ONE})*$", description=f"comma-separated list of {', '.join(ALGORITHMS)}")
]
Name = Annotated[str, Meta(pattern=r"^[!-~]{0,255}$", description="at most 255 printable ASCII characters, no spaces")]
Url = Annotated[
    str,
    Meta(
        pattern=r"^(?:https?://[!-~]{1,2000})?$",
        description="https://host:port/path, without user and password; http:// on loopback only",
    ),
]
RefreshSeconds = Annotated[float, Meta(ge=60, le=43_200, description="seconds, 60 to 43200")]


class JwtSettings(AccessSettings, frozen=True, kw_only=True):
    """JSON Web Tokens, and what their claims allow."""

    jwt_issuer: Name = ""
    """`iss` of the tokens, exactly. Required with AUTH=jwt."""
    jwt_audience: Name = ""
    """What `aud` must be or contain, exactly. Required with AUTH=jwt."""
    jwt_keys_url: Url = ""
    """Where the issuer publishes its keys as a JWK set. AUTH=jwt requires it or JWT_KEYS_FILE."""
    jwt_keys_file: Annotated[str, Meta(description="file with a JWK set; empty: JWT_KEYS_URL")] = ""
    """The keys of the issuer; the file is read again when it changes."""
    jwt_keys_ca_file: Annotated[str, Meta(description="PEM file; empty: the system's authorities")] = ""
    """Certificate authorities that the certificate of JWT_KEYS_URL is checked against."""
    jwt_keys_refresh_seconds: RefreshSeconds = 3600.0
    """How old keys may be, in seconds, before they are read again. While that fails, they are used for 24 hours."""
    jwt_algorithms: Algorithms = "RS256,ES256,EdDSA"
    """Algorithms that tokens may be signed with; each must fit its key."""
    jwt_scopes_claim: Annotated[
        str, Meta(pattern=r"^[!-~]{1,255}$", description="1 to 255 printable ASCII characters, no spaces")
    ] = "scope"
    """Claim with the scopes: a string with spaces between them, or a list."""
    jwt_scopes_prefix: Name = ""
    """What a scope of Headrace begins with in a token, such as headrace: in headrace:write."""
    jwt_sources_claim: Name = ""
    """Claim with the list of sources that a token may write and read; empty: all. A token without it: none."""
    jwt_subjects_claim: Name = ""
    """The same for subjects."""
    jwt_types_claim: Name = ""
    """The same for event types."""

    @property
    def accepts_tokens(self) -> bool:
        """Whether clients may present tokens."""
        return "jwt" in {kind.strip() for kind in self.auth.split(",")}


def check_jwt(settings: JwtSettings, allowed: Callable[[str], str]) -> None:
    """Raises InvalidSettingError; `allowed` describes a setting."""
    if settings.jwt_keys_url and not _is_key_url(settings.jwt_keys_url):
        raise refused("jwt_keys_url", settings.jwt_keys_url, allowed("jwt_keys_url"))
    for field, path in (("jwt_keys_file", settings.jwt_keys_file), ("jwt_keys_ca_file", settings.jwt_keys_ca_file)):
        if path and not is_file(path):
            raise refused(field, path, f"existing {allowed(field)}")
    if settings.jwt_keys_url and settings.jwt_keys_file:
        raise refused("jwt_keys_file", settings.jwt_keys_file, "one of JWT_KEYS_URL and JWT_KEYS_FILE, not both")
    if settings.accepts_tokens:
        _check_complete(settings, allowed)


def _check_complete(settings: JwtSettings, allowed: Callable[[str], str]) -> None:
    for field, value in (("jwt_issuer", settings.jwt_issuer), ("jwt_audience", settings.jwt_audience)):
        if not value:
            raise refused(field, value, f"with AUTH={settings.auth}, 1 to 255 printable ASCII characters, no spaces")
    if not settings.jwt_keys_url and not settings.jwt_keys_file:
        raise refused("jwt_keys_url", "", f"with AUTH={settings.auth}, {allowed('jwt_keys_url')}; or JWT_KEYS_FILE")


def _is_key_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or is_loopback(host or "")
    return bool(host) and port != 0 and is_safe and "@" not in parts.netloc and "#" not in url
