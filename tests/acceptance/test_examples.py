"""The simulated device and the demo, as they are run."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.mosquitto import Mosquitto
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


def example(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_device_keeps_what_it_could_not_send_and_sends_it_in_the_next_run(folder: Path) -> None:
    with server_folder() as data:
        broker = Mosquitto(data)
        first = await asyncio.to_thread(
            example, "device.py", "d1", "--url", broker.url, "--seconds", "1", "--every", "0.1", cwd=folder
        )
        kept = int(re.fullmatch(r"d1: 0 acknowledged, (\d+) in the queue\n", first.stdout)[1])  # type: ignore[index]
        assert kept > 0
        await broker.start()
        second = await asyncio.to_thread(
            example, "device.py", "d1", "--url", broker.url, "--seconds", "0.5", "--every", "0.1", cwd=folder
        )
        broker.kill()
    sent = int(re.fullmatch(r"d1: (\d+) acknowledged, 0 in the queue\n", second.stdout)[1])  # type: ignore[index]
    assert sent > kept
    assert (folder / "d1.queue").read_text() == ""


async def test_the_demo_brings_what_its_devices_measure(
    database_dsn: str, kafka: str, topic: str, folder: Path
) -> None:
    with server_folder() as data:
        broker = Mosquitto(data)
        await broker.start()
        settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "MQTT_URL": broker.url}
        worker = WorkerProcess(data, CONSUMER_GROUP=topic, **settings)
        worker.start()
        try:
            await worker.ready()

            async def connected() -> bool:
                return "Connected to the MQTT broker" in worker.log.read_text()

            await until(connected, 60)
            addresses = ["--mqtt", broker.url, "--ingestion", worker.ingestion, "--query", worker.query]
            ran = await asyncio.to_thread(
                example, "demo.py", "--devices", "6", "--seconds", "3", "--every", "0.2", *addresses, cwd=folder
            )
        finally:
            worker.stop()
            broker.kill()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = re.search(r"Acknowledged: (\d+) readings over MQTT, (\d+) over HTTP. Not acknowledged: 0\.", ran.stdout)
    assert found is not None, ran.stdout
    assert min(int(found[1]), int(found[2])) >= 3


def test_the_demo_says_at_once_that_there_is_no_worker(folder: Path) -> None:
    addresses = [
        f"http://127.0.0.1:{free_port()}",
        f"http://127.0.0.1:{free_port()}",
        f"mqtt://127.0.0.1:{free_port()}",
    ]
    started = time.monotonic()
    ingestion, query, mqtt = addresses
    ran = example("demo.py", "--ingestion", ingestion, "--query", query, "--mqtt", mqtt, cwd=folder)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"demo: nothing answers at {' and '.join(addresses)}. Start a worker")
    assert "\n  make run\n" in ran.stderr
    assert ran.stdout == ""
    print(f"{time.monotonic() - started:.2f} s")
    assert time.monotonic() - started < 5, "a second, and the start of Python on a busy machine"
