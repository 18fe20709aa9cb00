from __future__ import annotations

from pathlib import Path

import pytest

from app.embedded.log_tail import MAX_CHARACTERS, LogTail


@pytest.mark.parametrize(
    ("written", "quoted"),
    [
        ("LOG: starting\nFATAL: no\nLOG: database system is shut down\n", "FATAL: no"),
        ("ERROR fatal (kafka)\nCaused by: in use\n\tat java.Exception.x(y)\n\t... 9 more\n", "Caused by: in use"),
        ("one\ntwo\n\n", "two"),
        ("", "it wrote nothing"),
    ],
)
def test_the_telling_line_is_quoted(tmp_path: Path, written: str, quoted: str) -> None:
    logs = LogTail(tmp_path)
    (tmp_path / "server.log").write_text(written)
    assert logs.last_line() == quoted


def test_what_was_there_before_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("FATAL: of yesterday\n")
    logs = LogTail(tmp_path)
    with (tmp_path / "server.log").open("a") as file:
        file.write("LOG: of today\n")
    assert logs.last_line() == "LOG: of today"


def test_a_file_that_was_made_anew_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "start.log").write_text("FATAL: of a much longer yesterday\n")
    logs = LogTail(tmp_path)
    (tmp_path / "start.log").write_text("FATAL: today\n")
    assert logs.last_line() == "FATAL: today"


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    logs = LogTail(tmp_path)
    (tmp_path / "server.log").write_bytes(b"ERROR " + b"\xff" * 200_000)
    assert len(logs.last_line()) <= MAX_CHARACTERS
