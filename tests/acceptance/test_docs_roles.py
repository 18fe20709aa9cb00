"""The set-up of roles as docs/roles.md and docker-compose.yml have it, executed on servers of its own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from app.embedded.postgres.owner import programs
from app.setting_groups.postgres import PARTS
from app.settings import read_settings
from app.worker.databases import ROLES
from app.worker.preflight import postgres_problems
from tables.rights import may_alter

from tests.support.servers.command_line import command
from tests.support.servers.fresh import server_folder
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.worker_process import ROOT

PAGE = (ROOT / "docs" / "roles.md").read_text("utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
MOST_LINES = 10


@pytest.fixture
async def server() -> AsyncIterator[OwnPostgres]:
    """Without the roles that others have made: their names are those of the page."""
    with server_folder() as folder:
        started = OwnPostgres(folder)
        await started.start()
        yield started
        await started.stop()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def here(server: OwnPostgres, url: str) -> str:
    """The address, at the test's server."""
    return server.dsn(urlsplit(url).path.removeprefix("/"), user=str(urlsplit(url).username))


async def faust(url: str, *arguments: str) -> str:
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONWARNINGS": "ignore"}
    ended = await asyncio.to_thread(command, *arguments, settings=environment, seconds=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def check(server: OwnPostgres, addresses: dict[str, str]) -> None:
    """Each part has its address, its role the rights that it needs, and none may alter the event store."""
    settings = read_settings(addresses)
    for part in PARTS:
        url = here(server, settings.database_of(part))
        assert await postgres_problems(settings.variable_of(part), url, [ROLES[part]]) == []
        session = await asyncpg.connect(url)
        assert not await may_alter(session, "event_store")
        await session.close()


async def test_the_set_up_of_the_page_works_as_it_is_written(server: OwnPostgres) -> None:
    export, command = (line.removeprefix("$ ") for line in block("console").splitlines())
    sql, variables = block("sql"), block("sh")
    lines = [*block("console").splitlines(), *sql.splitlines(), *variables.splitlines()]
    assert len(lines) <= MOST_LINES
    (create,) = re.findall(r"`(CREATE ROLE owner [^`]*)`", PAGE)
    await server.execute(create)
    await server.execute("ALTER DATABASE headrace OWNER TO owner")
    owner = here(server, export.partition("=")[2])
    printed = await faust(owner, "migrate")
    assert "applied 001_events" in printed
    script = await faust(owner, "migrate", "--roles", "--print")
    assert script.startswith("BEGIN;\nCREATE ROLE headrace_ingest NOLOGIN;\n")
    assert await server.column("SELECT rolname FROM pg_roles WHERE rolname = 'headrace_ingest'") == []
    assert "granted to headrace_ingest" in await faust(owner, *command.split()[3:])
    session = await asyncpg.connect(owner)
    await session.execute(sql)
    await session.close()
    await check(server, dict(line.split("=", 1) for line in variables.splitlines()))


async def test_the_set_up_of_the_containers_works_as_it_is_written(server: OwnPostgres) -> None:
    """The script of PostgreSQL's container, the command of the service `migrate`, and the addresses of the others."""
    await server.execute("DROP DATABASE headrace")
    sockets = parse_qs(urlsplit(server.dsn()).query)
    passwords = re.findall(r"^      (\w+_PASSWORD): \$\{\1:-(\w+)\}$", COMPOSE, re.MULTILINE)
    environment = {
        **dict(passwords),
        "PATH": f"{programs()}:{os.defpath}",
        "PGHOST": sockets["host"][0],
        "PGPORT": sockets["port"][0],
        "POSTGRES_USER": "postgres",
    }
    script = ROOT / "deploy" / "postgres" / "roles.sh"
    await asyncio.to_thread(subprocess.run, [script], env=environment, check=True, timeout=60)
    urls = dict(re.findall(r"^      (DATABASE_URL\w*): (postgresql://\S+)$", COMPOSE, re.MULTILINE))
    urls = {name: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", url) for name, url in urls.items()}
    await faust(here(server, urls.pop("DATABASE_URL")), "migrate", "--roles")
    assert len(urls) == len(PARTS), "the services have no address of the owner"
    await check(server, urls)
