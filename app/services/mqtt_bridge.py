"""The bridge for devices, connected to the configured MQTT broker or to the embedded one."""

from __future__ import annotations

import socket

from msgspec.structs import replace

from agents.mqtt.bridge import MqttBridge
from app.embedded.mqtt.broker import mosquitto
from app.settings import Settings
from app.worker.broker_address import mqtt_address
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database
from tables.intake.backlog import Backlog
from tables.intake.group_commit import GroupCommit


def mqtt_bridge(
    settings: Settings,
    database: Database,
    group_commit: GroupCommit,
    event_types: EventTypes,
    limits: Limits,
    *,
    backlog: Backlog,
) -> list[MqttBridge]:
    """A list with the bridge, empty if MQTT_URL is off."""
    if settings.mqtt_url == "off":
        return []
    address = mqtt_address(settings, host_name=socket.gethostname())
    if not settings.mqtt_url and mosquitto() is None:
        address = replace(address, version_5=False)  # amqtt speaks 3.1.1 only
    return [
        MqttBridge(
            address,
            database,
            group_commit,
            event_types,
            limits,
            max_in_flight=settings.mqtt_max_in_flight,
            backlog=backlog,
            sources=settings.device_sources,
        )
    ]
