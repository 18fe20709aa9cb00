"""The MQTT broker that the settings name."""

from __future__ import annotations

import re

from app.settings import Settings
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
