"""The recipe of docs/projections.md on a whole worker: an event's shape changes, and `check-history` says what fits."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.faults.planting import Edit, plant
from tests.support.servers.command_line import command
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope
from tests.support.servers.worker_process import ROOT, WorkerProcess

RECIPE = re.compile(r"```python\n# agents/projections/rooms\.py\n(.*?)```", re.DOTALL)
ADDED = (
    Edit("app/main.py", "    event_types,\n)", "    event_types,\n    rooms,\n)"),
    Edit(
        "app/main.py",
        "from agents.projections.readings_hourly import readings_hourly\n",
        "from agents.projections.readings_hourly import readings_hourly\nfrom agents.projections.rooms import rooms\n",
    ),
)
FORGOTTEN = Edit(
    "agents/projections/rooms.py",
    '    old_shapes: ClassVar = (OldShape(InFahrenheit, from_fahrenheit, has="fahrenheit"),)\n',
    "",
)


def deployed(folder: Path, *edits: Edit) -> Path:
    """The product with the projection of the recipe."""
    source = plant(folder, ADDED)
    (found,) = RECIPE.findall((ROOT / "docs" / "projections.md").read_text())
    for edit in edits:
        assert found.count(edit.old) == 1
        found = found.replace(edit.old, edit.new)
    (source / "agents" / "projections" / "rooms.py").write_text(found)
    return source


async def check_history(source: Path, settings: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    environment = {**settings, "PYTHONWARNINGS": "ignore"}
    ended = await asyncio.to_thread(
        command, "check-history", *arguments, settings=environment, source=source, seconds=120
    )
    return ended.returncode, ended.stdout, ended.stderr


def measured(**data: Any) -> dict[str, Any]:
    return envelope("/rooms", type="room.measured", subject="attic", data=data)


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


async def test_a_worker_converts_older_shapes_and_the_command_says_what_would_not_fit(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    source = deployed(tmp_path / "source")
    worker = WorkerProcess(tmp_path, **settings)
    worker.source = source
    system = System(worker, settings["DATABASE_URL"], settings["BROKER_URL"], settings["TOPIC"])
    try:
        await _refused_unless_accepted(system)
        assert (await system.get("/api/v1/projections/rooms/attic")).json["state"] == {"warmest": 100.0}
        assert (await system.get("/api/v1/projections/rooms/attic?as_of=2")).json["state"] == {"warmest": 37.5}
        stored = [item["event"]["data"] for item in await system.log(source="/rooms")]
        assert stored == [{"value": 21, "unit": "C"}, {"celsius": 37.5}, {"fahrenheit": 212}]

        code, out, _ = await check_history(source, settings)
        assert code == 0, out
        assert "room.measured: 3 events, 1 with the newest shape, 1 as InFahrenheit, 1 as InCelsius" in out.splitlines()
        assert re.fullmatch(
            r"OK, all events fit; 4 events read up to position 4 \([\d,]+ events/s\), 1 of other types",
            out.splitlines()[-1],
        )
        code, out, _ = await check_history(source, settings, "room.measured", "--json")
        told = json.loads(out)
        assert (code, told["fits"], told["events"], told["other"], len(told["types"])) == (0, True, 3, 0, 1)
    finally:
        assert worker.stop() == 0, worker.log.read_text()[-4000:]
    await _would_not_fit(deployed(tmp_path / "next", FORGOTTEN), settings)


async def _refused_unless_accepted(system: System) -> None:
    worker = system.worker
    worker.start()
    await worker.ready()
    assert (await system.post(measured(value=21, unit="C"), {**STRUCTURED, **WAIT})).status == 201
    answer = await system.post(measured(fahrenheit=212))
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/data/value")
    listed = (await system.door("/api/v1/event-types")).json["items"]
    assert {item["type"]: [one["has"] for one in item["old_shapes"]] for item in listed} == {
        "device.registered": [],
        "device.retired": [],
        "reading.recorded": [],
        "room.measured": ["fahrenheit", "celsius"],
    }
    assert worker.stop() == 0
    worker.set(OLD_SHAPES="accept")
    worker.start()
    await worker.ready()
    for data in ({"celsius": 37.5}, {"fahrenheit": 212}):
        assert (await system.post(measured(**data), {**STRUCTURED, **WAIT})).status == 201
    assert (await system.post(envelope("/rooms/\u202etxt", type="other"), {**STRUCTURED, **WAIT})).status == 201


async def _would_not_fit(source: Path, settings: dict[str, str]) -> None:
    code, out, _ = await check_history(source, settings)
    assert code == 1
    first, example, *_, verdict = out[out.index("room.measured") :].splitlines()
    assert first == "room.measured: 3 events, 1 with the newest shape, 1 as InCelsius, 1 does not fit"
    assert re.fullmatch(
        r"  position 3, source '/rooms', id 'e\d+': ValidationError: Object missing required field `value`", example
    )
    assert verdict.startswith("FAILED, 1 event does not fit; 4 events read up to position 4 (")
    code, out, _ = await check_history(source, settings, "room.measured", "--json", "--limit", "0")
    told = json.loads(out)
    assert (code, told["fits"], told["types"][0]["misfits"], told["types"][0]["examples"]) == (1, False, 1, [])
    code, _, err = await check_history(source, settings, "room.mesured")
    assert (code, "No projection decodes the data of room.mesured. Types: device.registered," in err) == (1, True)
    code, _, err = await check_history(source, {**settings, "DATABASE_URL": "postgresql://127.0.0.1:1/none"})
    assert (code, "DATABASE_URL" in err.splitlines()[-1]) == (1, True)
