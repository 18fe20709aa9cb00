"""The parameters of a request for one row."""

from __future__ import annotations

import re
from typing import NamedTuple

from web.requests.own_writes import MOST_SECONDS, NAMES, OwnWrite, read_own_write
from web.requests.query_parameters import QueryParameters

POSITION = re.compile(r"[1-9][0-9]{0,17}")
ALLOWED = (
    f"Allowed are source, id and wait (0 to {MOST_SECONDS} seconds) to read your own write, or as_of=position. "
    "A ? that belongs to the key is written %3F."
)


class RowParameters(NamedTuple):
    """At most one of the two is given."""

    own_write: OwnWrite | None
    as_of: int | None


def read_row_parameters(query_string: str) -> RowParameters:
    """What a query string, still percent-encoded, asks for. Raises Problem (400) with every error."""
    parameters = QueryParameters(query_string, {*NAMES, "as_of"}, ALLOWED)
    own_write = read_own_write(parameters)
    position = parameters.given.get("as_of")
    if position is not None and not POSITION.fullmatch(position):
        detail = "as_of is a position: a whole number, 1 up to that of the newest event."
        parameters.note("as_of", "invalid_value", detail)
    elif position is not None and own_write is not None:
        detail = "as_of reads a row of the past, which no new event changes: send it without source, id and wait."
        parameters.note("as_of", "invalid_value", detail)
    if query_string and not parameters.given:
        parameters.note(None, "unknown_parameter", ALLOWED)
    parameters.check()
    return RowParameters(own_write, None if position is None else int(position))
