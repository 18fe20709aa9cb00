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
    """The documentation of the ingestion port; known event types are those of `projections`."""
    return Documentation(
        document(
            "Headrace: ingestion",
            "Accepts CloudEvents, stores every event, and shows its progress.",
            OPERATIONS,
            written=event_schemas(projections, limits, refuse_unknown=refuse_unknown),
        )
    )


def documentation_of_query(projections: Sequence[Projection[Any]]) -> Documentation:
    """The documentation of the query port, with paths for each projection."""
    return Documentation(
        document(
            "Headrace: query",
            "Projections of the events: rows by key, in pages, and as they change; stored events; parked events.",
            operations_of_query(projections),
        )
    )
