"""What the columns of `outbox` and `event_store` repeat of an event."""

from __future__ import annotations

from datetime import datetime

import msgspec

from headrace.events import rfc3339
from headrace.events.partition_key import key_hash, partition_key
from tables.history.snapshot import StoredRow, WaitingRow


class _Columns(msgspec.Struct, frozen=True):
    """What the columns repeat of an event."""

    id: str
    source: str
    type: str
    time: str
    subject: str | None = None
    partitionkey: str | None = None


_columns = msgspec.json.Decoder(_Columns)


def _read(event: str) -> _Columns | None:
    try:
        return _columns.decode(event)
    except ValueError:
        return None


def wrong_columns(row: StoredRow | WaitingRow) -> list[str]:
    """The columns that do not say what the event says."""
    event = _read(row.event)
    if event is None:
        return ["event"]
    try:
        time_of_event = datetime.fromisoformat(rfc3339.to_microseconds(rfc3339.to_utc(event.time)))
    except ValueError:
        time_of_event = None
    columns = {
        "id": row.id == event.id,
        "source": row.source == event.source,
        "event_type": row.event_type == event.type,
        "subject": row.subject == event.subject,
        "event_time": row.event_time == time_of_event,
    }
    if isinstance(row, WaitingRow):
        expected = partition_key(event.partitionkey, event.subject, event.source)
        columns["partition_key"] = row.partition_key == expected
        columns["key_hash"] = row.key_hash == key_hash(expected)
    return [name for name, agrees in columns.items() if not agrees]
