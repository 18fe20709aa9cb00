from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app.embedded.kafka.class_path import LOCK_FILE, missing_in, provide, read_lock
from app.embedded.kafka.download import fetch, fetch_one
from app.embedded.kafka.jar import Jar
from headrace.errors import StartError

ROOT = Path(__file__).parents[2]
JARS = read_lock(LOCK_FILE.read_text(encoding="utf-8")).jars
SMALLEST = min(JARS, key=lambda jar: jar.bytes)

# jgo leaves the closing of its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def connections_of_jgo() -> Iterator[None]:
    yield
    gc.collect()


def files_in(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


def test_a_missing_jar_is_fetched_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert missing_in(tmp_path, [SMALLEST]) == [SMALLEST]
    fetch("a jar", [SMALLEST], tmp_path)
    assert missing_in(tmp_path, [SMALLEST]) == []
    assert files_in(tmp_path) == [SMALLEST.path]


@pytest.mark.parametrize("content", [b"", b"half of it", b"x" * SMALLEST.bytes])
def test_a_file_that_is_not_the_jar_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SMALLEST.path).parent.mkdir(parents=True)
    (tmp_path / SMALLEST.path).write_bytes(content)
    assert missing_in(tmp_path, [SMALLEST]) == [SMALLEST]
    fetch("a jar", [SMALLEST], tmp_path)
    assert missing_in(tmp_path, [SMALLEST]) == []


def test_a_download_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    other = msgspec.structs.replace(SMALLEST, sha256="0" * 64)
    with pytest.raises(StartError, match=rf"^{SMALLEST.path.name} .* not the file that kafka.toml names"):
        fetch("a jar", [other], tmp_path)
    assert files_in(tmp_path) == []


def test_a_jar_that_is_nowhere_is_one_clear_line(tmp_path: Path) -> None:
    nowhere = Jar(group="org.apache.kafka", artifact="kafka-raft", version="0.0.0", bytes=1, sha256="")
    with pytest.raises(StartError) as refused:
        fetch("a jar", [nowhere], tmp_path)
    assert "kafka-raft-0.0.0.jar" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_a_killed_download_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".headrace-old", tmp_path / ".headrace-new"
    for scratch in (old, new):
        scratch.mkdir()
        (scratch / "half.jar").write_text("half")
    os.utime(old, (0, 0))
    fetch("a jar", [SMALLEST], tmp_path)
    assert not old.exists()
    assert new.exists()


def test_two_who_fetch_the_same_jar_do_not_disturb_each_other(tmp_path: Path) -> None:
    threads = [threading.Thread(target=fetch_one, args=(SMALLEST, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing_in(tmp_path, [SMALLEST]) == []


def test_jars_in_the_data_folder_do_where_the_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jars").mkdir()
    for known in provide(tmp_path / "unused"):
        (tmp_path / "jars" / known.name).symlink_to(known)
    for jar in JARS:
        place = tmp_path / "jars" / jar.path
        place.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "jars" / place.name).rename(place)
    (tmp_path / "home").write_text("not a folder")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "home" / "repository"))
    assert provide(tmp_path / "jars") == [tmp_path / "jars" / jar.path for jar in JARS]


def test_no_place_for_the_jars_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "file" / "repository"))
    with pytest.raises(StartError, match=r"cannot be kept .*file/repository.*file/jars.* set M2_REPO"):
        provide(tmp_path / "file" / "jars")


def test_the_command_checks_what_is_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.embedded"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "data").exists()
