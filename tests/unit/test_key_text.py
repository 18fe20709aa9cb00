"""The text of an API key, and keys in other texts."""

from __future__ import annotations

import json
import logging
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.worker.log_formats import JsonFormatter, TextFormatter
from headrace.access import key_text
from headrace.process.secrets import without_secrets
from headrace.process.terminal import printable

KEY = key_text.make()


def test_a_key_has_a_prefix_an_id_a_secret_and_a_checksum() -> None:
    made = key_text.make()
    assert made.key.startswith(f"hr_{made.id}_")
    assert len(made.key) == key_text.KEY_CHARACTERS
    assert key_text.id_of(made.key) == made.id
    assert key_text.is_key(made.key)
    assert key_text.digest(made.key) == sha256(made.key.encode()).digest()


def test_no_two_keys_are_alike() -> None:
    made = [key_text.make() for _ in range(1_000)]
    assert len({one.id for one in made}) == len({one.key for one in made}) == 1_000


@given(st.integers(0, key_text.KEY_CHARACTERS - 1), st.characters())
def test_a_key_with_another_character_is_no_key(place: int, character: str) -> None:
    changed = KEY.key[:place] + character + KEY.key[place + 1 :]
    assert key_text.is_key(changed) == (changed == KEY.key)


@given(st.text())
def test_any_other_text_is_no_key(text: str) -> None:
    assert not key_text.is_key(text)
    assert not key_text.is_key(KEY.key + text[:1]) or not text


@given(st.text(), st.text(), st.integers(17, key_text.KEY_CHARACTERS))
def test_no_part_of_a_secret_stays_in_a_text(before: str, after: str, length: int) -> None:
    """Whether the key is whole, was cut, or is glued to other words."""
    shown = without_secrets(before + KEY.key[:length] + after)
    assert KEY.key[16:length] not in shown or length - 16 < 8
    assert f"hr_{KEY.id}_…" in shown


@given(st.text())
def test_a_text_without_a_key_stays_as_it_is(text: str) -> None:
    if "hr_" not in text:
        assert key_text.without_keys(text) == text


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_the_log_has_the_id_of_a_key_and_not_its_secret(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("library", logging.ERROR, "", 0, "sent %s", (f"Bearer {KEY.key}",), None)
    record.fields = {"path": f"/x?token={KEY.key}"}
    line = formatter.format(record)
    assert KEY.key[-30:] not in line
    assert f"hr_{KEY.id}_" in (json.loads(line)["path"] if isinstance(formatter, JsonFormatter) else line)


def test_a_terminal_does_not_show_a_key_by_accident() -> None:
    assert printable(f"for {KEY.key}") == f"for hr_{KEY.id}_…"
