"""`dead_letters`: device messages that were refused and acknowledged, so they are not redelivered."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from headrace.access.grant import Allowed
from headrace.process.turns import off_the_loop
from tables.allowed import Arguments, condition
from tables.database import AnyConnection, storable

# Payloads and topics are truncated to this. An event within the usual size limit fits.
MAX_PAYLOAD_BYTES = 65_536
MAX_TOPIC_CHARACTERS = 1_024
# Beyond this number, the oldest are deleted: a misbehaving device must not fill the disk.
MAX_LETTERS = 100_000

# A repeated message is counted in its row. If two workers write the same rows in different orders, one of them gets a
# deadlock error and retries.
STORE = """
WITH stored AS (
    INSERT INTO dead_letters AS d (digest, times, topic, payload, payload_bytes, code, reason, problem)
    SELECT * FROM unnest(
        $1::bytea[], $2::integer[], $3::text[], $4::bytea[], $5::integer[], $6::text[], $7::text[], $8::text[]
    )
    ON CONFLICT (digest) DO UPDATE SET times = d.times + excluded.times, last_received_at = clock_timestamp()
    RETURNING number
)
-- A row that was counted again has a smaller number than a row that is new to this statement's snapshot.
SELECT EXISTS (SELECT FROM stored WHERE number > coalesce((SELECT max(number) FROM dead_letters), 0)) AS has_new
"""
# Rows are counted, because repeated messages use up numbers. The first condition is one comparison while there are few.
TRIM = """
DELETE FROM dead_letters
WHERE (SELECT max(number) - min(number) FROM dead_letters) >= $1
  AND number <= (SELECT number FROM dead_letters ORDER BY number DESC OFFSET $1 LIMIT 1)
"""
# $1: only smaller numbers, $2: the limit.
NEWEST = """
SELECT number, topic, payload, payload_bytes, code, reason, problem, times, received_at, last_received_at, found
FROM (
    SELECT *, count(*) OVER () AS found,
           sum(bytes) OVER (ORDER BY number DESC ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM (
        SELECT *, octet_length(payload) + octet_length(topic) + octet_length(reason) + octet_length(problem) AS bytes
        FROM dead_letters
        WHERE number < $1{own}
        ORDER BY number DESC
        LIMIT $2
    ) AS next
) AS page
WHERE bytes_before < $3
ORDER BY number DESC
"""
# Who published the message: the broker allows a device its own topics alone. Of a topic that was cut, nobody knows.
DEVICE = (
    f"(CASE WHEN length(topic) < {MAX_TOPIC_CHARACTERS} THEN substring(topic FROM '^devices/([^/]+)/events$') END"
    ' COLLATE "C")'
)
MAX_PAGE_BYTES = 3 * 1024 * 1024
"""Of dead letters that are read together, unless it is a single letter; base64 adds a third to a payload."""
MAX_STATEMENT_BYTES = 4 * 1024 * 1024
NEWEST_NUMBER = 2**63 - 1


class RefusedMessage(msgspec.Struct, frozen=True):
    """A refused message, to be stored."""

    topic: str
    payload: bytes
    code: str
    """The reason for programs, as in the problem document."""
    reason: str
    """The reason for people."""
    problem: str
    """The problem document (JSON) that a device gets if it asked for a response."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A refused message, as stored."""

    number: int
    topic: str
    payload: bytes
    """The first 65,536 bytes; base64 in JSON."""
    payload_bytes: int
    """The length of the whole payload."""
    code: str
    reason: str
    problem: msgspec.Raw
    times: int
    """How often the same message was received."""
    received_at: datetime
    last_received_at: datetime


class DeadLetters(NamedTuple):
    """Dead letters in order, and whether there are more after them."""

    letters: list[DeadLetter]
    more: bool


async def store(connection: AnyConnection, messages: Sequence[RefusedMessage]) -> None:
    """Insert the messages, count repeated messages in their rows, and delete the oldest rows beyond the limit.

    Each statement has at most `MAX_STATEMENT_BYTES`, unless it is a single message.
    """
    part: list[RefusedMessage] = []
    size, has_new = 0, False
    for message in messages:
        more = min(len(message.payload), MAX_PAYLOAD_BYTES) + len(message.reason) + len(message.problem)
        if part and size + more > MAX_STATEMENT_BYTES:
            has_new |= await _store_part(connection, part)
            part, size = [], 0
        part.append(message)
        size += more
    has_new |= await _store_part(connection, part)
    if has_new:
        await connection.execute(TRIM, MAX_LETTERS)


async def _store_part(connection: AnyConnection, messages: Sequence[RefusedMessage]) -> bool:
    """Return whether any of the messages is new."""
    size = sum(len(message.payload) for message in messages)
    digests = await off_the_loop(lambda: [_digest(message) for message in messages], size)
    times = Counter(digests)
    by_digest = dict(zip(digests, messages, strict=True))
    distinct = by_digest.values()
    has_new = await connection.fetchval(
        STORE,
        list(by_digest),
        [times[digest] for digest in by_digest],
        [storable(message.topic[:MAX_TOPIC_CHARACTERS]) for message in distinct],
        [message.payload[:MAX_PAYLOAD_BYTES] for message in distinct],
        [len(message.payload) for message in distinct],
        [message.code for message in distinct],
        [storable(message.reason) for message in distinct],
        [storable(message.problem) for message in distinct],
    )
    return bool(has_new)


async def newest(
    connection: AnyConnection, *, before: int = NEWEST_NUMBER, at_most: int, devices: Allowed | None = None
) -> DeadLetters:
    """At most `at_most` dead letters with a number less than `before`, newest first; those of `devices`, or all.

    Fewer if they exceed `MAX_PAGE_BYTES`, but at least one if there is any.
    """
    arguments = Arguments(before=3)
    own = "" if devices is None else f" AND {condition(DEVICE, devices, arguments.add)}"
    found = await connection.fetch(NEWEST.format(own=own), before, at_most + 1, MAX_PAGE_BYTES, *arguments)
    rows = [dict(row) for row in found[:at_most]]
    more = [row.pop("found") > len(rows) for row in rows][-1:] == [True]
    return DeadLetters([DeadLetter(**{**row, "problem": msgspec.Raw(row["problem"].encode())}) for row in rows], more)


def _digest(message: RefusedMessage) -> bytes:
    topic = message.topic.encode(errors="replace")
    return hashlib.sha256(b"\0".join((topic, message.code.encode(), message.payload))).digest()
