"""The header of a record that says which installation wrote it, in which epoch and after which event, and proves it."""

from __future__ import annotations

import hmac
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Mapping
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

ORIGIN = "headrace-origin"
VERSION = 1
UNKNOWN = -1
"""As the position of the event before: the event store says which it is."""
MAC_BYTES = 16
# Version, installation, epoch, position before; then the signature.
_CLAIM = Struct(">B8sqq")
CLAIM_BYTES = _CLAIM.size
unpack_claim = _CLAIM.unpack_from
"""The version, the installation, the epoch, and the position of the event before, or UNKNOWN, of an origin."""
ORIGIN_BYTES = CLAIM_BYTES + MAC_BYTES
# Base64, because tools print headers as text.
HEADER_BYTES = len(b2a_base64(bytes(ORIGIN_BYTES), newline=False))
PARTITION_BYTES = 4
MAX_POSITION = 2**63 - 1


class Installation:
    """What distinguishes the records of a database: an id of 8 bytes, and a secret of 32."""

    __slots__ = ("_by_partition", "_keyed", "id")

    def __init__(self, installation: bytes, secret: bytes) -> None:
        self.id = installation
        # Copied for each record, which costs less than to set the key again.
        self._keyed = blake2b(key=secret, digest_size=MAC_BYTES)
        self._by_partition = {0: self._of(0)}

    def mac(self, claim: bytes, partition: int, value: bytes) -> bytes:
        """The signature of a record's claim, partition and value."""
        if partition not in self._by_partition:
            self._by_partition[partition] = self._of(partition)
        mac = self._by_partition[partition].copy()
        mac.update(claim)
        mac.update(value)
        return mac.digest()

    def _of(self, partition: int) -> blake2b:
        keyed = self._keyed.copy()
        keyed.update(partition.to_bytes(PARTITION_BYTES))
        return keyed


class Origin(NamedTuple):
    """Who wrote a record, as its header claims."""

    installation: bytes
    epoch: int


class Timeline(NamedTuple):
    """What a database says about the records on the topic."""

    installation: Installation
    epoch: int
    """The id of the epoch that is open."""
    ends: Mapping[int, int]
    """By epoch, the position after which its records are not genuine."""
    unsigned_end: int
    """The position up to which records of earlier versions, without a header, may be ours."""
    last_position: int
    """The end of the event store when this was read."""


def sign(installation: Installation, epoch: int, partition: int, follows: int | None, value: bytes) -> bytes:
    """The header of a record; `follows`: the position of the event before in the partition, or None if unknown."""
    claim = _CLAIM.pack(VERSION, installation.id, epoch, UNKNOWN if follows is None else follows)
    return b2a_base64(claim + installation.mac(claim, partition, value), newline=False)


def origin_in(header: bytes | None) -> bytes | None:
    """The origin in a header; None if it is not of a version that is known here."""
    if header is None or len(header) != HEADER_BYTES:
        return None
    try:
        origin = a2b_base64(header, strict_mode=True)
    except Error:
        return None
    return origin if len(origin) == ORIGIN_BYTES and origin[0] == VERSION else None


def is_signed(origin: bytes, installation: Installation, partition: int, value: bytes) -> bool:
    """Whether the installation has written this value to this partition, with these claims."""
    return hmac.compare_digest(installation.mac(origin[:CLAIM_BYTES], partition, value), origin[CLAIM_BYTES:])
