"""`POST /api/v1/events` and the status of an event, for keys that may not touch everything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tables.database import Database, Pool

from tests.support.doors.callers import SAME_REQUEST, may
from tests.support.doors.open_door import OpenDoor, open_door

JSON = {"Content-Type": "application/json"}
OURS, THEIRS = "/greenhouse/a/", "/greenhouse/b/"


def an(event_id: str, source: str = f"{OURS}x", **members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": event_id, "source": source, "type": "tested", **members}


async def post(door: OpenDoor, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    status, answer, _ = await door.post(json.dumps(body).encode(), {**JSON, **SAME_REQUEST, **headers})
    return status, answer


async def ids(pool: Pool) -> list[str]:
    return [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY seq")]


async def test_an_event_of_another_s_source_is_403_whether_or_not_it_is_known(database: Database, pool: Pool) -> None:
    async with open_door(database) as door:
        assert (await post(door, an("known", f"{THEIRS}x")))[0] == 202
    async with open_door(database, grant=may(sources=OURS)) as door:
        known = await post(door, an("known", f"{THEIRS}x"))
        other = await post(door, an("known", f"{THEIRS}x", data="other content"))
        unknown = await post(door, an("unknown", f"{THEIRS}x"))
        assert known == other == unknown
        status, problem = known
        assert (status, problem["code"]) == (403, "not_yours")
        (error,) = problem["errors"]
        assert error["pointer"] == "/source"
        assert OURS in error["detail"]
        assert (await post(door, an("own")))[0] == 202
    assert await ids(pool) == ["known", "own"]


async def test_an_event_in_binary_mode_is_checked_as_well(database: Database, pool: Pool) -> None:
    async with open_door(database, grant=may(sources=OURS)) as door:
        headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/greenhouse/%62/", "ce-type": "tested"}
        status, problem, _ = await door.post(b"{}", {**JSON, **SAME_REQUEST, **headers})
        assert (status, problem["errors"][0]["pointer"]) == (403, "/source")
    assert await ids(pool) == []


async def test_in_a_batch_each_event_is_checked(database: Database, pool: Pool) -> None:
    async with open_door(database, grant=may(sources=OURS)) as door:
        status, answer = await post(door, [an("1"), an("2", THEIRS), an("3", partitionkey=THEIRS)])
        assert (status, answer["accepted"], answer["rejected"]) == (207, 1, 2)
        kept, source, key = answer["results"]
        assert (kept["status"], source["status"], key["status"]) == ("accepted", "rejected", "rejected")
        assert (source["error"]["status"], source["error"]["code"]) == (403, "not_yours")
        assert key["error"]["errors"][0]["pointer"] == "/partitionkey"
        status, answer = await post(door, [an("4", THEIRS), an("5", THEIRS)])
        assert (status, answer["rejected"]) == (422, 2)
    assert await ids(pool) == ["1"]


async def test_a_strict_batch_with_another_s_event_is_not_kept(database: Database, pool: Pool) -> None:
    async with open_door(database, grant=may(sources=OURS)) as door:
        status, answer = await post(door, [an("1"), an("2", THEIRS)], Prefer="handling=strict")
        assert (status, [one["error"]["code"] for one in answer["results"]]) == (422, ["not_kept", "not_yours"])
    assert await ids(pool) == []


async def test_a_large_batch_of_another_s_events_is_answered_briefly(database: Database) -> None:
    async with open_door(database, grant=may(sources=",".join(f"/{n}/" for n in range(500)))) as door:
        status, answer = await post(door, [an(str(number), THEIRS) for number in range(100)])
        assert (status, answer["rejected"]) == (422, 100)
        assert len(json.dumps(answer)) < 100_000


@pytest.mark.parametrize("subject", [None, f"{THEIRS}1", "/greenhouse/a"])
async def test_a_key_for_subjects_writes_no_other(database: Database, pool: Pool, subject: str | None) -> None:
    async with open_door(database, grant=may(subjects=OURS)) as door:
        members = {} if subject is None else {"subject": subject}
        status, problem = await post(door, an("1", **members))
        assert status == 403
        assert problem["errors"][0]["pointer"] == "/subject"
        assert (await post(door, an("2", subject=f"{OURS}1")))[0] == 202
    assert await ids(pool) == ["2"]


async def status_of(door: OpenDoor, event_id: str, source: str) -> tuple[int, dict[str, Any]]:
    parameters = {"source": source, "id": event_id}
    async with door.client.get("/api/v1/events/status", params=parameters, headers=SAME_REQUEST) as response:
        return response.status, await response.json(content_type=None)


async def test_the_status_of_another_s_event_is_403_by_its_source(database: Database) -> None:
    async with open_door(database) as door:
        await post(door, [an("1"), an("1", THEIRS)])
    async with open_door(database, grant=may(sources=OURS)) as door:
        known, unknown = await status_of(door, "1", THEIRS), await status_of(door, "2", THEIRS)
        assert known == unknown
        assert (known[0], known[1]["code"], known[1]["errors"][0]["parameter"]) == (403, "not_yours", "source")
        assert (await status_of(door, "1", f"{OURS}x"))[0] == 200


@pytest.mark.parametrize("limit", [{"subjects": OURS}, {"types": "mine"}])
async def test_the_status_of_another_s_event_is_404_by_its_subject_or_type(
    database: Database, limit: dict[str, str]
) -> None:
    async with open_door(database) as door:
        await post(door, [an("1", subject=f"{THEIRS}1"), an("2"), an("3", subject=f"{OURS}1", type="mine")])
    async with open_door(database, grant=may(**limit)) as door:
        foreign = [await status_of(door, one, f"{OURS}x") for one in ("1", "2", "unknown")]
        assert foreign[0] == foreign[1] == foreign[2]
        assert (foreign[0][0], foreign[0][1]["code"]) == (404, "event_not_found")
        assert (await status_of(door, "3", f"{OURS}x"))[0] == 200
