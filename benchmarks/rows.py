"""Events made by PostgreSQL itself: faster than any client, and the same for whoever is compared.

The event of number n is a reading of device n * 7919 modulo the number of devices, with an id that tells n.
"""

from __future__ import annotations

from tables.database import Connection

DEVICES = 1_000
# Rows that are written as a client with batches would write them: so many a commit.
ROWS_A_COMMIT = 1_000
# $1 the first number, $2 the last one, $3 how many devices.
EVENTS = """
SELECT n, id, device, event_time, format(
    '{"specversion":"1.0","id":"%s","source":"/bench/rows","type":"reading.recorded","subject":"%s","time":"%s",'
    '"data":{"metric":"temperature","value":%s.%s,"unit":"C"}}',
    id, device, to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), n % 40, n % 10
) AS event
FROM generate_series($1::bigint, $2::bigint) AS n
CROSS JOIN LATERAL (
    SELECT lpad(to_hex(n), 32, '0')::uuid::text AS id, 'device-' || n * 7919 % $3::bigint AS device,
           timestamptz '2026-11-22 00:00:00Z' + n % 86400 * interval '1 second' AS event_time
) AS made
"""
INTO_OUTBOX = f"""
INSERT INTO outbox (id, source, event_type, subject, event_time, partition_key, key_hash, event)
SELECT id, '/bench/rows', 'reading.recorded', device, event_time, device, crc32(convert_to(device, 'UTF8')), event::json
FROM ({EVENTS}) AS made ORDER BY n
"""  # noqa: S608 - our own text


# As tables.outbox.accept does it, through the same function of the database.
ACCEPT_AS_THE_DOOR = f"""
SELECT index FROM (
    SELECT array_agg(id) AS ids, array_agg('/bench/rows'::text) AS sources,
           array_agg('reading.recorded'::text) AS event_types, array_agg(device) AS subjects,
           array_agg(event_time::text) AS event_times, array_agg(true) AS times_given,
           array_agg(device) AS partition_keys, array_agg(crc32(convert_to(device, 'UTF8'))) AS key_hashes,
           array_agg(event::json) AS events, array_agg(''::bytea) AS digests
    FROM ({EVENTS}) AS made
) AS sent
CROSS JOIN LATERAL outbox_accept_group(
    ids, sources, event_types, subjects, event_times, times_given, partition_keys, key_hashes, events, digests
)
"""  # noqa: S608 - our own text


async def fill(connection: Connection, into: str, *, first: int, events: int, devices: int = DEVICES) -> None:
    """Run the statement `into`, which takes what EVENTS takes, for so many events from number `first` on."""
    statement = await connection.prepare(into)
    for start in range(first, first + events, ROWS_A_COMMIT):
        await statement.fetch(start, min(start + ROWS_A_COMMIT, first + events) - 1, devices)


def number_of(event_id: str) -> int:
    """The number of the event with this id."""
    return int(event_id.replace("-", ""), 16)
