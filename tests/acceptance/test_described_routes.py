"""What a worker serves is what its OpenAPI documents describe: every route, both ways. Nothing listens for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.servers.worker_process import ROOT

TELL = """
import json
from app import app
from app.main import PROJECTIONS, read_environment
from web.openapi.ingestion import OPERATIONS
from web.openapi.keys import key_operations
from web.openapi.query import operations_of_query

served = [
    sorted({(route.method, route.resource.canonical) for route in server.application.router.routes()})
    for server in app.http_servers
]
of_query = [*operations_of_query(PROJECTIONS), *(key_operations() if read_environment().accepts_keys else [])]
described = [sorted({one.route_of for one in ones}) for ones in (OPERATIONS, of_query)]
print(json.dumps({"served": served, "described": described}))
"""
DOCUMENTS = """
import json
from headrace.events.envelope import Limits
from app.main import PROJECTIONS
from web.openapi.both_ports import DocumentedAccess, documentation_of_ingestion, documentation_of_query

documents = []
for admission in (DocumentedAccess(), DocumentedAccess(is_needed=True, with_keys=True)):
    documents.append(documentation_of_ingestion(PROJECTIONS, Limits(), refuse_unknown=False, admission=admission))
    documents.append(documentation_of_query(PROJECTIONS, admission))
print(json.dumps([json.loads(one.document) for one in documents]))
"""


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """What a process of its own prints: the app brings its event loop's policy along."""

    def tell(program: str, auth: str = "") -> Any:
        environment = {"DATABASE_URL": "postgresql://nowhere/", "DATA_DIR": str(tmp_path), "MQTT_URL": "off"}
        environment["AUTH"] = auth
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])

    return tell


@pytest.mark.parametrize("auth", ["", "off", "keys"])
def test_every_route_is_described_and_every_description_has_a_route(told: Any, auth: str) -> None:
    answer = told(TELL, auth)
    for served, described in zip(answer["served"], answer["described"], strict=True):
        # aiohttp answers HEAD wherever it answers GET.
        assert [one for one in served if one[0] != "HEAD"] == described


def test_the_documents_are_valid(told: Any) -> None:
    ingestion, query, *gated = told(DOCUMENTS)
    for document in (ingestion, query, *gated):
        assert document["openapi"].startswith("3.1.")
        assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    assert "/api/v1/events" in ingestion["paths"]
    assert "/api/v1/projections/devices/{key}" in query["paths"]


def test_what_an_operation_needs_is_described_where_a_key_is_needed(told: Any) -> None:
    ingestion, query, *gated = told(DOCUMENTS)
    for document in (ingestion, query):
        assert "securitySchemes" not in document["components"]
        assert all("401" not in one["responses"] for path in document["paths"].values() for one in path.values())
    for document in gated:
        assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert ("401" in operation["responses"]) == ("security" in operation) == (path != "/livez")
    assert gated[1]["paths"]["/readyz"]["get"]["security"] == [{}, {"bearer": ["admin"]}, {"bearer": ["metrics"]}]
    assert gated[0]["paths"]["/api/v1/events"]["post"]["security"] == [{"bearer": ["write"]}]
    assert "scope_missing" in gated[0]["paths"]["/api/v1/events"]["post"]["responses"]["403"]["description"]
