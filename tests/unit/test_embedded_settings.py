from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from app.embedded.kafka import files as kafka_files
from app.embedded.kafka.class_path import LOCK_FILE, read_lock
from app.embedded.kafka.jar import Jar
from app.embedded.postgres import files as postgres_files

SHA256 = re.compile(r"^[0-9a-f]{64}$")


def properties(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def test_the_lock_names_every_jar_once_with_its_hash() -> None:
    lock = read_lock(LOCK_FILE.read_text(encoding="utf-8"))
    assert len({(jar.group, jar.artifact) for jar in lock.jars}) == len(lock.jars) > 40
    assert all(SHA256.match(jar.sha256) and jar.bytes > 0 for jar in lock.jars)
    versions = {jar.artifact: jar.version for jar in lock.jars}
    assert versions["kafka_2.13"] == versions["kafka-clients"] == lock.kafka
    assert versions["log4j-slf4j-impl"] == versions["log4j-core"]


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK_FILE.read_text(encoding="utf-8")


def test_a_jar_lies_where_maven_puts_it() -> None:
    jar = Jar(group="org.apache.kafka", artifact="kafka-raft", version="4.3.1", bytes=1, sha256="")
    assert jar.path == Path("org/apache/kafka/kafka-raft/4.3.1/kafka-raft-4.3.1.jar")


@pytest.mark.parametrize(
    "text",
    [
        "kafka = 4\njars = []",
        'kafka = "4.3.1"',
        'kafka = "4.3.1"\njars = [{ group = "g", artifact = "a", version = "1", bytes = 1 }]',
        'kafka = "4.3.1"\njars = [',
    ],
)
def test_a_wrong_lock_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_lock(text)


def test_kafka_listens_on_loopback_alone_and_keeps_events() -> None:
    settings = properties(kafka_files.PROPERTIES.format(port=9092, controller_port=20_001, security=""))
    addresses = re.findall(r"//([^:]+):(\d+)", settings["listeners"])
    assert addresses == [("127.0.0.1", "9092"), ("127.0.0.1", "20001")]
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["log.retention.ms"] == "-1"
    assert int(settings["group.min.session.timeout.ms"]) <= 6_000
    assert {value for key, value in settings.items() if key.endswith("replication.factor")} == {"1"}


def test_postgres_listens_on_no_port_and_syncs_commits() -> None:
    assert "listen_addresses = ''\n" in postgres_files.SETTINGS
    assert not re.search(r"^\s*(fsync|synchronous_commit|full_page_writes)", postgres_files.SETTINGS, re.MULTILINE)
    assert postgres_files.HBA.split() == ["local", "all", "all", "trust"]


def test_a_path_is_quoted_for_postgres() -> None:
    assert postgres_files.quoted(Path("/it's/a\\b")) == "/it''s/a\\\\b"


def test_the_socket_lies_with_the_data_where_its_path_is_short_enough() -> None:
    assert postgres_files.socket_folder_for(Path("/srv/über uns/data")) == Path("/srv/über uns/data")


@pytest.mark.parametrize("data", ["/deep" * 30, "/ü" * 46, "/a,b", '/a"b'])
def test_the_socket_goes_elsewhere_where_its_path_would_not_do(data: str) -> None:
    chosen = postgres_files.socket_folder_for(Path(data))
    assert chosen != Path(data)
    assert chosen == postgres_files.socket_folder_for(Path(data))
    assert chosen != postgres_files.socket_folder_for(Path(data + "2"))


def test_cluster_ids_are_kafkas() -> None:
    ids = {kafka_files.new_cluster_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(re.match(r"^[A-Za-z0-9][A-Za-z0-9_-]{21}$", one) for one in ids)
