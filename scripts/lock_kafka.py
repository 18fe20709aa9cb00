"""Writes app/embedded/kafka.toml anew: every jar that a broker of one version needs, with its SHA-256.

python -m scripts.lock_kafka [VERSION]    (by default the version that the file has now)
"""

from __future__ import annotations

import sys
from typing import Any

from jgo.maven import MavenContext

from app.embedded.kafka.class_path import LOCK_FILE, read_lock
from app.embedded.kafka.jar import sha256_of

BROKER = "org.apache.kafka:kafka_2.13"
# Kafka logs by SLF4J and leaves it to its distribution to say by what.
LOGGING_GROUP, LOGGING_CORE, LOGGING_BRIDGE = "org.apache.logging.log4j", "log4j-core", "log4j-slf4j-impl"
HEADER = "# The class path of the embedded Apache Kafka. Made by scripts/lock_kafka.py.\n"


def main() -> None:
    """Resolve, download and hash."""
    kafka = sys.argv[1] if len(sys.argv) > 1 else read_lock(LOCK_FILE.read_text()).kafka
    lines = sorted(
        f'  {{ group = "{found.groupId}", artifact = "{found.artifactId}", version = "{found.version}", '
        f'bytes = {found.resolve().stat().st_size}, sha256 = "{sha256_of(found.resolve())}" }},\n'
        for found in resolve(kafka)
    )
    LOCK_FILE.write_text(f'{HEADER}kafka = "{kafka}"\njars = [\n{"".join(lines)}]\n')


def resolve(kafka: str) -> list[Any]:
    """The artifacts that a broker of this version needs at run time."""
    context = MavenContext()
    broker, needed = context.resolver.resolve([context.create_dependency(f"{BROKER}:{kafka}")])
    found = [dependency.artifact for dependency in broker + needed]
    (core,) = (artifact for artifact in found if artifact.artifactId == LOGGING_CORE)
    # Alone: resolved together with the broker, its dependency management would change the broker's versions.
    return [*found, context.project(LOGGING_GROUP, LOGGING_BRIDGE).at_version(core.version).artifact()]


if __name__ == "__main__":
    main()
