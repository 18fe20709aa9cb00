"""What both ports of a worker answer beside their own requests."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from itertools import dropwhile
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers.system import Answer, System, running
from tests.support.waiting import until

both_ports = pytest.mark.parametrize("port", ["ingestion", "query"])


async def ask(system: System, port: str, path: str) -> Answer:
    return await (system.door(path) if port == "ingestion" else system.get(path))


@both_ports
async def test_get_livez(system: System, port: str) -> None:
    answer = await ask(system, port, "/livez")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@both_ports
async def test_get_readyz_and_verbose_lists_each_dependency(system: System, port: str) -> None:
    answer = await ask(system, port, "/readyz")
    assert (answer.status, answer.json) == (200, {"status": "ready"})

    async def all_work() -> bool:
        return "starting" not in (await ask(system, port, "/readyz?verbose")).body.decode()

    await until(all_work, 60)
    answer = await ask(system, port, "/readyz?verbose")
    names = ("postgresql", "disk", "relay", "event_handler", "kafka")
    dependencies = {name: {"state": "ok"} for name in names}
    assert (answer.status, answer.json) == (200, {"status": "ready", "dependencies": dependencies})


@pytest.mark.parametrize("service", ["ingestion", "query"])
async def test_readyz_is_503_from_the_moment_of_sigterm(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, service: str
) -> None:
    """Until the worker blocked listening; what comes in the meantime is answered as ever."""
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "DRAIN_SECONDS": ""}
    ready, alive = [], []
    async with running(tmp_path, SERVICES=service, **settings) as worker:
        system = System(worker, database_dsn, kafka, topic)
        worker.process.send_signal(signal.SIGTERM)
        with suppress(aiohttp.ClientConnectionError):
            while True:
                ready.append((await ask(system, service, "/readyz")).json["status"])
                alive.append((await ask(system, service, "/livez")).status)
        assert worker.process.wait(20) == 0
    since = list(dropwhile(lambda status: status == "ready", ready))  # the signal may come after the first question
    assert set(since) == {"stopping"}
    assert len(since) > 1
    assert set(alive) == {200}


@both_ports
async def test_get_metrics_for_prometheus(system: System, port: str) -> None:
    answer = await ask(system, port, "/metrics")
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"headrace_postgres_up", "headrace_events_accepted", "headrace_projection_position"} <= names


@both_ports
async def test_get_openapi_json_3_1(system: System, port: str) -> None:
    answer = await ask(system, port, "/openapi.json")
    assert answer.headers["Content-Type"].startswith("application/json")
    document = json.loads(answer.body)
    assert document["openapi"].startswith("3.1.")
    assert {"/livez", "/readyz", "/metrics", "/openapi.json", "/docs"} <= document["paths"].keys()


@both_ports
async def test_get_docs(system: System, port: str) -> None:
    answer = await ask(system, port, "/docs")
    page = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    for path in (await ask(system, port, "/openapi.json")).json["paths"]:
        assert path in page
