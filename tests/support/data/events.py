"""Events for tests."""

from __future__ import annotations

import json
from typing import Any

from headrace.events.envelope import Limits, ParsedEvent, parse_event

RECEIVED_AT = "2026-11-22T12:00:00.000001Z"


def event(number: int | str, *, received_at: str = RECEIVED_AT, **members: Any) -> ParsedEvent:
    """An event as the door makes it; members given as None are left out."""
    envelope = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/tests",
        "type": "tested",
        "subject": f"s{number}",
        "data": {"number": number},
        **members,
    }
    text = json.dumps({name: value for name, value in envelope.items() if value is not None}, ensure_ascii=False)
    return parse_event(text.encode(), Limits(), received_at)
