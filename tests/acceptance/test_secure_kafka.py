"""A worker with a Kafka that wants TLS and a login: from a post to a row, and what it says of a wrong setting."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from aiokafka import AIOKafkaConsumer

from headrace.process.throttled_log import INTERVAL_SECONDS

from tests.support.servers.fresh import server_folder
from tests.support.servers.secure_kafka import LIMITED, PASSWORD, USER, SecureKafka
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope, running
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 90.0
REFUSED = f"refuses the user {USER}: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"


@pytest.fixture(scope="module")
def broker() -> Iterator[SecureKafka]:
    with server_folder() as folder:
        started = SecureKafka(folder)
        asyncio.run(started.start())
        yield started
        asyncio.run(started.stop())


@pytest.fixture
def settings(broker: SecureKafka, database_dsn: str, topic: str) -> dict[str, str]:
    others = {"DATABASE_URL": database_dsn, "TOPIC": topic, "CONSUMER_GROUP": topic, "LOG_FORMAT": "json"}
    return broker.settings(**others)


def lines_of(worker: WorkerProcess, action: str) -> list[dict[str, str]]:
    found = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in found if line["action"] == action]


async def test_from_a_post_to_a_row_over_tls_with_a_password_that_may_change(
    broker: SecureKafka, settings: dict[str, str], database_dsn: str, topic: str, tmp_path: Path
) -> None:
    async with running(tmp_path, **settings) as worker:
        at = System(worker, database_dsn, "", topic)
        assert (await at.post(envelope("/secure"), {**STRUCTURED, **WAIT})).status == 201
        consumer = AIOKafkaConsumer(topic, auto_offset_reset="earliest", **broker.access.arguments())
        await consumer.start()
        record = await consumer.getone()
        await consumer.stop()
        assert b'"/secure"' in record.value

        began = time.monotonic()
        await broker.set_password(USER, PASSWORD[::-1])
        await broker.restart()
        assert (await at.post(envelope("/while-refused"))).status == 202

        async def is_told() -> bool:
            return any(REFUSED in line["message"] for line in lines_of(worker, "kafka.unavailable"))

        await until(is_told, SECONDS)
        lines = Counter(line["service"] for line in lines_of(worker, "kafka.unavailable"))
        assert max(lines.values()) <= 2 + (time.monotonic() - began) / INTERVAL_SECONDS

        await broker.set_password(USER, PASSWORD)
        assert (await at.post(envelope("/let-in-again"), {**STRUCTURED, **WAIT})).status == 201
        assert PASSWORD not in worker.log.read_text()


async def ended(worker: WorkerProcess) -> str:
    """The last line of a worker that does not start."""
    worker.start()
    try:
        assert await asyncio.to_thread(worker.process.wait, SECONDS) == 1
    finally:
        worker.stop()
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert PASSWORD not in log
    message: str = json.loads(log.splitlines()[-1])["message"]
    return message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"KAFKA_CA_FILE": "{other}"}, "certificate is not trusted"),
        ({"BROKER_URL": "kafka+ssl://127.0.0.1:{port}"}, "certificate has another name"),
        ({"KAFKA_SASL_PASSWORD": PASSWORD[::-1]}, f"refuses the user {USER}"),
        ({"KAFKA_SASL_USERNAME": "nobody"}, "refuses the user nobody"),
        ({"KAFKA_SASL_USERNAME": LIMITED}, "refuses access to the consumer group"),
        ({"KAFKA_CA_FILE": "{nonsense}"}, "cannot be used"),
    ],
    ids=["authority", "name", "password", "user", "rights", "file"],
)
async def test_a_wrong_setting_ends_the_start_with_what_to_do(
    broker: SecureKafka, settings: dict[str, str], tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    other, nonsense = tmp_path / "other.pem", tmp_path / "nonsense.pem"
    trustme.CA().cert_pem.write_to_path(other)
    nonsense.write_text("nonsense")
    filled = {
        name: value.format(other=other, nonsense=nonsense, port=broker.login_port) for name, value in wrong.items()
    }
    assert said in await ended(WorkerProcess(tmp_path, **{**settings, **filled}))
