"""`check-history` decodes the whole store with the types of the projections."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agents.verify import history_check
from agents.verify.history_check import Example, HistoryReport, OldShapeCount, check_history, checked_types
from headrace.projection import Projection
from tables.database import Connection
from tables.intake import outbox

from tests.integration.test_old_shapes import SENT, store
from tests.support.data.events import event
from tests.support.data.readings import CelsiusReading, readings


async def checked(
    connection: Connection, *projections: Projection[Any], only: str | None = None, examples: int = 5
) -> HistoryReport:
    found = checked_types(projections or [readings()], examples=examples)
    return await check_history(connection, found, lambda _: None, only=only)


async def test_events_are_counted_by_the_shape_that_they_have(connection: Connection) -> None:
    await store(connection, SENT)
    await store(connection, [("a", {"celsius": -300}, {}), ("a", {"kelvin": 1}, {}), ("a", {"fahrenheit": "1"}, {})])
    await outbox.accept(connection, [event("other")])
    stored = await outbox.store_next(connection, [], at_most=10, partitions=4)
    await outbox.delete(connection, [one.seq for one in stored])
    report = await checked(connection)
    (read,) = report.types
    assert (report.upto, report.events, report.other, report.misfits) == (10, 10, 1, 3)
    assert (read.type, read.events, read.newest, read.misfits) == ("read", 9, 2, 3)
    assert read.old_shapes == [
        OldShapeCount("FahrenheitReading", 1),
        OldShapeCount("CelsiusReading", 2),
        OldShapeCount("KelvinReading", 1),
    ]
    assert read.examples == [
        Example(
            7, "7", "/tests", "ConversionError: from_celsius, from CelsiusReading to Reading: ValueError: too cold"
        ),
        Example(8, "8", "/tests", "ValidationError: Object missing required field `value`"),
        Example(
            9,
            "9",
            "/tests",
            "ValidationError: as FahrenheitReading: Expected `float`, got `str` - at `$.fahrenheit`",
        ),
    ]
    assert (await checked(connection, examples=1)).types[0].examples == read.examples[:1]
    assert (await checked(connection, examples=0)).types[0].examples == []


async def test_an_event_fits_if_it_fits_each_projection(connection: Connection) -> None:
    class Named(msgspec.Struct):
        name: str

    other: Projection[Any] = Projection("other", state=dict, key=lambda event: event.id, description="")
    other.on("read", Named)(lambda state, event: state)
    other.on("tested", CelsiusReading)(lambda state, event: state)
    other.on_every_other_event(lambda state, event: state)
    await store(connection, [("a", {"celsius": 1, "name": "n"}, {}), ("a", {"value": 1}, {}), ("a", {"name": "n"}, {})])
    report = await checked(connection, readings(), other)
    assert [(one.type, one.events, one.newest, one.misfits) for one in report.types] == [
        ("read", 3, 0, 2),
        ("tested", 0, 0, 0),
    ]
    assert [one.error for one in report.types[0].examples] == [
        "ValidationError: Object missing required field `name`",
        "ValidationError: Object missing required field `value`",
    ]


async def test_one_type_can_be_checked_alone(connection: Connection) -> None:
    await store(connection, SENT)
    await outbox.accept(connection, [event("other")])
    await outbox.store_next(connection, [], at_most=10, partitions=4)
    report = await checked(connection, only="read")
    assert (report.events, report.other, [one.type for one in report.types]) == (len(SENT), 0, ["read"])


async def test_pages_are_bounded_and_lose_nothing(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends at a number of events, and at a number of bytes."""
    monkeypatch.setattr(history_check, "EVENTS_AT_ONCE", 3)
    long = {"value": 1, "more": "x" * 900_000}
    await store(connection, [*SENT, *[("a", long, {})] * 12, *SENT])
    report = await checked(connection)
    assert (report.events, report.types[0].events, report.misfits) == (24, 24, 0)


async def test_an_empty_store_fits(connection: Connection) -> None:
    report = await checked(connection)
    assert (report.upto, report.events, report.misfits) == (0, 0, 0)


async def test_events_that_postgresql_cannot_write_do_not_fit(connection: Connection) -> None:
    await store(connection, SENT[:1])
    numbers = ",".join(["1e131071"] * 9_000)
    text = json.dumps({**json.loads(event("2", type="read").text), "data": {"value": 1, "more": "NUMBERS"}})
    await connection.execute(
        "INSERT INTO event_store "
        "(position, id, source, event_type, subject, event_time, received_at, partition, event) SELECT 2, '2', source, event_type, subject, event_time, received_at, partition, $1::text::jsonb "
        "FROM event_store",
        text.replace('"NUMBERS"', f"[{numbers}]"),
    )
    (read,) = (await checked(connection)).types
    assert [(one.position, one.error) for one in read.examples] == [
        (2, "ValueError: PostgreSQL cannot write the event as text: its numbers have too many digits")
    ]


async def test_the_server_ends_a_statement_that_takes_too_long(connection: Connection) -> None:
    await checked(connection)
    assert await connection.fetchval("SHOW statement_timeout") == "1min"
