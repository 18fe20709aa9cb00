"""A database with a past: events stored, published and applied, as the product would have left it.

Every device has EVENTS_A_DEVICE readings, a minute apart, in one hour; the devices lie in the tables in no order of
their numbers. Made once in a session, and copied for each round.
"""

from __future__ import annotations

import asyncio
import json

from aiokafka import AIOKafkaProducer

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import ensure_topic
from headrace.events.topic_record import HEADERS, encode
from tables.database import Connection
from tables.intake.outbox import StoredEvent
from tables.migrate import migrate

from benchmarks.check import check_counts, check_positions, check_same, fold
from benchmarks.place import CONNECT_SECONDS, Place, connect, dsn_of
from benchmarks.system import PROJECTIONS, System
from benchmarks.topic_records import PARTITIONS

EVENTS_A_DEVICE = 5
TYPE = "reading.recorded"
# $1 how many devices, $2 readings of each, $3 partitions. `turn` counts a device's readings; rows come in order.
DEVICE = """
SELECT 'device-' || number AS device, (crc32(convert_to('device-' || number, 'UTF8')) % $3)::integer AS partition,
       number % 40 + 0.5 AS least
FROM (SELECT place * 7919 % $1 AS number) AS made
"""
DEVICES = f"""
SELECT place, made.* FROM generate_series(0, $1::bigint - 1) AS place CROSS JOIN LATERAL ({DEVICE}) AS made
"""  # noqa: S608 - our own text
TIME = """to_char(timestamp '2026-11-21 10:00' + {turn} * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
STORE = f"""
INSERT INTO event_store
    (position, id, source, event_type, subject, event_time, received_at, recorded_at, partition, event)
SELECT n + 1, id, '/bench/past', '{TYPE}', device, time::timestamptz, time::timestamptz, time::timestamptz, partition,
       jsonb_build_object('specversion', '1.0', 'id', id, 'source', '/bench/past', 'type', '{TYPE}', 'subject', device,
           'time', time, 'data', jsonb_build_object('metric', 'temperature', 'value', least + turn, 'unit', 'C'))
FROM generate_series(0, $1::bigint * $2::bigint - 1) AS n
CROSS JOIN LATERAL (
    SELECT 'past-' || n AS id, n / $1 AS turn, n % $1 AS place, {TIME.format(turn="(n / $1)")} AS time
) AS event
CROSS JOIN LATERAL ({DEVICE}) AS made
"""  # noqa: S608 - our own text
PROJECT_DEVICES = f"""
INSERT INTO projections (projection, key, state, position, version)
SELECT 'devices', device,
       jsonb_build_object('status', 'unregistered', 'name', NULL, 'model', NULL, 'registered_at', NULL,
           'retired_at', NULL, 'first_seen', {TIME.format(turn="0")}, 'last_seen', last, 'readings', $2::bigint,
           'latest', jsonb_build_object('temperature',
               jsonb_build_object('value', least + $2 - 1, 'unit', 'C', 'time', last))),
       ($2 - 1) * $1 + place + 1, $2
FROM ({DEVICES}) AS devices CROSS JOIN (SELECT {TIME.format(turn="($2 - 1)")} AS last) AS at
"""  # noqa: S608 - our own text
PROJECT_HOURS = f"""
INSERT INTO projections (projection, key, state, position, version)
SELECT 'readings_hourly', device || '/temperature/2026-11-21T10',
       jsonb_build_object('device', device, 'metric', 'temperature', 'hour', '2026-11-21T10', 'count', $2::bigint,
           'sum', ($2 * least + $2 * ($2 - 1) / 2)::numeric(20, 1), 'min', least, 'max', least + $2 - 1,
           'last', least + $2 - 1),
       ($2 - 1) * $1 + place + 1, $2
FROM ({DEVICES}) AS devices
"""  # noqa: S608 - our own text
PROJECT_TYPES = f"""
INSERT INTO projections (projection, key, state, position, version)
SELECT 'event_types', '{TYPE}', jsonb_build_object('count', $1::bigint * $2::bigint, 'first_time',
       {TIME.format(turn="0")}, 'last_time', {TIME.format(turn="($2 - 1)")}), $1 * $2, $2
"""
RELAY_STATE = "UPDATE relay_state SET last_position = (SELECT max(position) FROM event_store)"
PARTITIONS_END = """
INSERT INTO topic_partitions (partition, last_position, previous_position)
SELECT partition, max(position), max(position) FROM event_store GROUP BY partition
"""
PROGRESS = """
INSERT INTO progress (projection, partition, position)
SELECT name, partition, last_position FROM topic_partitions CROSS JOIN unnest($1::text[]) AS name
"""
LAST_EVENTS = """
SELECT e.position, e.partition, e.subject, e.event::text AS text
FROM topic_partitions AS t JOIN event_store AS e ON e.position = t.last_position
"""
# Events since, and all of the past of the devices that they touch.
TOUCHED = "SELECT DISTINCT subject FROM event_store WHERE position > $1"
NEW_POSITIONS = "SELECT position FROM event_store WHERE position > $1 ORDER BY position"
EVENTS = "SELECT event::text AS event FROM event_store WHERE subject = ANY ($1::text[]) ORDER BY position"
ROWS = """
SELECT projection, key, state::text AS state FROM projections
WHERE projection = 'event_types' OR (projection = 'devices' AND key = ANY ($1::text[]))
   OR (projection = 'readings_hourly' AND state ->> 'device' = ANY ($1::text[]))
"""


async def grown_database(place: Place, devices: int) -> str:
    """The name of a database with a past of so many devices, to be copied."""
    name = f"grown_{devices}"
    if name not in place.made:
        owner = await connect(place.postgres.address)
        try:
            await owner.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # a round may have failed half-way
            await owner.execute(f"CREATE DATABASE {name}")
        finally:
            await owner.close(timeout=CONNECT_SECONDS)
        connection = await connect(dsn_of(place.postgres, name))
        try:
            await _fill(connection, devices)
        finally:
            await connection.close(timeout=CONNECT_SECONDS)
        place.made.add(name)
    return name


async def _fill(connection: Connection, devices: int) -> None:
    await migrate(connection)
    for statement in (STORE, PROJECT_DEVICES, PROJECT_HOURS):
        await connection.execute(statement, devices, EVENTS_A_DEVICE, PARTITIONS)
    await connection.execute(PROJECT_TYPES, devices, EVENTS_A_DEVICE)
    await connection.execute(RELAY_STATE)
    await connection.execute(PARTITIONS_END)
    await connection.execute(PROGRESS, PROJECTIONS)
    await connection.execute("VACUUM ANALYZE")


async def end_topic_as_stored(place: Place, system: System) -> None:
    """Make the topic with the last event of each partition: from its end the relay sees that it lacks nothing."""
    await ensure_topic(KafkaAccess(place.bootstrap_servers), system.topic, partitions=PARTITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=place.bootstrap_servers)
    await producer.start()
    try:
        for row in await system.connection.fetch(LAST_EVENTS):
            event = StoredEvent(0, row["position"], row["partition"], row["subject"], row["text"])
            await producer.send_and_wait(
                system.topic,
                encode(event.text, event.position),
                key=event.partition_key.encode(),
                partition=event.partition,
                headers=HEADERS,
            )
    finally:
        await producer.stop()


async def check_grown(connection: Connection, *, past: int, accepted: int, unanswered: int) -> None:
    """Raises RoundFailedError unless all that was accepted is stored, and the rows of every device that was touched
    are the fold of all of its events, the past ones among them."""
    await check_counts(connection, accepted=past + accepted, unanswered=unanswered)
    positions = [row["position"] for row in await connection.fetch(NEW_POSITIONS, past)]
    check_positions(positions, first=past + 1)
    touched = [row["subject"] for row in await connection.fetch(TOUCHED, past)]
    events = await connection.fetch(EVENTS, touched)
    expected = await asyncio.to_thread(fold, (row["event"] for row in events))
    expected["event_types", TYPE]["count"] = past + len(positions)
    rows = await connection.fetch(ROWS, touched)
    check_same(expected, {(row["projection"], row["key"]): json.loads(row["state"]) for row in rows})
