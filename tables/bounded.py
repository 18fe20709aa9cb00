"""Bounds what a statement returns by bytes: a number of rows says nothing about their size."""

from __future__ import annotations

MAX_READ_BYTES = 8 * 1024 * 1024
"""Of rows that are read together, unless it is a single row."""


_BOUNDED = """
SELECT {columns}
FROM (
    SELECT *, count(*) OVER () AS found,
           sum({size}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - {size} AS bytes_before
    FROM ({statement}) AS next
) AS measured
WHERE bytes_before < {limit}
ORDER BY {order}
"""


def bounded(statement: str, columns: str, *, size: str, order: str, limit: str) -> str:
    """A statement for the first rows of `statement` whose sizes do not exceed `limit`, at least one row.

    `size`: the bytes of a row; `order`: the columns that order the rows; `columns`: what is returned. In them,
    `found` is the number of rows without this bound.
    """
    return _BOUNDED.format(statement=statement, columns=columns, size=size, order=order, limit=limit)
