"""The OpenAPI documents of the two ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.events.envelope import Limits
from headrace.projection import Projection
from web.openapi.document import document
from web.openapi.event_schemas import event_schemas
from web.openapi.ingestion import OPERATIONS
from web.openapi.pages import Documentation
from web.openapi.query import operations_of_query


def documentation_of_ingestion(
    projections: Sequence[Projection[Any]], limits: Limits, *, refuse_unknown: bool
) -> Documentation:
    """Of the port that takes events."""
    return Documentation(
        document(
            "Headrace: ingestion",
            "Takes CloudEvents, keeps every one of them, and tells how far each has come.",
            OPERATIONS,
            written=event_schemas(projections, limits, refuse_unknown=refuse_unknown),
        )
    )


def documentation_of_query(projections: Sequence[Projection[Any]]) -> Documentation:
    """Of the port that is asked."""
    return Documentation(
        document(
            "Headrace: query",
            "Projections of the events: rows by key, by pages, as they change; the events themselves; what is parked.",
            operations_of_query(projections),
        )
    )
