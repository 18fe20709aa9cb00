"""`/api/v1/keys`: making, listing, rotating and revoking keys, with a key of the scope `admin`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tables.database import Database

from tests.support.doors.gated_ports import GatedPorts, gated_ports

PATH = "/api/v1/keys"


class Admin:
    """Asks with a key of the scope `admin`."""

    def __init__(self, ports: GatedPorts, key: str) -> None:
        self.ports = ports
        self._headers = {"Authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        address = self.ports.addresses["query"] + path
        async with self.ports.client.request(method, address, json=body, headers=self._headers) as answer:
            return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[Admin]:
    async with gated_ports(database) as ports:
        yield Admin(ports, await ports.key("admin", ["admin"]))


async def reads(admin: Admin, key: str) -> int:
    return await admin.ports.status("query", "GET", "/api/v1/projections", ("Authorization", f"Bearer {key}"))


async def test_a_key_is_made_and_shown_once(admin: Admin) -> None:
    wanted = {"name": "gateway", "scopes": ["read"], "sources": ["/a/"], "expires": "90d"}
    status, made = await admin.ask("POST", PATH, wanted)
    assert status == 201
    assert await reads(admin, made["key"]) == 200
    _, mine = await admin.ask("GET", f"{PATH}/admin")
    assert made["created_by"] == f"key:{mine['items'][0]['id']}"
    for path in (PATH, f"{PATH}?all=true", f"{PATH}/{made['id']}", f"{PATH}/gateway"):
        status, listed = await admin.ask("GET", path)
        assert status == 200
        assert {one["name"] for one in listed["items"]} >= {"gateway"}
        assert made["key"] not in str(listed)
    assert await admin.ask("GET", f"{PATH}/gateway") == (
        200,
        {"items": [{k: v for k, v in made.items() if k != "key"}]},
    )


async def test_a_rotated_key_and_its_successor_both_work(admin: Admin) -> None:
    _, made = await admin.ask("POST", PATH, {"name": "gateway", "scopes": ["read"]})
    status, rotated = await admin.ask("POST", f"{PATH}/gateway/rotate", {"overlap": "1h"})
    assert status == 201
    assert [await reads(admin, one["key"]) for one in (made, rotated)] == [200, 200]
    status, revoked = await admin.ask("POST", f"{PATH}/gateway/revoke")
    assert (status, len(revoked["items"])) == (200, 2)
    assert (await admin.ask("POST", f"{PATH}/gateway/revoke")) == (200, {"items": []})


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (PATH, {"name": "x"}, 400, "invalid_body"),
        (PATH, {"name": "x", "scopes": ["root"]}, 400, "invalid_body"),
        (PATH, {"name": "x", "scopes": ["read"], "expires": "2y"}, 400, "invalid_body"),
        (PATH, {"name": "x", "scopes": ["read"], "more": 1}, 400, "invalid_body"),
        (PATH, {"name": "admin", "scopes": ["read"]}, 409, "key_exists"),
        (f"{PATH}/nobody/rotate", {}, 404, "unknown_api_key"),
        (f"{PATH}/admin/rotate", {"overlap": "x"}, 400, "invalid_body"),
        (f"{PATH}/nobody/revoke", None, 404, "unknown_api_key"),
        (f"{PATH}/%00/revoke", None, 404, "unknown_api_key"),
    ],
)
async def test_what_is_refused(admin: Admin, path: str, body: Any, status: int, code: str) -> None:
    answered, problem = await admin.ask("POST", path, body)
    assert (answered, problem["code"]) == (status, code)


async def test_a_wrong_parameter_is_named(admin: Admin) -> None:
    for query in ("?all=perhaps", "?every=true"):
        status, problem = await admin.ask("GET", PATH + query)
        assert (status, problem["code"]) == (400, "invalid_query")
    assert (await admin.ask("GET", f"{PATH}/nobody"))[0] == 404
