"""`check-history` decodes the whole store with the types of the projections."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agents.verify import history_pages
from agents.verify.checked_type import OldShapeCount, TypeReport
from agents.verify.history_check import HistoryReport, check_history, checked_types
from agents.verify.history_pages import FIRST_POSITIONS, POSITIONS_AT_ONCE, HistoryPages, UnreadableHistoryError
from headrace.projection import Projection
from tables.bounded import MAX_READ_BYTES
from tables.database import TIMED_OUT, Connection, Pool
from tables.history import stored_data
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
    assert [(one.position, one.source, one.id) for one in read.examples] == [
        (at, "/tests", f"{at}") for at in (7, 8, 9)
    ]
    assert [one.error for one in read.examples] == [
        "ConversionError: from_celsius, from CelsiusReading to Reading: ValueError: too cold",
        "ValidationError: Object missing required field `value`",
        "ValidationError: as FahrenheitReading: Expected `float`, got `str` - at `$.fahrenheit`",
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
    monkeypatch.setattr(history_pages, "FIRST_POSITIONS", 3)
    long = {"value": 1, "more": "x" * 900_000}
    await store(connection, [*SENT, *[("a", long, {})] * 24, *SENT])
    report = await checked(connection)
    assert (report.events, report.types[0].events, report.misfits) == (36, 36, 0)
    pages, after = [], 0
    reading = HistoryPages(connection, ["read"], report.upto, only=False)
    while page := await reading.read(after):
        assert [row[0] for row in page.rows] == list(range(after + 1, page.end + 1))
        pages.append(sum(len(row[2] or "") for row in page.rows))
        after = page.end
    assert after == 36
    assert max(pages) < MAX_READ_BYTES + 1_000_000
    assert len(pages) > sum(pages) // MAX_READ_BYTES


async def test_a_page_has_more_events_while_they_are_small(connection: Connection) -> None:
    await store(connection, [("a", {"value": 1}, {})] * 6_000)
    reading = HistoryPages(connection, ["read"], 6_000, only=False)
    ends, after = [], 0
    while page := await reading.read(after):
        ends.append(page.end - after)
        after = page.end
    assert ends == [FIRST_POSITIONS, 2 * FIRST_POSITIONS, 4 * FIRST_POSITIONS, 6_000 - 7 * FIRST_POSITIONS]
    assert max(ends) <= POSITIONS_AT_ONCE


async def test_an_empty_store_fits(connection: Connection) -> None:
    report = await checked(connection)
    assert (report.upto, report.events, report.misfits) == (0, 0, 0)


async def test_events_that_postgresql_cannot_write_do_not_fit(connection: Connection) -> None:
    await store(connection, SENT[:1])
    numbers = ",".join(["1e131071"] * 9_000)
    text = json.dumps({**json.loads(event("2", type="read").text), "data": {"value": 1, "more": "NUMBERS"}})
    await connection.execute(
        "INSERT INTO event_store "
        "(position, id, source, event_type, subject, event_time, received_at, partition, event) "
        "SELECT 2, '2', source, event_type, subject, event_time, received_at, partition, $1::text::jsonb "
        "FROM event_store",
        text.replace('"NUMBERS"', f"[{numbers}]"),
    )
    (read,) = (await checked(connection)).types
    assert (read.events, read.misfits) == (2, 1)
    assert [(one.position, one.error) for one in read.examples] == [
        (2, "ValueError: PostgreSQL cannot write the event as text: its numbers have too many digits")
    ]


# What a damaged event does to whoever reads its text.
BROKEN = """
ALTER FUNCTION event_as_text(jsonb) RENAME TO event_as_text_of_others;
CREATE FUNCTION event_as_text(event jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF event->>'id' = ANY (ARRAY['3', '5']) THEN
        {error};
    END IF;
    RETURN event_as_text_of_others(event);
END $$
"""


async def unread(connection: Connection) -> TypeReport:
    await store(connection, SENT)
    (read,) = (await checked(connection)).types
    assert [(one.position, one.source, one.id) for one in read.examples] == [(3, "/tests", "3"), (5, "/tests", "5")]
    assert (read.events, read.newest, [one.events for one in read.old_shapes], read.misfits) == (6, 1, [1, 1, 1], 2)
    (alone,) = (await checked(connection, only="read")).types
    assert alone == read
    return read


async def test_an_event_that_postgresql_cannot_read_does_not_fit_and_the_others_are_read(
    connection: Connection,
) -> None:
    await connection.execute(BROKEN.format(error="RAISE data_corrupted USING MESSAGE = 'missing chunk number 0'"))
    assert {one.error for one in (await unread(connection)).examples} == {"DataCorruptedError: missing chunk number 0"}


async def test_an_event_that_takes_too_long_to_read_does_not_fit_and_the_others_are_read(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_data, "STATEMENT_SECONDS", 0.3)
    await connection.execute(BROKEN.format(error="PERFORM pg_sleep(30)"))
    assert {one.error for one in (await unread(connection)).examples} == {
        "QueryCanceledError: canceling statement due to statement timeout"
    }


async def test_a_store_that_is_locked_is_no_misfit(
    connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(connection, SENT[:1])
    pages = HistoryPages(connection, ["read"], 1, only=False)
    monkeypatch.setattr(stored_data, "STATEMENT_SECONDS", 0.3)
    await stored_data.limit_statements(connection)
    async with pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE event_store")
        with pytest.raises(TIMED_OUT):
            await pages.read(0)
    page = await pages.read(0)
    assert page is not None
    assert (page.end, len(page.rows)) == (1, 1)


async def test_a_store_that_cannot_be_read_further_is_an_error_that_names_the_position(connection: Connection) -> None:
    await store(connection, SENT)
    await connection.execute("""
        ALTER TABLE event_store RENAME TO all_events;
        CREATE VIEW event_store AS SELECT position, source, id, event,
            CASE WHEN 1 / (position - 3) IS NOT NULL THEN event_type END AS event_type FROM all_events
    """)
    with pytest.raises(UnreadableHistoryError, match="cannot be read at position 3: division by zero"):
        await checked(connection)


async def test_the_server_ends_a_statement_that_takes_too_long(connection: Connection) -> None:
    await checked(connection)
    assert await connection.fetchval("SHOW statement_timeout") == "1min"
