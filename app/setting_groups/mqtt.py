"""Settings: what a device may send over MQTT."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.setting_groups.kafka import KafkaSettings
from headrace.events import device_sources
from headrace.events.device_sources import DeviceSources


class MqttSettings(KafkaSettings, frozen=True, kw_only=True):
    """What a device may send."""

    mqtt_sources: Annotated[
        str,
        Meta(
            pattern=device_sources.PATTERN,
            description="any, or a prefix with {device} that ends in /; empty: any where AUTH is off, otherwise "
            f"{device_sources.DEFAULT}",
        ),
    ] = ""
    """Sources that a device may use over MQTT: this prefix with its name, also without the last slash. Its partition
    key must then be its name or begin with its name and a slash. any: no check, so devices may use the ids and the
    partition keys of others."""

    @property
    def device_sources(self) -> DeviceSources | None:
        """The sources that a device may use; None: any."""
        default = device_sources.DEFAULT if self.authenticates else device_sources.ANY
        return DeviceSources.of(self.mqtt_sources or default)
