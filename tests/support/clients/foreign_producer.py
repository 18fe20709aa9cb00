"""Writes records that no program of ours writes, also such as aiokafka itself refuses to write or to read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

Header = tuple[str, bytes | None]

# Of a record batch: where its checksum is, and where what it covers begins.
CRC_AT = 17
ATTRIBUTES_AT = 21


async def write(
    bootstrap_servers: str, topic: str, records: Sequence[tuple[bytes | None, Sequence[Header]]], *, partition: int = 0
) -> None:
    """Write values with headers."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    try:
        for value, headers in records:
            await producer.send_and_wait(topic, value, key=b"k", partition=partition, headers=list(headers))
    finally:
        await producer.stop()


async def write_header_that_is_no_utf8(bootstrap_servers: str, topic: str, *, partition: int = 0) -> None:
    """Write a record with a header whose name is not UTF-8."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch.append(timestamp=None, key=b"k", value=b"{}", headers=[("namename", b"1")])
        _patch(batch)
        await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


def _patch(batch: Any) -> None:
    built = bytearray(batch._build())
    at = built.index(b"namename")
    built[at : at + 8] = b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe"
    struct.pack_into(">I", built, CRC_AT, calc_crc32c(bytes(built[ATTRIBUTES_AT:])))
    batch._buffer = bytes(built)
