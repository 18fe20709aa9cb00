"""`dead_letters`: messages of devices that were refused and acknowledged; nobody sends them again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec

from tables.database import AnyConnection

# What is kept of a payload and of a topic; an event that is not too large fits whole as a rule.
MOST_PAYLOAD_BYTES = 65_536
MOST_TOPIC_CHARACTERS = 1_024
# Beyond so many, the oldest go: a device that sends nonsense must not fill the disk.
MOST_LETTERS = 100_000

# The same message again is one row. (Two workers that write the same rows in another order: one of them is told to try
# again.)
KEEP = """
INSERT INTO dead_letters AS d (digest, times, topic, payload, payload_bytes, code, reason, problem)
SELECT * FROM unnest(
    $1::bytea[], $2::integer[], $3::text[], $4::bytea[], $5::integer[], $6::text[], $7::text[], $8::text[]
)
ON CONFLICT (digest) DO UPDATE SET times = d.times + excluded.times, last_received_at = clock_timestamp()
"""
FORGET = "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - $1"
# $1 the number to go on before, $2 how many.
NEWEST = """
SELECT number, topic, payload, payload_bytes, code, reason, problem, times, received_at, last_received_at
FROM dead_letters
WHERE number < $1
ORDER BY number DESC
LIMIT $2
"""
NEWEST_NUMBER = 2**63 - 1


class Letter(msgspec.Struct, frozen=True):
    """A message that was refused."""

    topic: str
    payload: bytes
    code: str
    """For programs, as in the problem."""
    reason: str
    """For people."""
    problem: str
    """What the device was told, or would have been: JSON."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was refused, as it is kept."""

    number: int
    topic: str
    payload: bytes
    """Its first 65,536 bytes; base64 in JSON."""
    payload_bytes: int
    """How long it was."""
    code: str
    reason: str
    problem: msgspec.Raw
    times: int
    """How often the same message came."""
    received_at: datetime
    last_received_at: datetime


async def keep(connection: AnyConnection, letters: Sequence[Letter]) -> None:
    """Write them; one that is kept already is counted."""
    digests = [_digest(letter) for letter in letters]
    times = Counter(digests)
    by_digest = dict(zip(digests, letters, strict=True))
    kept = by_digest.values()
    await connection.execute(
        KEEP,
        list(by_digest),
        [times[digest] for digest in by_digest],
        [letter.topic[:MOST_TOPIC_CHARACTERS] for letter in kept],
        [letter.payload[:MOST_PAYLOAD_BYTES] for letter in kept],
        [len(letter.payload) for letter in kept],
        [letter.code for letter in kept],
        [letter.reason for letter in kept],
        [letter.problem for letter in kept],
    )
    await connection.execute(FORGET, MOST_LETTERS)


async def newest(connection: AnyConnection, *, before: int = NEWEST_NUMBER, at_most: int) -> list[DeadLetter]:
    """The newest first, of those with a smaller number than `before`."""
    rows = await connection.fetch(NEWEST, before, at_most)
    return [DeadLetter(**{**row, "problem": msgspec.Raw(row["problem"].encode())}) for row in rows]


def _digest(letter: Letter) -> bytes:
    return hashlib.sha256(b"\0".join((letter.topic.encode(), letter.code.encode(), letter.payload))).digest()
