"""The small offline queue of the simulated device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import device
from examples.device import OfflineQueue


def put(queue: OfflineQueue, *numbers: int) -> None:
    for number in numbers:
        queue.put(str(number), json.dumps({"id": str(number)}))


def emptied(queue: OfflineQueue) -> list[str]:
    found = []
    while oldest := queue.oldest(wait_seconds=0):
        found.append(oldest[0])
        queue.remove(oldest[0])
    return found


def test_what_is_left_is_there_after_a_restart_in_order(tmp_path: Path) -> None:
    queue = OfflineQueue(tmp_path / "d.queue")
    put(queue, 1, 2, 3)
    queue.remove("1")
    assert [*emptied(OfflineQueue(tmp_path / "d.queue"))][-2:] == ["2", "3"]
    assert (tmp_path / "d.queue").read_text() == ""


def test_what_comes_after_a_line_that_was_cut_off_is_kept(tmp_path: Path) -> None:
    (tmp_path / "d.queue").write_text('{"id": "1"}\n{"id": "2')
    put(OfflineQueue(tmp_path / "d.queue"), 3)
    assert emptied(OfflineQueue(tmp_path / "d.queue")) == ["1", "3"]


def test_a_device_that_is_offline_for_long_gives_up_the_oldest_and_its_file_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "MAX_QUEUED", 10)
    monkeypatch.setattr(device, "SPARE_LINES", 5)
    queue = OfflineQueue(tmp_path / "d.queue")
    put(queue, *range(1_000))
    assert len(queue) == 10
    assert len((tmp_path / "d.queue").read_text().splitlines()) <= 26
    assert emptied(queue) == [str(number) for number in range(990, 1_000)]
