"""A server that a worker can do without: its port may be taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from headrace.errors import StartError
from web.server.health import Health
from web.server.server import HttpServer, make_application

HOST = "127.0.0.1"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as taker:
        yield taker.getsockname()[1]


def server(port: int, *, is_optional: bool) -> HttpServer:
    health = Health(needs={})
    return HttpServer(
        make_application(health.routes(), 1_000), HOST, port, health, service="HEALTH", is_optional=is_optional
    )


async def test_an_optional_server_is_left_out_if_its_port_is_taken(
    taken_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    optional = server(taken_port, is_optional=True)
    assert await optional.problems() == []
    await optional.on_start()
    assert f"{HOST}:{taken_port} is in use" in caplog.text
    assert optional.connections == []
    await optional.drain()


async def test_a_server_that_is_needed_is_refused_if_its_port_is_taken(taken_port: int) -> None:
    needed = server(taken_port, is_optional=False)
    (problem,) = await needed.problems()
    assert "set HEALTH_PORT to a free port" in problem
    with pytest.raises(StartError, match="set HEALTH_PORT to a free port"):
        await needed.on_start()
    await needed.drain()
