"""Parked events and dead letters, for keys that may not touch everything."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from agents.parked.retrier import Retrier
from headrace.access.grant import Grant
from headrace.folding.parked_groups import Group
from tables.database import Connection, Database, Pool
from tables.intake import dead_letters
from tables.intake.dead_letters import MAX_TOPIC_CHARACTERS, RefusedMessage
from web.query.error_texts import WITHHELD

from tests.support.clients.query_client import Client, refused
from tests.support.data.tenants import BAD, BY_NOTE, BY_SUBJECT, OURS, THEIRS, apply, noted, serving_tenants, store
from tests.support.doors.callers import may

PATH = "/api/v1/parked"
GRANTS = [may(subjects=OURS), may(sources=OURS)]


async def fill(database: Database) -> None:
    """Parked by note: "ours" at 1 and 2, "theirs" at 3, "mixed" at 4 (ours) and 5 (theirs)."""
    ours, theirs = {"source": OURS, "subject": f"{OURS}1"}, {"source": THEIRS, "subject": f"{THEIRS}2"}
    await store(
        database,
        noted("1", "ours", BAD, **ours),
        noted("2", "ours", "two", **ours),
        noted("3", "theirs", f"{BAD} secret", **theirs),
        noted("4", "mixed", BAD, **ours),
        noted("5", "mixed", "five", **theirs),
    )
    await apply(database)


async def listed(client: Client, **parameters: str) -> list[dict[str, Any]]:
    response = await client.get(PATH, params={"projection": BY_NOTE.name, **parameters})
    assert response.status == 200, await response.text()
    items: list[dict[str, Any]] = json.loads(await response.read())["items"]
    return items


async def act(client: Client, what: str, **body: Any) -> tuple[int, dict[str, Any]]:
    response = await client.post(f"{PATH}/{BY_NOTE.name}/{what}", json=body)
    return response.status, json.loads(await response.read())


async def parked(pool: Pool) -> list[int]:
    query = "SELECT position FROM parked WHERE projection = $1 ORDER BY position"
    return [row["position"] for row in await pool.fetch(query, BY_NOTE.name)]


@pytest.mark.parametrize("grant", GRANTS)
async def test_groups_with_another_s_event_are_not_there(database: Database, pool: Pool, grant: Grant) -> None:
    await fill(database)
    async with serving_tenants(database, grant) as client:
        (one,) = await listed(client)
        assert (one["key"], one["position"], one["waiting_behind"]) == ("ours", 1, 1)
        assert [await listed(client, key=key) for key in ("theirs", "mixed", "unknown")] == [[], [], []]
        for position in (1, 2):
            assert (await client.get(f"{PATH}/{BY_NOTE.name}/{position}")).status == 200
        shown = [await client.get(f"{PATH}/{BY_NOTE.name}/{position}") for position in (3, 4, 5, 999)]
        assert len({(await refused(response, 404, "not_parked"))["detail"] for response in shown}) == 1
        for body in ({"key": "theirs"}, {"key": "mixed"}, {"key": "unknown"}):
            assert (await act(client, "retry", **body))[1]["code"] == "not_parked"
            assert (await act(client, "discard", **body, reason="x"))[1]["code"] == "not_parked"
        answers = [await act(client, "discard", position=position, reason="x") for position in (3, 4, 5, 999)]
        assert [status for status, _ in answers] == [404] * 4
        assert all(answer == answers[0] for answer in answers)
    assert await parked(pool) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("grant", GRANTS)
async def test_own_groups_are_retried_and_discarded(database: Database, pool: Pool, grant: Grant) -> None:
    await fill(database)
    async with serving_tenants(database, grant) as client:
        status, outcome = await act(client, "retry", all=True)
        assert (status, outcome["applied"], outcome["still_parked"]) == (200, 0, 2)
        assert [one["error"] for one in outcome["failures"]] == [f"ValueError: {WITHHELD}"]
        status, outcome = await act(client, "discard", position=2, reason="x")
        assert (status, outcome["code"]) == (409, "not_first")
        status, outcome = await act(client, "discard", position=1, reason="x")
        assert (status, outcome["discarded"], outcome["applied"]) == (200, 1, 1)
    assert await parked(pool) == [3, 4, 5]


async def test_the_text_of_an_error_is_shown_where_the_row_is_surely_the_caller_s(database: Database) -> None:
    await fill(database)
    async with serving_tenants(database, may(subjects=OURS)) as client:
        (by_note,) = await listed(client)
        (by_subject,) = await listed(client, projection=BY_SUBJECT.name)
        assert (by_note["error"], by_subject["error"]) == (f"ValueError: {WITHHELD}", "ValueError: None and bad")
        one = json.loads(await (await client.get(f"{PATH}/{BY_NOTE.name}/1")).read())
        assert (one["error"], "in _noted" in one["traceback"]) == (f"ValueError: {WITHHELD}", True)
    async with serving_tenants(database, may(sources=OURS)) as client:
        (by_subject,) = await listed(client, projection=BY_SUBJECT.name)
        assert by_subject["error"] == f"ValueError: {WITHHELD}"


async def test_an_event_that_joins_a_group_meanwhile_stays_parked(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of the group and the step that would apply it, another's event is parked in it."""
    await fill(database)
    retrier = Retrier([BY_NOTE], database)
    step = retrier._step

    async def join_first(connection: Connection, *arguments: Any, **options: Any) -> Any:
        query = "UPDATE parked SET key = 'ours' WHERE projection = $1 AND position = 3"
        await connection.execute(query, BY_NOTE.name)
        return await step(connection, *arguments, **options)

    monkeypatch.setattr(retrier, "_step", join_first)
    outcome = await retrier.retry(BY_NOTE.name, Group("ours"), grant=may(subjects=OURS))
    assert (outcome.applied, outcome.still_parked) == (0, 3)
    assert await parked(pool) == [1, 2, 3, 4, 5]


def letter(topic: str) -> RefusedMessage:
    return RefusedMessage(topic, topic.encode(), "malformed_json", ": is not JSON", "{}")


async def test_dead_letters_of_own_devices_alone_are_listed(database: Database, connection: Connection) -> None:
    long = f"devices/a1/events/{'x' * MAX_TOPIC_CHARACTERS}"[: MAX_TOPIC_CHARACTERS - 7] + "/events"
    topics = ["devices/a1/events", "devices/b1/events", "devices/A1/events", "devices/a1/x/events", "devices/a%/events"]
    topics += ["devices/_1/events", "xdevices/a1/events", "devices/a1/events\n", "devices/a2/events", f"{long}{long}"]
    await dead_letters.store(connection, [letter(topic) for topic in topics])
    async with serving_tenants(database, may(subjects="a1,a2")) as client:
        page = json.loads(await (await client.get("/api/v1/dead-letters?limit=1")).read())
        assert [base64.b64decode(one["payload"]) for one in page["items"]] == [b"devices/a2/events"]
        page = json.loads(await (await client.get(f"/api/v1/dead-letters?limit=1&cursor={page['next_cursor']}")).read())
        assert [base64.b64decode(one["payload"]) for one in page["items"]] == [b"devices/a1/events"]
        assert page["next_cursor"] is None
    for grant in (may(sources=OURS), may(subjects="a1", types="x")):
        async with serving_tenants(database, grant) as client:
            await refused(await client.get("/api/v1/dead-letters"), 403, "not_yours")
