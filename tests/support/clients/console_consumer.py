"""Kafka's own console consumer: what anybody who has Kafka at hand reads a topic with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from app.embedded.kafka.class_path import LOCK_FILE, missing_in, provide, read_lock
from app.embedded.kafka.download import fetch
from app.embedded.kafka.files import environment, java, write_settings
from app.embedded.kafka.jar import Jar

# Beside the class path of the broker, which has everything else that it needs.
TOOLS = Jar(
    group="org.apache.kafka",
    artifact="kafka-tools",
    version="4.3.1",
    bytes=698668,
    sha256="62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c",
)
PROGRAM = "org.apache.kafka.tools.consumer.ConsoleConsumer"
WAIT_MILLISECONDS = 60_000
SECONDS = 120.0


class Line(NamedTuple):
    """A record as it is printed."""

    headers: str
    key: str
    value: str


def read_topic(bootstrap_servers: str, topic: str, how_many: int, folder: Path) -> list[Line]:
    """The first records of a topic, in no order but that of each partition. Fetches Kafka's tools once."""
    write_settings(folder, port=0, controller_port=0, security="")  # a place for its log
    command = java(
        folder,
        _class_path(folder),
        *(PROGRAM, "--bootstrap-server", bootstrap_servers, "--topic", topic, "--from-beginning"),
        *("--max-messages", str(how_many), "--timeout-ms", str(WAIT_MILLISECONDS)),
        *("--formatter-property", "print.headers=true", "--formatter-property", "print.key=true"),
    )
    ended = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, encoding="utf-8", timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [Line(*line.split("\t", 2)) for line in ended.stdout.splitlines()]


def _class_path(folder: Path) -> list[Path]:
    lock = read_lock(LOCK_FILE.read_text("utf-8"))
    assert lock.kafka == TOOLS.version, f"name the kafka-tools of Kafka {lock.kafka} above"
    class_path = provide(folder / "jars")
    repository = class_path[0].parents[len(lock.jars[0].path.parts) - 1]
    if missing := missing_in(repository, [TOOLS]):
        fetch("Kafka's tools", missing, repository)
    return [*class_path, repository / TOOLS.path]
