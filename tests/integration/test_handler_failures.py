"""Whatever a projection's function raises or returns, its event is parked, and nothing of it is left in a row."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from agents.parked.retrier import Retrier
from agents.projector import retry_schedule
from agents.projector.projector import Projector
from headrace.folding.parked_groups import Group
from headrace.projection import Event, Projection
from tables.database import Database, Pool
from tables.parked import parked_list

from tests.support.data.numbers_projection import Numbered, Numbers, batch, make_projection, parked, record, rows


class PanicError(BaseException):
    """As bindings of Rust raise it."""


class Picky(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number == 2:
            raise PanicError("panic in Rust")


class Sums(msgspec.Struct):
    total: float = 0.0
    last: float | None = None
    names: set[str] = msgspec.field(default_factory=set)


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_schedule, "WAITS_SECONDS", ())


def odd_projection(odd: Callable[[Any, Event[Any]], Any], data: type = Numbered) -> Projection[Any]:
    projection: Projection[Any] = make_projection()
    projection.on("odd", data)(odd)
    return projection


def raising(error: BaseException) -> Callable[[Any, Event[Any]], Any]:
    def odd(_: Any, __: Event[Any]) -> Any:
        raise error

    return odd


@pytest.mark.parametrize(
    "error",
    [PanicError("panic"), asyncio.CancelledError(), GeneratorExit(), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_its_event_is_parked(
    database: Database, pool: Pool, error: BaseException
) -> None:
    projector = Projector(odd_projection(raising(error)), database)
    values = [record(1, 1), record(2, 2, event_type="odd"), record(3, 3), record(4, 4, "b")]
    await asyncio.wait_for(projector.apply(batch(*values)), 10)
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([4], 4, 1)}
    assert [(position, text.split(":")[0]) for position, _, text in (await parked(pool))[:1]] == [
        (2, type(error).__name__)
    ]


async def test_whatever_a_key_function_or_a_type_of_data_raises_its_event_is_parked(
    database: Database, pool: Pool
) -> None:
    projection = odd_projection(lambda state, _: state, Picky)

    def key(event: Event[Any]) -> str:
        if event.position == 4:
            raise PanicError("no key")
        return event.subject or ""

    projection.key = key
    projector = Projector(projection, database)
    values = [record(1, 1), record(2, 2, event_type="odd"), record(3, 3, "b"), record(4, 4, "c"), record(5, 5, "d")]
    await asyncio.wait_for(projector.apply(batch(*values)), 10)
    assert (await rows(pool)).keys() == {"a", "b", "d"}
    assert [(position, text) for position, _, text in await parked(pool)] == [
        (2, "PanicError: panic in Rust"),
        (4, "PanicError: no key"),
    ]


async def test_a_cancelled_projector_parks_nothing(database: Database, pool: Pool) -> None:
    projector = Projector(make_projection(), database)
    async with database.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE projections IN EXCLUSIVE MODE")
        applying = asyncio.create_task(projector.apply(batch(record(1, 1))))
        await asyncio.sleep(0)
        applying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await applying
    assert await parked(pool) == []


@pytest.mark.parametrize(
    "result",
    [{"numbers": [7]}, Numbers(cast("Any", ["x"])), Numbers(cast("Any", None)), [1], True, Sums()],
    ids=lambda value: repr(value)[:20],
)
async def test_a_result_that_is_no_state_parks_its_own_event(database: Database, pool: Pool, result: Any) -> None:
    projection = odd_projection(lambda _, __: result)
    projector = Projector(projection, database)
    await projector.apply(batch(record(1, 1), record(2, 2, event_type="odd"), record(3, 3), record(4, 4, "b")))
    await projector.apply(batch(record(5, 5)))
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([4], 4, 1)}
    assert [position for position, _, _ in await parked(pool)] == [2, 3, 5]
    assert "not of the type Numbers" in (await parked(pool))[0][2]


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("member", ["total", "last"])
async def test_a_number_that_json_cannot_hold_parks_its_own_event(
    database: Database, pool: Pool, number: float, member: str
) -> None:
    projection: Projection[Any] = Projection("numbers", state=Sums, key=lambda e: e.subject or "", description="Sums")

    @projection.on("numbered", Numbered)
    def summed(sums: Sums | None, event: Event[Numbered]) -> Sums:
        sums = sums or Sums()
        return msgspec.structs.replace(sums, **{member: number if event.data.number == 2 else event.data.number})

    await Projector(projection, database).apply(batch(record(1, 1), record(2, 2), record(3, 3), record(4, 4, "b")))
    assert [position for position, _, _ in await parked(pool)] == [2, 3]
    assert await pool.fetchval(f"SELECT state->>'{member}' FROM projections WHERE key = 'a'") == "1"


class Faulty(msgspec.Struct):
    number: int
    numbers: list[int] = msgspec.field(default_factory=lambda: [1])


def mutating_projection(broken: list[bool]) -> Projection[Any]:
    projection: Projection[Any] = Projection("numbers", state=Numbers, key=lambda e: e.subject or "", description="…")

    @projection.on("numbered", Faulty)
    def numbered(state: Numbers | None, event: Event[Faulty]) -> Numbers:
        state = state or Numbers([])
        state.numbers.append(event.data.numbers.pop() * event.data.number)
        if event.data.number in {3, 4} and broken[0]:
            raise PanicError("after the change")
        return state

    return projection


async def test_a_change_of_the_state_is_undone_when_the_handler_raises(database: Database, pool: Pool) -> None:
    broken = [True]
    projection = mutating_projection(broken)
    projector = Projector(projection, database)
    await projector.apply(batch(record(1, 1), record(2, 2), record(3, 3), record(4, 4), record(5, 5, "b")))
    assert await rows(pool) == {"a": ([1, 2], 2, 1), "b": ([5], 5, 1)}
    await projector.apply(batch(record(6, 6, "b"), record(7, 3, "b"), record(8, 8, "b")))
    assert await rows(pool) == {"a": ([1, 2], 2, 1), "b": ([5, 6], 6, 2)}


async def test_a_retry_undoes_a_change_of_the_state_too(database: Database, pool: Pool) -> None:
    broken = [True]
    projection = mutating_projection(broken)
    values = [record(1, 1), record(2, 3), record(3, 2), record(4, 4), record(5, 5)]
    for position, value in enumerate(values, start=1):
        await pool.execute(
            "INSERT INTO event_store (position, id, source, event_type, subject, event_time, received_at, partition, "
            "event) VALUES ($1::bigint, $1::bigint::text, '/tests', 'numbered', 'a', now(), now(), 0, $2::text::jsonb)",
            position,
            value.decode(),
        )
    await Projector(projection, database).apply(batch(*values))
    assert await rows(pool) == {"a": ([1], 1, 1)}
    retrier = Retrier([projection], database)
    await retrier.discard("numbers", 2, reason="bad", by="a test")
    assert await rows(pool) == {"a": ([1, 2], 3, 2)}
    assert [position for position, _, _ in await parked(pool)] == [4, 5]
    broken[0] = False
    await retrier.retry("numbers", Group("a"))
    assert (await rows(pool))["a"][0] == [1, 2, 4, 5]


async def test_a_parked_event_says_where_in_the_code_it_failed(
    database: Database, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    value = "never in a traceback"
    projection = odd_projection(lambda state, event: state.numbers[event.data.number + len(value)])
    await Projector(projection, database).apply(batch(record(1, 1), record(2, 2, event_type="odd"), record(3, 3)))
    async with database.acquire() as connection:
        found, behind = [await parked_list.find(connection, "numbers", position) for position in (2, 3)]
    assert found is not None
    assert found.traceback is not None
    assert behind is not None
    assert behind.traceback is None
    assert found.traceback.startswith(f'File "{__file__}", line ')
    assert found.traceback.endswith("<lambda>")
    assert value not in found.traceback
    assert found.traceback in caplog.text


async def test_a_wrong_result_names_its_handler(database: Database, pool: Pool) -> None:
    def returns_a_number(_: Any, __: Event[Any]) -> Any:
        return Numbers([0.5])  # type: ignore[list-item]

    await Projector(odd_projection(returns_a_number), database).apply(batch(record(1, 1, event_type="odd")))
    (traceback,) = [row[0] for row in await pool.fetch("SELECT traceback FROM parked")]
    assert traceback.endswith("returns_a_number")
