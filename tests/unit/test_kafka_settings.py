"""Settings of Kafka: what belongs together, what has no effect, and what would send a secret in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.secret_files import hide_secrets, with_secret_files
from app.settings import Settings, read_settings
from headrace.errors import InvalidSettingError
from headrace.process import secrets

TLS = {"BROKER_URL": "kafka+ssl://one:9093,two:9093"}
USER = {"KAFKA_SASL_USERNAME": "worker", "KAFKA_SASL_PASSWORD": "pass-w0rd"}
SCRAM = {**TLS, **USER, "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"}
ENDPOINT = {
    "KAFKA_TOKEN_URL": "https://id.example/token",
    "KAFKA_TOKEN_CLIENT_ID": "worker",
    "KAFKA_TOKEN_CLIENT_SECRET": "s3cret-of-client",
    "KAFKA_TOKEN_SCOPE": "kafka",
}
OAUTH = {**TLS, **ENDPOINT, "KAFKA_SASL_MECHANISM": "OAUTHBEARER"}


def without(settings: dict[str, str], name: str) -> dict[str, str]:
    return {given: value for given, value in settings.items() if given != name}


def test_several_brokers_with_tls() -> None:
    settings = read_settings(TLS)
    assert (settings.bootstrap_servers, settings.kafka_tls) == ("one:9093,two:9093", True)
    plain = read_settings({"BROKER_URL": "kafka://one:9092"})
    assert (plain.bootstrap_servers, plain.kafka_tls) == ("one:9092", False)


@pytest.mark.parametrize("settings", [TLS, SCRAM, OAUTH, {**SCRAM, "BROKER_URL": "kafka://one:9092"}])
def test_what_is_complete_is_allowed(settings: dict[str, str]) -> None:
    assert read_settings(settings).kafka_sasl_mechanism == settings.get("KAFKA_SASL_MECHANISM", "")


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (without(SCRAM, "KAFKA_SASL_PASSWORD"), "KAFKA_SASL_PASSWORD="),
        (without(SCRAM, "KAFKA_SASL_USERNAME"), "KAFKA_SASL_USERNAME="),
        (without(SCRAM, "KAFKA_SASL_MECHANISM"), "KAFKA_SASL_USERNAME=worker"),
        (without(SCRAM, "BROKER_URL"), "KAFKA_SASL_MECHANISM=SCRAM-SHA-512"),
        (without(OAUTH, "KAFKA_TOKEN_URL"), "KAFKA_TOKEN_URL="),
        (without(OAUTH, "KAFKA_TOKEN_CLIENT_ID"), "KAFKA_TOKEN_CLIENT_ID="),
        (without(OAUTH, "KAFKA_TOKEN_CLIENT_SECRET"), "KAFKA_TOKEN_CLIENT_SECRET="),
        ({**OAUTH, "KAFKA_SASL_PASSWORD": "pass-w0rd"}, "KAFKA_SASL_PASSWORD=…"),
        ({**SCRAM, **ENDPOINT}, "KAFKA_TOKEN_URL=https://id.example/token"),
        ({**OAUTH, "KAFKA_TOKEN_FILE": __file__}, "KAFKA_TOKEN_URL="),
        ({**TLS, "KAFKA_CA_FILE": "/nowhere"}, "KAFKA_CA_FILE=/nowhere"),
        ({**TLS, "KAFKA_CA_FILE": "9" * 5_000}, "KAFKA_CA_FILE=999"),
        ({**TLS, "KAFKA_KEY_FILE": __file__}, "KAFKA_KEY_FILE="),
        ({"BROKER_URL": "kafka://one:1", "KAFKA_CA_FILE": __file__}, "KAFKA_CA_FILE="),
        ({**TLS, "KAFKA_CERTIFICATE_FILE": "/nowhere"}, "KAFKA_CERTIFICATE_FILE=/nowhere"),
        ({**SCRAM, "KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM=GSSAPI"),
    ],
)
def test_what_is_missing_or_has_no_effect_is_named(settings: dict[str, str], refused: str) -> None:
    with pytest.raises(InvalidSettingError) as error:
        read_settings(settings)
    assert str(error.value).startswith(refused)
    assert not any(secret in str(error.value) for secret in ("pass-w0rd", "s3cret-of-client"))


@pytest.mark.parametrize("login", [{**USER, "KAFKA_SASL_MECHANISM": "PLAIN"}, without(OAUTH, "BROKER_URL")])
def test_what_sends_the_secret_itself_needs_tls_or_loopback(login: dict[str, str]) -> None:
    for url in ("kafka://one:9092", "kafka://127.0.0.1:9092,one:9092"):
        with pytest.raises(InvalidSettingError, match=r"^KAFKA_SASL_MECHANISM=.*kafka\+ssl://"):
            read_settings({**login, "BROKER_URL": url})
    for url in ("kafka+ssl://one:9093", "kafka://127.0.0.1:9092,[::1]:9093,localhost:9094"):
        assert read_settings({**login, "BROKER_URL": url}).bootstrap_servers


@pytest.mark.parametrize(
    "url",
    ["http://id.example/t", "ftp://id.example", "https://u:pass-w0rd@id.example", "https://", "https://[::1", "t"],
)
def test_a_client_secret_is_sent_to_https_only(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="KAFKA_TOKEN_URL") as error:
        read_settings({**OAUTH, "KAFKA_TOKEN_URL": url})
    assert "pass-w0rd" not in str(error.value)
    assert read_settings({**OAUTH, "KAFKA_TOKEN_URL": "http://127.0.0.1:8000/token"}).kafka_token_url


def test_secrets_may_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pass-w0rd\n")
    variables = with_secret_files({**without(SCRAM, "KAFKA_SASL_PASSWORD"), "KAFKA_SASL_PASSWORD_FILE": str(file)})
    hide_secrets(variables)
    settings = read_settings(variables)
    assert settings.kafka_sasl_password == USER["KAFKA_SASL_PASSWORD"]
    assert "pass-w0rd" not in repr(settings)
    assert secrets.without_secrets("Login of worker with pass-w0rd failed") == "Login of worker with … failed"
    assert "s3cret-of-client" not in repr(read_settings(OAUTH))
    assert "kafka_sasl_password=''" in repr(Settings())
