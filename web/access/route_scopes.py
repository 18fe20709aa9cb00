"""Which scope each route needs. A route that is not here does not exist: the application does not start.

docs/access.md has this table; `scripts/document_access.py` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from headrace.access.scopes import ALL_SCOPES, Scope

Route: TypeAlias = tuple[str, str]
"""The method, GET also for HEAD, and the pattern of the path."""
Need: TypeAlias = frozenset[Scope]
"""One of these scopes will do; empty: the route is open to all."""

OPEN: Need = frozenset()
ANY: Need = ALL_SCOPES
WRITE_OR_READ: Need = frozenset({Scope.WRITE, Scope.READ})
READ: Need = frozenset({Scope.READ})
OPERATE: Need = frozenset({Scope.OPERATE})
MEASURE: Need = frozenset({Scope.METRICS, Scope.ADMIN})
ADMIN: Need = frozenset({Scope.ADMIN})

PARKED = "/api/v1/parked"
PROJECTIONS = "/api/v1/projections"
KEYS = "/api/v1/keys"

ROUTE_SCOPES: Mapping[Route, Need] = {
    ("POST", "/api/v1/events"): frozenset({Scope.WRITE}),
    ("GET", "/api/v1/events/status"): WRITE_OR_READ,
    ("GET", "/api/v1/event-types"): WRITE_OR_READ,
    ("GET", "/api/v1/event-types/{type}"): WRITE_OR_READ,
    ("GET", PROJECTIONS): READ,
    ("GET", PROJECTIONS + "/{name}"): READ,
    ("GET", PROJECTIONS + "/{name}/{key}"): READ,
    ("GET", "/api/v1/events"): frozenset({Scope.AUDIT}),
    ("GET", PARKED): OPERATE,
    ("GET", PARKED + "/{projection}/{position}"): OPERATE,
    ("POST", PARKED + "/{projection}/retry"): OPERATE,
    ("POST", PARKED + "/{projection}/discard"): OPERATE,
    ("GET", "/api/v1/dead-letters"): OPERATE,
    ("GET", KEYS): ADMIN,
    ("POST", KEYS): ADMIN,
    ("GET", KEYS + "/{key}"): ADMIN,
    ("POST", KEYS + "/{key}/rotate"): ADMIN,
    ("POST", KEYS + "/{key}/revoke"): ADMIN,
    ("GET", "/api/v1/access-log"): ADMIN,
    ("GET", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): MEASURE,
    ("GET", "/openapi.json"): ANY,
    ("GET", "/docs"): ANY,
}
WITH_PARAMETER: Mapping[tuple[Route, str], Need] = {(("GET", "/readyz"), "verbose"): MEASURE}
"""What a route needs if the request has this parameter."""
DOCUMENTATION = frozenset({("GET", "/openapi.json"), ("GET", "/docs")})
"""What AUTH_OPEN_DOCS opens."""
