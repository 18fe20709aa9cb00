"""Faults under load, each of which makes one of the planted bugs bite and the product none."""

from __future__ import annotations

import os
import random
import signal

import asyncpg

from tests.checking.evidence import settled
from tests.checking.findings import Finding
from tests.checking.history import Name
from tests.checking.load import Event, Load, random_event
from tests.faults.planted_system import SEED, SETTLED_SECONDS, PlantedSystem, accepted, has_ended, logged
from tests.faults.planting import Edit
from tests.support.servers.moved_database import copied, dropped, put_back
from tests.support.waiting import until

KILLED = -9
# What listens said this last, or its heartbeat; a connection of a pool that did so hears nothing either.
LISTENING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'
  AND (query ILIKE 'LISTEN %' OR query = 'SELECT 1')
"""

# Otherwise an event handler has read everything from the store before the first record reaches it,
# also after a restart.
ONLY_THE_TOPIC = (
    Edit(
        "agents/projector/catch_up.py",
        "        while self._waiting and not self.should_stop:\n",
        "        while False:\n",
    ),
    Edit("agents/projector/undelivered_events.py", "QUIET_SECONDS = 3.0\n", "QUIET_SECONDS = 86_400.0\n"),
)
POISON = (
    Edit(
        "agents/projections/devices.py",
        ' and makes the device active."""\n',
        " and makes the device active.\"\"\"\n    if event.data.name == 'poison':\n        raise KeyError('planted')\n",
    ),
)


async def _killed_and_started_again(system: PlantedSystem, faults: str) -> list[Finding]:
    worker = await system.start(FAULT_POINTS=faults)
    load = Load([worker.ingestion], seed=SEED)
    load.start()
    system.read(worker)
    await has_ended(worker, KILLED)
    print(f"{load.in_flight} events were posted and not answered when the worker died")
    # Now, because the next relay fills what the topic lacks.
    findings = await system.topic_now()
    await system.restart(worker)
    await accepted(load, 200)
    return findings + await system.verdict(load)


async def killed_in_publishing(system: PlantedSystem) -> list[Finding]:
    """Kill -9 while a round is on its way to the broker."""
    return await _killed_and_started_again(system, "publisher.publishing=kill@60")


async def killed_after_publishing(system: PlantedSystem) -> list[Finding]:
    """Kill -9 when the broker has a round and the outbox does not know it."""
    connection = await asyncpg.connect(system.dsn)
    await connection.execute("CREATE SEQUENCE planted")
    await connection.close()
    return await _killed_and_started_again(system, "relay.published=kill@30")


async def killed_after_the_projection_is_committed(system: PlantedSystem) -> list[Finding]:
    """Kill -9 between the commit of a projection and its acknowledgement: the fetch is delivered again."""
    return await _killed_and_started_again(system, "projector.committed=kill@40")


async def killed_before_the_outbox_is_written(system: PlantedSystem) -> list[Finding]:
    """Kill -9 at the door with posts that are read and not written."""
    return await _killed_and_started_again(system, "door.taken=kill@40")


async def one_of_two_relays_is_slow(system: PlantedSystem) -> list[Finding]:
    """Two workers, whose relays both want to work; one waits before it stores."""
    slow = await system.start(FAULT_POINTS="relay.storing=sleep:0.1@*/3")
    other = await system.start(SERVICES="ingestion")
    load = Load([slow.ingestion, other.ingestion], seed=SEED)
    load.start()
    await logged(slow, "Fault point relay.storing: sleep")
    await accepted(load, 400)
    return await system.verdict(load)


async def a_second_event_handler_comes_and_dies(system: PlantedSystem) -> list[Finding]:
    """A second event handler gets half of the partitions, and dies with the last events of all in its hands.

    It waits first, longer than the interval in which Faust commits what is acknowledged. No later event shows the
    other one that some are lacking.
    """
    first = await system.start()
    load = Load([first.ingestion], seed=SEED)
    load.start()
    await accepted(load, 200)
    await load.stop()
    assert await settled(system.dsn, SETTLED_SECONDS) is not None
    faults = "projector.fetched=sleep:3,projector.fetched=kill"
    second = await system.start(SERVICES="event_handler", FAULT_POINTS=faults)
    await system.group_has(members=2)
    await load.post_once(100)
    await has_ended(second, KILLED)
    return await system.verdict(load)


async def the_listening_connection_hears_nothing(system: PlantedSystem) -> list[Finding]:
    """The relay is in one worker, the door in another; the connection that LISTENs stays open, and is dead."""
    relaying = await system.start(SERVICES="ingestion")
    await logged(relaying, "This worker's relay is active.")
    handling = await system.start()
    load = Load([handling.ingestion], seed=SEED)
    await load.post_once(100)
    assert await settled(system.dsn, SETTLED_SECONDS) is not None
    connection = await asyncpg.connect(system.dsn)
    frozen = [row["pid"] for row in await connection.fetch(LISTENING)]
    assert frozen
    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        await load.post_once(50)
        return await system.verdict(load)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        await connection.close()


async def one_event_is_poison(system: PlantedSystem) -> list[Finding]:
    """The handler of a registration raises for one event of the busiest device."""
    poison: set[Name] = set()

    def make(chance: random.Random, source: str, device: str) -> Event:
        event = random_event(chance, source, device)
        if device == "device-1" and event["type"] == "device.registered" and not poison:
            event["data"]["name"] = "poison"
            poison.add((event["source"], event["id"]))
        return event

    worker = await system.start()
    load = Load([worker.ingestion], seed=SEED, refused_share=0, make=make)
    load.start()
    await logged(worker, "parked the event")
    await accepted(load, 200)
    return await system.verdict(load, poison=frozenset(poison))


async def restored_under_a_newer_topic(system: PlantedSystem) -> list[Finding]:
    """The database is put back to an older copy, gets other events, and the topic is read from its beginning."""
    first, lost, later = (Load([], seed=SEED + turn) for turn in range(3))
    await _posted(system, first)
    before = set(await system.records())
    copy = await copied(system.dsn)
    try:
        await _posted(system, lost)
        future = frozenset(await system.records()) - before
        await put_back(system.dsn, copy)
    finally:
        await dropped(copy)
    relaying = await system.start(SERVICES="ingestion")
    later.use([relaying.ingestion])
    await later.post_once(300)
    await _published(system)
    await system.start(SERVICES="event_handler,query", CONSUMER_GROUP=f"{system.topic}-again")
    return await system.verdict(later, foreign=future, earlier=first.journal.sent)


async def _posted(system: PlantedSystem, load: Load) -> None:
    """Post with a worker that is ended when everything is applied."""
    worker = await system.start()
    load.use([worker.ingestion])
    for _ in range(3):
        await load.post_once(100)
    assert await settled(system.dsn, SETTLED_SECONDS) is not None
    worker.kill()


async def _published(system: PlantedSystem) -> None:
    async def nothing_waits() -> bool:
        connection = await asyncpg.connect(system.dsn)
        try:
            return not await connection.fetchval("SELECT count(*) FROM outbox")
        finally:
            await connection.close()

    await until(nothing_waits, SETTLED_SECONDS)
