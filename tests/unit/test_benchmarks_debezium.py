"""Which files of Debezium Server the benchmarks keep, and that its lock is whole."""

from __future__ import annotations

import pytest

from benchmarks.debezium_files import LOCK_FILE, read_lock, wanted


@pytest.mark.parametrize(
    ("path", "is_wanted"),
    [
        ("debezium-server/debezium-server-dist-3.6.0.Final-runner.jar", True),
        ("debezium-server/lib/kafka-clients-4.3.0.jar", True),
        ("debezium-server/lib_opt/groovy-4.0.17.jar", False),
        ("debezium-server/connectors/debezium-connector-dse/kafka-clients-4.3.0.jar", False),
        ("debezium-server/connectors/other-runner.jar", False),
        ("debezium-server/run.sh", False),
    ],
)
def test_the_server_and_its_libraries_are_kept(path: str, *, is_wanted: bool) -> None:
    assert wanted(path) is is_wanted


def test_the_lock_names_one_version_and_its_hash() -> None:
    archive = read_lock(LOCK_FILE.read_text())
    assert archive.version.startswith("3.6.")
    assert len(archive.sha256) == 64
