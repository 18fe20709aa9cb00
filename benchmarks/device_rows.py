"""Rows of devices that a peer has written: are they the fold of the events?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tables.database import Connection

from benchmarks.check import States, check_same, fold

# What all make of readings; the other members of a device come from events that the benchmarks do not send.
COMPARED = ("readings", "first_seen", "last_seen", "latest")
ROWS = "SELECT device, readings, first_seen, last_seen, latest::text AS latest FROM devices"
APPLIED = "SELECT coalesce(sum(readings), 0)::bigint FROM devices"


async def applied(connection: Connection) -> int:
    """How many events the rows tell of."""
    number: int = await connection.fetchval(APPLIED)
    return number


async def check_device_rows(connection: Connection, events: Iterable[str]) -> None:
    """Raises RoundFailedError unless every row is the fold of these events."""
    expected: dict[tuple[str, str], Any] = fold(events)
    devices: States = {
        place: {name: state[name] for name in COMPARED} for place, state in expected.items() if place[0] == "devices"
    }
    found = {
        ("devices", row["device"]): {**dict(row), "latest": json.loads(row["latest"])}
        for row in await connection.fetch(ROWS)
    }
    for state in found.values():
        del state["device"]
    check_same(devices, found)
