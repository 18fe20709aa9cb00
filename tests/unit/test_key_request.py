"""What a new key may be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.access.key_request import InvalidKeyError, checked, duration
from headrace.access.scopes import Scope


def test_a_key_lasts_a_year_unless_it_is_said_otherwise() -> None:
    request = checked("ops", ["read", "write", "read"])
    assert request.expires == timedelta(days=365)
    assert request.scopes == (Scope.WRITE, Scope.READ)
    assert (request.sources, request.subjects, request.types, request.certificate) == (None,) * 4


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": " "}),
        ("name", {"name": "a\0b"}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "\ud800"}),
        ("name", {"name": "x" * 101}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["root"]}),
        ("scopes", {"scopes": ["read", ""]}),
        ("sources", {"sources": []}),
        ("sources", {"sources": [""]}),
        ("subjects", {"subjects": ["a\0"]}),
        ("types", {"types": ["x" * 1_025]}),
        ("types", {"types": ["x"] * 101}),
        ("certificate", {"certificate": ""}),
        ("expires", {"expires": "366d"}),
        ("expires", {"expires": "0d"}),
        ("expires", {"expires": "1y"}),
        ("expires", {"expires": "-1d"}),
        ("expires", {"expires": "999999d"}),
        ("expires", {"expires": "٣d"}),
    ],
)
def test_what_is_not_allowed_is_named(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeyError) as refused:
        checked(**{"name": "ops", "scopes": ["read"], **given})
    assert refused.value.field == field


@pytest.mark.parametrize(("text", "seconds"), [("90d", 90 * 86_400), ("24h", 86_400), ("5m", 300), ("0d", 0)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert duration("overlap", text).total_seconds() == seconds
