"""What commands print: text of events has nothing that a terminal obeys; JSON is as it was sent."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.commands.check_history import check
from app.commands.parked import _Parked
from app.settings import Settings
from headrace.projection import Projection
from tables.database import Connection
from tables.intake import dead_letters
from tables.intake.dead_letters import RefusedMessage

HOSTILE = "a\x1b[2J\x9b31m\u202egnp\u2066\n2: forged"
STORE = """
INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event)
VALUES (1, $1, $1, $1, now(), now(), 0, jsonb_build_object('id', $1::text))
"""
STORE_DATA = """
INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event)
VALUES (1, $1, $1, 'hostile', now(), now(), 0, jsonb_build_object('data', jsonb_build_object('text', $1::text)))
"""
PARK = """
INSERT INTO parked (projection, position, key, key_is_known, error, attempts, tried_at)
VALUES ('devices', 1, $1, true, $1, 1, now())
"""
OBEYED = ("\x1b", "\x9b", "\u202e", "\u2066", "\n2: forged")


@pytest.fixture
async def parked(connection: Connection, database_dsn: str) -> _Parked:
    await connection.execute(STORE, HOSTILE)
    await connection.execute(PARK, HOSTILE)
    await dead_letters.store(connection, [RefusedMessage(HOSTILE, b"x", "malformed_json", HOSTILE, "{}")])
    return _Parked(Settings(database_url=database_dsn), [])


async def test_nothing_of_an_event_is_obeyed_by_a_terminal(parked: _Parked, capsys: pytest.CaptureFixture[str]) -> None:
    await parked.list(None, None, 10, as_json=False)
    await parked.show("devices", 1, as_json=False)
    await parked.list_dead_letters(10, as_json=False)
    printed = capsys.readouterr().out
    assert [one for one in OBEYED if one in printed] == []
    for times, text in ((7, "forged"), (3, r"a\x1b[2J\x9b31m\u202egnp\u2066\n2: forged")):
        assert printed.count(text) >= times, printed


async def test_json_is_as_it_was_sent(parked: _Parked, capsys: pytest.CaptureFixture[str]) -> None:
    await parked.list(None, None, 10, as_json=True)
    await parked.show("devices", 1, as_json=True)
    await parked.list_dead_letters(10, as_json=True)
    groups, event, letters = (json.loads(line) for line in capsys.readouterr().out.splitlines() if line)
    assert (groups["items"][0]["key"], event["error"], letters["items"][0]["topic"]) == (HOSTILE,) * 3


async def test_nothing_of_a_checked_event_is_obeyed_by_a_terminal(
    connection: Connection, database_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Raising(msgspec.Struct):
        text: str

        def __post_init__(self) -> None:
            raise ValueError(self.text)

    projection: Projection[Any] = Projection("raising", state=dict, key=lambda event: event.id, description="")
    projection.on("hostile", Raising)(lambda state, event: state)
    await connection.execute(STORE_DATA, HOSTILE)
    settings = Settings(database_url=database_dsn)
    assert await check(settings, [projection], None, 5, as_json=False) == 1
    printed = capsys.readouterr().out
    assert [one for one in OBEYED if one in printed] == []
    assert printed.count("2: forged") == 3, printed
    assert await check(settings, [projection], "hostile", 5, as_json=True) == 1
    (example,) = json.loads(capsys.readouterr().out)["types"][0]["examples"]
    assert (example["id"], example["source"], example["error"]) == (
        HOSTILE,
        HOSTILE,
        f"ValidationError: {HOSTILE}",
    )
