"""The MQTT broker and the Kafka brokers that the settings name."""

from __future__ import annotations

import re
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider

from agents.kafka.access import KafkaAccess
from agents.kafka.tokens import TokenEndpoint, TokenFile
from app.embedded.kafka import login
from app.settings import Settings, data_folder
from headrace.process.mqtt_address import MqttAddress, read_mqtt_url


def mqtt_address(settings: Settings, *, host_name: str) -> MqttAddress:
    """The address of the MQTT broker that is set, or of the embedded one. `host_name` goes into the client id."""
    # The embedded amqtt stores nothing for a client without a user name.
    url = settings.mqtt_url or f"mqtt://headrace@127.0.0.1:{settings.embedded_mqtt_port}"
    host, port, user, password, tls = read_mqtt_url(url)
    own_name = re.sub(r"[^A-Za-z0-9._-]", "-", f"headrace-{host_name}-{settings.ingestion_port}")
    return MqttAddress(
        host=host,
        port=port,
        client_id=settings.mqtt_client_id or own_name,
        user=user,
        password=password,
        tls=tls,
        ca_file=settings.mqtt_ca_file,
        certificate_file=settings.mqtt_certificate_file,
        key_file=settings.mqtt_key_file,
        version_5=settings.mqtt_protocol == "5",
        shared=(settings.mqtt_shared or ("on" if settings.mqtt_url else "off")) == "on",
    )


def kafka_access(settings: Settings, *, embedded: bool = False) -> KafkaAccess:
    """The Kafka that is set, or the embedded one, whose password is in the data folder."""
    if embedded:
        return KafkaAccess(
            f"127.0.0.1:{settings.embedded_kafka_port}",
            mechanism=login.MECHANISM,
            user=login.USER,
            password_file=login.password_file(data_folder(settings) / "kafka"),
        )
    return KafkaAccess(
        settings.bootstrap_servers,
        tls=settings.kafka_tls,
        ca_file=settings.kafka_ca_file,
        certificate_file=settings.kafka_certificate_file,
        key_file=settings.kafka_key_file,
        mechanism=settings.kafka_sasl_mechanism,
        user=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        tokens=_tokens(settings),
    )


def _tokens(settings: Settings) -> AbstractTokenProvider | None:
    if settings.kafka_token_file:
        return TokenFile(Path(settings.kafka_token_file))
    if settings.kafka_token_url:
        return TokenEndpoint(
            settings.kafka_token_url,
            settings.kafka_token_client_id,
            settings.kafka_token_client_secret,
            settings.kafka_token_scope,
        )
    return None
