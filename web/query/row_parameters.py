"""What the address of one row takes as parameters."""

from __future__ import annotations

import re
from typing import NamedTuple

from headrace.events.problem_document import ProblemError
from web.requests.own_writes import MOST_SECONDS, NAMES, OwnWrite, read_own_write
from web.requests.paging import InvalidQueryError, name_errors, read_pairs

POSITION = re.compile(r"[1-9][0-9]{0,17}")
ALLOWED = (
    f"Allowed are source, id and wait (0 to {MOST_SECONDS} seconds) to read your own write, or as_of=position. "
    "A ? that belongs to the key is written %3F."
)


class RowParameters(NamedTuple):
    """At most one of the two."""

    own_write: OwnWrite | None
    as_of: int | None


def read_row_parameters(query_string: str) -> RowParameters:
    """What a query string, still percent-encoded, asks for. Raises InvalidQueryError with everything that is wrong."""
    pairs = read_pairs(query_string)
    errors = list(name_errors(pairs, {*NAMES, "as_of"}, ALLOWED))
    given = dict(pairs)
    own_write = read_own_write(given, errors)
    position = given.get("as_of")
    if position is not None and not POSITION.fullmatch(position):
        detail = "as_of is a position: a whole number, 1 up to that of the newest event."
        errors.append(ProblemError(parameter="as_of", code="invalid_value", detail=detail))
    elif position is not None and own_write is not None:
        detail = "as_of is a row as it was, whatever is written: it goes without source, id and wait."
        errors.append(ProblemError(parameter="as_of", code="invalid_value", detail=detail))
    if errors or (query_string and not given):
        raise InvalidQueryError(errors or [ProblemError(code="unknown_parameter", detail=ALLOWED)])
    return RowParameters(own_write, None if position is None else int(position))
