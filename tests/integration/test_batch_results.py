"""Any batch: its results are aligned with it, whatever became of its events."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tables.database import Database, Pool

from tests.support.doors.open_door import OpenDoor, open_door

KINDS = ("good", "known", "conflict", "again", "misfit", "broken", "no id", "not an object")
REFUSED = {
    "conflict": "id_conflict",
    "misfit": "invalid_data",
    "broken": "unsupported_specversion",
    "no id": "missing_attribute",
    "not an object": "not_an_object",
}
_places = itertools.count()


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


def event(source: str, event_id: str, **members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": event_id, "source": source, "type": "tested", **members}


def batch_of(kinds: list[str], source: str) -> list[Any]:
    """An event of each kind; "again" repeats the first good one of this batch."""
    made: list[Any] = []
    for index, kind in enumerate(kinds):
        one: Any = event(source, f"e{index}")
        if kind in {"known", "conflict"}:
            one = event(source, "known", data=1 if kind == "known" else 2)
        elif kind == "again" and "good" in kinds[:index]:
            one = made[kinds.index("good")]
        elif kind == "misfit":
            one = event(source, f"e{index}", type="reading.recorded", subject="d", data={})
        elif kind == "broken":
            one["specversion"] = "2.0"
        elif kind == "no id":
            del one["id"]
        elif kind == "not an object":
            one = index
        made.append(one)
    return made


def told(kinds: list[str], index: int) -> str:
    kind = kinds[index]
    if kind in REFUSED:
        return "rejected"
    return "duplicate" if kind == "known" or (kind == "again" and "good" in kinds[:index]) else "accepted"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(kinds=st.lists(st.sampled_from(KINDS), max_size=25), strict=st.booleans())
async def test_the_results_of_a_batch_are_aligned_with_it(
    door: OpenDoor, pool: Pool, kinds: list[str], strict: bool
) -> None:
    source = f"/batches/{next(_places)}"
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    await door.post(json.dumps([event(source, "known", data=1)]).encode(), headers)
    batch = batch_of(kinds, source)
    status, answer, _ = await door.post(
        json.dumps(batch).encode(), {**headers, "Prefer": "handling=strict"} if strict else headers
    )
    statuses = [told(kinds, index) for index in range(len(kinds))]
    refused = statuses.count("rejected")
    nothing_kept = strict and refused > 0
    results = answer["results"]
    assert [one["index"] for one in results] == list(range(len(kinds)))
    for index, (kind, one, sent) in enumerate(zip(kinds, results, batch, strict=True)):
        assert one["status"] == ("rejected" if nothing_kept else statuses[index])
        assert one["id"] == (sent.get("id") if isinstance(sent, dict) else None)
        if kind in REFUSED and not (nothing_kept and kind == "conflict"):
            assert one["error"]["code"] == REFUSED[kind]
    counts = (answer["accepted"], answer["duplicates"], answer["rejected"])
    if nothing_kept:
        assert (status, counts) == (422, (0, 0, len(kinds)))
    else:
        assert status == (202 if not refused else 422 if refused == len(kinds) else 207)
        assert counts == (statuses.count("accepted"), statuses.count("duplicate"), refused)
    kept = {row["id"] for row in await pool.fetch("SELECT id FROM outbox WHERE source = $1", source)}
    accepted = {f"e{index}" for index, one in enumerate(statuses) if one == "accepted" and not nothing_kept}
    assert kept == {"known", *accepted}
