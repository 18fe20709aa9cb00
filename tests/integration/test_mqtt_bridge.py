"""The bridge on a real mosquitto and a real database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.mqtt.bridge import MqttBridge
from agents.projections.devices import devices
from app.settings import read_settings
from app.worker.broker_address import mqtt_address
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database, Pool
from tables.intake import dead_letters
from tables.intake.group_commit import GroupCommit

from tests.support.clients.device_client import DeviceClient
from tests.support.loop_lag import MOST_LAG_SECONDS, LoopLag
from tests.support.servers.fresh import server_folder
from tests.support.servers.mosquitto import Mosquitto
from tests.support.waiting import until

SECONDS = 30.0
OUTBOX = "SELECT id, source, event::text AS text FROM outbox ORDER BY seq"


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture
async def broker(folder: Path) -> AsyncIterator[Mosquitto]:
    mosquitto = Mosquitto(folder)
    await mosquitto.start()
    yield mosquitto
    mosquitto.kill()


def make_bridge(broker: Mosquitto, database: Database, name: str = "w1", **settings: str) -> MqttBridge:
    given = {"MQTT_URL": broker.url, "MQTT_CLIENT_ID": name, **settings}
    return MqttBridge(
        mqtt_address(read_settings(given), host_name="tests"),
        database,
        GroupCommit(database, max_queued_events=20_000, committed=lambda: None),
        EventTypes([devices]),
        Limits(),
        max_in_flight=100,
    )


@asynccontextmanager
async def running(bridge: MqttBridge) -> AsyncIterator[MqttBridge]:
    await bridge.start()
    try:

        async def connected() -> bool:
            return bridge.is_connected

        await until(connected, SECONDS, "the bridge did not connect")
        yield bridge
    finally:
        await bridge.stop()


def reading(number: int, **members: Any) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "id": f"r-{number}",
        "source": "/greenhouse",
        "type": "reading.recorded",
        "data": {"metric": "temperature", "value": number},
        **members,
    }
    return {name: value for name, value in event.items() if value is not None}


async def events_in(pool: Pool, count: int) -> list[dict[str, Any]]:
    """The outbox, when it has so many."""

    async def there() -> bool:
        return int(await pool.fetchval("SELECT count(*) FROM outbox")) >= count

    await until(there, SECONDS, f"not {count} events in the outbox")
    return [json.loads(row["text"]) for row in await pool.fetch(OUTBOX)]


async def letters_in(pool: Pool, count: int) -> list[dead_letters.DeadLetter]:
    async def there() -> bool:
        return int(await pool.fetchval("SELECT count(*) FROM dead_letters")) >= count

    await until(there, SECONDS, f"not {count} dead letters")
    async with pool.acquire() as connection:
        return (await dead_letters.newest(connection, at_most=100)).letters


async def answers_of(device: DeviceClient, count: int) -> list[dict[str, Any]]:
    async def there() -> bool:
        return len(device.answers) >= count

    await until(there, SECONDS, f"not {count} answers")
    return [json.loads(answer.payload) for answer in device.answers]


@pytest.mark.parametrize("ours", ["5", "3.1.1"])
@pytest.mark.parametrize("version_5", [True, False], ids=["device5", "device311"])
async def test_an_event_of_a_device_is_in_the_outbox_with_the_device_as_its_subject(
    broker: Mosquitto, database: Database, pool: Pool, ours: str, version_5: bool
) -> None:
    async with (
        running(make_bridge(broker, database, MQTT_PROTOCOL=ours)),
        DeviceClient(broker.url, "dev-1", version_5=version_5) as device,
    ):
        await device.publish(reading(1))
        await device.publish(reading(2, subject="dev-1"))
        found = await events_in(pool, 2)
    assert [(one["id"], one["subject"]) for one in found] == [("r-1", "dev-1"), ("r-2", "dev-1")]


async def test_binary_mode_is_read_from_the_user_properties(broker: Mosquitto, database: Database, pool: Pool) -> None:
    attributes = [("specversion", "1.0"), ("id", "b-1"), ("source", "/g"), ("type", "photo.taken"), ("lens", "wide")]
    async with running(make_bridge(broker, database)), DeviceClient(broker.url, "dev-1") as device:
        await device.publish(b'{"n":1.50}', ContentType="application/json", UserProperty=attributes)
        image = [(name, "b-2" if name == "id" else value) for name, value in attributes]
        await device.publish(b"\xff\xd8", ContentType="image/jpeg", UserProperty=image)
        json_one, jpeg = await events_in(pool, 2)
    assert (json_one["data"], json_one["subject"], json_one["lens"]) == ({"n": 1.50}, "dev-1", "wide")
    assert (jpeg["data_base64"], jpeg["datacontenttype"]) == ("/9g=", "image/jpeg")


async def test_answers_on_the_response_topic_are_those_of_http(broker: Mosquitto, database: Database) -> None:
    async with running(make_bridge(broker, database)), DeviceClient(broker.url, "dev-1") as device:
        payloads: list[dict[str, Any] | str] = [reading(1), reading(1), reading(1, subject="dev-2"), "hello"]
        for number, payload in enumerate(payloads):
            await device.publish(payload, ResponseTopic=device.response_topic, CorrelationData=bytes([number]))
        answers = await answers_of(device, 4)
    assert answers[0] == {"id": "r-1", "source": "/greenhouse", "status": "accepted"}
    assert answers[1] == {"id": "r-1", "source": "/greenhouse", "status": "duplicate"}
    assert [answer.get("status") for answer in answers[2:]] == [403, 400]
    assert answers[2]["errors"] == [
        {"pointer": "/subject", "code": "subject_mismatch", "detail": "must be the device of the topic, or absent"}
    ]
    assert answers[3]["type"] == "urn:headrace:problem:malformed_json"
    told = [vars(answer.properties) for answer in device.answers]
    assert [one["CorrelationData"] for one in told] == [b"\0", b"\1", b"\2", b"\3"]
    assert [one["ContentType"] for one in told] == ["application/json"] * 2 + ["application/problem+json"] * 2


async def test_what_is_refused_is_kept_once_and_does_not_hold_up_what_follows(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    async with running(make_bridge(broker, database)) as bridge, DeviceClient(broker.url, "dev-1") as device:
        for payload in (b"\xff\xfe", b"", "hello", "hello", reading(1, data={"metric": "t", "value": "warm"})):
            await device.publish(payload)
        await device.publish(reading(2))
        await device.publish(reading(2, data={"metric": "t", "value": 3}))
        assert [one["id"] for one in await events_in(pool, 1)] == ["r-2"]
        letters = await letters_in(pool, 5)
        assert (bridge.counts.accepted, bridge.counts.rejected) == (1, 6)
    assert [(one.code, one.times) for one in reversed(letters)] == [
        ("invalid_utf8", 1),
        ("malformed_json", 1),
        ("malformed_json", 2),
        ("invalid_data", 1),
        ("id_conflict", 1),
    ]
    assert letters[-1].payload == b"\xff\xfe"
    assert json.loads(bytes(letters[0].problem))["status"] == 409


async def test_what_arrives_while_no_worker_runs_is_delivered_later_in_order(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    async with running(make_bridge(broker, database)):
        pass
    async with DeviceClient(broker.url, "dev-1") as device:
        for number in range(300):
            device.send(reading(number))
        await device.publish(reading(300))
    async with running(make_bridge(broker, database)):
        found = await events_in(pool, 301)
    assert [one["id"] for one in found] == [f"r-{number}" for number in range(301)]


async def test_a_database_that_is_away_holds_the_acknowledgements_back(
    broker: Mosquitto, database: Database, database_dsn: str, pool: Pool
) -> None:
    away = Database(pool_size=2, timeout_seconds=5)
    async with running(make_bridge(broker, away)), DeviceClient(broker.url, "dev-1") as device:
        for number in range(250):
            device.send(reading(number))
        await device.publish(reading(250))
        assert "Received PUBACK from w1" not in broker.log.read_text()
        await away.open(database_dsn)
        found = await events_in(pool, 251)
    away.close()
    assert [one["id"] for one in found] == [f"r-{number}" for number in range(251)]


async def test_a_broker_that_was_killed_has_the_subscription_still_and_is_found_again(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    # mosquitto keeps shared subscriptions since 2.0.19 only: docs/mqtt.md.
    async with running(make_bridge(broker, database, MQTT_SHARED="off")) as bridge:
        # It writes after it has answered.
        await until(lambda: broker.has_written(b"devices/+/events"), SECONDS)
        broker.kill()

        async def lost() -> bool:
            return not bridge.is_connected

        await until(lost, SECONDS)
        await broker.start()
        async with DeviceClient(broker.url, "dev-1") as device:
            await device.publish(reading(1))
            assert len(await events_in(pool, 1)) == 1


async def test_two_workers_share_the_load(broker: Mosquitto, database: Database, pool: Pool) -> None:
    async with (
        running(make_bridge(broker, database, "w1")) as first,
        running(make_bridge(broker, database, "w2")) as second,
        DeviceClient(broker.url, "dev-1") as device,
    ):
        for number in range(200):
            device.send(reading(number))
        assert len(await events_in(pool, 200)) == 200
        assert first.counts.accepted + second.counts.accepted == 200
        assert min(first.counts.accepted, second.counts.accepted) > 50


async def test_workers_that_do_not_share_store_each_event_once_and_in_order(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    async with (
        running(make_bridge(broker, database, "w1", MQTT_SHARED="off")) as first,
        running(make_bridge(broker, database, "w2", MQTT_SHARED="off")) as second,
        DeviceClient(broker.url, "dev-1") as device,
    ):
        for number in range(200):
            device.send(reading(number))

        async def taken() -> bool:
            counts = (first.counts, second.counts)
            return sum(one.accepted + one.duplicate for one in counts) == 400

        await until(taken, SECONDS)
        found = await events_in(pool, 200)
    assert [one["id"] for one in found] == [f"r-{number}" for number in range(200)]


@pytest.mark.parametrize(("before", "after"), [("on", "off"), ("off", "on")])
async def test_the_subscription_of_an_earlier_setting_is_given_up(
    broker: Mosquitto, database: Database, pool: Pool, before: str, after: str
) -> None:
    async with running(make_bridge(broker, database, MQTT_SHARED=before)):
        pass
    async with (
        running(make_bridge(broker, database, MQTT_SHARED=after)) as bridge,
        DeviceClient(broker.url, "dev-1") as device,
    ):
        await device.publish(reading(1))
        await device.publish(reading(2))
        await events_in(pool, 2)
        assert (bridge.counts.accepted, bridge.counts.duplicate) == (2, 0)


async def test_a_bridge_that_has_started_misses_nothing(broker: Mosquitto, database: Database, pool: Pool) -> None:
    bridge = make_bridge(broker, database)
    async with DeviceClient(broker.url, "dev-1") as device:
        await bridge.start()
        try:
            await device.publish(reading(1))
            assert len(await events_in(pool, 1)) == 1
        finally:
            await bridge.stop()


async def test_a_bridge_stops_twice_and_without_a_broker(database: Database, broker: Mosquitto) -> None:
    broker.kill()
    bridge = make_bridge(broker, database)
    await bridge.start()
    await bridge.stop()
    await bridge.stop()


async def test_a_message_that_makes_every_statement_fail_is_a_dead_letter_and_the_others_are_stored(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    await pool.execute(
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nobody expects this'; END $$"
    )
    await pool.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.id = 'r-7') EXECUTE FUNCTION poison()"
    )
    bridge = make_bridge(broker, database)
    async with running(bridge), DeviceClient(broker.url, "dev-1") as device:
        for number in range(20):
            await device.publish(reading(number), ResponseTopic=device.response_topic)
        found = await events_in(pool, 19)
        (letter,) = await letters_in(pool, 1)
        answers = await answers_of(device, 20)
    assert [one["id"] for one in found] == [f"r-{number}" for number in range(20) if number != 7]
    assert letter.code == "unstorable"
    assert "RaiseError" in letter.reason
    assert [answer.get("status") for answer in answers].count("accepted") == 19
    assert (bridge.counts.accepted, bridge.counts.rejected) == (19, 1)


async def test_large_messages_do_not_hold_the_loop_and_stay_in_order(
    broker: Mosquitto, database: Database, pool: Pool
) -> None:
    wide = "[" + "[]," * 290_000 + "[]]"
    async with running(make_bridge(broker, database)), DeviceClient(broker.url, "dev-1") as device:
        lag = LoopLag()
        for number in range(12):
            data = wide if number % 3 == 0 else "1"
            text = f'{{"specversion":"1.0","id":"r-{number}","source":"/greenhouse","type":"wide","data":{data}}}'
            device.send(text)
        found = await events_in(pool, 12)
        lag.end()
    assert [one["id"] for one in found] == [f"r-{number}" for number in range(12)]
    assert lag.own < MOST_LAG_SECONDS
