"""Numbers that nothing can hold: from devices and clients, and from a version that accepted them."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace

from headrace.events.envelope import ParsedEvent
from tables.intake import outbox

from tests.checking.load import Event, random_event
from tests.faults.faulty_worker import FaultyWorker
from tests.faults.trial import Trial
from tests.support.clients.device_client import DeviceClient, acknowledged
from tests.support.data.events import event
from tests.support.servers.command_line import command
from tests.support.servers.fresh import server_folder
from tests.support.servers.mosquitto import Mosquitto

ROUNDS = 6
DEVICES = [f"device-{number}" for number in range(1, 9)]
HUGE = ("1e400", "-1e400", "9" * 5_000, "1e" + "0" * 5_000 + "400", "1e131071", "0." + "3" * 20_000)
READING = '{"specversion":"1.0","id":"%s","source":"/huge","subject":"%s","type":"reading.recorded","data":%s}'
GROWING = "[" + ",".join(["1e131071"] * 9_000) + "]"
SHRINKING = "[" + ",".join(["1e-16383"] * 5_000) + "]"
GOOD = "SELECT count(*) FROM event_store WHERE source LIKE '/mqtt/%'"
LETTERS = "SELECT coalesce(sum(times), 0)::bigint FROM dead_letters"
WAITING = "SELECT count(*) FROM outbox WHERE source = '/tests' AND id LIKE 'giant-%'"
COMMAND_SECONDS = 120.0

numbers = itertools.count(1)


def huge(device: str) -> str:
    """A reading whose value nothing can hold."""
    number = next(numbers)
    value = HUGE[number % len(HUGE)]
    return READING % (f"huge-{number}", device, '{"metric":"t","value":' + value + "}")


@pytest.fixture
async def broker() -> AsyncIterator[Mosquitto]:
    with server_folder(on_disk=True) as folder:
        made = Mosquitto(folder)
        await made.start()
        yield made
        made.kill()


async def publish(trial: Trial, gateway: DeviceClient, chance: random.Random) -> tuple[int, int]:
    """What devices publish in a round, and how many of it are good and bad."""
    sent, good = [], 0
    for device in DEVICES:
        topic = f"devices/{device}/events"
        for number in range(6):
            if number % 3 == 2:
                sent.append(gateway.send(huge(device), topic))
            else:
                reading = random_event(chance, f"/mqtt/{device}", device)
                trial.note_accepted(reading)
                sent.append(gateway.send(reading, topic))
                good += 1
    for one in sent:
        await acknowledged(one)
    return good, len(sent) - good


async def post(trial: Trial, worker: FaultyWorker, chance: random.Random) -> Counter[int]:
    """Bad events alone, and a batch of good and bad events."""
    answers: Counter[int] = Counter()
    door = f"{worker.ingestion}/api/v1/events"
    async with aiohttp.ClientSession() as http:
        for device in DEVICES:
            alone = {"Content-Type": "application/cloudevents+json"}
            async with http.post(door, data=huge(device), headers=alone) as response:
                answers[response.status] += 1
            good = random_event(chance, f"/http/{device}", device)
            batch = f"[{huge(device)},{json.dumps(good)},{huge(device)}]"
            together = {"Content-Type": "application/cloudevents-batch+json"}
            async with http.post(door, data=batch, headers=together) as response:
                answers[response.status] += 1
                assert (await response.json())["accepted"] == 1
            trial.note_accepted(good)
    return answers


async def test_numbers_that_nothing_can_hold(trial: Trial, broker: Mosquitto, chance: random.Random) -> None:
    """devices (QoS 1) and clients send 1e400 and integers of 5,000 digits among good events; kill -9 of the worker"""
    worker = await trial.start(MQTT_URL=broker.url, MQTT_SHARED="off", MQTT_CLIENT_ID="numbers")
    trial.read(worker)
    await trial.load(worker)
    answers: Counter[int] = Counter()
    good = bad = 0
    async with DeviceClient(broker.url, "gateway") as gateway:
        for number in range(ROUNDS):
            published = asyncio.create_task(publish(trial, gateway, chance))
            if number == ROUNDS // 2:  # what is not acknowledged comes again after its start
                worker.kill()
                worker.start()
                await worker.ready()
            answers += await post(trial, worker, chance)
            await trial.note_under_way()
            good, bad = good + (await published)[0], bad + (await published)[1]

    async def all_is_kept() -> bool:
        return await trial.ask(GOOD) >= good and await trial.ask(LETTERS) >= bad

    await trial.until(all_is_kept)
    await trial.resumed("the last of them")
    trial.bit(messages_refused=await trial.ask(LETTERS), posts_refused=answers.total())
    assert set(answers) <= {400, 422, 207}
    assert worker.runs
    await trial.verdict()


@pytest.mark.slow_faults
async def test_numbers_that_grow(trial: Trial, chance: random.Random) -> None:
    """clients post events of 80 kB whose numbers PostgreSQL would write as 1 GB, all the time"""
    worker = await trial.start()
    trial.read(worker)
    load = await trial.load(worker)
    answers: Counter[int] = Counter()
    async with aiohttp.ClientSession() as http:
        for number in range(60):
            giant = READING % (f"giant-{number}", chance.choice(DEVICES), (GROWING, SHRINKING)[number % 2])
            body, kind = (f"[{giant}]", "-batch") if number % 3 == 0 else (giant, "")
            headers = {"Content-Type": f"application/cloudevents{kind}+json"}
            async with http.post(f"{worker.ingestion}/api/v1/events", data=body, headers=headers) as response:
                answers[response.status] += 1
            await trial.note_under_way()
    await trial.resumed("the last of them")
    trial.bit(posts_refused=answers.total())
    assert set(answers) <= {400, 413, 422}
    assert load.journal.unanswered == 0
    await trial.verdict()


def giant(number: int, subject: str, **members: Any) -> tuple[ParsedEvent, Event]:
    """An event as an earlier version accepted it, and the same without its data."""
    made = event(f"giant-{number}", subject=subject, **members)
    text = made.text.replace('"grows"', GROWING)
    assert len(text) > len(GROWING)
    without: Event = json.loads(made.text)
    del without["data"]
    return replace(made, text=text), without


async def accept(trial: Trial, first: int, devices: list[str]) -> int:
    """Write events of some devices into the outbox, of which every third cannot be read later; how many of these."""
    events, giants = [], 0
    for number, device in enumerate(devices, first):
        opened = {"type": "door.opened", "subject": device}
        if number % 3 == 0:
            made, without = giant(number, data="grows", **opened)
            trial.unreadable.add(("/tests", f"giant-{number}"))
            giants += 1
        else:
            made = event(f"giant-{number}", data=number, **opened)
            without = json.loads(made.text)
        trial.note_accepted(without)
        events.append(made)
    await write(trial, events)
    return giants


async def write(trial: Trial, events: list[ParsedEvent]) -> None:
    connection = await asyncpg.connect(trial.dsn, timeout=10, command_timeout=60)
    try:
        assert await outbox.accept(connection, events) == {}
    finally:
        await connection.close()

    async def are_published() -> bool:
        return not await trial.ask(WAITING)

    await trial.until(are_published)


async def verify(worker: FaultyWorker) -> dict[str, int]:
    """What `faust -A app verify` finds, by kind."""
    ended = await asyncio.to_thread(command, "verify", "--json", settings=worker._environment, seconds=COMMAND_SECONDS)
    assert ended.stdout, ended.stderr
    return {one["kind"]: one["count"] for one in json.loads(ended.stdout)["differences"]}


async def forget(trial: Trial) -> None:
    """Delete the topic, and return when it is filled again from the store."""
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.kafka.removeprefix("kafka://"))
    await admin.start()
    await admin.delete_topics([trial.topic])
    await admin.close()
    await trial.until_said("The topic lacked")


@pytest.mark.slow_faults
async def test_numbers_that_grew(trial: Trial) -> None:
    """events of an earlier version that PostgreSQL cannot write as text are published, and then the topic is deleted"""
    door = await trial.start("ingestion,query")
    trial.read(door)
    await trial.load(door)
    giants = await accept(trial, 1, DEVICES)
    # Of a device that a projection must read: it waits, and what follows.
    poison, without = giant(0, "giant", type="device.registered", data={"name": "giant", "more": "grows"})
    trial.note_accepted(without)
    trial.unreadable.add(("/tests", "giant-0"))
    trial.poison.add(("/tests", "giant-0"))
    behind = event("giant-behind", subject="giant", type="device.registered", data={"name": "behind"})
    trial.note_accepted(json.loads(behind.text))
    await write(trial, [poison, behind])
    await trial.note_under_way()
    await forget(trial)
    left_out = giants + 1
    assert trial.said("cannot be published again") == left_out
    handler = await trial.start("event_handler", CONSUMER_INSTANCE_ID="one")
    await trial.resumed("the topic is filled again, and caught up")
    giants += await accept(trial, 100, DEVICES)
    await trial.note_under_way()
    await trial.resumed("the last of them")
    parked = await trial.ask("SELECT count(*) FROM parked")
    found = await verify(handler)
    trial.bit(events=giants + 1, parked=parked)
    assert parked == 2
    assert found == {"store_unreadable": giants + 1, "topic_missing": left_out}
    await trial.verdict()
