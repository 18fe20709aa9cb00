"""`Location`: the address of an event's story."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from web.ingestion.event_status import location

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT)
@example("/a b", "~._-")
@example("a\n", "%41&id=2")
def test_source_and_id_come_out_of_the_location_as_they_went_in(source: str, event_id: str) -> None:
    told = location(source, event_id)
    assert told.isascii()
    assert parse_qs(urlsplit(told).query, strict_parsing=True) == {"source": [source], "id": [event_id]}
