"""The OpenAPI documents of the two ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from headrace.events.envelope import Limits
from headrace.projection import Projection
from web.openapi.access import SCHEMES, secured
from web.openapi.document import Operation, document
from web.openapi.event_schemas import event_schemas
from web.openapi.ingestion import OPERATIONS
from web.openapi.keys import key_operations
from web.openapi.pages import Documentation
from web.openapi.query import operations_of_query


class DocumentedAccess(NamedTuple):
    """What clients must show, as the documents say it."""

    is_needed: bool = False
    """Whether operations need a credential."""
    with_keys: bool = False
    """Whether there are operations on API keys."""
    open_docs: bool = False
    """Whether the documentation itself needs none."""

    def described(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The operations with what they need."""
        return secured(operations, open_docs=self.open_docs) if self.is_needed else operations


def documentation_of_ingestion(
    projections: Sequence[Projection[Any]],
    limits: Limits,
    *,
    refuse_unknown: bool,
    accept_old_shapes: bool = False,
    admission: DocumentedAccess = DocumentedAccess(),  # noqa: B008 - immutable
) -> Documentation:
    """The documentation of the ingestion port; known event types are those of `projections`."""
    return Documentation(
        document(
            "Headrace: ingestion",
            "Accepts CloudEvents, stores every event, and shows its progress.",
            admission.described(OPERATIONS),
            written=event_schemas(
                projections, limits, refuse_unknown=refuse_unknown, accept_old_shapes=accept_old_shapes
            ),
            security_schemes=SCHEMES if admission.is_needed else None,
        )
    )


def documentation_of_query(
    projections: Sequence[Projection[Any]],
    admission: DocumentedAccess = DocumentedAccess(),  # noqa: B008 - immutable
) -> Documentation:
    """The documentation of the query port, with paths for each projection."""
    operations = [*operations_of_query(projections), *(key_operations() if admission.with_keys else [])]
    return Documentation(
        document(
            "Headrace: query",
            "Projections of the events: rows by key, in pages, and as they change; stored events; parked events.",
            admission.described(operations),
            security_schemes=SCHEMES if admission.is_needed else None,
        )
    )
