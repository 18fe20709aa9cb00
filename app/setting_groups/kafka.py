"""Settings: where Kafka is, and how to log in there."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.setting_groups.refusals import refused
from app.setting_groups.tls import TlsSettings
from headrace.process.server_urls import NO_LOGIN, is_broker_url


class KafkaSettings(TlsSettings, frozen=True, kw_only=True):
    """Where Kafka is, and how to log in there."""

    broker_url: Annotated[str, Meta(description="kafka://host:port[,host:port]; empty: embedded Apache Kafka")] = ""
    """Addresses of Kafka brokers to bootstrap from."""

    @property
    def bootstrap_servers(self) -> str:
        """The brokers as `host:port,host:port`."""
        return self.broker_url.replace("kafka://", "")


def check_kafka(settings: KafkaSettings, allowed: str) -> None:
    """Raises InvalidSettingError; `allowed` describes BROKER_URL."""
    if "@" in settings.broker_url:
        raise refused("broker_url", settings.broker_url, NO_LOGIN)
    if settings.broker_url and not is_broker_url(settings.broker_url):
        raise refused("broker_url", settings.broker_url, allowed)
