"""The settings of JSON Web Tokens: what is needed together, which URLs are allowed, and the verifier they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.services.token_verifier import token_verifier
from app.setting_groups.jwt import check_jwt
from app.settings import Settings, allowed, read_settings
from headrace.access.grant import Allowed, Grant
from headrace.access.scopes import Scope
from headrace.errors import InvalidSettingError

from tests.support.data.issuer import AUDIENCE, ISSUER, full_set, token

COMPLETE = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_keys_url": "https://issuer.example/keys"}


def settings_with(auth: str, **changes: Any) -> Settings:
    return replace(Settings(), auth=auth, **COMPLETE | changes)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(full_set())
    return path


@pytest.mark.parametrize("auth", ["jwt", "keys,jwt", "keys, jwt"])
def test_tokens_are_accepted_where_auth_says_so(auth: str) -> None:
    settings = settings_with(auth)
    check_jwt(settings, allowed)
    assert token_verifier(settings) is not None


@pytest.mark.parametrize("auth", ["", "off", "keys"])
def test_elsewhere_nothing_of_it_is_needed(auth: str) -> None:
    settings = replace(Settings(), auth=auth)
    check_jwt(settings, allowed)
    assert token_verifier(settings) is None


@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_what_tokens_need_is_named_where_it_is_missing(missing: str) -> None:
    with pytest.raises(InvalidSettingError, match=rf"^{missing.upper()}=: not allowed; allowed: with AUTH=jwt, "):
        check_jwt(settings_with("jwt", **{missing: ""}), allowed)


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/keys",
        "https://issuer.example:8443/a/b?c=d",
        "https://[2001:db8::1]/keys",
        "http://127.0.0.1:8089/keys",
        "http://localhost/keys",
        "http://[::1]:8089/keys",
    ],
)
def test_what_a_url_of_keys_may_be(url: str) -> None:
    assert read_settings({"JWT_KEYS_URL": url}).jwt_keys_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.example/keys",
        "http://localhost.example/keys",
        "http://127.0.0.1@issuer.example/keys",
        "https://user:s3cret@issuer.example/keys",
        "https:///keys",
        "https://[::1/keys",
        "https://issuer.example:99999/keys",
        "https://issuer.example:0/keys",
        "https://issuer.example/keys#a",
        "file:///etc/passwd",
        "ftp://issuer.example/keys",
        "/etc/keys.json",
    ],
)
def test_other_urls_of_keys_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"^JWT_KEYS_URL=.*: not allowed; allowed: https://") as error:
        read_settings({"JWT_KEYS_URL": url})
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("variable", ["JWT_KEYS_FILE", "JWT_KEYS_CA_FILE"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, keys_file: Path, variable: str) -> None:
    assert getattr(read_settings({variable: str(keys_file)}), variable.lower()) == str(keys_file)
    for wrong in (tmp_path / "missing", tmp_path, "9" * 5_000):
        with pytest.raises(InvalidSettingError, match=rf"^{variable}={wrong}: not allowed; allowed: existing "):
            read_settings({variable: str(wrong)})


def test_keys_come_from_one_place(keys_file: Path) -> None:
    both = {"JWT_KEYS_URL": COMPLETE["jwt_keys_url"], "JWT_KEYS_FILE": str(keys_file)}
    with pytest.raises(InvalidSettingError, match="not both"):
        read_settings(both)


def test_a_file_without_certificates_ends_the_start(keys_file: Path) -> None:
    with pytest.raises(InvalidSettingError, match=rf"^JWT_KEYS_CA_FILE={keys_file}: not allowed.*cannot be used"):
        token_verifier(settings_with("jwt", jwt_keys_ca_file=str(keys_file)))


@pytest.mark.parametrize("algorithms", ["none", "HS256", "RS256,HS256", "RS256,none", "RS512", "rs256", "RS256,"])
def test_no_algorithm_with_a_secret_or_none_can_be_chosen(algorithms: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"^JWT_ALGORITHMS="):
        read_settings({"JWT_ALGORITHMS": algorithms})


async def test_the_settings_make_the_verifier(keys_file: Path) -> None:
    made = token_verifier(
        settings_with(
            "jwt",
            jwt_keys_url="",
            jwt_keys_file=str(keys_file),
            jwt_algorithms="ES256 , RS256",
            jwt_scopes_claim="roles",
            jwt_scopes_prefix="headrace:",
            jwt_sources_claim="src",
            jwt_subjects_claim="subj",
            jwt_types_claim="typ",
        )
    )
    assert made is not None
    found = await made.caller(token(roles=["headrace:operate"], src=["/a/"], subj=["s"], typ=["t"]))
    assert found is not None
    assert found.scopes == {Scope.OPERATE}
    exact = [Allowed((), frozenset({one})) for one in ("s", "t")]
    assert found.grant == Grant(Allowed(("/a/",), frozenset()), *exact)
    assert await made.caller(token("EdDSA")) is None
