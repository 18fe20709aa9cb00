"""A number that no double can hold, published by a device on a real mosquitto: a dead letter, and others proceed."""

from __future__ import annotations

from tables.database import Database, Pool

from tests.integration.test_mqtt_bridge import broker, events_in, folder, letters_in, make_bridge, reading, running
from tests.support.clients.device_client import DeviceClient
from tests.support.servers.mosquitto import Mosquitto

__all__ = ["broker", "folder"]
HUGE = '{"specversion":"1.0","id":"bad","source":"/s","type":"reading.recorded","data":{"metric":"t","value":%s}}'


async def test_a_message_with_a_number_too_large_is_a_dead_letter_and_later_messages_are_accepted(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    async with running(make_bridge(broker, database)) as bridge, DeviceClient(broker.url, "x") as device:
        for number in ("1e400", "9" * 5_000, "1e" + "0" * 5_000 + "400"):
            await device.publish((HUGE % number).encode())
        await device.publish(reading(1))
        assert [one["id"] for one in await events_in(pool, 1)] == ["r-1"]
        letters = await letters_in(pool, 3)
        assert bridge.is_connected
    assert {letter.code for letter in letters} == {"invalid_data"}
    assert all("/data/value" in letter.reason for letter in letters)
