"""Copies of the product with a mistake in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support.servers.worker_process import ROOT

# What is compiled comes along: it is valid until its source is edited. A file that is being written does not.
UNFINISHED = shutil.ignore_patterns("*.pyc.*")
PACKAGES = ("headrace", "app", "agents", "tables", "web")


class Edit(NamedTuple):
    """Some text of a file, and what stands there instead."""

    file: str
    old: str
    new: str


def plant(folder: Path, edits: Iterable[Edit]) -> Path:
    """Copy the product's source into `folder` and make the edits there; the folder to start workers from.

    AssertionError when a text does not occur exactly once: the product has changed, and the edit must be rewritten.
    """
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=UNFINISHED)
    for edit in edits:
        file = folder / edit.file
        text = file.read_text("utf-8")
        times = text.count(edit.old)
        assert times == 1, f"{edit.file} has this text {times} times, not once; rewrite the edit:\n{edit.old}"
        file.write_text(text.replace(edit.old, edit.new), "utf-8")
    return folder
