"""What others put on the topic does no harm."""

from __future__ import annotations

import json
import random
from typing import Any

from aiokafka import AIOKafkaProducer

from headrace.events.topic_record import FOLLOWS

from tests.faults.trial import Trial

ROUNDS = 5
# Of a stranger, or of another version: no position can be read from them.
HEADERS: tuple[list[tuple[str, bytes | None]], ...] = ([], [(FOLLOWS, None)], [(FOLLOWS, b"9" * 5_000)], [("", None)])


def strange_values(chance: random.Random, number: int) -> list[bytes | None]:
    """Records that are no events of ours, each different."""
    mark = f"{chance.getrandbits(64):016x}-{number}"
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": mark,
        "source": "/strangers",
        "type": "reading.recorded",
        "subject": "device-1",
        "time": "2026-03-01T00:00:00Z",
        "data": {"metric": "temperature", "value": 1},
    }
    position = {"sequence": f"{number:020d}"}
    return [
        None,  # a tombstone
        mark.encode(),
        b"\xff\xfe\x00" + mark.encode(),
        json.dumps([mark]).encode(),
        json.dumps(event).encode(),  # no position
        json.dumps(event | {"sequence": "7"}).encode(),
        json.dumps(event | {"sequence": -1}).encode(),
        json.dumps({**event, **position, "time": "yesterday"}).encode(),
        json.dumps({name: value for name, value in event.items() if name != "id"} | position).encode(),
        json.dumps(event | {"data": "x" * 900_000}).encode(),
        b"[" * 5_000 + mark.encode(),
        json.dumps(event | {"sequence": "9" * 20}).encode(),
        json.dumps({**event, **position, "subject": f"{mark}\0"}).encode(),
        json.dumps(event | position)[:-1].encode() + b',"deep":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ]


async def test_strangers_write_to_the_topic(trial: Trial, chance: random.Random) -> None:
    """foreign and broken records on the topic: tombstones, no JSON, no position, much too deep, 900 kB"""
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    producer = AIOKafkaProducer(bootstrap_servers=trial.kafka.removeprefix("kafka://"))
    await producer.start()
    written = 0
    try:
        for number in range(1, ROUNDS + 1):
            for value in strange_values(chance, number):
                trial.foreign.add(value)
                key = b"device-1" if value is None else chance.choice((None, b"device-1"))
                await producer.send_and_wait(
                    trial.topic, value, key=key, partition=chance.randrange(8), headers=chance.choice(HEADERS)
                )
                written += 1
            await trial.note_under_way()
            await trial.accepted(50)
    finally:
        await producer.stop()
    await trial.resumed("the last of them")
    trial.bit(records=written, lines_in_the_log=trial.said("is not an event of Headrace"))
    await trial.verdict()
