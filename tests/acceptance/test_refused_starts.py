"""Workers that cannot start: they end at once, with one line that says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import asyncpg
import pytest

from tests.support.servers.command_line import command
from tests.support.servers.fresh import database_url, server_folder
from tests.support.servers.worker_process import WorkerProcess


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


def run(tmp_path: Path, **settings: str) -> tuple[int, list[str]]:
    """Start a worker that cannot start; its exit code and what it says on standard error."""
    ended = command("worker", settings=WorkerProcess(tmp_path, **settings)._environment)
    return ended.returncode, ended.stderr.splitlines()


def test_a_wrong_setting_is_one_clear_line(tmp_path: Path) -> None:
    code, lines = run(tmp_path, SERVICES="ingestion,reader")
    assert code != 0
    assert "".join(lines) == (
        "headrace: SERVICES=ingestion,reader: not allowed; allowed: "
        "comma-separated list of ingestion, event_handler, query"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "kafka://u:s3cret@localhost:9092"),
        ("DATABASE_URL", "postgresql://db/x?password=s3cret&sslmode=maybe"),
        ("MQTT_URL", "mqtt://u:s3cret@mq:99999"),
    ],
)
def test_a_refused_address_is_shown_without_its_password(tmp_path: Path, name: str, value: str) -> None:
    code, lines = run(tmp_path, **{name: value})
    assert code != 0
    assert len(lines) == 1
    assert lines[0].startswith(f"headrace: {name}={value.partition(':')[0]}://")
    assert "s3cret" not in lines[0]


def test_a_secret_s_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    code, lines = run(tmp_path, DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "missing"))
    assert code != 0
    assert "".join(lines).startswith(f"headrace: DATABASE_URL_FILE={tmp_path}/missing: cannot be read (No such file")


@pytest.mark.parametrize("name", ["INGESTION_HOST", "QUERY_HOST"])
def test_listening_beyond_loopback_without_a_word_on_authentication_is_one_clear_line(
    tmp_path: Path, name: str
) -> None:
    code, lines = run(tmp_path, **{name: "0.0.0.0"})  # noqa: S104 - that is what is refused
    assert code != 0
    assert len(lines) == 1
    assert lines[0].startswith(f"headrace: {name}=0.0.0.0: not allowed; allowed: a loopback address")
    assert "AUTH=off" in lines[0]


def test_a_data_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, lines = run(tmp_path, DATA_DIR=str(tmp_path / "file" / "data"))
    assert code != 0
    assert len(lines) == 1
    assert str(tmp_path / "file") in lines[0]
    assert "DATA_DIR" in lines[0]


def test_a_port_of_the_embedded_kafka_in_use_is_one_clear_line() -> None:
    with server_folder() as folder, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        code, lines = run(folder, DATA_DIR=str(folder / "data"), EMBEDDED_KAFKA_PORT=port, LOG_LEVEL="ERROR")
    assert code != 0
    assert len(lines) == 1, lines
    assert port in lines[0]


@pytest.mark.parametrize("name", ["INGESTION_PORT", "QUERY_PORT"])
def test_a_port_in_use_is_one_clear_line(tmp_path: Path, settings: dict[str, str], name: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        code, lines = run(tmp_path, **settings, **{name: port})
    assert code != 0
    assert len(lines) == 1
    assert f"127.0.0.1:{port}" in lines[0]
    assert name in lines[0]


@pytest.mark.parametrize("name", ["INGESTION_HOST", "QUERY_HOST"])
@pytest.mark.parametrize("host", ["203.0.113.9", "2001:db8::9"])
def test_a_host_that_is_not_here_is_one_clear_line(
    tmp_path: Path, settings: dict[str, str], name: str, host: str
) -> None:
    code, lines = run(tmp_path, **settings, **{name: host}, AUTH="off")
    assert code != 0
    assert len(lines) == 1
    assert lines[0].startswith(f"headrace: {name}={host}: not allowed; allowed: an address of this machine")


async def test_a_database_of_another_encoding_is_one_clear_line(
    tmp_path: Path, postgres_dsn: str, settings: dict[str, str]
) -> None:
    server = await asyncpg.connect(postgres_dsn)
    await server.execute("CREATE DATABASE not_utf8 ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        settings["DATABASE_URL"] = database_url(postgres_dsn, "not_utf8")
        code, lines = await asyncio.to_thread(run, tmp_path, **settings, LOG_LEVEL="ERROR")
        assert code != 0
        assert len(lines) == 1, lines
        assert lines[0].startswith("headrace: The database not_utf8 has the encoding SQL_ASCII; Headrace needs UTF8.")
        environment = {**os.environ, "DATABASE_URL": settings["DATABASE_URL"], "PYTHONWARNINGS": "ignore"}
        ended = await asyncio.to_thread(command, "migrate", settings=environment)
        assert (ended.returncode, ended.stderr.splitlines()) == (1, lines)
    finally:
        await server.execute("DROP DATABASE not_utf8 WITH (FORCE)")
        await server.close()
