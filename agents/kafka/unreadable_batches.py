"""A patch for aiokafka's consumer, which would fetch a batch that it cannot decode again and again.

A header's name that is not UTF-8 is enough: no record behind it would ever be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import KafkaError

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

log = ActionLog(__name__)
throttled = ThrottledLog(log)

_unpack_records = PartitionRecords._unpack_records


class _Batches:
    """The batches of a fetch, and the last of them that was read."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self.has_next = batches.has_next
        self.last: Any = None

    def next_batch(self) -> Any:
        self.last = self._batches.next_batch()
        return self.last


def patch_unreadable_batches() -> None:
    """Make aiokafka skip a batch that it cannot decode, for the whole process."""
    PartitionRecords._unpack_records = _unpack_readable


@wraps(_unpack_records)
def _unpack_readable(records: Any) -> Iterator[Any]:
    batches = records._records = _Batches(records._records)
    while True:
        try:
            yield from _unpack_records(records)
        except KafkaError:  # a checksum that is wrong, or a codec that is missing: a retry may help
            raise
        except Exception as error:  # noqa: BLE001 - whatever a stranger wrote
            throttled.warning(
                LogAction.RECORD_SKIPPED,
                "A batch in partition {partition} cannot be decoded; skipped: {error}",
                partition=records._tp.partition,
                error=repr(error),
            )
            records.next_fetch_offset = batches.last.next_offset
        else:
            return
