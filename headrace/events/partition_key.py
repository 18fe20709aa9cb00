"""The partition key of an event: events of one key are stored, published and applied in order."""

from __future__ import annotations

import zlib


def partition_key(partitionkey: str | None, subject: str | None, source: str) -> str:
    """The extension `partitionkey`, else the subject, else the source."""
    return partitionkey or subject or source


def key_hash(key: str) -> int:
    """CRC-32, as librdkafka's `consistent` partitioner: modulo the number of partitions it is the partition."""
    return zlib.crc32(key.encode())
