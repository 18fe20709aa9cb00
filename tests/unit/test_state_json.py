"""States as JSON: their size is limited as PostgreSQL writes them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from headrace.folding.state_json import StateError, encode_state


def test_a_state_of_the_limit_is_written_and_a_larger_one_raises() -> None:
    assert encode_state("x" * 998, 1_000) == f'"{"x" * 998}"'
    with pytest.raises(StateError, match="more than 1000 bytes"):
        encode_state("x" * 999, 1_000)


def test_a_number_counts_with_all_its_digits() -> None:
    assert encode_state([Decimal("1E+900")], 1_000) == "[1E+900]"
    for number in (Decimal("1E+1000"), Decimal("1E-1000")):
        with pytest.raises(StateError, match="MAX_STATE_BYTES"):
            encode_state([number], 1_000)
