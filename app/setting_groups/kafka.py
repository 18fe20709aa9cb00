"""Settings: where Kafka is, and how to log in there."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from app.setting_groups.files import is_file
from app.setting_groups.refusals import refused
from app.setting_groups.tls import TlsSettings
from headrace.process.host_names import is_loopback
from headrace.process.server_urls import NO_LOGIN, is_broker_url

OPEN_MECHANISMS = ("PLAIN", "OAUTHBEARER")
"""They send the password, or the token, as it is."""
FILES = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file", "kafka_token_file")
PASSWORD_ONLY = ("kafka_sasl_username", "kafka_sasl_password")
ENDPOINT_ONLY = ("kafka_token_url", "kafka_token_client_id", "kafka_token_client_secret")
TOKEN_ONLY = (*ENDPOINT_ONLY, "kafka_token_scope", "kafka_token_file")
TLS_ONLY = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file")


class KafkaSettings(TlsSettings, frozen=True, kw_only=True):
    """Where Kafka is, and how to log in there."""

    broker_url: Annotated[
        str,
        Meta(description="kafka://host:port[,host:port], kafka+ssl://… for TLS; empty: embedded Apache Kafka"),
    ] = ""
    """Addresses of Kafka brokers to bootstrap from."""
    kafka_ca_file: Annotated[str, Meta(description="PEM file; empty: the system's authorities")] = ""
    """Certificate authorities that the certificates of the Kafka brokers are checked against."""
    kafka_certificate_file: Annotated[str, Meta(description="PEM file; empty: no certificate")] = ""
    """Client certificate for Kafka brokers that require it."""
    kafka_key_file: Annotated[str, Meta(description="PEM file; empty: the key is in KAFKA_CERTIFICATE_FILE")] = ""
    """Private key of the client certificate, without a password."""
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", ""],
        Meta(description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; empty: no login"),
    ] = ""
    """How the worker logs in to Kafka. PLAIN and OAUTHBEARER send the secret itself, so they need kafka+ssl://,
    except on loopback."""
    kafka_sasl_username: Annotated[str, Meta(description="non-empty string for PLAIN and SCRAM")] = ""
    """User name at Kafka."""
    kafka_sasl_password: Annotated[str, Meta(description="non-empty string for PLAIN and SCRAM")] = ""
    """Password at Kafka; KAFKA_SASL_PASSWORD_FILE names a file with it."""
    kafka_token_url: Annotated[
        str, Meta(description="https://…, or http://… on loopback; without user, password and fragment")
    ] = ""
    """Token endpoint for OAUTHBEARER (grant `client_credentials`). A token is used until shortly before it expires."""
    kafka_token_client_id: Annotated[str, Meta(description="non-empty string with KAFKA_TOKEN_URL")] = ""
    """Client id at the token endpoint."""
    kafka_token_client_secret: Annotated[str, Meta(description="non-empty string with KAFKA_TOKEN_URL")] = ""
    """Client secret at the token endpoint; KAFKA_TOKEN_CLIENT_SECRET_FILE names a file with it."""
    kafka_token_scope: Annotated[str, Meta(description="names separated by spaces; empty: the endpoint's default")] = ""
    """Scope that is asked for at the token endpoint."""
    kafka_token_file: Annotated[str, Meta(description="file with a token; instead of KAFKA_TOKEN_URL")] = ""
    """Token for OAUTHBEARER that another program renews; it is read again at each login."""

    @property
    def bootstrap_servers(self) -> str:
        """The brokers as `host:port,host:port`."""
        return self.broker_url.partition("://")[2]

    @property
    def kafka_tls(self) -> bool:
        """Whether the connections to Kafka use TLS."""
        return self.broker_url.startswith("kafka+ssl://")


def check_kafka(settings: KafkaSettings, allowed: str) -> None:
    """Raises InvalidSettingError; `allowed` describes BROKER_URL."""
    if "@" in settings.broker_url:
        raise refused("broker_url", settings.broker_url, NO_LOGIN)
    if settings.broker_url and not is_broker_url(settings.broker_url):
        raise refused("broker_url", settings.broker_url, allowed)
    _check_files(settings)
    _check_what_has_an_effect(settings)
    mechanism = settings.kafka_sasl_mechanism
    if mechanism == "OAUTHBEARER":
        _check_tokens(settings)
    elif mechanism:
        _check_set(settings, PASSWORD_ONLY, f"a value, because KAFKA_SASL_MECHANISM={mechanism}")
    if mechanism in OPEN_MECHANISMS and not settings.kafka_tls and not _is_local(settings):
        raise refused(
            "kafka_sasl_mechanism",
            mechanism,
            "with BROKER_URL=kafka+ssl://…, because it sends the secret itself; SCRAM-SHA-512 does not",
        )


def _check_files(settings: KafkaSettings) -> None:
    for field in FILES:
        path = _value(settings, field)
        if path and not is_file(path):
            raise refused(field, path, "an existing file")
    if settings.kafka_key_file and not settings.kafka_certificate_file:
        raise refused("kafka_key_file", settings.kafka_key_file, "together with KAFKA_CERTIFICATE_FILE")


def _check_what_has_an_effect(settings: KafkaSettings) -> None:
    """A setting for another way to log in is refused: somebody expects an effect of it."""
    mechanism = settings.kafka_sasl_mechanism
    if not settings.broker_url:
        _check_unset(settings, (*TLS_ONLY, "kafka_sasl_mechanism"), "with BROKER_URL: the embedded Kafka has its own")
    if not settings.kafka_tls:
        _check_unset(settings, TLS_ONLY, "with BROKER_URL=kafka+ssl://…")
    if mechanism in {"", "OAUTHBEARER"}:
        _check_unset(settings, PASSWORD_ONLY, "with KAFKA_SASL_MECHANISM=PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    if mechanism != "OAUTHBEARER":
        _check_unset(settings, TOKEN_ONLY, "with KAFKA_SASL_MECHANISM=OAUTHBEARER")


def _check_tokens(settings: KafkaSettings) -> None:
    if settings.kafka_token_file:
        _check_unset(settings, (*ENDPOINT_ONLY, "kafka_token_scope"), "without KAFKA_TOKEN_FILE")
        return
    _check_set(settings, ENDPOINT_ONLY, "a value (or set KAFKA_TOKEN_FILE), because KAFKA_SASL_MECHANISM=OAUTHBEARER")
    if not is_token_url(settings.kafka_token_url):
        raise refused(
            "kafka_token_url", settings.kafka_token_url, "https://…, or http://… on loopback; no user, no fragment"
        )


def is_token_url(url: str) -> bool:
    """Whether secrets may be sent to this URL: https, or loopback."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.fragment or port == 0:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def _is_local(settings: KafkaSettings) -> bool:
    addresses = settings.bootstrap_servers.split(",")
    return all(is_loopback(address.rpartition(":")[0].strip("[]")) for address in addresses)


def _check_unset(settings: KafkaSettings, fields: tuple[str, ...], needed: str) -> None:
    for field in fields:
        if value := _value(settings, field):
            raise refused(field, value, needed)


def _check_set(settings: KafkaSettings, fields: tuple[str, ...], needed: str) -> None:
    for field in fields:
        if not _value(settings, field):
            raise refused(field, "", needed)


def _value(settings: KafkaSettings, field: str) -> str:
    value: str = getattr(settings, field)
    return value
