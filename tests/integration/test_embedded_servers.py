from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.kafka.access import KafkaAccess
from app.embedded.processes import is_alive
from app.embedded.servers import EmbeddedServers
from headrace.errors import StartError

from tests.support.servers.embedded_place import Place, new_place, start_both, value

RECORDS = 500


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as place:
        yield place


@pytest.fixture
async def servers(place: Place) -> AsyncIterator[EmbeddedServers]:
    handle = place.servers()
    yield handle
    await handle.stop()


async def publish(kafka: KafkaAccess, count: int) -> None:
    admin = AIOKafkaAdminClient(**kafka.arguments())
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(acks="all", **kafka.arguments()) as producer:
        await asyncio.gather(*[await producer.send("kept", b"%d" % number) for number in range(count)])


async def published(kafka: KafkaAccess) -> list[int]:
    partition = TopicPartition("kept", 0)
    async with (
        asyncio.timeout(30),
        AIOKafkaConsumer(auto_offset_reset="earliest", **kafka.arguments()) as consumer,
    ):
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [int((await consumer.getone()).value) for _ in range(end)]


async def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60)).strip()


async def test_both_start_and_what_they_were_told_outlives_a_stop(place: Place, servers: EmbeddedServers) -> None:
    # Two handles start at once, as two workers do: one server each all the same.
    other = place.servers()
    dsn, same_dsn = await asyncio.gather(start_both(servers), start_both(other))
    assert dsn == same_dsn
    assert await value(dsn, "SELECT current_user || ' ' || current_database()") == "headrace headrace"
    assert await value(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = 'headrace'") is False
    assert await value(dsn, "SHOW data_checksums") == await value(dsn, "SHOW synchronous_commit") == "on"
    await value(dsn, "CREATE TABLE kept AS SELECT 1 AS value")
    client = AIOKafkaClient(**place.access.arguments())
    await client.bootstrap()
    assert [(node.host, node.port) for node in client.cluster.brokers()] == [("127.0.0.1", place.port)]
    await client.close()
    await publish(place.access, RECORDS)

    assert {address.laddr.ip for address in place.broker.net_connections() if address.status == "LISTEN"} == {
        "127.0.0.1"
    }
    assert [each for each in place.postmaster.net_connections("inet") if each.status == "LISTEN"] == []
    for process in (place.postmaster, place.broker):
        assert os.getsid(process.pid) != os.getsid(0)
        assert process.ppid() != os.getpid()

    third = EmbeddedServers(place.folder, kafka_port=1234)
    with pytest.raises(StartError, match=rf"on port {place.port}, not on 1234: set EMBEDDED_KAFKA_PORT={place.port}"):
        await third.start_kafka()
    await third.stop()

    await servers.stop()
    assert await published(place.access) == list(range(RECORDS))
    started = time.monotonic()
    await other.stop()
    assert time.monotonic() - started < 6
    assert place.running == []
    await other.stop()

    dsn = await start_both(servers)
    assert await value(dsn, "SELECT value FROM kept") == 1
    assert await published(place.access) == list(range(RECORDS))


async def test_servers_that_were_killed_recover(place: Place, servers: EmbeddedServers) -> None:
    dsn = await start_both(servers)
    await value(dsn, "CREATE TABLE kept AS SELECT 1 AS value")
    await publish(place.access, RECORDS)
    postmaster, broker = place.postmaster, place.broker
    postmaster.kill()
    broker.kill()
    assert await start_both(servers) == dsn
    assert place.postmaster != postmaster
    assert place.broker != broker
    assert await value(dsn, "SELECT value FROM kept") == 1
    assert await published(place.access) == list(range(RECORDS))


async def test_the_last_of_two_processes_stops_the_servers(place: Place, servers: EmbeddedServers) -> None:
    dsn = await start_both(servers)
    with place.sharer() as other:
        assert await said(other) == "started"
        await servers.stop()
        assert await value(dsn, "SELECT 1") == 1
        assert is_alive(place.broker)
        other.communicate("\n", timeout=30)
    assert place.running == []


async def test_servers_of_a_killed_worker_go_on_and_are_adopted(place: Place, servers: EmbeddedServers) -> None:
    with place.sharer() as worker:
        assert await said(worker) == "started"
        postmaster, broker = place.postmaster, place.broker
        worker.send_signal(signal.SIGKILL)
    assert is_alive(postmaster)
    assert is_alive(broker)
    await start_both(servers)
    assert (place.postmaster, place.broker) == (postmaster, broker)
    await servers.stop()
    assert place.running == []
