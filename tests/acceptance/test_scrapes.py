"""`GET /metrics` of a real worker, with and without PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from headrace.process.metrics import FAMILIES
from tables.database import Pool

from tests.support.servers.fresh import free_port
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

EVENT = {"specversion": "1.0", "source": "/tests", "type": "tested"}

Numbers = dict[str, float]


async def scrape(address: str) -> Numbers:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        ",".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_worker_tells_what_it_did_on_both_ports(
    tmp_path: Path, database_dsn: str, pool: Pool, kafka: str, topic: str
) -> None:
    await pool.execute("INSERT INTO projections VALUES ('old_name', 'k', '{}', 1, 1)")
    worker = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic)
    worker.start()
    try:
        await worker.ready()
        async with aiohttp.ClientSession() as session:
            url = f"{worker.ingestion}/api/v1/events"
            for event_id in ("1", "2", "2", None):
                await session.post(url, json={**EVENT, "id": event_id})
            await session.post(url, json=[{**EVENT, "id": event_id} for event_id in ("2", "3", None)])
            await session.get(f"{worker.query}/no/such/path?{'x' * 100}")

        async def all_is_applied() -> bool:
            numbers = await scrape(worker.query)
            return numbers["headrace_projection_position,projection=event_types"] == 3

        await until(all_is_applied, 60)
        for address in (worker.ingestion, worker.query):
            numbers = await scrape(address)
            assert numbers["headrace_events_accepted_total,transport=http"] == 3
            assert numbers["headrace_events_duplicate_total,transport=http"] == 2
            assert numbers["headrace_events_rejected_total,transport=http"] == 2
            assert numbers["headrace_postgres_up"] == 1
            assert numbers["headrace_relay_active"] == 1
            assert numbers["headrace_relay_events_total"] == 3
            assert numbers["headrace_projection_parked_events,projection=devices"] == 0
            assert numbers["headrace_leftover_rows,projection=old_name"] == 1
            assert numbers["headrace_projector_batch_events_sum,projection=event_types"] == 3
            name = "headrace_http_request_duration_seconds_count"
            assert numbers[f"{name},route=/api/v1/events,service=ingestion,status=2xx"] == 4
            assert numbers[f"{name},route=unmatched,service=query,status=4xx"] == 1
        told = {key.split(",")[0] for key in numbers} | {"headrace_mqtt_connected"}  # there is no bridge here
        told.add("headrace_requests_refused")  # and no AUTH
        assert [one.name for one in FAMILIES.values() if not any(name.startswith(one.name) for name in told)] == []
        async with aiohttp.ClientSession() as session:
            headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
            async with session.get(f"{worker.query}/metrics", headers=headers) as response:
                assert list(openmetrics(await response.text()))  # type: ignore[no-untyped-call]
    finally:
        assert worker.stop() == 0


async def test_a_scrape_without_postgresql_is_answered_and_says_so(tmp_path: Path, kafka: str) -> None:
    worker = WorkerProcess(tmp_path, DATABASE_URL=f"postgresql://x@127.0.0.1:{free_port()}/x", BROKER_URL=kafka)
    worker.start()
    try:

        async def answers() -> bool:
            try:
                return (await scrape(worker.query))["headrace_postgres_up"] == 0
            except aiohttp.ClientError:
                return False

        await until(answers, 60)
        numbers = await scrape(worker.ingestion)
        assert not [name for name in numbers if name.startswith(("headrace_outbox", "headrace_projection_"))]
        assert numbers["headrace_queue_events"] == 0
    finally:
        assert worker.stop() == 0
