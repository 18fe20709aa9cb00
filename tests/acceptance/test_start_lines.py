"""What a worker says of itself: at its start, at SIGTERM, and to Prometheus."""

from __future__ import annotations

import json
import platform
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from app.version import VERSION

from tests.support.servers.command_line import command
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.system import running
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until


def lines(worker: WorkerProcess, action: str) -> list[dict[str, Any]]:
    """The lines of a log in JSON that have this action."""
    found = [json.loads(line) for line in worker.log.read_text().splitlines()]
    return [line for line in found if line["action"] == action]


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    dsn = f"{database_dsn}&password=s3cret-word"
    return {"DATABASE_URL": dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic, "LOG_FORMAT": "json"}


async def test_the_first_line_has_the_version_the_database_and_the_broker(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    async with running(tmp_path, **settings) as worker:
        first = json.loads(worker.log.read_text().splitlines()[0])
        assert first["action"] == "worker.starting"
        assert (first["version"], first["python"]) == (VERSION, platform.python_version())
        assert first["database"].endswith(f"/{urlsplit(settings['DATABASE_URL']).path[1:]}")
        assert first["broker"] == settings["BROKER_URL"].removeprefix("kafka://")
        assert "s3cret" not in worker.log.read_text()


async def test_prometheus_gets_the_versions(tmp_path: Path, settings: dict[str, str]) -> None:
    async with (
        running(tmp_path, **settings) as worker,
        aiohttp.ClientSession() as session,
        session.get(f"{worker.query}/metrics") as response,
    ):
        wanted = f'headrace_build_info{{python="{platform.python_version()}",version="{VERSION}"}} 1.0'
        assert wanted in (await response.text()).splitlines()


async def test_a_variable_that_looks_like_a_setting_is_a_warning(tmp_path: Path, settings: dict[str, str]) -> None:
    async with running(tmp_path, **settings, MAX_EVENT_BYTS="2000") as worker:
        (line,) = lines(worker, "setting.unknown")
        assert (line["level"], line["name"], line["meant"]) == ("WARNING", "MAX_EVENT_BYTS", "MAX_EVENT_BYTES")


def test_a_command_names_a_variable_that_looks_like_a_setting(tmp_path: Path, settings: dict[str, str]) -> None:
    environment = WorkerProcess(tmp_path, **settings, DATABSE_URL="postgresql://elsewhere/x")._environment
    ended = command("migrate", settings=environment)
    assert ended.returncode == 0, ended.stderr
    assert "DATABSE_URL is not a setting of Headrace" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_line_says_which_signal_stops_the_worker(
    tmp_path: Path, settings: dict[str, str], number: signal.Signals
) -> None:
    async with running(tmp_path, **settings) as worker:
        worker.process.send_signal(number)
        worker.process.wait(20)
        (line,) = lines(worker, "worker.stopping")
        assert line["signal"] == number.name


async def test_a_worker_that_is_not_up_yet_says_the_same(tmp_path: Path, settings: dict[str, str]) -> None:
    nowhere = {**settings, "BROKER_URL": f"kafka://127.0.0.1:{free_port()}"}
    worker = WorkerProcess(tmp_path, **nowhere)
    worker.start()
    try:
        await worker.ready()

        async def says() -> bool:
            return len(lines(worker, "worker.stopping")) == 1

        worker.process.terminate()
        await until(says, 20)
        assert not lines(worker, "worker.started")
    finally:
        assert worker.stop() == 0


async def test_a_worker_says_once_that_its_role_may_alter_the_event_store(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    async with running(tmp_path, **settings) as worker:
        (line,) = lines(worker, "postgres.role_too_powerful")
        assert (line["level"], line["variable"]) == ("WARNING", "DATABASE_URL")
        assert "docs/roles.md" in line["message"]


async def test_a_healthy_start_with_the_embedded_postgresql_warns_of_nothing(kafka: str, topic: str) -> None:
    with server_folder() as folder:
        settings = {"BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic, "LOG_FORMAT": "json"}
        async with running(folder, **settings) as worker:
            await until(lambda: _is_up(worker), 30)
            found = [json.loads(line) for line in worker.log.read_text().splitlines()]
            assert [line for line in found if line["level"] != "INFO"] == []


async def _is_up(worker: WorkerProcess) -> bool:
    return bool(lines(worker, "worker.started"))
