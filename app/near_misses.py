"""Variables that resemble a setting of Headrace and are none: a typing error has no effect, and nobody notices."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from app.secret_files import SECRETS
from app.settings import Settings

SIMILAR = 0.88
"""The share of equal letters above which a name is taken for another: one letter of nine may differ."""
NO_SETTING = "{name} is not a setting of Headrace and has no effect; did you mean {meant}?"
PREFIX = "HEADRACE_"
NO_SETTINGS = frozenset({"HEADRACE_TEST_RUN"})


class NearMiss(NamedTuple):
    """A variable that has no effect."""

    name: str
    meant: str
    """The setting that was probably meant."""


def near_misses(names: Iterable[str]) -> list[NearMiss]:
    """The variables among these that are no settings but resemble a setting, sorted."""
    known = {field.upper() for field in Settings.__struct_fields__} | {f"{name}_FILE" for name in SECRETS}
    return [
        NearMiss(name, meant)
        for name in sorted(set(names) - known - NO_SETTINGS)
        if (meant := _meant(name.upper().removeprefix(PREFIX), known))
    ]


def _meant(name: str, known: set[str]) -> str | None:
    if name in known:
        return name
    if name.removesuffix("_FILE") in known:
        return name.removesuffix("_FILE")
    return next(iter(get_close_matches(name, known, n=1, cutoff=SIMILAR)), None)
